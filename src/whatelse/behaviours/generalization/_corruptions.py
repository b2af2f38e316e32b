"""Test inputs as a changed world would give them: noise, blur, light, missing parts, at five severities.

Draws come from the caller's generator in rows of a fixed number, so that every model of a seed is asked about the same
corrupted inputs; the five severities of one input share their draws, so that a stronger one is more of the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.tasks.task import Task

LEVELS = 5
SHIFTED, EVERY = "shifted", "every"
# What `EVERY` asks of each modality. Of texts noise and dropout are the same: both words ask for it, it counts once.
KINDS = {
    "images": ("noise", "blur", "contrast", "brightness", "dropout"),
    "table": ("noise", "dropout", "shuffle"),
    "tokens": ("noise",),
}
CHOICES = (EVERY, SHIFTED, "noise", "blur", "contrast", "brightness", "dropout", "shuffle")
# Those of severities 1 to 5.
_STRENGTHS = {
    ("images", "noise"): (0.04, 0.08, 0.12, 0.18, 0.26),
    ("images", "blur"): (0.4, 0.6, 0.8, 1.1, 1.5),
    ("images", "contrast"): (0.75, 0.5, 0.4, 0.3, 0.15),
    ("images", "brightness"): (0.05, 0.1, 0.15, 0.2, 0.3),
    ("images", "dropout"): (0.05, 0.1, 0.2, 0.3, 0.4),
    ("table", "noise"): (0.1, 0.2, 0.4, 0.6, 1.0),
    ("table", "dropout"): (0.05, 0.1, 0.2, 0.3, 0.5),
    ("table", "shuffle"): (0.05, 0.1, 0.2, 0.3, 0.5),
    ("tokens", "noise"): (0.05, 0.1, 0.2, 0.3, 0.5),
    ("tokens", "dropout"): (0.05, 0.1, 0.2, 0.3, 0.5),
}
# Values of the inputs corrupted at once. Never fitted to memory: the draws would follow it.
_VALUES = 2_000_000


@dataclass(frozen=True)
class Scales:
    """What strengths are measured in: of train, so that they are the same for every model and split.

    Attributes:
        span: Range of the inputs; four standard deviations of train where the task has no finite bounds.
        mean: What stands for a missing part, of the shape of an input, or ``(channels, 1, 1)`` of images.
        spread: Standard deviation of each column, of the shape of an input; of images not used.
    """

    span: float
    mean: Tensor
    spread: Tensor


Corrupt = Callable[[Tensor, Scales, tuple[float, ...], torch.Generator], Iterator[Tensor]]


def correct(evidence: Evidence, kind: str, severity: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Return the share of corruptions under which each test example is classified correctly, ``(N,)`` by severity.

    Of the shifted split it is one column, on that split's examples.

    Args:
        evidence: The model.
        kind: One of `CHOICES`.
        severity: 1 to 5, or 0 for a column of each.
        rng: Source of the draws.

    Raises:
        NotMeasurableError: The task has no shifted split, or its inputs have no such corruption.
    """
    task = evidence.task
    if kind == SHIFTED:
        if SHIFTED not in task.splits:
            raise NotMeasurableError(f"needs a split named {SHIFTED!r}; task {task.name} has none")
        return {SHIFTED: (evidence.predictions(SHIFTED) == task.split(SHIFTED).targets).float()}
    kinds = KINDS[task.modality] if kind == EVERY else (kind,)
    levels = range(1, LEVELS + 1) if severity == 0 else (severity,)
    found = torch.zeros(len(task.test), len(levels))
    for one in kinds:
        for rows, inputs, column in corrupted(task, one, tuple(levels), rng):
            said = evidence.answers(inputs).argmax(1)
            found[rows, column] += (said == task.test.targets[rows]).float()
    shares = (found / len(kinds)).unbind(1)
    return {f"severity {level}": share for level, share in zip(levels, shares, strict=True)}


def effort(kind: str, severity: int, task: Task) -> int:
    """Return how many examples are asked.

    Args:
        kind: One of `CHOICES`.
        severity: 1 to 5, or 0 for all of them.
        task: Gives the examples.
    """
    if kind == SHIFTED:
        return len(task.split(SHIFTED)) if SHIFTED in task.splits else 0
    kinds = len(KINDS[task.modality]) if kind == EVERY else 1
    return kinds * (LEVELS if severity == 0 else 1) * len(task.test)


