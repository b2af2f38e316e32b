"""Prune while training against an adversary that tells members from others by the model's answers.

A game: ``min_W max_A  L(W) + strength * G(A, W)`` over weights ``W`` of the given sparsity. ``L`` is the
cross-entropy on members, and ``G = (mean log A(members) + mean log(1 - A(others))) / 2`` the gain of an adversary
``A`` that sees the logits and the one-hot recorded label of a record and gives its chance of being a member. Members
are half of train, drawn at random; the other half is held back and stands for non-members (copies of one example,
``clusters``, fall on one side). In each step the adversary first climbs ``G`` on a batch of each, asking the model
as it would be deployed; then the model descends ``L + strength * mean log A(members) / 2``. As in Nasr et al., no
gradient comes from the records held back, so the model is never fitted on them.

The weights of smallest ``|w|`` over all layers go in ``rounds``, to ``s - s * (1 - r / rounds)**3`` after round
``r``, each followed by ``epochs`` of the game. This replaces the paper's ADMM, which ends in the same projection.
A further departure: records held back come out of train, as no method may read others. The model given has been
fitted on them, so they are no non-members to it. Hence ``start="random"`` draws the weights anew and plays a first
round with no pruning: all that is left of the model given is its architecture and its zeros, and half of train is
never fitted. ``start="model"`` goes on from the model given: what it learned of either half before is not
protected.

Read its effect beside that of ``strength=0``: half of what counts as members was then never fitted either, and for
as few epochs. On digits with wrong labels most of what it gains is that.

Biases are not pruned, nor are tied weights and the projections of ``nn.MultiheadAttention``.

Source:
    Wang et al., Against membership inference attack: pruning is all you need, IJCAI 2021, arXiv:2008.13578; Nasr,
    Shokri, Houmansadr, Machine learning with membership privacy using adversarial regularization, CCS 2018,
    arXiv:1807.05852.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods._held import held_back
from whatelse.methods.prune._mask import cubic, keep, magnitudes, prunable, zero
from whatelse.methods.train._fresh import drawn_anew
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Split, Task
from whatelse.training.initialize import initialize
from whatelse.training.loop import Objective, Schedule, descend

VERSION, KNOB, TAKES, LEAVES = 1, "sparsity", {"dense", "sparse"}, "sparse"

_WIDTH, _RATE = 64, 8e-3  # of the adversary


@dataclass(frozen=True)
class Config:
    """Settings of the game."""

    sparsity: float = param(0.5, "Share of weights to zero.", low=0.0, high=1.0)
    strength: float = param(1.0, "Weight of the adversary's gain; 0 is pruning and training alone.", low=0.0, high=1e3)
    steps: int = param(1, "Steps of the adversary before each of the model.", low=1, high=1000)
    start: str = param("random", "Weights at the beginning: drawn anew, or those given.", choices=("random", "model"))
    rounds: int = param(3, "Rounds of pruning, each followed by training.", low=1, high=1000)
    epochs: int = param(8, "Passes over the members after each round.", low=0, high=10_000)
    rate: float = param(8e-3, "Peak learning rate of the one-cycle schedule of each round.", low=0.0, high=1.0)
    batch: int = param(50, "Members a step, and as many others.", low=1)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a pruned copy that was trained to hide its members.

    Args:
        model: Any module with convolutions or linear layers.
        config: How much to prune and how hard to hide.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the members, of the adversary and of the order of the examples.

    Raises:
        RecipeError: There is nothing to prune, or train has fewer than four records.
        TaskError: Train holds one class alone.
    """
    prunable(model, "prune.membership")
    task.check_training()
    members, others = _halves(task.train, rng)
    # A generator of its own, so that the order of the members is the same with and without an adversary.
    aside = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=rng)))
    pruned = drawn_anew(model, "prune.membership", rng) if config.start == "random" else copied(model)
    found = prunable(pruned, "prune.membership")
    schedule = Schedule(config.epochs, config.rate, config.batch)
    objective = _game(pruned, members, others, task.classes, config, aside)
    dense = [0.0] if config.start == "random" else []
    for sparsity in [*dense, *cubic(config.sparsity, config.rounds)]:
        zero(found, keep(found, magnitudes(found), sparsity, "global"))
        descend(pruned, objective, len(members), schedule, rng)
    return pruned


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Members are one half of train; the adversary sees as many others.

    Args:
        config: How many rounds, how long, and how often the adversary learns.
        task: Gives the number of train examples.
    """
    rounds = config.rounds + (config.start == "random")
    each = 3 + 2 * (config.steps if config.strength else 0)
    return each * rounds * config.epochs * len(task.train) // 2


def _halves(train: Split, rng: torch.Generator) -> tuple[Split, Split]:
    """Return the members and the records held back.

    Raises:
        RecipeError: There are too few of either.
    """
    inside, outside = held_back(train, 0.5, rng)
    if min(len(inside), len(outside)) < 2:
        raise RecipeError(f"prune.membership: train has {len(train)} records; it needs four, to hold half of them back")
    return train.take(inside), train.take(outside)


def _game(
    model: nn.Module, members: Split, others: Split, classes: int, config: Config, rng: torch.Generator
) -> Objective:
    """Return the model's objective of a batch of members; with it the adversary makes a step of its own."""
    adversary = _adversary(classes, rng)
    adam = torch.optim.Adam(adversary.parameters(), _RATE)

    def learn(batch: Tensor) -> None:
        picks = torch.randint(len(others), batch.shape, generator=rng)
        model.eval()
        with torch.no_grad():
            seen = [(model(s.inputs[i]), s.observed[i]) for s, i in ((members, batch), (others, picks))]
        model.train()
        inside, outside = (_opinion(adversary, *pair) for pair in seen)
        adam.zero_grad()
        (-_gain(inside, outside)).backward()  # type: ignore[no-untyped-call] # torch's own
        adam.step()

    def objective(batch: Tensor) -> Tensor:
        for _ in range(config.steps if config.strength else 0):
            learn(batch)
        logits, labels = model(members.inputs[batch]), members.observed[batch]
        loss = functional.cross_entropy(logits, labels)
        if not config.strength:
            return loss
        return loss + config.strength * functional.logsigmoid(_opinion(adversary, logits, labels)).mean() / 2

    return objective


def _adversary(classes: int, rng: torch.Generator) -> nn.Module:
    with torch.device("meta"):
        parts = nn.Linear(2 * classes, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1)
    adversary = nn.Sequential(*parts).to_empty(device="cpu")
    initialize(adversary, rng)
    return adversary


def _opinion(adversary: nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the adversary's log-odds that each record is a member, ``(N,)``."""
    told = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    said: Tensor = adversary(torch.cat([logits, told], 1).float())  # its own precision, whatever the model's is
    return said[:, 0]


def _gain(inside: Tensor, outside: Tensor) -> Tensor:
    """Return the adversary's gain from its log-odds on members and on others."""
    return (functional.logsigmoid(inside).mean() + functional.logsigmoid(-outside).mean()) / 2
