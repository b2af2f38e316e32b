"""From finished cells to effects: every model summarized once on the same resamples, then held against its controls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from whatelse import registry
from whatelse.auditing import ends
from whatelse.errors import StudyError
from whatelse.statistics import multiplicity, resample, sides
from whatelse.statistics.effect import Effect
from whatelse.store.folder import Store
from whatelse.study.plan import Effects
from whatelse.study.worker import Report, number

Pairs = Sequence[tuple[str, str]]


@dataclass(eq=False)
class SubjectValues:
    """The values of one subject over all seeds, or why there are none.

    Attributes:
        values: For each seed ``(N,)`` or ``(N, k)``.
        clusters: Code of each example's cluster, ``(N,)``; None where examples stand alone.
        notes: Remarks of the behaviour.
        doubts: Failed validity checks.
        flatters: Those of them that can only make the value look better than it is.
        parts: Names of the parts.
        read: Unit and direction of the parts, where they have their own.
        ends: Of every seed what the behaviour said of the ends of its scale.
        why: Why there are no values; empty where there are some.
        numberless: Why there are values for the parts alone; empty where there is a number for all of them.
    """

    values: list[np.ndarray] = field(default_factory=list)
    clusters: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    flatters: list[str] = field(default_factory=list)
    parts: tuple[str, ...] = ()
    read: dict[str, str] = field(default_factory=dict)
    ends: list[dict[str, float | None]] = field(default_factory=list)
    why: str = ""
    numberless: str = ""

    def add(self, values: np.ndarray, meta: Mapping[str, Any], clusters: np.ndarray | None) -> None:
        """Take the values of one more seed.

        Args:
            values: ``(N,)`` or ``(N, k)``.
            meta: What the behaviour said beside them.
            clusters: Code of each example's cluster, ``(N,)``.
        """
        if meta["why"]:
            self.why = meta["why"]
            return
        self.values.append(values)
        self.clusters = clusters
        self.parts, self.read = tuple(meta.get("parts", ())), meta.get("parts_read", {})
        self.ends.append(meta.get("ends", {}))
        self.notes += [n for n in meta["notes"] if n not in self.notes]
        self.doubts += [d for d in meta["doubts"] if d not in self.doubts]
        self.flatters += meta.get("flatters", [])


def analyze(effects: Effects, store: Store) -> Report:
    """Compute all effects of one measurement from its finished cells, and keep them.

    Args:
        effects: Which.
        store: Where cells and effects are kept.

    Raises:
        StoreError: Results cannot be read or written.
    """
    started = time.perf_counter()
    item = registry.load("behaviours", effects.item)
    rng = np.random.default_rng(number((effects.label, effects.task)))
    held = Comparison(item, effects.draws, rng)
    for name, keys in effects.cells:  # one model at a time: the values of all may not fit into memory
        held.take(name, _stored(keys, store))
    store.save_record("effects", effects.key, {"effects": held.against(effects.pairs)})
    return Report(effects.name, analyzing=time.perf_counter() - started)


def _stored(keys: Sequence[str], store: Store) -> SubjectValues:
    seen = SubjectValues()
    for name in keys:
        if store.absent("values", name):
            error = store.load_record("failed", name)["error"] if store.has("failed", name) else "not measured"
            seen.why = f"failed: {error}"
            return seen
        tensors, meta = store.load("values", name)
        clusters = tensors["clusters"].numpy() if "clusters" in tensors else None
        seen.add(tensors["values"].numpy(), meta, clusters)
        if seen.why:
            return seen
    return seen


class Comparison:
    """Every model's summary on the same resamples, to be held against any other's.

    Attributes:
        item: The behaviour.
        draws: Resamples an interval.
        rng: Where the random numbers come from.
    """

    def __init__(self, item: ModuleType, draws: int, rng: np.random.Generator) -> None:
        self.item, self.draws, self.rng = item, draws, rng
        self._seen: dict[str, SubjectValues] = {}
        self._made: dict[str, sides.Side] = {}
        self._broken: dict[str, list[sides.Side]] = {}
        self._alone: dict[str, tuple[Effect, ends.Scale]] = {}
        self._told: dict[str, list[int]] = {}
        self._drawn: resample.Resamples | None = None
        self._units = 0

    def take(self, name: str, seen: SubjectValues) -> None:
        """Summarize one model and let its values go.

        Args:
            name: Of the model.
            seen: What is known of it.
        """
        self._seen[name] = seen
        values, seen.values = seen.values, []
        if seen.why or not values:
            return
        self._units = max(self._units, len(values[0]))
        if (
            self._drawn is None and self.item.UNIT_OF_ANALYSIS != "layer"
        ):  # parameters and bytes are no sample: only seeds vary
            self._drawn = resample.resamples(self._units, self.draws, self.rng, seen.clusters)
        try:
            self._summarize(name, values)
        except Exception as error:  # whatever a summary raises, the other models keep theirs
            seen.why = f"failed: {type(error).__name__}: {error}"

    def _summarize(self, name: str, values: list[np.ndarray]) -> None:
        told = None
        if "outcomes" in vars(self.item):
            parts = self.item.by_part(values[0].astype(np.float64), np.ones((1, self._units))).shape[1]
            averaged = vars(self.item).get("NUMBER") == "mean of parts"
            told = sides.outcomes([self.item.outcomes(v) for v in values], parts, averaged=averaged)
            self._told[name] = told.sizes()
        self._made[name] = made = sides.side(values, self.item.summarise, self._drawn, told)
        if "by_part" in vars(self.item):
            self._broken[name] = sides.parts(values, self.item.by_part, self._drawn, told)
        if told is not None and np.isfinite(values).all() and not np.isfinite(made.points).all():
            large, kind = int(told.counted.sum()), self.item.PARTS
            self._seen[name].numberless = f"{large} of {parts} {kind}s are large enough for the number: read the parts"
        moved = sides.bias(made)
        if moved > 1:
            seen = self._seen[name]
            seen.doubts.append(
                f"of {self._units} examples this summary is biased by more than its standard error, {moved:.1f} times: "
                "its interval does not cover; read a debiased one"
            )

    def against(self, pairs: Pairs) -> list[dict[str, Any]]:
        """Return the effect of every model on its controls, JSON-ready.

        Args:
            pairs: Candidate and control; ``zero`` for the values themselves.
        """
        return [
            self._record(name, control)
            for name, control in pairs
            if name in self._seen and (control == "zero" or control in self._seen)
        ]

    def _record(self, name: str, against: str) -> dict[str, Any]:
        after, control = self._seen[name], self._seen.get(against)
        doubts = [*after.doubts, *(f"its control: {d}" for d in (control.doubts if control else ()))]
        units = None if self._drawn is None or self._drawn.clusters is None else len(np.unique(self._drawn.clusters))
        record = {"candidate": name, "control": against, "n": self._units, "clusters": units}
        record |= {"notes": after.notes, "doubts": doubts, "stands": _stands(after, control)}
        why = after.why or (control.why if control else "")
        if why:
            return {**record, "why": why}
        if after.numberless or (control and control.numberless):
            numberless = after.numberless or (control.numberless if control else "")
            return {**record, "why": numberless, "parts": self._parts(name, against)}
        made = self._made[name]
        old = self._made[against] if control else sides.zero(made)
        effect = sides.contrast(old, made, self.rng, draws=self.draws)
        each = (made.points - old.points).tolist()
        record |= {"why": "", "per_seed": each, "held": old.points.tolist(), **effect._asdict()}
        record["share"] = self._share(name) if "compare" in vars(self.item) else None
        record["parts"] = self._parts(name, against)
        record["ends"] = ends.between(self.item.BETTER, self._own(against) if control else None, self._own(name))
        return record

    def _own(self, name: str) -> tuple[Effect, ends.Scale]:
        """Return a model's own number, with its interval, and where the scale of it ends."""
        if name not in self._alone:
            found = ends.alone(self._made[name], self.draws), ends.scale(self.item, self._seen[name].ends)
            self._alone[name] = found
        return self._alone[name]

    def _share(self, name: str) -> dict[str, float | None] | None:
        """Return where a model stands on the way from the random model (0) to the placebo (1), with its interval."""
        made = self._made
        if name in {"random", "placebo"} or "random" not in made or "placebo" not in made:
            return None
        side = sides.share(made[name], made["random"], made["placebo"])
        found = sides.contrast(sides.zero(side), side, self.rng.spawn(1)[0], draws=self.draws)
        return _finite({"value": found.after, "low": found.low, "high": found.high})

    def _parts(self, name: str, against: str) -> dict[str, Any] | None:
        """Return the paired effect of every part, its p adjusted over the parts (Benjamini-Hochberg).

        Raises:
            StudyError: Models differ in their parts.
        """
        after, seen = self._broken.get(name, []), self._seen[name]
        if not after:
            return None
        before = [sides.zero(s) for s in after] if against == "zero" else self._broken[against]
        sizes = self._told.get(name)
        # Names beyond those that there are numbers for are of parts without an example.
        if len(before) != len(after) or len(seen.parts) < len(after) or (not sizes and len(seen.parts) > len(after)):
            each = f"{len(after)} parts of {name}, {len(before)} of {against}, {len(seen.parts)} names"
            raise StudyError(f"{self.item.__name__}: {each}; every model of a task must have the same")
        own = self.rng.spawn(1)[0]
        effects = [sides.contrast(b, a, own, draws=self.draws) for b, a in zip(before, after, strict=True)]
        ps = [e.p for e in effects if np.isfinite(e.p)]
        adjusted = iter(multiplicity.benjamini_hochberg(ps) if ps else ())
        return {
            "kind": self.item.PARTS,
            "unit": seen.read.get("unit", self.item.UNIT),
            "better": seen.read.get("better", self.item.BETTER),
            "items": [
                {
                    "name": n,
                    **({} if sizes is None else {"n": sizes[at]}),
                    **_finite({k: getattr(e, k) for k in ("before", "after", "effect", "low", "high")}),
                    "adjusted_p": float(next(adjusted)) if np.isfinite(e.p) else None,
                    **({} if sizes is None else {"tails": e.tails, "rose": e.rose, "fell": e.fell}),
                }
                for at, (n, e) in enumerate(zip(seen.parts, effects, strict=False))
            ]
            + [{"name": n, "n": 0} for n in seen.parts[len(after) :]],
        }


def _stands(after: SubjectValues, control: SubjectValues | None) -> str:
    """Return the verdict that holds although there are doubts: what only flatters the candidate leaves *worsened*."""
    left = {"worsened", "improved"}
    for doubt in after.doubts:
        left &= {"worsened"} if doubt in after.flatters else set()
    for doubt in control.doubts if control else ():
        left &= {"improved"} if control and doubt in control.flatters else set()
    return left.pop() if len(left) == 1 else ""


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}
