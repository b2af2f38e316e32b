"""Adversarial points inside an L-infinity ball: with gradients (APGD), kept and shared, and without (Square).

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690 (APGD); Andriushchenko et al., Square attack, ECCV 2020, arXiv:1912.00049.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence import Evidence
from whatelse.subject import log_odds

# Of the kept points; raised when the same budget would give others.
_VERSION = 1
# Every model of a study starts its kept attack at the same points of the ball.
_START = 2003
_MOMENTUM, _RISING = 0.75, 0.75
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class Budget:
    """How hard an attack may try.

    Attributes:
        radius: Largest change, in units of the input.
        steps: Gradient steps, or queries of an attack without gradients.
        norm: In which the change is measured: ``linf``, the largest of any one feature, or ``l2``.
    """

    radius: float
    steps: int
    norm: str = "linf"


def points(evidence: Evidence, budget: Budget, examples: int) -> tuple[Tensor, Tensor]:
    """Return the strongest point found near each of the first test examples, and whether it fools the model.

    Points ``(M, ...)`` and flags ``(M,)``, ``M`` at most ``examples``. All steps are taken, also once the model
    is fooled, since points that have only just crossed the border do not transfer. Made once, kept with the
    evidence.

    Args:
        evidence: The model under attack.
        budget: Radius and steps.
        examples: How many test examples, from the first.

    Raises:
        NotMeasurableError: The model does not differentiate, or test inputs leave their bounds.
    """
    evidence.subject.require("differentiates")
    test = evidence.split("test")
    inputs, labels = test.inputs[:examples], test.targets[:examples]
    _check_bounds(inputs, evidence.bounds())

    def make() -> dict[str, Tensor]:
        found = climb(evidence, inputs, labels, budget, torch.Generator().manual_seed(_START))
        return {"points": found, "fooled": fooled(evidence, found, labels)}

    kept = evidence.once(f"apgd {_VERSION} radius={budget.radius} steps={budget.steps} examples={examples}", make)
    return kept["points"], kept["fooled"]


def fooled(evidence: Evidence, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return whether the model gets each input wrong, ``(M,)``.

    Args:
        evidence: The model.
        inputs: ``(M, ...)``.
        labels: True classes, ``(M,)``.
    """
    said = [_logits(evidence, part).argmax(1) for part in torch.split(inputs, evidence.batch)]
    return torch.cat(said) != labels if said else torch.zeros(0, dtype=torch.bool)


def climb(evidence: Evidence, inputs: Tensor, labels: Tensor, budget: Budget, rng: torch.Generator) -> Tensor:
    """Return the point at which APGD found the model most wrong about each input, of the shape of ``inputs``.

    The loss is the negative log-odds margin of the true class: the cross-entropy's gradient underflows where
    logits are large. A point that fools the model is preferred to one that does not, then the larger loss.

    Args:
        evidence: The model, which differentiates.
        inputs: ``(M, ...)``, inside the bounds of the task.
        labels: True classes, ``(M,)``.
        budget: Radius and steps.
        rng: Source of the starts, uniform in the ball.
    """
    noise = 2 * torch.rand(inputs.shape, generator=rng) - 1
    parts = zip(*(torch.split(t, evidence.batch) for t in (inputs, labels, noise)), strict=True)
    found = [_climbed(evidence, x, y, n, budget) for x, y, n in parts]
    return torch.cat(found) if found else inputs


class _Seen(NamedTuple):
    """Points of the ball and what the model says there: loss, its slope, and whether the model is wrong."""

    at: Tensor
    loss: Tensor
    slope: Tensor
    wrong: Tensor

    def where(self, mask: Tensor, other: _Seen) -> _Seen:
        """Return these points where the mask holds, the others elsewhere."""
        return _Seen(*(_pick(mask, a, b) for a, b in zip(self, other, strict=True)))


def _climbed(evidence: Evidence, inputs: Tensor, labels: Tensor, noise: Tensor, budget: Budget) -> Tensor:
    low, high = _ball(inputs, budget.radius, evidence.bounds())
    now = last = top = won = _look(evidence, (inputs + budget.radius * noise).clamp(low, high), labels)
    step = torch.full_like(inputs, 2 * budget.radius)
    checks, since = _checkpoints(budget.steps), 0
    risen, halved, then = torch.zeros_like(now.loss), torch.ones_like(now.wrong), top.loss
    for k in range(1, budget.steps + 1):
        far = (now.at + step * now.slope.sign()).clamp(low, high)
        share = 1.0 if k == 1 else _MOMENTUM
        ahead = _look(
            evidence, (now.at + share * (far - now.at) + (1 - share) * (now.at - last.at)).clamp(low, high), labels
        )
        risen = risen + (ahead.loss > now.loss)
        last, now = now, ahead
        top = now.where(now.loss > top.loss, top)
        won = now.where((now.wrong & ~won.wrong) | ((now.wrong == won.wrong) & (now.loss > won.loss)), won)
        if k in checks:
            stuck = (risen <= _RISING * (k - since)) | (~halved & (then >= top.loss))
            step, now = _pick(stuck, step / 2, step), top.where(stuck, now)
            risen, since, halved, then = torch.zeros_like(risen), k, stuck, top.loss
    return won.at


