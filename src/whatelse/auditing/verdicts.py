"""From effects to findings: margins, noise floors, corrections for many questions, verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from whatelse import items, registry
from whatelse.auditing.ask import Failed
from whatelse.auditing.effects import Contrast, Moved
from whatelse.auditing.ends import unmeasurable
from whatelse.auditing.inquiry import Inquiry
from whatelse.auditing.questions import Measurement
from whatelse.auditing.roles import Role
from whatelse.findings.record import Finding, Floors
from whatelse.items import Behaviour
from whatelse.statistics import multiplicity, power, seeds, verdicts
from whatelse.statistics.effect import Effect

_LEVEL = 0.05
EXACT = "layer"  # the unit of what is counted and no sample: parameters, bytes


@dataclass(frozen=True)
class Compared:
    """All effects of one measurement on one task.

    Attributes:
        label: Of the measurement.
        task: Name of the task.
        pairs: Which model was to be held against which other: of each candidate the first leads.
        contrasts: Every model against its controls.
    """

    label: str
    task: str
    pairs: Sequence[tuple[str, str]]
    contrasts: Sequence[Contrast]


@dataclass(frozen=True)
class Open:
    """A contrast with all that its verdict is given by, and the finding as far as it is known."""

    contrast: Contrast
    finding: Finding
    agreement: bool
    adjusted_p: float | None = None
    level: float = _LEVEL  # what Holm asks of the first of its family; the others are not known beforehand

    @property
    def moved(self) -> Moved | None:
        """The effect; None where there is none."""
        return self.contrast.outcome if isinstance(self.contrast.outcome, Moved) else None

    @property
    def exact(self) -> bool:
        """Whether it was counted, and is no sample."""
        return self.finding.unit_of_analysis == EXACT


@dataclass(frozen=True)
class Decided:
    """Findings, and what claims must know of them beside.

    Attributes:
        findings: With their verdicts, in order.
        agreement: Ids of those about agreement with the baseline.
    """

    findings: tuple[Finding, ...]
    agreement: frozenset[str]


def decided(inquiry: Inquiry, compared: Sequence[Compared]) -> Decided:
    """Return findings with their verdicts.

    Args:
        inquiry: Its measurements give margins and rows, its actors floors.
        compared: The effects of every measurement.
    """
    every = [one for each in compared for one in opened(inquiry, each)]
    return concluded([replace(one, finding=replace(one.finding, id=f"f{i + 1}")) for i, one in enumerate(every)])


def opened(inquiry: Inquiry, compared: Compared) -> list[Open]:
    """Return the contrasts of a measurement with all but their corrections and verdicts; findings have no id yet.

    Args:
        inquiry: Its measurements give margins and rows, its actors floors.
        compared: The effects.
    """
    m = next(m for m in inquiry.measurements if m.label == compared.label)
    return list(_of_measurement(inquiry, m, compared))


def concluded(every: Sequence[Open], told: Callable[[Finding], bool] = lambda _: True) -> Decided:
    """Return findings with their verdicts, corrected together.

    Args:
        every: All of them, as `opened` returns them, with ids.
        told: Says of which the verdict is wanted; the others are there to be corrected with.
    """
    corrected = _corrected(every)
    about = frozenset(one.finding.id for one in corrected if one.agreement)
    return Decided(tuple(_decided(one) for one in corrected if told(one.finding)), about)


def _of_measurement(inquiry: Inquiry, m: Measurement, compared: Compared) -> Iterator[Open]:
    item, card, task = items.behaviour(m.item), registry.card("behaviours", m.item), compared.task
    leading = dict(reversed(compared.pairs))
    noise = _Noise(inquiry, item, compared.contrasts)
    for one in compared.contrasts:
        leads = leading.get(one.candidate) == one.control
        finding = Finding(
            id="",
            row=m.row,
            behaviour=m.item,
            label=m.label,
            task=task,
            candidate=one.candidate,
            control=inquiry.called(one.control),
            primary=m.primary and task == m.tasks[0] and leads,
            verdict="not measurable",
            unit=item.unit,
            better=item.better,
            title=card.summary,
            settings=m.settings,
            n=one.n,
            unit_of_analysis=item.unit_of_analysis,
            clusters=one.clusters,
            seeds=len(inquiry.seeds),
            margin=m.margin,
            gain=m.gain,
            floor=noise.floor,
            floors=noise.floors(one.candidate),
            validity=(*one.doubts, *one.notes),
            doubts=one.doubts,
            verdict_if_one_sided=one.verdict_if_one_sided,
            leading=leads,
            parts=one.parts,
        )
        yield Open(one, finding, noise.agreement)


class _Noise:
    """What retraining, measuring again and compressing again do to one number.

    Attributes:
        agreement: Whether it is about agreement with the baseline, with which that agrees alike under every seed.
        floor: What retraining alone does; None where that is not known.
    """

    def __init__(self, inquiry: Inquiry, item: Behaviour, contrasts: Sequence[Contrast]) -> None:
        known = [(one, one.outcome) for one in contrasts if isinstance(one.outcome, Moved)]
        role, sampled = inquiry.role, item.unit_of_analysis != EXACT
        twin = next((moved for one, moved in known if role(one.candidate) is Role.TWIN), None)
        self.agreement = twin is not None and item.pair and _perfect(twin.held)
        self.floor = None if twin is None or not sampled else _finite(_floor(twin.per_seed, agreement=self.agreement))
        whole = [(one, moved) for one, moved in known if sampled and all(map(math.isfinite, moved.per_seed))]
        retest = next((moved for one, moved in whole if role(one.candidate) is Role.RETEST), None)
        # Where the baseline agrees with itself perfectly, measuring it again can only move that down.
        one_sided = retest is not None and item.pair and _perfect(retest.held)
        self._measuring = None if retest is None else _finite(_floor(retest.per_seed, agreement=one_sided))
        again = [(one, moved) for one, moved in whole if role(one.candidate) is Role.RECOMPRESSED]
        self._again = {one.control: _finite(seeds.floor(moved.per_seed)) for one, moved in again}

    def floors(self, candidate: str) -> Floors | None:
        """Return what else moves the number of a candidate; None where nothing is known."""
        if candidate in self._again:
            return Floors(self._measuring, self._again[candidate])
        return None if self._measuring is None else Floors(self._measuring)


def _perfect(held: Sequence[float]) -> bool:
    """Say whether the baseline agrees with itself perfectly, whatever the seed: 1, or no difference at all."""
    return float(np.ptp(held)) < 1e-9 and abs(held[0] - round(held[0])) < 1e-6


def _floor(effects: Sequence[float], *, agreement: bool) -> float:
    """Return what retraining alone does: to a number of one model, or to how far two models agree."""
    return abs(float(np.mean(effects))) if agreement else seeds.floor(effects)


def _corrected(every: Sequence[Open]) -> list[Open]:
    """Return findings with their adjusted p: Holm over a candidate's primary ones, false discovery over its others."""
    made = list(every)
    families: dict[tuple[str, bool], list[int]] = {}
    for at, one in enumerate(every):
        if one.moved is not None and not one.exact and not math.isnan(one.moved.effect.p):
            families.setdefault((one.finding.candidate, one.finding.primary), []).append(at)
    for (_, primary), family in families.items():
        ps = [one.moved.effect.p for one in (every[at] for at in family) if one.moved is not None]
        adjust = multiplicity.holm if primary else multiplicity.benjamini_hochberg
        for at, adjusted in zip(family, adjust(ps), strict=True):
            level = _LEVEL / len(family) if primary else _LEVEL
            made[at] = replace(every[at], adjusted_p=float(adjusted), level=level)
    return made


