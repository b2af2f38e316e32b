"""The one training loop: Adam with a one-cycle schedule, on hard labels or any loss of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.modules.calibration import batches, split
from whatelse.modules.device import visiting
from whatelse.modules.walk import pruned
from whatelse.training.rng import fork_rng

_MATRIX = 2  # dimensions of one row of scores an example
Loss = Callable[[Tensor, Tensor], Tensor]
Objective = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        epochs: Passes over the data.
        rate: Peak learning rate of the one-cycle schedule (Smith & Topin 2017, arXiv:1708.07120).
        batch: Examples a step.
        decay: Decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101).
    """

    epochs: int
    rate: float
    batch: int
    decay: float = 0.0


def fit(model: nn.Module, inputs: Tensor, loss: Loss, schedule: Schedule, rng: torch.Generator) -> None:
    """Train a module in place on a loss of its logits.

    Args:
        model: The module; all its parameters are trained.
        inputs: ``(N, ...)``.
        loss: Takes logits ``(B, classes)`` and the indices of the batch ``(B,)``, returns a scalar.
        schedule: How long and how hard.
        rng: Source of the order of the examples.
    """
    descend(model, lambda batch: loss(model(inputs[batch]), batch), len(inputs), schedule, rng)


def descend(
    model: nn.Module,
    objective: Objective,
    count: int,
    schedule: Schedule,
    rng: torch.Generator,
    *,
    beside: Iterable[nn.Parameter] = (),
    after: Callable[[], None] | None = None,
) -> None:
    """Train a module in place on an objective of one's own; then freeze it, in evaluation mode.

    Weights of convolutions and linear layers that are exactly zero at the start stay zero: this is how the
    mask of a pruned model survives every later training step (Han et al. 2015, arXiv:1506.02626). So a layer that is
    zero as a whole stays so, be it pruned or new; any other parameter that starts at zero, such as a table of
    positions, is trained. A last batch of one example joins the one before, as batch norms cannot train on it. Dropout
    draws depend on ``rng``.

    Args:
        model: The module; all its parameters are trained.
        objective: Takes the indices of a batch ``(B,)``, passes the model itself, returns a scalar.
        count: Number of examples.
        schedule: How long and how hard.
        rng: Source of the order of the examples.
        beside: Parameters outside the model that are trained with it, without weight decay.
        after: Called after every step, such as a projection of the weights.
    """
    if schedule.epochs == 0:
        return
    with visiting(model), fork_rng(rng):
        _stepped(model, objective, count, schedule, rng, list(beside), after)
    model.eval()
    model.requires_grad_(requires_grad=False)


def _stepped(
    model: nn.Module,
    objective: Objective,
    count: int,
    schedule: Schedule,
    rng: torch.Generator,
    beside: list[nn.Parameter],
    after: Callable[[], None] | None,
) -> None:
    """Take all steps, where the model is."""
    model.train()
    model.requires_grad_(requires_grad=True)
    masks = [(p, (p != 0).to(p.dtype)) for p in pruned(model) if bool((p == 0).any())]
    trained: list[dict[str, Any]] = [{"params": list(model.parameters())}, {"params": beside, "weight_decay": 0.0}]
    groups = [group for group in trained if group["params"]]
    adam = torch.optim.AdamW(groups, schedule.rate, weight_decay=schedule.decay, fused=True)
    steps = schedule.epochs * len(split(torch.arange(count), schedule.batch))
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, schedule.rate, total_steps=steps)
    for _ in range(schedule.epochs):
        for batch in split(torch.randperm(count, generator=rng), schedule.batch):
            adam.zero_grad(set_to_none=True)
            objective(batch).backward()  # type: ignore[no-untyped-call] # torch's own
            adam.step()
            cycle.step()
            for parameter, mask in masks:
                parameter.data.mul_(mask)
            if after is not None:
                after()


@torch.no_grad()
def answers(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return what a model says of inputs, ``(N, classes)``, passed in batches that fit into memory.

    Args:
        model: A classifier in evaluation mode.
        inputs: ``(N, ...)``.
    """
    with visiting(model):
        return torch.cat([model(part) for part in batches(model, inputs, 1024)])


@torch.no_grad()
def teaching(model: nn.Module, inputs: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what tells a model's answers to inputs by their indices: held, or asked anew where they are many.

    Scores of every place of every example, as language models have them, would fill the memory.

    Args:
        model: In evaluation mode.
        inputs: ``(N, ...)``.
    """
    if model(inputs[:2]).dim() <= _MATRIX:
        held = answers(model, inputs)
        return lambda batch: held[batch]

    def ask(batch: Tensor) -> Tensor:
        with torch.no_grad():
            said: Tensor = model(inputs[batch])
        return said

    return ask


def hard_labels(labels: Tensor) -> Loss:
    """Return the cross-entropy with hard labels.

    Args:
        labels: Class of every example, ``(N,)``.

    Raises:
        RecipeError: They are all the same, or there are none.
    """
    if not len(labels) or (len(labels) > 1 and bool((labels == labels[0]).all())):
        held = f"every label of train is {int(labels[0])}" if len(labels) else "train has no examples"
        raise RecipeError(f"{held}; training needs at least two classes")

    def loss(logits: Tensor, batch: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels[batch])

    return loss
