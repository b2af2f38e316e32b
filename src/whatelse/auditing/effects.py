"""From answers to effects: every model summarized once on the same resamples, then held against its controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from whatelse import answer, records
from whatelse.answer import Answer
from whatelse.auditing import ends
from whatelse.auditing.ask import Failed, Measured, NotMeasurable, Outcome
from whatelse.auditing.redraws import picks
from whatelse.auditing.roles import ZERO, Role
from whatelse.errors import StoreError, StudyError
from whatelse.findings.record import Part, Parts, Share, Side
from whatelse.items import Behaviour
from whatelse.statistics import multiplicity, sides
from whatelse.statistics.effect import Effect, Numbers
from whatelse.statistics.shared import Group, Pool

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Moved:
    """How far a candidate's number lies from its control's.

    Attributes:
        effect: The numbers, with their intervals.
        per_seed: The effect under each seed.
        held: The control's number under each seed.
        ends: What the scale leaves the pair.
        share: Of agreement, how far the candidate is on the way from the random model to the placebo.
        of: Where a measurement stopped once its verdict was clear: of how many examples.
        again: The numbers of the effect under each draw of `whatelse.auditing.redraws`; empty where none was asked for.
    """

    effect: Effect
    per_seed: tuple[float, ...]
    held: tuple[float, ...]
    ends: ends.Ends = ends.Ends()
    share: Share | None = None
    of: int | None = None
    again: tuple[Numbers, ...] = ()


@dataclass(frozen=True)
class Contrast:
    """One candidate against one control.

    Attributes:
        candidate: Name of the model.
        control: Name of the model that it is held against; ``zero`` for its number as it stands.
        n: How many rows were measured.
        clusters: In how many clusters these are; None where examples stand alone.
        notes: Remarks of the behaviour.
        doubts: Failed validity checks of either model.
        verdict_if_one_sided: The verdict that holds although there are doubts; empty where none does.
        outcome: The effect, or why there is none.
        parts: The effect on every part; also where there is no number for all of them.
    """

    candidate: str
    control: str
    n: int
    clusters: int | None
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    verdict_if_one_sided: str
    outcome: Moved | NotMeasurable | Failed
    parts: Parts | None = None


_FORM = records.Form(StoreError, finite=False)  # of numbers that are not, NaN and infinity are told apart


def to_kept(contrasts: Sequence[Contrast]) -> dict[str, Any]:
    """Return effects as a store keeps them.

    Args:
        contrasts: As `Comparison.against` returns them.
    """
    return {"effects": [records.plain(contrast, _FORM) for contrast in contrasts]}


def of_kept(record: Mapping[str, Any]) -> tuple[Contrast, ...]:
    """Return the effects that a store kept.

    Args:
        record: What `to_kept` gave.
    """
    held = enumerate(record["effects"])
    return tuple(records.read(Contrast, one, f"effects[{at}]", _FORM) for at, one in held)


@dataclass(eq=False)
class SubjectValues:
    """What was answered of one model over all seeds, or why nothing was.

    Attributes:
        answers: For each seed.
        clusters: Code of each row's cluster, ``(N,)``; None where examples stand alone.
        notes: Remarks of the behaviour.
        doubts: Failed validity checks.
        one_sided: Those of them that can only make the value look better than it is.
        missing: Why there are no values; None where there are some.
        numberless: Why there are values for the parts alone; empty where there is a number for all of them.
    """

    answers: list[Answer] = field(default_factory=list)
    clusters: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    one_sided: list[str] = field(default_factory=list)
    missing: NotMeasurable | Failed | None = None
    numberless: str = ""

    def add(self, outcome: Outcome) -> None:
        """Take what came of one more seed.

        Args:
            outcome: What was answered, or why nothing was.
        """
        if not isinstance(outcome, Measured):
            self.missing = outcome
            return
        said = outcome.answer
        self.answers.append(said)
        self.clusters = None if outcome.clusters is None else outcome.clusters.numpy()
        self.notes += [n for n in said.notes if n not in self.notes]
        self.doubts += [d.text for d in said.doubts if d.text not in self.doubts]
        self.one_sided += [d.text for d in said.doubts if d.one_sided]


def values_of(outcomes: Sequence[Outcome]) -> SubjectValues:
    """Return what was answered of one model.

    Args:
        outcomes: One for each seed.
    """
    seen = SubjectValues()
    for outcome in outcomes:
        seen.add(outcome)
        if seen.missing is not None:
            break
    return seen


class Comparison:
    """Every model's summary on the same resamples, to be held against any other's.

    Attributes:
        item: The behaviour.
        config: Its settings.
        pool: The resamples, which other measurements share.
        rng: Where other random numbers come from.
        redraws: Whether the leading effect of every model is also told under seeds that are drawn again.
    """

    def __init__(
        self, item: Behaviour, config: object, pool: Pool, rng: np.random.Generator, *, redraws: bool = False
    ) -> None:
        self.item, self.config, self.pool, self.draws, self.rng = item, config, pool, pool.draws, rng
        self.redraws = redraws
        self._seen: dict[str, SubjectValues] = {}
        self._made: dict[str, sides.Side] = {}
        self._broken: dict[str, list[sides.Side]] = {}
        self._alone: dict[str, tuple[Effect, ends.Scale]] = {}
        self._told: dict[str, list[int]] = {}
        self._named: dict[str, answer.Parts] = {}
        self._scales: dict[str, ends.Scale] = {}
        self._group: Group | None = None
        self._later: list[tuple[str, Callable[[], None]]] = []
        self._units = 0

    def take(self, name: str, seen: SubjectValues) -> None:
        """Ask for the sums that one model's summary needs, and let its values go where they are known.

        Args:
            name: Of the model.
            seen: What is known of it.
        """
        self._seen[name] = seen
        answers, seen.answers = seen.answers, []
        if seen.missing is not None or not answers:
            return
        self._named[name] = answers[-1].parts
        self._scales[name] = ends.scale(self.item, [answer.ends for answer in answers])
        self._units = max(self._units, len(answers[0]))
        # Parameters and bytes are no sample: only seeds vary.
        if self._group is None and self.item.unit_of_analysis != "layer":
            self._group = self.pool.of(self._units, seen.clusters).group()
        drawn = 0 if self._group is None else self._group.times
        self._guarded(name, lambda: self._later.append((name, self._asked(name, answers))))
        if self._group is not None and self._group.times > drawn:
            # Resamples were drawn on the way, as much waited: others are summarized, and their sums let go.
            self._summarized([one for one in self._later if one[0] != name])
            self._later = [one for one in self._later if one[0] == name]
            self._group.forget(drawn)

    def _summarized(self, waiting: Sequence[tuple[str, Callable[[], None]]]) -> None:
        for name, summarize in waiting:
            self._guarded(name, summarize)

    def _guarded(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # whatever a summary raises, the other models keep theirs
            self._seen[name].missing = Failed(f"{type(error).__name__}: {error}")

    def _asked(self, name: str, answers: list[Answer]) -> Callable[[], None]:
        """Ask for the sums of a model's summary; what comes back summarizes it once they are known."""
        values, told = [answer.matrix() for answer in answers], None
        # Columns may be units, of which every seed has its own number after pruning.
        alike = {len(answer.columns): answer for answer in reversed(answers)}

        def summarise(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
            return self.item.summarise(alike[_width(rows)].over(rows), self.config, weights)

        def by_part(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
            assert self.item.by_part is not None
            return self.item.by_part(alike[_width(rows)].over(rows), self.config, weights)

        if self.item.outcomes is not None:
            parts = by_part(values[0].astype(np.float64), np.ones((1, self._units))).shape[1]
            outcomes = [self.item.outcomes(answer, self.config) for answer in answers]
            told = sides.outcomes(outcomes, parts, averaged=self.item.mean_of_parts)
            self._told[name] = told.sizes()
        side = sides.side_later(values, summarise, self._group, told)
        broken = None if self.item.by_part is None else sides.parts_later(values, by_part, self._group, told)
        finite = all(bool(np.isfinite(v).all()) for v in values)

        def summarized() -> None:
            self._made[name] = side()
            if broken is not None:
                self._broken[name] = broken()
            self._remark(name, told if finite else None)

        return summarized

    def _remark(self, name: str, told: sides.Outcomes | None) -> None:
        made = self._made[name]
        if told is not None and not np.isfinite(made.points).all():
            large, parts = int(told.counted.sum()), len(told.counted)
            which = f"{large} of {parts} {self.item.part}s"
            self._seen[name].numberless = f"{which} are large enough for the number: read the parts"
        moved = sides.bias(made)
        if moved > 1:
            self._seen[name].doubts.append(
                f"of {self._units} examples this summary is biased by more than its standard error, {moved:.1f} times: "
                "its interval does not cover; read a debiased one"
            )

    def against(self, pairs: Pairs) -> list[Contrast]:
        """Return the effect of every model on its controls.

        Args:
            pairs: Candidate and control; ``zero`` for the values themselves.
        """
        waiting, self._later = self._later, []
        self._summarized(waiting)
        first = dict(reversed(pairs))
        return [
            self._contrast(name, control, leads=first[name] == control)
            for name, control in pairs
            if name in self._seen and (control == ZERO or control in self._seen)
        ]

    def _contrast(self, name: str, against: str, *, leads: bool) -> Contrast:
        after, control = self._seen[name], self._seen.get(against)
        doubts = [*after.doubts, *(f"its control: {d}" for d in (control.doubts if control else ()))]
        missing = after.missing or (control.missing if control else None)
        numberless = after.numberless or (control.numberless if control else "")
        outcome: Moved | NotMeasurable | Failed
        if missing is not None:
            outcome = missing
        elif numberless:
            outcome = NotMeasurable(numberless)
        else:
            outcome = self._moved(name, against, lone=control is None)
            if self.redraws and leads and len(outcome.per_seed) > 1:
                outcome = replace(outcome, again=self._again(name, against))
        return Contrast(
            name,
            against,
            n=self._units,
            clusters=self._clusters(),
            notes=tuple(after.notes),
            doubts=tuple(doubts),
            verdict_if_one_sided=_verdict_if_one_sided(after, control),
            outcome=outcome,
            parts=self._parts(name, against) if missing is None else None,
        )

    def _clusters(self) -> int | None:
        clusters = None if self._group is None else self._group.shared.resamples.clusters
        return None if clusters is None else len(np.unique(clusters))

    def _moved(self, name: str, against: str, *, lone: bool) -> Moved:
        made = self._made[name]
        old = sides.zero(made) if lone else self._made[against]
        return Moved(
            sides.contrast(old, made, self.rng, draws=self.draws),
            per_seed=tuple((made.points - old.points).tolist()),
            held=tuple(old.points.tolist()),
            share=self._share(name) if self.item.pair else None,
            ends=ends.between(self.item.better, None if lone else self._own(against), self._own(name)),
        )

    def _again(self, name: str, against: str) -> tuple[Numbers, ...]:
        """Return the numbers of the effect under seeds that are drawn again."""
        made, rng = self._made[name], self.rng.spawn(1)[0]
        old = sides.zero(made) if against == ZERO else self._made[against]
        pairs = ((sides.of_seeds(old, which), sides.of_seeds(made, which)) for which in picks(len(made.points)))
        return tuple(sides.contrast(*pair, rng, draws=self.draws).numbers for pair in pairs)

    def _own(self, name: str) -> tuple[Effect, ends.Scale]:
        """Return a model's own number, with its interval, and where the scale of it ends."""
        if name not in self._alone:
            self._alone[name] = ends.alone(self._made[name], self.draws), self._scales[name]
        return self._alone[name]

    def _share(self, name: str) -> Share | None:
        """Return where a model stands on the way from the random model (0) to the placebo (1), with its interval."""
        made, ends_of = self._made, (str(Role.RANDOM), str(Role.PLACEBO))  # a control is called by its role
        if name in ends_of or not all(end in made for end in ends_of):
            return None
        side = sides.share(made[name], *(made[end] for end in ends_of))
        found = sides.contrast(sides.zero(side), side, self.rng.spawn(1)[0], draws=self.draws)
        return Share(_finite(found.after), _finite(found.low), _finite(found.high))

    def _parts(self, name: str, against: str) -> Parts | None:
        """Return the paired effect of every part, its p adjusted over the parts (Benjamini-Hochberg).

        Raises:
            StudyError: Models differ in their parts.
        """
        after, named = self._broken.get(name, []), self._named[name]
        if not after:
            return None
        before = [sides.zero(s) for s in after] if against == ZERO else self._broken[against]
        sizes = self._told.get(name)
        # Names beyond those that there are numbers for are of parts without an example.
        if len(before) != len(after) or len(named.names) < len(after) or (not sizes and len(named.names) > len(after)):
            each = f"{len(after)} parts of {name}, {len(before)} of {against}, {len(named.names)} names"
            raise StudyError(f"{self.item.name}: {each}; every model of a task must have the same")
        own = self.rng.spawn(1)[0]
        effects = [sides.contrast(b, a, own, draws=self.draws) for b, a in zip(before, after, strict=True)]
        ps = [e.p for e in effects if np.isfinite(e.p)]
        adjusted = iter(multiplicity.benjamini_hochberg(ps) if ps else ())
        items = [
            _part(n, e, float(next(adjusted)) if np.isfinite(e.p) else None, None if sizes is None else sizes[at])
            for at, (n, e) in enumerate(zip(named.names, effects, strict=False))
        ]
        items += [Part(n, n=0) for n in named.names[len(after) :]]
        better = cast(Side, named.better or self.item.better)
        return Parts(self.item.part, tuple(items), unit=named.unit or self.item.unit, better=better)


def _part(name: str, e: Effect, adjusted_p: float | None, n: int | None) -> Part:
    """Return the effect on a part; ``n`` is known where its examples are counted."""
    before, after, effect, low, high = map(_finite, (e.before, e.after, e.effect, e.low, e.high))
    part = Part(name, before, after, effect, low, high, adjusted_p)
    return part if n is None else replace(part, n=n, tails=e.tails, rose=e.rose, fell=e.fell)


def _verdict_if_one_sided(after: SubjectValues, control: SubjectValues | None) -> str:
    """Return the verdict that holds although there are doubts: what only flatters the candidate leaves *worsened*."""
    left = {"worsened", "improved"}
    for doubt in after.doubts:
        left &= {"worsened"} if doubt in after.one_sided else set()
    for doubt in control.doubts if control else ():
        left &= {"improved"} if control and doubt in control.one_sided else set()
    return left.pop() if len(left) == 1 else ""


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _width(rows: np.ndarray) -> int:
    return 1 if rows.ndim == 1 else rows.shape[1]
