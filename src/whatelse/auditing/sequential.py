"""A costly measurement that stops when it knows: chunk by chunk, under intervals that hold however often one looks.

Examples come in a random order, a chunk at a time. After each chunk every candidate's difference from its control goes
to a `whatelse.statistics.sequential.Watch`; a candidate whose verdict is clear is not measured any further. What is
reported is the watch's interval, also where the examples ran out: to change over to the narrower interval of a fixed
number would be a second chance to err.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from whatelse import items
from whatelse.answer import Answer
from whatelse.auditing import ends
from whatelse.auditing.ask import Failed, ask
from whatelse.auditing.effects import Contrast, Moved, SubjectValues
from whatelse.auditing.questions import Measurement
from whatelse.errors import StudyError
from whatelse.evidence.cache import Evidence
from whatelse.evidence.shadows import APART
from whatelse.items import Behaviour
from whatelse.statistics import resample, sequential
from whatelse.statistics.contributions import contributions
from whatelse.statistics.effect import Effect
from whatelse.tasks.task import Task

CHUNK = 100


class _Apart:
    """Observations of one model that do not look at test, shared by all chunks of it."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, torch.Tensor]] = {}

    def load(self, name: str) -> dict[str, torch.Tensor] | None:
        """Return the tensors kept under a name, or None."""
        return self._held.get(name)

    def save(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep tensors under a name, if they are of no chunk."""
        if name.startswith(APART):
            self._held[name] = dict(tensors)


@dataclass
class _Watched:
    """One candidate: watches of its difference from its control and of either by itself, what was said of both."""

    watch: sequential.Watch
    own: sequential.Watch
    theirs: sequential.Watch
    seen: SubjectValues = field(default_factory=SubjectValues)
    ends: list[Mapping[str, float | None]] = field(default_factory=list)
    before: float = 0.0
    examples: int = 0
    settled: bool = False


def fresh(low: float, high: float) -> _Watched:
    """Return a candidate of which nothing was seen yet.

    Args:
        low: The least value of the behaviour.
        high: The largest.
    """
    span = high - low
    # A mean of pooled points adds to one model's own number what the other's differs by.
    alone = sequential.Watch(min(low, 0.0) - span, max(high, 0.0) + span)
    return _Watched(sequential.Watch(-span, span), alone, alone)


def effects(
    m: Measurement,
    models: Mapping[str, Evidence],
    pairs: Sequence[tuple[str, str]],
    family: int,
    rng: torch.Generator,
) -> list[Contrast]:
    """Return the effect of every candidate on its control, each from as many examples as its verdict took.

    Args:
        m: The measurement; its item has a ``RANGE``.
        models: Evidence of every model, the baseline first.
        pairs: Candidate and control.
        family: How many primary questions are asked together.
        rng: Source of the order of the examples, and of what behaviours draw.
    """
    item = items.behaviour(m.item)
    config, given = item.configure(m.settings), dict(item.changed(m.settings))
    baseline, task = next(iter(models.items()))[0], next(iter(models.values())).task
    total = min(len(task.test), getattr(config, "examples", 0) or len(task.test))
    order = torch.randperm(len(task.test), generator=rng)[:total]
    watched = {pair: fresh(*_range(item)) for pair in pairs}
    apart = {name: _Apart() for name in models}
    draw = int(torch.randint(2**31, (), generator=rng))
    for start in range(0, total, CHUNK):
        left = {pair: one for pair, one in watched.items() if not one.settled and one.seen.missing is None}
        if not left:
            break
        wanted = {baseline, *(name for pair in left for name in pair)}
        part = _part(task, order[start : start + CHUNK])
        said: dict[str, SubjectValues] = {}
        base: Evidence | None = None
        for name in (n for n in models if n in wanted):
            mine = Evidence(models[name].subject, part, reference=base, keep=apart[name])
            base = base or mine
            said[name] = _asked(item, given, mine, base, torch.Generator().manual_seed(draw + start))
        for (name, control), one in left.items():
            _look(one, item, config, said[name], said[control])
            one.settled = one.seen.missing is None and _settled(one, item, m.margin, family)
    return [_contrast(pair, one, total, item) for pair, one in watched.items()]


def _part(task: Task, rows: torch.Tensor) -> Task:
    return replace(task, splits={**task.splits, "test": task.test.take(rows)})


def _range(item: Behaviour) -> tuple[float, float]:
    assert item.range is not None
    return item.range


def _asked(
    item: Behaviour, given: Mapping[str, Any], mine: Evidence, base: Evidence, rng: torch.Generator
) -> SubjectValues:
    seen = SubjectValues()
    try:
        seen.add(ask(item, given, mine, base, rng))
    except Exception as error:  # whatever a behaviour raises, the other candidates go on
        seen.missing = Failed(f"{type(error).__name__}: {error}")
    return seen


def _look(one: _Watched, item: Behaviour, config: object, after: SubjectValues, before: SubjectValues) -> None:
    """Take what a chunk showed of a candidate and of its control.

    Raises:
        StudyError: The behaviour's summary is no mean.
    """
    one.seen.missing = after.missing or before.missing
    one.seen.doubts += [d for d in after.doubts if d not in one.seen.doubts]
    one.seen.doubts += [d for d in (f"its control: {d}" for d in before.doubts) if d not in one.seen.doubts]
    one.seen.one_sided += after.one_sided
    one.seen.notes = after.notes
    if one.seen.missing is not None:
        return
    each = []
    for answer in (before.answers[0], after.answers[0]):
        tried = resample.counts(len(answer), 2, np.random.default_rng(0)).astype(np.float64)
        found = contributions(answer.matrix().astype(np.float64), _summary(item, config, answer), tried)
        if found is None:
            raise StudyError(f"{item.name}: its summary is no mean over examples; it cannot be watched")
        each.append(found)
    one.watch, one.theirs, one.own = (
        watch.saw(seen) for watch, seen in ((one.watch, each[1] - each[0]), (one.theirs, each[0]), (one.own, each[1]))
    )
    one.seen.answers += after.answers
    one.ends += [answer.ends for answer in before.answers]
    one.before += float(each[0].sum())
    one.examples += len(each[0])


def _summary(item: Behaviour, config: object, like: Answer) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda rows, weights: item.summarise(like.over(rows), config, weights)


def _settled(one: _Watched, item: Behaviour, margin: float, family: int) -> bool:
    """Say whether a verdict is clear, and also that there is, or is not, more to lose than the margin."""
    left = _ends(one, item)
    told = left.room is None or left.shown is None or left.room <= margin or left.shown > margin
    return told and sequential.settled(_effect(one), margin, family=family)


def _ends(one: _Watched, item: Behaviour) -> ends.Ends:
    theirs = one.theirs.effect(0.0), ends.scale(item, one.ends)
    return ends.between(
        item.better, theirs, (one.own.effect(0.0), ends.scale(item, [answer.ends for answer in one.seen.answers]))
    )


def _effect(one: _Watched) -> Effect:
    return one.watch.effect(one.before / one.examples)


def _contrast(pair: tuple[str, str], one: _Watched, total: int, item: Behaviour) -> Contrast:
    seen = one.seen
    told = f"of {total} examples {one.examples} were measured" if one.settled else f"all {total} examples were measured"
    note = f"{told}: the interval holds at every look (betting), and is wider than one of a number fixed beforehand"
    left = all(d in seen.one_sided for d in seen.doubts) and bool(seen.doubts)
    return Contrast(
        *pair,
        n=one.examples,
        clusters=None,
        notes=(*seen.notes, note),
        doubts=tuple(seen.doubts),
        verdict_if_one_sided="worsened" if left else "",
        outcome=seen.missing if seen.missing is not None else _moved(one, total, item),
    )


def _moved(one: _Watched, total: int, item: Behaviour) -> Moved:
    effect = _effect(one)
    return Moved(effect, (effect.effect,), (effect.before,), ends=_ends(one, item), of=total)
