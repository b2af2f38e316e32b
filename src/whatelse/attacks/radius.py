"""The radius of an attack, where none is given: one at which the baseline keeps about half of what it has.

At a radius where the baseline loses everything, or nothing, no candidate can be told from it. So a radius is taken from
a ladder of standard steps, each twice the one before: the one at which the share that the baseline keeps of the
examples that it gets right is nearest to one half. It is found on the first examples of the split *select*, never on
test, by a quick attack on the baseline alone, and it is the same for every candidate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whatelse.attacks import attack, norms
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import matched
from whatelse.evidence.shadows import APART
from whatelse.models.subject import log_odds
from whatelse.tasks.task import Task

EXAMPLES, STEPS = 100, 20
# Of what is kept; raised when the same question would find another radius.
_VERSION = 3
_START = 2026
# Of a model without gradients: what a quick attack asks of it, since a radius at which a weaker search leaves half is
# one at which that leaves nothing.
_QUERIES = 136
# Of the range of the inputs: steps of a byte under the largest change, and those of which 1/2 is the usual one.
_BYTES, _PARTS = 255, 64
_MIDDLE = {"linf": 3, "l2": 5}
# A share so near to all or to nothing that the ladder has ended.
_END = 0.1
# Steps of the ladder that an attack with gradients tries, at the most but for a baseline without any slope.
_TRIED = 4

# Asked how far to go and about which examples, (m,) numbers: which of these the model still gets right, (m,).
Withstands = Callable[[float, Tensor], Tensor]


@dataclass(frozen=True)
class Ladder:
    """Standard steps of a radius, rising.

    Attributes:
        steps: In the unit of the setting.
        names: How each is called.
        first: Which is tried first.
    """

    steps: tuple[float, ...]
    names: tuple[str, ...]
    first: int

    @property
    def most(self) -> int:
        """How many steps may be tried at most."""
        return max(len(self.steps) - self.first, self.first + 1)


@dataclass(frozen=True)
class Chosen:
    """A step of a ladder, or what was given in its place.

    Attributes:
        radius: In the unit of the setting.
        notes: Which step it is and what the baseline keeps there; none of a radius that was given.
    """

    radius: float
    notes: tuple[str, ...] = ()


def chosen(baseline: Evidence, norm: str, given: float | None = None) -> Chosen:
    """Return the radius for a task and its baseline, in units of the input; made once, kept with the baseline.

    Args:
        baseline: Evidence of the model before compression.
        norm: ``linf`` or ``l2``.
        given: The radius of the settings, which stays as it is; None where there is none.

    Raises:
        NotMeasurableError: The baseline gets none of the examples right, inputs are not numbers in bounds, or it is in
            training mode.
    """
    if given is not None:
        return Chosen(given)
    inputs, labels = attack.attacked(baseline, EXAMPLES, "select")
    rng = baseline.draws(_START)
    sighted = "differentiates" in baseline.subject.offers

    def withstands(radius: float, rows: Tensor) -> Tensor:
        x, y = inputs[rows], labels[rows]
        if sighted:
            found = attack.climb(baseline, x, y, attack.Budget(radius, STEPS, norm), rng, stop=True, spare=True)
        else:
            found = attack.search(baseline, x, y, attack.Budget(radius, _QUERIES, norm), rng, stop=True)
        return ~attack.fooled(baseline, found, y)

    steps = ladder(baseline.bounds(), baseline.task.shape, norm)

    def near(rows: Tensor) -> int:  # where the linearization of half of them has its border within the ball
        slopes = baseline.gradients(inputs[rows], labels[rows])
        margins = log_odds(matched(baseline, baseline.answers(inputs[rows])), labels[rows])
        middle = float((margins / norms.dual(slopes, norm)).nanmedian())
        longer = [place for place, radius in enumerate(steps.steps) if radius > middle]
        return longer[0] if longer else len(steps.steps) - 1

    by = norm if sighted else f"{norm} queries={_QUERIES}"
    return choose(baseline, ("radius", by), steps, withstands, near if sighted else None)


def ladder(bounds: tuple[float, float], shape: tuple[int, ...], norm: str) -> Ladder:
    """Return the standard steps of a norm: as shares of the range of the inputs, up to half of it.

    For ``linf`` 1/255, 2/255, 4/255 ... and, below, 1/2, 1/4 and 1/8 of the first; for ``l2`` 1/64, 1/32, 1/16 ... up
    to half the diagonal.

    Args:
        bounds: Smallest and largest value of an input.
        shape: Of one input.
        norm: ``linf`` or ``l2``.
    """
    low, high = bounds
    if norm == "linf":
        shares = [2.0**k / _BYTES for k in range(-_MIDDLE[norm], 8)]
        names = tuple(f"{2.0**k:g}/{_BYTES} of the range of the inputs" for k in range(-_MIDDLE[norm], 8))
    else:
        many = 1 + max(_MIDDLE[norm], math.floor(math.log2(_PARTS * math.sqrt(math.prod(shape)) / 2)))
        shares = [2.0**k / _PARTS for k in range(many)]
        names = tuple(f"{share:g} of the range of the inputs" for share in shares)
    return Ladder(tuple((high - low) * share for share in shares), names, _MIDDLE[norm])


def choose(
    baseline: Evidence,
    what: tuple[str, str],
    steps: Ladder,
    withstands: Withstands,
    near: Callable[[Tensor], int] | None = None,
) -> Chosen:
    """Return the step of a ladder at which the baseline keeps about half of what it gets right.

    What falls at one step falls at every longer one, and is not asked about again.

    Args:
        baseline: Evidence of the model before compression.
        what: The name of the setting, and all that decides it beside the ladder.
        steps: The ladder.
        withstands: Attacks the baseline.
        near: From the numbers of the examples that it gets right to the place of the step that is tried first; None for
            that of the ladder.

    Raises:
        NotMeasurableError: The baseline gets none of the examples right.
    """
    split = baseline.split("select")

    def make() -> dict[str, Tensor]:
        inputs, labels = split.inputs[:EXAMPLES], split.targets[:EXAMPLES]
        right = (~attack.fooled(baseline, inputs, labels)).nonzero().flatten()
        begin = near(right) if near is not None and len(right) else steps.first
        place, kept = _nearest(replace(steps, first=begin), withstands, right) if len(right) else (0, 0)
        return {"found": torch.tensor([place, kept, len(right), len(labels)])}

    found = baseline.once(f"{APART}{' '.join(what)} {_VERSION} examples={EXAMPLES}", make)["found"]
    place, kept, right, asked = found.tolist()
    if not right:
        raise NotMeasurableError(
            f"needs a baseline that gets some of select right; {baseline.subject.name} gets 0 of {asked}, so that "
            "nothing is left to lose under attack"
        )
    value: float = steps.steps[place]
    told = f"{what[0]} {value:.4g} ({steps.names[place]}), chosen on select: there a quick attack leaves the baseline"
    return Chosen(value, (f"{told} {kept} of the {right} that it gets right of {asked}{_ended(kept / right)}",))


def effort(task: Task, norm: str, *, blind: bool = False) -> int:
    """Return the passes that `chosen` costs at most, on the baseline; none where the task has no bounds.

    With gradients four steps are counted, of the full attack: it begins beside the step that is taken, and leaves
    early who is far.

    Args:
        task: Gives the examples of select, the bounds and the shape of the inputs.
        norm: ``linf`` or ``l2``.
        blind: The baseline may be one without gradients, which is searched from the first step on.
    """
    if task.bounds is None:
        return 0
    steps = ladder(task.bounds, task.shape, norm)
    # A search looks twice before it begins. An attack goes forward and backward at each point; both look at the last.
    searched = spent(task, steps, _QUERIES + 3) if blind else 0
    return max(searched, spent(task, replace(steps, first=0, steps=steps.steps[:_TRIED]), 2 * (STEPS + 1) + 2))


def spent(task: Task, steps: Ladder, each: int) -> int:
    """Return the passes that `choose` costs at most, on the baseline.

    Args:
        task: Gives the examples of select.
        steps: The ladder.
        each: Passes of one attack on one example.
    """
    return min(EXAMPLES, len(task.split("select"))) * (1 + steps.most * each)


def _nearest(steps: Ladder, withstands: Withstands, right: Tensor) -> tuple[int, int]:
    """Return the place of the step at which what is kept is nearest to one half, and how many that are."""
    half, place = len(right) / 2, steps.first
    left = right[withstands(steps.steps[place], right)]
    seen = {place: len(left)}
    while len(left) > half and place + 1 < len(steps.steps):
        place += 1
        left = left[withstands(steps.steps[place], left)]
        seen[place] = len(left)
    fallen = right[~torch.isin(right, left)]
    while seen[place] < half and place and place - 1 not in seen:
        place -= 1
        stands = withstands(steps.steps[place], fallen)
        fallen = fallen[~stands]
        seen[place] = len(right) - len(fallen)
    # Of equals the step next to where half would be: the longest that keeps more, or the shortest that keeps less.
    return min(seen.items(), key=lambda one: (abs(one[1] - half), -one[0] if one[1] > half else one[0]))


def _ended(share: float) -> str:
    if share < _END:
        return "; no standard step is so short that it keeps more"
    return "; no standard step is so long that it keeps less" if share > 1 - _END else ""
