"""Find a sparse subnetwork by training, pruning and rewinding in rounds; then train it from where it was rewound to.

Of the model given, only the architecture and the zeros count: weights are drawn anew. The first run trains them for
``epochs`` and notes ``theta_k``, the state after ``rewind`` steps (0: the initial weights). Each of ``rounds`` then
zeroes the smallest ``|w|`` of each layer, takes the survivors, and everything else of the model, back to
``theta_k``, and trains for ``epochs``; each round deletes the same share ``p = 1 - (1 - sparsity)**(1 / rounds)``
of what is left in a layer, and ``output_rate * p`` in the last layer called, which so ends less sparse. A model of
one layer has no such exception. The last training is that of the ticket itself, so there are ``rounds + 1`` runs.

``control`` replaces the ticket before its last training. ``reinitialize``: the same mask, weights drawn anew.
``random``: ``theta_k`` under a random mask with the same number of zeros in each layer.

Where we depart: every run goes through the whole learning rate schedule (one-cycle, Adam), also after rewinding to
``rewind > 0``, where the paper continues the schedule at step ``k``. Biases are not pruned. Tied weights and the
projections of ``nn.MultiheadAttention`` are drawn anew and trained, but not pruned.

Source:
    Frankle & Carbin, The lottery ticket hypothesis, ICLR 2019, arXiv:1803.03635; Frankle, Dziugaite, Roy, Carbin,
    Linear mode connectivity and the lottery ticket hypothesis, ICML 2020, arXiv:1912.05671.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods import _common as common
from whatelse.methods.prune._mask import called, geometric, keep, magnitudes, prunable, zero
from whatelse.methods.train._fresh import drawn_anew
from whatelse.modules.device import home
from whatelse.modules.walk import Layer
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, descend, fit, hard_labels

VERSION, KNOB, TAKES, LEAVES = 1, "sparsity", {"dense", "sparse"}, "sparse"

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Config:
    """Settings of the search for a ticket."""

    sparsity: float = param(0.5, "Share of each layer's weights to zero.", low=0.0, high=1.0)
    output_rate: float = param(0.5, "Rate of the output layer as a share of the others'.", low=0.0, high=1.0)
    rounds: int = param(3, "Rounds of training, pruning and rewinding.", low=1, high=100)
    rewind: int = param(0, "Step of the first run to which weights go back; 0 is before it.", low=0)
    control: str = param("ticket", "What is trained last.", choices=("ticket", "reinitialize", "random"))
    epochs: int = param(30, "Passes over train in each run.", low=0, high=10_000)
    rate: float = param(8e-3, "Peak learning rate of the one-cycle schedule of each run.", low=0.0, high=1.0)
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a trained ticket, or a trained control.

    Args:
        model: Gives the architecture and, by its exact zeros, weights that are never trained.
        config: How sparse, how it is found, and what is trained last.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the weights, of the order of the examples and of a random mask.

    Raises:
        RecipeError: There is nothing to prune, or the first run ends before ``rewind``.
    """
    prunable(model, "prune.lottery")
    ticket = drawn_anew(model, "prune.lottery", rng)
    found = prunable(ticket, "prune.lottery")
    start = _first_run(ticket, config, task, rng)
    schedule = Schedule(config.epochs, config.rate, config.batch)
    for turn, level in enumerate(_levels(called(ticket, found, task.train.inputs), config)):
        if turn:
            fit(ticket, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
        kept = _lowest_gone(found, magnitudes(found), level)
        ticket.load_state_dict(start)
        zero(found, kept)
    if config.control == "reinitialize":
        ticket = drawn_anew(ticket, "prune.lottery", rng)
    elif config.control == "random":
        _shuffle(ticket, found, start, rng)
    fit(ticket, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return ticket


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Args:
        config: How many runs, and how long.
        task: Gives the number of train examples.
    """
    return 3 * (config.rounds + 1) * config.epochs * len(task.train)


def _first_run(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> State:
    """Train the dense model in place and return its state after the step to which weights go back.

    Raises:
        RecipeError: The run ends before that step.
    """
    steps, start = 0, _state(model)

    def objective(batch: Tensor) -> Tensor:
        nonlocal steps, start
        if steps == config.rewind:
            start = _state(model)
        steps += 1
        return functional.cross_entropy(model(task.train.inputs[batch]), task.train.observed[batch])

    schedule = Schedule(config.epochs, config.rate, config.batch)
    descend(model, objective, len(task.train), schedule, rng)
    if config.rewind > steps:
        raise RecipeError(f"prune.lottery: rewind={config.rewind} is after the end of a run; it has {steps} steps")
    return _state(model) if config.rewind == steps else start


def _state(model: nn.Module) -> State:
    return {name: home(value).clone() for name, value in model.state_dict().items()}


def _levels(order: Mapping[str, Layer], config: Config) -> list[dict[str, float]]:
    """Return the sparsity of each layer after each round; a layer that is never called is not pruned."""
    share = 1 - (1 - config.sparsity) ** (1 / config.rounds)
    slow = 1 - (1 - config.output_rate * share) ** config.rounds
    last = list(order)[-1] if len(order) > 1 else None
    by_layer = {n: geometric(slow if n == last else config.sparsity, config.rounds) for n in order}
    return [{name: levels[turn] for name, levels in by_layer.items()} for turn in range(config.rounds)]


def _lowest_gone(
    found: Mapping[str, Layer], scores: Mapping[str, Tensor], level: Mapping[str, float]
) -> dict[str, Tensor]:
    return {name: keep({name: found[name]}, scores, share, "layer")[name] for name, share in level.items()}


def _shuffle(model: nn.Module, found: Mapping[str, Layer], start: State, rng: torch.Generator) -> None:
    """Put the weights to go back to under a random mask with the zeros of each layer's ticket, in place."""
    level = {name: float((layer.weight == 0).double().mean()) for name, layer in found.items()}
    model.load_state_dict(start)
    zero(found, _lowest_gone(found, {n: torch.rand(m.weight.shape, generator=rng) for n, m in found.items()}, level))