def corrupted(
    task: Task, kind: str, levels: tuple[int, ...], rng: torch.Generator
) -> Iterator[tuple[slice, Tensor, int]]:
    """Yield the test inputs corrupted: which rows, the inputs, and the place of their severity in ``levels``.

    Args:
        task: Gives inputs, bounds and, of train, the scales.
        kind: One corruption of the task's modality.
        levels: Severities, 1 to 5.
        rng: Source of the draws.

    Raises:
        NotMeasurableError: The task's inputs have no such corruption.
    """
    modality = task.modality
    if (modality, kind) not in _CHANGES:
        known = ", ".join(word for inputs, word in _CHANGES if inputs == modality)
        raise NotMeasurableError(f"{kind} is no corruption of {modality}; allowed are {known}")
    strengths = tuple(_STRENGTHS[modality, kind][level - 1] for level in levels)
    change, scales, inputs = _CHANGES[modality, kind], _scales(task), task.test.inputs
    step = max(1, _VALUES // math.prod(task.shape))
    for start in range(0, len(inputs), step):
        rows = slice(start, min(start + step, len(inputs)))
        for column, made in enumerate(change(inputs[rows], scales, strengths, rng)):
            kept = made if task.bounds is None or modality == "tokens" else made.clamp(*task.bounds)
            yield rows, kept, column


def _scales(task: Task) -> Scales:
    train = task.train.inputs
    if task.modality == "images":
        spread, mean = torch.std_mean(train, (0, 2, 3), correction=0)
        spread, mean = spread[:, None, None], mean[:, None, None]
    else:
        spread, mean = torch.std_mean(train, 0, correction=0)
    if task.bounds is not None and all(map(math.isfinite, task.bounds)):
        return Scales(task.bounds[1] - task.bounds[0], mean, spread)
    return Scales(4 * float(train.std(correction=0)), mean, spread)


def _image_noise(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    noise = torch.randn(x.shape, generator=rng) * scales.span
    return (x + s * noise for s in strengths)


def _blur(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    del scales, rng
    return (_blurred(x, s * max(1.0, max(x.shape[2:]) / 32)) for s in strengths)


def _blurred(x: Tensor, width: float) -> Tensor:
    """Return images smoothed by a Gaussian of a width in pixels, their borders repeated outwards."""
    return _smoother(x.shape[2], width) @ x @ _smoother(x.shape[3], width).T


def _smoother(side: int, width: float) -> Tensor:
    """Return the matrix that smooths a row of pixels, ``(side, side)``; many times as fast as a convolution."""
    reach = math.ceil(3 * width)
    steps = torch.arange(-reach, reach + 1)
    weights = torch.exp(-((steps / width) ** 2) / 2)
    weights = (weights / weights.sum()).expand(side, -1)
    where = (torch.arange(side)[:, None] + steps).clamp(0, side - 1)
    return torch.zeros(side, side).scatter_add_(1, where, weights)


def _contrast(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    del scales, rng
    middle = x.mean((2, 3), keepdim=True)
    return (middle + s * (x - middle) for s in strengths)


def _brightness(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    del rng
    return (x + s * scales.span for s in strengths)


def _pixels(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    chance = torch.rand(len(x), 1, *x.shape[2:], generator=rng)  # a pixel loses all its channels
    return (torch.where(chance < s, scales.mean, x) for s in strengths)


def _column_noise(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    noise = torch.randn(x.shape, generator=rng) * scales.spread
    return (x + s * noise for s in strengths)


def _missing(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    chance = torch.rand(x.shape, generator=rng)
    return (torch.where(chance < s, scales.mean, x) for s in strengths)


def _shuffled(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    del scales
    chance = torch.rand(x.shape, generator=rng)
    others = x.gather(0, torch.randint(len(x), x.shape, generator=rng))
    return (torch.where(chance < s, others, x) for s in strengths)


def _untold(x: Tensor, scales: Scales, strengths: tuple[float, ...], rng: torch.Generator) -> Iterator[Tensor]:
    """Yield texts with tokens turned into padding; one that would lose all of them keeps all."""
    del scales
    chance = torch.rand(x.shape, generator=rng)
    for s in strengths:
        kept = torch.where(chance < s, 0, x)
        yield torch.where((kept != 0).any(1, keepdim=True), kept, x)


_CHANGES: dict[tuple[str, str], Corrupt] = {
    ("images", "noise"): _image_noise,
    ("images", "blur"): _blur,
    ("images", "contrast"): _contrast,
    ("images", "brightness"): _brightness,
    ("images", "dropout"): _pixels,
    ("table", "noise"): _column_noise,
    ("table", "dropout"): _missing,
    ("table", "shuffle"): _shuffled,
    ("tokens", "noise"): _untold,
    ("tokens", "dropout"): _untold,
}
