"""From finished cells to effects: every model summarized once on the same resamples, then held against its controls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from whatelse import registry
from whatelse.errors import StudyError
from whatelse.statistics import multiplicity, resample, sides
from whatelse.study.plan import Effects
from whatelse.study.store import Store
from whatelse.study.work import Report, number


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
    seen, made, broken, units = _summarized(effects, item, rng, store)
    found = []
    for name, against in effects.pairs:
        if name not in seen or (against != "zero" and against not in seen):
            continue
        after = seen[name]
        doubts = [*after.doubts, *(f"its control: {d}" for d in (seen[against].doubts if against in seen else ()))]
        record = {"candidate": name, "control": against, "n": units, "notes": after.notes, "doubts": doubts}
        record["stands"] = _stands(after, seen.get(against))
        why = after.why or ("" if against == "zero" else seen[against].why)
        if why:
            found.append({**record, "why": why})
            continue
        old = sides.zero(made[name]) if against == "zero" else made[against]
        effect = sides.contrast(old, made[name], rng, draws=effects.draws)
        each = (made[name].points - old.points).tolist()
        held = old.points.tolist()
        record |= {"why": "", "per_seed": each, "held": held, **effect._asdict()}
        record["share"] = _share(name, made, rng, effects.draws) if "compare" in vars(item) else None
        record["parts"] = _parts(item, broken, (name, against), after, rng, effects.draws)
        found.append(record)
    store.save_record("effects", effects.key, {"effects": found})
    return Report(effects.name, analyzing=time.perf_counter() - started)


def _summarized(
    effects: Effects, item: ModuleType, rng: np.random.Generator, store: Store
) -> tuple[dict[str, _Seen], dict[str, sides.Side], dict[str, list[sides.Side]], int]:
    """Return what is known of every model, its sides whole and by part, and the number of values."""
    seen: dict[str, _Seen] = {}
    made: dict[str, sides.Side] = {}
    broken: dict[str, list[sides.Side]] = {}
    units = 0
    drawn: resample.Resamples | None = None
    for name, keys in effects.cells:  # one model at a time: the values of all may not fit into memory
        seen[name] = one = _Seen(keys, store)
        values, one.values = one.values, []
        if one.why or not values:
            continue
        units = max(units, len(values[0]))
        if drawn is None and item.OVER != "layer":  # parameters and bytes are no sample: only seeds vary
            drawn = resample.resamples(units, effects.draws, rng)
        try:
            made[name] = sides.side(values, item.summarise, drawn)
            broken[name] = sides.parts(values, item.breakdown, drawn) if "breakdown" in vars(item) else []
        except Exception as error:  # whatever a summary raises, the other models keep theirs
            one.why = f"failed: {type(error).__name__}: {error}"
    return seen, made, broken, units


def _stands(after: _Seen, control: _Seen | None) -> str:
    """Return the verdict that holds although there are doubts: what only flatters the candidate leaves *worsened*."""
    left = {"worsened", "improved"}
    for doubt in after.doubts:
        left &= {"worsened"} if doubt in after.flatters else set()
    for doubt in control.doubts if control else ():
        left &= {"improved"} if control and doubt in control.flatters else set()
    return left.pop() if len(left) == 1 else ""


def _share(
    name: str, made: dict[str, sides.Side], rng: np.random.Generator, draws: int
) -> dict[str, float | None] | None:
    """Return where a model stands on the way from the random model (0) to the placebo (1), with its interval."""
    if name in {"random", "placebo"} or "random" not in made or "placebo" not in made:
        return None
    side = sides.share(made[name], made["random"], made["placebo"])
    found = sides.contrast(sides.zero(side), side, rng.spawn(1)[0], draws=draws)
    return _finite({"value": found.after, "low": found.low, "high": found.high})


def _parts(
    item: ModuleType,
    broken: dict[str, list[sides.Side]],
    pair: tuple[str, str],
    seen: _Seen,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Any] | None:
    """Return the paired effect of every part, its p adjusted over the parts (Benjamini-Hochberg).

    Raises:
        StudyError: Models differ in their parts.
    """
    if not broken[pair[0]]:
        return None
    after, names = broken[pair[0]], seen.parts
    before = [sides.zero(s) for s in after] if pair[1] == "zero" else broken[pair[1]]
    if not len(before) == len(after) == len(names):
        sizes = f"{len(after)} parts of {pair[0]}, {len(before)} of {pair[1]}, {len(names)} names"
        raise StudyError(f"{item.__name__}: {sizes}; every model of a task must have the same")
    own = rng.spawn(1)[0]
    effects = [sides.contrast(b, a, own, draws=draws) for b, a in zip(before, after, strict=True)]
    ps = [e.p for e in effects if np.isfinite(e.p)]
    adjusted = iter(multiplicity.benjamini_hochberg(ps) if ps else ())
    return {
        "kind": item.PARTS,
        "unit": seen.read.get("unit", item.UNIT),
        "better": seen.read.get("better", item.BETTER),
        "items": [
            {
                "name": n,
                **_finite({k: getattr(e, k) for k in ("before", "after", "effect", "low", "high")}),
                "adjusted_p": float(next(adjusted)) if np.isfinite(e.p) else None,
            }
            for n, e in zip(names, effects, strict=True)
        ],
    }


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}


class _Seen:
    """The values of one subject over all seeds, or why there are none."""

    def __init__(self, keys: Sequence[str], store: Store) -> None:
        self.values: list[np.ndarray] = []
        self.notes: list[str] = []
        self.doubts: list[str] = []
        self.flatters: list[str] = []
        self.parts: tuple[str, ...] = ()
        self.read: dict[str, str] = {}
        self.why = ""
        for name in keys:
            if not store.has("values", name):
                error = store.load_record("failed", name)["error"] if store.has("failed", name) else "not measured"
                self.why = f"failed: {error}"
                return
            tensors, meta = store.load("values", name)
            if meta["why"]:
                self.why = meta["why"]
                return
            self.values.append(tensors["values"].numpy())
            self.parts, self.read = tuple(meta.get("parts", ())), meta.get("parts_read", {})
            self.notes += [n for n in meta["notes"] if n not in self.notes]
            self.doubts += [d for d in meta["doubts"] if d not in self.doubts]
            self.flatters += meta.get("flatters", [])