def _look(evidence: Evidence, at: Tensor, labels: Tensor) -> _Seen:
    x = at.detach().requires_grad_()
    with torch.enable_grad():
        logits = evidence.model(x)
        loss = -log_odds(logits, labels)
        (slope,) = torch.autograd.grad(loss.sum(), x)
    evidence.passes.forward += len(x)
    evidence.passes.backward += len(x)
    return _Seen(at, loss.detach(), slope.nan_to_num(), logits.detach().argmax(1) != labels)


def _checkpoints(steps: int) -> set[int]:
    """Return the steps after which the step size is reconsidered: ever closer, as in the source."""
    marks, gap = [0.0, 0.22], 0.22
    while marks[-1] < 1:
        gap = max(gap - 0.03, 0.06)
        marks.append(marks[-1] + gap)
    return {math.ceil(round(mark * steps, 6)) for mark in marks[1:]}


def search(evidence: Evidence, inputs: Tensor, labels: Tensor, budget: Budget, rng: torch.Generator) -> Tensor:
    """Return the point at which Square, a random search without gradients, found the model most wrong.

    Stripes of random sign first, then at every query a random square of features is moved to a random corner of the
    ball, and kept where the margin falls. The side of the square follows the schedule of the source, compressed to
    the budget's ``steps``; inputs that are not images count as one row.

    Args:
        evidence: The model; only its predictions are asked for.
        inputs: ``(M, ...)``, inside the bounds of the task.
        labels: True classes, ``(M,)``.
        budget: Radius and queries.
        rng: Source of the stripes, squares and signs.
    """
    if not len(inputs):
        return inputs
    clean = inputs if inputs.dim() == 4 else inputs.flatten(1)[:, None, None]
    count, channels, height, width = clean.shape
    low, high = _ball(clean, budget.radius, evidence.bounds())
    best = (clean + budget.radius * _signs((count, channels, 1, width), rng)).clamp(low, high)
    least = _margin(evidence, best.view_as(inputs), labels)
    for query in range(budget.steps):
        window = _window((count, 1, height, width), _share(query / budget.steps), rng)
        moved = (clean + budget.radius * _signs((count, channels, 1, 1), rng)).clamp(low, high)
        tried = torch.where(window, moved, best)
        margin = _margin(evidence, tried.view_as(inputs), labels)
        best, least = _pick(margin < least, tried, best), torch.minimum(margin, least)
    return best.view_as(inputs)


def _margin(evidence: Evidence, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the score of the true class above the next best; negative where the model is fooled."""
    logits = torch.cat([_logits(evidence, part) for part in torch.split(inputs, evidence.batch)])
    mine = logits.gather(1, labels[:, None]).squeeze(1)
    return mine - logits.scatter(1, labels[:, None], float("-inf")).amax(1)


def _share(done: float) -> float:
    """Return the share of the features in the window; of 10,000 queries it halves after 10, 50, 200, ..."""
    return 0.8 * 0.5 ** bisect.bisect_left(_HALVINGS, 10_000 * done)


def _window(shape: tuple[int, int, int, int], share: float, rng: torch.Generator) -> Tensor:
    count, _, height, width = shape
    tall = min(height, max(1, round(math.sqrt(share * height * width))))
    wide = min(width, max(1, round(share * height * width / tall)))
    top = torch.randint(height - tall + 1, (count, 1, 1, 1), generator=rng)
    left = torch.randint(width - wide + 1, (count, 1, 1, 1), generator=rng)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)


def _signs(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=rng) - 1.0


def _logits(evidence: Evidence, inputs: Tensor) -> Tensor:
    evidence.passes.forward += len(inputs)
    with torch.no_grad():
        logits: Tensor = evidence.model(inputs)
    return logits


def _ball(inputs: Tensor, radius: float, bounds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    return (inputs - radius).clamp(min=bounds[0]), (inputs + radius).clamp(max=bounds[1])


def _pick(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (yes.dim() - 1)), yes, no)


def _check_bounds(inputs: Tensor, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NotMeasurableError(f"needs finite bounds of the inputs; the task has {low} to {high}")
    if len(inputs) and (bool((inputs < low).any()) or bool((inputs > high).any())):
        found = f"{float(inputs.min()):.3g} to {float(inputs.max()):.3g}"
        raise NotMeasurableError(f"needs inputs in bounds {low} to {high}; those of test lie in {found}")
