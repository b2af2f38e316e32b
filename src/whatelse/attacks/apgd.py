"""APGD: projected gradient ascent inside a ball, with momentum and a step that halves itself where it is too long.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690, algorithm 1. Departure: the point returned prefers a wrong answer to a larger loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from whatelse.attacks import losses, norms
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import matched

_MOMENTUM, _RISING = 0.75, 0.75
# Of a climb that spares: steps taken after the first point that fools (on digits, more made no point transfer better);
# at the first checkpoint the most that may be missing, in units of what was gained, half of it at every further one;
# where less than that share of what is missing was gained, the slope says nothing, and all steps are taken; the step
# before which nobody is given up: after five, three of 120 planted points were. Of 63 that fell later on ten networks
# two were further off, of 4,099 that never fell seven in ten.
_DEEPER, _HOPE, _MOVED, _SOONEST = 5, 0.4, 0.05, 8

# Asked about points (m, ...) of the examples with these numbers (m,): their loss (m,), which depends on the points
# differentiably, and whether the model is wrong there (m,).
Ask = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


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


def climb(
    evidence: Evidence,
    inputs: Tensor,
    labels: Tensor,
    budget: Budget,
    rng: torch.Generator,
    *,
    loss: losses.Loss = losses.log_odds,
    targets: Tensor | None = None,
    stop: bool = False,
    spare: bool = False,
    bounds: norms.Bounds | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Return the point at which APGD found the model most wrong about each input, of the shape of ``inputs``.

    A point that fools the model is preferred to one that does not, then the larger loss. Gradients and answers on the
    way are those of ``evidence.slopes``: whether a point fools the model itself, `fooled` must say.

    Args:
        evidence: The model, which differentiates.
        inputs: ``(M, ...)``, inside the bounds.
        labels: True classes, ``(M,)``.
        budget: Radius, norm and steps.
        rng: Source of the starts.
        loss: What is raised.
        targets: Target classes, ``(M,)``, of a loss that has them.
        stop: Leave an example at the first point that fools; else steps go on, so that the point lies deep behind the
            border and transfers.
        spare: Leave an example where further steps hardly help: a few after the first point that fools, and at a
            checkpoint that it reaches so far from the border that what it gained does not let hope.
        bounds: Smallest and largest value of an input; those of the task where none are given.
        start: Points to start at, inside the balls, ``(M, ...)``; drawn where none are given.
    """
    bounds = evidence.bounds() if bounds is None else bounds
    begin = norms.start(inputs, budget.radius, budget.norm, bounds, rng) if start is None else start
    aims = _Aims(loss, labels, labels if targets is None else targets)
    return climbed(evidence, inputs, aims, budget, begin, bounds, stop=stop, spare=spare).points


class Ends(NamedTuple):
    """Where climbs ended.

    Attributes:
        points: Where each example was found most wrong, ``(M, ...)``.
        far: How far the border of the linearization at the point of the largest loss is from there, in radii, ``(M,)``:
            negative beyond it, 0 where the slope says nothing.
    """

    points: Tensor
    far: Tensor


class _Aims(NamedTuple):
    """What climbs raise: a loss, of true and of target classes, ``(M,)`` each."""

    loss: losses.Loss
    labels: Tensor
    targets: Tensor


def climbed(
    evidence: Evidence,
    inputs: Tensor,
    aims: tuple[losses.Loss, Tensor, Tensor],
    budget: Budget,
    start: Tensor,
    bounds: norms.Bounds,
    *,
    stop: bool = False,
    spare: bool = False,
    copies: Tensor | None = None,
) -> Ends:
    """Return what `climb` does, and how far the border was where each climb ended.

    Args:
        evidence: The model, which differentiates.
        inputs: ``(M, ...)``, inside the bounds.
        aims: The loss, true classes and target classes, ``(M,)`` each.
        budget: Radius, norm and steps.
        start: Points to start at, inside the balls, ``(M, ...)``.
        bounds: Smallest and largest value of an input.
        stop: As of `climb`.
        spare: As of `climb`.
        copies: As of `ascend`.
    """
    loss, labels, targets = aims
    found, far = torch.empty_like(inputs), torch.zeros(len(inputs))
    for k in range(0, len(inputs), evidence.batch):
        part = slice(k, k + evidence.batch)
        ask = _asking(evidence, loss, labels[part], targets[part])
        mine = None if copies is None else copies[part]
        found[part], far[part] = ascend(
            ask, inputs[part], start[part], budget, bounds, stop=stop, spare=spare, copies=mine
        )
    return Ends(found, far)


