"""What an adversary may do to a row of a table: numbers move a little, categories take another value of train.

Columns are read off the names of the task's features: ``age`` is a number; ``sex=Female`` and ``sex=Male`` are one
column of categories, of which at most one is 1; ``age=unknown`` beside ``age`` says that the number is missing, and is
left alone. Inputs without names of columns are numbers throughout. Scales and bounds are those of train.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.attacks import beam
from whatelse.errors import NotMeasurableError, nearest
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import margin
from whatelse.tasks.task import Task

_UNKNOWN = "unknown"
_NONE = -1


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns as an adversary sees them; the tensors are of the shape of an input.

    Attributes:
        far: Standard deviation of train where a number may move, else 0.
        low: Smallest value of train.
        high: Largest value of train.
        missing: For a number, the place of the column that says it is missing; else -1.
        block: For a category, the number of its column of categories; else -1.
        options: Places of the categories that a column may take, ``(count,)``.
        numbers: Names of the columns of numbers that may move; empty where columns have no names.
        categories: Names of the columns of categories that may change.
    """

    far: Tensor
    low: Tensor
    high: Tensor
    missing: Tensor
    block: Tensor
    options: Tensor
    numbers: tuple[str, ...]
    categories: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of categories that a row may take in any of its columns."""
        return len(self.options)

    def open(self, points: Tensor, clean: Tensor) -> Tensor:
        """Return which categories each row may still take: others than its own, of columns not changed so far.

        Args:
            points: Rows as they are now, ``(P, features)``.
            clean: As they were, ``(P, features)``.
        """
        changed = torch.zeros(len(points), int(self.block.max()) + 1, dtype=torch.bool)
        rows, places = ((points != clean) & (self.block != _NONE)).nonzero().unbind(1)
        changed[rows, self.block[places]] = True
        return (clean[:, self.options] == 0) & ~changed[:, self.block[self.options]]

    def made(self, points: Tensor, moves: Tensor) -> Tensor:
        """Return each row with another category, ``(P, features)``.

        Args:
            points: Rows, ``(P, features)``.
            moves: Which of the options each row takes, ``(P,)``.
        """
        place = self.options[moves]
        swapped = points.masked_fill(self.block == self.block[place][:, None], 0.0)
        return swapped.scatter(1, place[:, None], 1.0)

    def ball(self, clean: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """Return the smallest and the largest value that each number may take, ``(M, ...)``; infinite of the rest.

        A value that train never reaches may stay as it is; it does not move further out.

        Args:
            clean: Rows, ``(M, ...)``.
            radius: In standard deviations of each column.
        """
        free = (self.far > 0).expand_as(clean)
        if bool((self.missing != _NONE).any()):
            told = clean[:, self.missing.clamp(min=0)] == 0
            still = free & ~(told | (self.missing == _NONE))
        else:
            still = torch.zeros_like(free)
        low = torch.minimum(clean, torch.maximum(clean - radius * self.far, self.low))
        high = torch.maximum(clean, torch.minimum(clean + radius * self.far, self.high))
        low, high = torch.where(still, clean, low), torch.where(still, clean, high)
        return torch.where(free, low, -math.inf), torch.where(free, high, math.inf)


def read(task: Task, fixed: str = "") -> Columns:
    """Return the columns of a task.

    Args:
        task: Its features name the columns, its train split gives scales, bounds and categories.
        fixed: Names of columns that the adversary may not touch, joined by commas.

    Raises:
        NotMeasurableError: Inputs are texts, a fixed column is none of the table's, or the columns of a category are
            not one-hot.
    """
    if task.modality == "tokens":
        raise NotMeasurableError(f"needs a table; task {task.name} is of tokens")
    train = task.train.inputs
    numbers, blocks = _named(task)
    kept = _kept(task, [*numbers, *blocks], fixed)
    low, high = torch.aminmax(train, dim=0)
    far, moving = train.std(0, correction=0), [name for name in numbers if name not in kept]
    missing, block = torch.full(task.shape, _NONE), torch.full(task.shape, _NONE)
    if task.features:
        moves = torch.zeros(task.shape, dtype=torch.bool)
        for name in moving:
            moves[numbers[name]] = True
            flag = f"{name}={_UNKNOWN}"
            missing[numbers[name]] = task.features.index(flag) if flag in task.features else _NONE
        far = torch.where(moves, far, 0.0)
    swapping = [name for name in blocks if name not in kept]
    options: list[int] = []
    for number, name in enumerate(swapping):
        block[blocks[name]] = number
        options += _taken(train[:, blocks[name]], blocks[name], name)
    # Of rounding errors alone a column of one value has a deviation.
    far = torch.where(low < high, far, 0.0)
    return Columns(far, low, high, missing, block, torch.tensor(options).long(), tuple(moving), tuple(swapping))


def climb(
    evidence: Evidence, starts: Tensor, clean: Tensor, labels: Tensor, columns: Columns, radius: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the points at which projected gradient found the model most wrong, and the margins there.

    The sign of the log-odds margin's gradient, the step of each number two radii of its column first and shorter with
    every step. Categories stay as they are at the start.

    Args:
        evidence: The model, which differentiates.
        starts: Where to begin, ``(P, ...)``.
        clean: Rows around which numbers move, ``(P, ...)``.
        labels: True classes, ``(P,)``.
        columns: What may move, and how far.
        radius: In standard deviations of each column.
        steps: How many.
    """
    low, high = columns.ball(clean, radius)
    at = best = starts
    least = torch.full((len(starts),), math.inf)
    for step in range(steps + 1):
        seen, slope = _look(evidence, at, labels)
        best, least = _pick(seen < least, at, best), torch.minimum(seen, least)
        at = (at - 2 * radius * (1 - step / steps) * columns.far * slope.sign()).clamp(low, high)
    return best, least