def _decided(one: Open) -> Finding:
    outcome = one.contrast.outcome
    if isinstance(outcome, Failed):
        return replace(one.finding, verdict="failed", why=outcome.error)
    if not isinstance(outcome, Moved):
        return replace(one.finding, why=outcome.why)
    finding, effect = _judged(_numbered(one, outcome), one, outcome), outcome.effect
    if not one.exact:
        # Harm is a bound above 0 where lower is better, one below 0 where higher is.
        below, above = effect.reach(one.level / 2)
        reach = below if finding.better == "lower" else above
        detectable = power.detectable(effect.se, level=one.level, reach=reach)
        finding = replace(finding, detectable=_finite(detectable))
    return _settling(finding, outcome) if finding.verdict == "inconclusive" else finding


def _numbered(one: Open, moved: Moved) -> Finding:
    """Return a finding with its numbers; those that are not finite are missing."""
    effect = moved.effect
    return replace(
        one.finding,
        of=moved.of,
        before=_finite(effect.before),
        after=_finite(effect.after),
        effect=_finite(effect.effect),
        low=_finite(effect.low),
        high=_finite(effect.high),
        low90=_finite(effect.low90),
        high90=_finite(effect.high90),
        tails=effect.tails,
        rose=effect.rose,
        fell=effect.fell,
        room=None if moved.ends.shown is None else _finite(moved.ends.shown),
        p=_finite(effect.p),
        adjusted_p=_finite(_adjusted(one, effect)),
        per_seed=tuple(_finite(value) for value in moved.per_seed),
        share=moved.share if one.agreement else None,
    )


