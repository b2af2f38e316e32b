"""Train a smaller student to match where the model's inner maps are active, and its softened predictions.

An attention map is ``Q = sum_c |A_c|^power`` over the channels of an activation ``A``, flattened and divided by its
length, for every example. To the loss of ``distill.logits`` (``temperature``, ``mix``) comes
``weight / 2 * sum_j ||Q_S^j - Q_T^j||_2``, averaged over examples; ``distance="squared"`` takes the square of the norm,
as the authors' code does. Maps: ``layers`` of the model's, spread evenly by depth down to its last (only ends of
blocks, and so at times fewer, where it has several blocks); beside each the student's of the same name, else of the
nearest depth. Of two maps of unequal size the larger is averaged down to the smaller.

Where we depart from the paper: its beta is 1000 / (places of map j), 1 to 16 on its own maps; ours is one ``weight``
for all, as on small maps theirs drowns the logits. Its three groups of a wide residual network are ``layers=3`` in any
network, and a sequence ``(N, tokens, channels)`` has a map over its tokens. What is only a vector has no places and is
left alone.

Source:
    Zagoruyko & Komodakis, Paying more attention to attention, ICLR 2017, arXiv:1612.03928.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.methods import _common as common
from whatelse.methods.distill import _features as features
from whatelse.methods.distill._soft import hinton
from whatelse.methods.distill._student import student
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, descend

VERSION, KNOB, TAKES, LEAVES = 1, "width", {"dense", "sparse"}, "dense"


@dataclass(frozen=True)
class Config:
    """Settings of attention transfer."""

    width: float = common.width()
    student: str = common.student()
    temperature: float = common.temperature()
    mix: float = common.mix()
    epochs: int = common.epochs(30)
    rate: float = common.rate()
    batch: int = common.batch()
    weight: float = param(0.3, "Weight of the maps, beta; much more needs many epochs.", low=0.0, high=1e6)
    power: float = param(2.0, "Power of the activations that a map sums.", low=1.0, high=10.0)
    distance: str = param("norm", "Distance of two maps, or its square.", choices=("norm", "squared"))
    layers: int = param(3, "Number of maps, spread evenly by depth.", low=1, high=1000)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a trained student.

    Args:
        model: The teacher; any classifier with inner maps or sequences.
        config: Size of the student and how it is taught.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the student's weights and of the order of the examples.

    Raises:
        RecipeError: The teacher or the student has no inner maps, or the student cannot be made or trained.
    """
    inputs, labels = task.train.inputs, task.train.observed
    taught_one = student(model, config.width, config.student, task, rng).eval()
    pairs = _pairs(features.points(model, inputs), features.points(taught_one, inputs), config.layers)
    read = features.reader(model, list(pairs))

    def see(x: Tensor) -> dict[str, Tensor]:
        return {name: _map(a, config.power) if name else a for name, a in read(x).items()}

    told = features.remembered(features.in_batches(model, see), inputs)

    def objective(batch: Tensor) -> Tensor:
        known = told(batch)
        with features.watched(taught_one, list(pairs.values())) as seen:
            logits = taught_one(inputs[batch])
        loss = hinton(logits, known[""], labels[batch], config.temperature, config.mix)
        for theirs, mine in pairs.items():
            maps = _map(seen[mine], config.power)
            loss = loss + config.weight / 2 * _distance(maps, known[theirs], config.distance)
        return loss

    descend(taught_one, objective, len(inputs), Schedule(config.epochs, config.rate, config.batch), rng)
    return taught_one


def _pairs(theirs: list[features.Point], mine: list[features.Point], count: int) -> dict[str, str]:
    """Return the student's layer for each of the teacher's that are matched, by name.

    Raises:
        RecipeError: One of the two has no inner maps.
    """
    maps, other = ([p for p in found if p.places > 1] for found in (theirs, mine))
    if not maps or not other:
        who = "student" if maps else "model"
        raise RecipeError(f"distill.attention: the {who} has no inner maps or sequences; use distill.hints")
    maps = features.ends(maps)
    deepest = max(p.depth for p in maps)
    chosen = [features.before(maps, deepest * (i + 1) / count) for i in range(count)]
    found = {p.name: features.partner(p, other) for p in chosen}
    pairs = {name: p.name for name, p in found.items() if p is not None}
    if not pairs:
        raise RecipeError("distill.attention: no map of the student has as many axes as the model's; use distill.hints")
    return pairs


def _map(activation: Tensor, power: float) -> Tensor:
    return features.channels_first(activation).abs().pow(power).sum(1)


def _distance(mine: Tensor, theirs: Tensor, kind: str) -> Tensor:
    one, other = (features.unit(maps) for maps in features.one_size(mine, theirs))
    gap = one - other
    size = gap.square().sum(1) if kind == "squared" else torch.linalg.vector_norm(gap, dim=1)
    return size.mean()
