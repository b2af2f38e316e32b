"""Train the model from random weights while random units are silenced; the trained model has all of them.

During training the input of every convolution and linear layer is ``x * m / (1 - drop)`` with ``m`` an independent
Bernoulli mask of mean ``1 - drop`` for each element and each call: hidden units feeding the next layer with ``drop``,
the units that feed the first layer with ``drop_input``. The division (inverted dropout) takes the place of the
paper's multiplication of the weights by ``1 - drop`` afterwards: the expected input of a layer is that of the
deployed model. With ``max_norm`` each unit's incoming weights are scaled back after every step so that their
norm is at most ``max_norm``. Nothing of it is left in the model that is returned: this is no compression, its size
is that of the model given; it is a regularization control. Its control is ``train.scratch``, which it equals
at ``drop = drop_input = 0``. The biases, norms, embeddings and the projections inside attention get no dropout of
their own; dropout layers that the model has work besides. Weights that are exactly zero stay zero.

Where we depart from the paper: Adam with a one-cycle schedule, in place of SGD with large rates and momentum; in
convolutions single elements of the maps are dropped.

Source:
    Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, JMLR 15:1929-1958, 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods import _common as common
from whatelse.methods.train._fresh import drawn_anew
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, descend, hard_labels

VERSION, KNOB, TAKES, LEAVES = 1, "drop", {"dense", "sparse"}, ""

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Config:
    """Settings of training with dropout."""

    drop: float = param(0.5, "Share of the hidden units silenced at each step.", low=0.0, high=0.95)
    drop_input: float = param(0.2, "Share of the inputs of the first layer silenced at each step.", low=0.0, high=0.95)
    max_norm: float = param(0.0, "Largest norm of the weights that enter a unit; 0 sets no limit.", low=0.0)
    fresh: bool = param(True, "Draw the weights anew first, as in the paper, in place of training further.")
    epochs: int = common.epochs(30)
    rate: float = common.rate()
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a model of the same architecture, trained with dropout and free of it.

    Args:
        model: Gives the architecture and, by its exact zeros, the mask.
        config: What is silenced, how long and how hard the training.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the weights, of the units silenced and of the order of the examples.

    Raises:
        RecipeError: The model has no trainable parameters, or calls no convolution or linear layer.
    """
    inputs = task.train.inputs
    trained = drawn_anew(model, "train.dropout", rng) if config.fresh else copied(model)
    shares = _shares(trained, inputs[:2], config)
    if not shares:
        raise RecipeError("train.dropout: the model calls no convolution or linear layer; use train.scratch")
    judge = hard_labels(task.train.observed)

    def limit() -> None:
        for part in shares:
            _limit(part, config.max_norm)

    schedule = Schedule(config.epochs, config.rate, config.batch)
    with _silencing(shares):
        descend(
            trained,
            lambda batch: judge(trained(inputs[batch]), batch),
            len(inputs),
            schedule,
            rng,
            after=limit if config.max_norm else None,
        )
    return trained


@torch.no_grad()
def _shares(model: nn.Module, example: Tensor, config: Config) -> dict[nn.Module, float]:
    """Return for every layer that is called the share of its inputs to silence."""
    first: list[Tensor] = []  # kept alive, so that no later tensor can lie where it lies
    shares: dict[nn.Module, float] = {}

    def see(part: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        given = (*args, *kwargs.values())
        first.extend(() if first else given[:1])
        same = given[0].untyped_storage().data_ptr() == first[0].untyped_storage().data_ptr()
        shares.setdefault(part, config.drop_input if same else config.drop)

    parts = [part for part in model.modules() if isinstance(part, _KINDS)]
    hooks = [part.register_forward_pre_hook(see, with_kwargs=True) for part in parts]
    try:
        model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return shares


@contextmanager
def _silencing(shares: Mapping[nn.Module, float]) -> Generator[None, None, None]:
    """While open, each layer gets its inputs with a share of them silenced."""

    def silence(share: float) -> Callable[..., Any]:
        def silenced(part: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Any:  # noqa: ANN401
            del part
            x, *rest = (*args, *kwargs.values())
            return (functional.dropout(x, share, training=True), *rest), {}

        return silenced

    hooks = [
        part.register_forward_pre_hook(silence(share), with_kwargs=True) for part, share in shares.items() if share
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _limit(part: nn.Module, norm: float) -> None:
    weight = part.weight
    assert isinstance(weight, Tensor)
    weight.copy_(torch.renorm(weight, 2, 0, norm))