def wander(
    evidence: Evidence,
    starts: Tensor,
    clean: Tensor,
    labels: Tensor,
    columns: Columns,
    radius: float,
    queries: int,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the points at which a random search found the model most wrong, and the margins there.

    Every query moves some of the numbers to an end of what they may take, half of them first and one in the end, and
    keeps what the model is more wrong about. Only predictions are needed.

    Args:
        evidence: The model.
        starts: Where to begin, ``(P, ...)``.
        clean: Rows around which numbers move, ``(P, ...)``.
        labels: True classes, ``(P,)``.
        columns: What may move, and how far.
        radius: In standard deviations of each column.
        queries: How many, the look at the start included.
        rng: Source of the moves.
    """
    low, high = columns.ball(clean, radius)
    many = max(1, int((columns.far > 0).sum()))
    best, least = starts, beam.margin(evidence, starts, labels)
    for query in range(1, queries):
        share = max(1 / many, 0.5 * (2 / many) ** (2 * query / queries))
        moved = (torch.rand(starts.shape, generator=rng) < share) & (columns.far > 0)
        end = torch.where(torch.rand(starts.shape, generator=rng) < 0.5, low, high)
        tried = torch.where(moved, end, best)
        seen = beam.margin(evidence, tried, labels)
        best, least = _pick(seen < least, tried, best), torch.minimum(seen, least)
    return best, least


def _named(task: Task) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Return the place of every column of numbers, and the places of the categories of every other column."""
    split = [feature.partition("=") for feature in task.features]
    numbers = {name: place for place, (name, sign, _) in enumerate(split) if not sign}
    blocks: dict[str, list[int]] = {}
    for place, (name, sign, word) in enumerate(split):
        if sign and not (name in numbers and word == _UNKNOWN):
            blocks.setdefault(name, []).append(place)
    return numbers, blocks


def _kept(task: Task, known: list[str], fixed: str) -> set[str]:
    """Return the names of the columns that stay as they are.

    Raises:
        NotMeasurableError: One of them is no column.
    """
    kept = {name.strip() for name in fixed.split(",") if name.strip()}
    for name in sorted(kept - set(known)):
        hint = nearest(name, known) if known else f"the columns of task {task.name} have no names"
        raise NotMeasurableError(f"fixed: no column {name!r}; {hint}")
    return kept


def _taken(train: Tensor, places: list[int], name: str) -> list[int]:
    """Return the places of the categories that train has.

    Raises:
        NotMeasurableError: The columns are not one-hot.
    """
    if bool(((train != 0) & (train != 1)).any()) or bool((train.sum(1) > 1).any()):
        raise NotMeasurableError(f"needs one-hot columns {name}=...; those of train are not: name {name} in fixed")
    return [place for place, any_ in zip(places, (train == 1).any(0).tolist(), strict=True) if any_]


def _look(evidence: Evidence, at: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the model's margin at each point, and the gradient of the log-odds margin."""
    if evidence.slopes is not evidence.model:
        return beam.margin(evidence, at, labels), evidence.gradients(at, labels).nan_to_num()
    parts = zip(torch.split(at, evidence.batch), torch.split(labels, evidence.batch), strict=True)
    seen, slopes = zip(*(_looked(evidence, x, y) for x, y in parts), strict=True)
    return torch.cat(seen), torch.cat(slopes)


def _looked(evidence: Evidence, at: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    x = at.detach().requires_grad_()
    with torch.enable_grad():
        logits = evidence.model(x)
        (slope,) = torch.autograd.grad(margin(evidence, logits, labels).sum(), x)
    evidence.passes.forward += len(x)
    evidence.passes.backward += len(x)
    logits = logits.detach()
    mine = logits.gather(1, labels[:, None]).squeeze(1)
    return mine - logits.scatter(1, labels[:, None], float("-inf")).amax(1), slope.nan_to_num()


def _pick(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (yes.dim() - 1)), yes, no)