def _adjusted(one: Open, effect: Effect) -> float:
    return effect.p if one.adjusted_p is None else one.adjusted_p


def _judged(finding: Finding, one: Open, moved: Moved) -> Finding:
    """Return a finding with its verdict, and why where it is not measurable after all."""
    effect, against = moved.effect, one.contrast.control
    doubts = tuple(doubt for doubt in (_miracle(finding, effect), _undefined(finding, effect)) if doubt)
    verdict = verdicts.decide(
        effect,
        margin=finding.margin or 0.0,
        better=finding.better,
        adjusted_p=_adjusted(one, effect),
        distrust=(*finding.doubts, *doubts),
        verdict_if_one_sided=finding.verdict_if_one_sided,
    )
    made = replace(finding, verdict=verdict, doubts=(*finding.doubts, *doubts), validity=(*doubts, *finding.validity))
    if not made.doubts and not math.isfinite(effect.before):
        why = f"{against} has no such number on these examples: it is not defined there"
    else:
        why = unmeasurable(made, against, moved.ends)
    return replace(made, verdict="not measurable", why=why) if why else made


def _undefined(finding: Finding, effect: Effect) -> str:
    """Return the doubt about a number that is defined for the control alone, or on too few resamples, or nothing."""
    if finding.doubts or not math.isfinite(effect.before):
        return ""
    if not math.isfinite(effect.after):
        return f"{finding.candidate} has no such number on these examples: it is not defined there"
    if not all(map(math.isfinite, effect.numbers)):
        return "there is no interval: on more than 5 % of the resamples the number is not defined"
    return ""


def _miracle(finding: Finding, effect: Effect) -> str:
    """Return the doubt about an improvement that is shown to be larger than can be believed, or nothing."""
    gained = effect.low if finding.better == "higher" else -effect.high
    if not finding.gain or not gained > finding.gain:
        return ""
    return (
        f"implausible gain: shown better by more than {finding.gain:g}: other data, other preprocessing or leakage "
        "are likelier than a miracle"
    )


def _settling(finding: Finding, moved: Moved) -> Finding:
    """Return an inconclusive finding with what would settle it: so many examples, or seeds."""
    effect = moved.effect
    of_seeds = seeds.dominate(moved.per_seed, effect.low, effect.high)
    units = (finding.seeds if of_seeds else finding.n) or 0
    needed = power.needed(effect.effect, effect.low, effect.high, finding.margin or 0.0, units)
    return replace(finding, needed_seeds=needed) if of_seeds else replace(finding, needed=needed)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