def _asking(evidence: Evidence, loss: losses.Loss, labels: Tensor, targets: Tensor) -> Ask:
    def ask(at: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        logits = evidence.slopes(evidence.laid(at))
        evidence.passes.forward += len(at)
        evidence.passes.backward += len(at)
        return loss(matched(evidence, logits), labels[rows], targets[rows]), logits.detach().argmax(1) != labels[rows]

    return ask


class _Seen(NamedTuple):
    """Points of the ball and what the model says there: loss, its slope, and whether the model is wrong."""

    at: Tensor
    loss: Tensor
    slope: Tensor
    wrong: Tensor

    def where(self, mask: Tensor, other: _Seen) -> _Seen:
        """Return these points where the mask holds, the others elsewhere."""
        return _Seen(*(_pick(mask, a, b) for a, b in zip(self, other, strict=True)))

    def take(self, keep: Tensor) -> _Seen:
        """Return the points of some examples."""
        return _Seen(*(t[keep] for t in self))


@dataclass
class _Climb:
    """Where the climb of some examples stands.

    Attributes:
        rows: Their numbers, ``(m,)``.
        now: The iterates.
        before: The iterates before.
        top: The points of the largest loss.
        step: Length of the next step, ``(m,)``.
        risen: How often the loss rose since the last checkpoint, ``(m,)``.
        halved: Whether the step was halved there, ``(m,)``.
        then: The largest loss there, ``(m,)``.
        begun: The loss at the start, ``(m,)``.
        fallen: How many points were looked at since the first that fooled, itself included, ``(m,)``.
    """

    rows: Tensor
    now: _Seen
    before: Tensor
    top: _Seen
    step: Tensor
    risen: Tensor
    halved: Tensor
    then: Tensor
    begun: Tensor
    fallen: Tensor

    def take(self, keep: Tensor) -> _Climb:
        """Return the climb of some of its examples."""
        told = (self.before, self.step, self.risen, self.halved, self.then, self.begun, self.fallen)
        before, *rest = (t[keep] for t in told)
        return _Climb(self.rows[keep], self.now.take(keep), before, self.top.take(keep), *rest)

    def advance(self, ask: Ask, inside: norms.Inside, norm: str, momentum: float) -> None:
        """Take one step up the slope, and along the last step, and look around."""
        at, length = self.now.at, _each(self.step, self.now.at)
        far = inside(at + length * norms.steepest(self.now.slope, norm))
        if momentum < 1:
            far = inside(at + momentum * (far - at) + (1 - momentum) * (at - self.before))
        ahead = _look(ask, far, self.rows)
        self.risen = self.risen + (ahead.loss > self.now.loss)
        self.before, self.now = at, ahead
        self.top = ahead.where(ahead.loss > self.top.loss, self.top)
        self.fallen = self.fallen + ((self.fallen > 0) | ahead.wrong)

    def reconsider(self, since: int) -> None:
        """Halve the steps that rose too rarely or no further, and go back to the best point there."""
        stuck = (self.risen <= _RISING * since) | (~self.halved & (self.then >= self.top.loss))
        self.step, self.now = torch.where(stuck, self.step / 2, self.step), self.top.where(stuck, self.now)
        self.risen, self.halved, self.then = torch.zeros_like(self.risen), stuck, self.top.loss

    def lost(self, hope: float) -> Tensor:
        """Return which examples stand, did gain, and miss more than so many times what they gained, ``(m,)``."""
        missing, gained = -self.top.loss, self.top.loss - self.begun
        return (self.fallen == 0) & (gained > _MOVED * missing) & (missing > hope * gained)


def ascend(
    ask: Ask,
    clean: Tensor,
    start: Tensor,
    budget: Budget,
    bounds: norms.Bounds,
    *,
    stop: bool = False,
    spare: bool = False,
    copies: Tensor | None = None,
) -> Ends:
    """Return the points at which the climb found each example most wrong, and how far the border was there.

    Args:
        ask: Answers for points; it is told which examples they belong to, as some leave before others.
        clean: Centers of the balls, ``(m, ...)``.
        start: Where the climbs start, inside the balls, ``(m, ...)``.
        budget: Radius, norm and steps.
        bounds: Smallest and largest value of an input.
        stop: Leave an example at the first point that fools.
        spare: Leave an example where further steps hardly help; the loss must be 0 at the border. Else, and without
            ``stop``, all steps are taken.
        copies: Numbers, ``(m,)``, alike where examples are copies of one: when one that fools leaves, so do all.
    """
    rows = torch.arange(len(clean))
    seen = _look(ask, start, rows)
    step = torch.full_like(seen.loss, 2 * budget.radius)
    zero = torch.zeros_like(step)
    fallen = seen.wrong.long()
    on = _Climb(rows, seen, start, seen, step, zero, torch.ones_like(seen.wrong), seen.loss, seen.loss, fallen)
    inside = norms.within(clean, budget.radius, budget.norm, bounds)
    best = _Best(start.clone(), seen.loss.clone(), seen.wrong.clone(), zero.clone())
    checks, since, hope = _checkpoints(budget.steps), 0, _HOPE
    for k in range(budget.steps + 1):
        if k:
            on.advance(ask, inside, budget.norm, 1.0 if k == 1 else _MOMENTUM)
            best.meet(on.now, on.rows)
        gone = on.fallen > (0 if stop else _DEEPER if spare else budget.steps + 1)
        if k in checks:
            on.reconsider(k - since)
            since = k
            if spare and k >= _SOONEST:
                gone |= on.lost(hope)
            hope /= 2
        if bool(gone.any()):
            if copies is not None:
                gone |= torch.isin(copies[on.rows], copies[on.rows[gone & (on.fallen > 0)]])
            best.leave(on.top.take(gone), on.rows[gone], budget)
            on = on.take(~gone)
            inside = norms.within(clean[on.rows], budget.radius, budget.norm, bounds)
        if not len(on.rows):
            break
    best.leave(on.top, on.rows, budget)
    return Ends(best.at, best.far)


@dataclass
class _Best:
    """The worst points so far of all examples: a wrong answer before a larger loss; and how far their climbs ended."""

    at: Tensor
    loss: Tensor
    wrong: Tensor
    far: Tensor

    def meet(self, seen: _Seen, rows: Tensor) -> None:
        """Take over what was seen of some examples where it is worse."""
        loss, wrong = self.loss[rows], self.wrong[rows]
        better = (seen.wrong & ~wrong) | ((seen.wrong == wrong) & (seen.loss > loss))
        place = rows[better]
        self.at[place], self.loss[place], self.wrong[place] = seen.at[better], seen.loss[better], seen.wrong[better]

    def leave(self, top: _Seen, rows: Tensor, budget: Budget) -> None:
        """Write down how far from the border some examples end, in radii."""
        steep = norms.dual(top.slope, budget.norm) * budget.radius
        self.far[rows] = torch.where(steep > 0, -top.loss / steep, 0.0)


def _look(ask: Ask, at: Tensor, rows: Tensor) -> _Seen:
    x = at.detach().requires_grad_()
    with torch.enable_grad():
        loss, wrong = ask(x, rows)
        (slope,) = torch.autograd.grad(loss.sum(), x)
    return _Seen(at, loss.detach(), slope.nan_to_num(), wrong)


def _checkpoints(steps: int) -> set[int]:
    """Return the steps after which the step size is reconsidered: ever closer, as in the source."""
    marks, gap = [0.0, 0.22], 0.22
    while marks[-1] < 1:
        gap = max(gap - 0.03, 0.06)
        marks.append(marks[-1] + gap)
    return {math.ceil(round(mark * steps, 6)) for mark in marks[1:]}


def _each(value: Tensor, like: Tensor) -> Tensor:
    return value.view(-1, *[1] * (like.dim() - 1))


def _pick(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(_each(mask, yes), yes, no)
