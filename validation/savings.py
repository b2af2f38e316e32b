"""What stopping early saves on the shipped studies: their finished cells, looked at a hundred examples at a time.

Every pair of a candidate and its control under every seed is taken for an audit of two checkpoints. Alone:
``python validation/savings.py whatelse-results``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from whatelse import items
from whatelse.auditing.ask import Measured
from whatelse.errors import WhatElseError
from whatelse.statistics import paired, resample, sequential, verdicts
from whatelse.statistics.contributions import contributions
from whatelse.statistics.effect import Effect
from whatelse.store.protocol import Store
from whatelse.study import analysis, run, run_study, spec
from whatelse.study.plan import Plan

CHUNK = 100
TABLE = Path(spec.__file__).parent / "table1.toml"
STUDIES = ("table1", "adult", "fashion_mnist", "security")


def shipped(name: str, results: Path) -> tuple[spec.Study, Plan, Store] | None:
    """Return a shipped study with its plan and store, the whole of it if that is finished; None if neither is."""
    text = TABLE.read_text("utf-8") if name == "table1" else spec.shipped()[name]
    for full in (True, False):
        try:
            study = spec.parse(text, name, full=full)
            store, _, plan = run_study.prepared(study, results)
        except WhatElseError:
            return None
        if not run.missing(plan, store)[0]:
            return study, plan, store
    return None


def replay(study: spec.Study, plan: Plan, store: Store) -> Iterator[dict[str, Any]]:
    """Yield, of every costly measurement, pair and seed, how many examples its verdict took."""
    measurements = {m.label: m for m in study.measurements}
    for effects in plan.effects:
        m, item = measurements[effects.label], items.behaviour(effects.item)
        if item.range is None:
            continue
        config = item.configure(dict(effects.given))
        cells = dict(effects.cells)
        controls = {c.name: c.control for c in study.candidates}
        for candidate, control in ((c, controls.get(c)) for c in cells if c in controls):
            if control not in cells:
                continue
            for after, before in zip(cells[candidate], cells[control], strict=True):
                each = [_each(item, config, key, store) for key in (before, after)]
                if each[0] is not None and each[1] is not None:
                    yield {"label": m.label, "item": m.item, **_watched(item, each, m.margin)}


def _each(item: items.Behaviour, config: object, key: str, store: Store) -> np.ndarray | None:
    outcome = analysis.outcome_of(key, store)
    if not isinstance(outcome, Measured):
        return None
    like = outcome.answer
    tried = resample.counts(len(like), 2, np.random.default_rng(0)).astype(np.float64)
    values = like.matrix().astype(np.float64)
    return contributions(values, lambda v, weights: item.summarise(like.over(v), config, weights), tried)


def _watched(item: items.Behaviour, each: list[np.ndarray], margin: float) -> dict[str, Any]:
    assert item.range is not None
    span = item.range[1] - item.range[0]
    differences = each[1] - each[0]
    order = np.random.default_rng(len(differences)).permutation(len(differences))
    watch, used = sequential.Watch(-span, span), len(differences)
    word = "inconclusive"
    for start in range(0, len(order), CHUNK):
        watch = watch.saw(np.clip(differences[order[start : start + CHUNK]], -span, span))
        effect = watch.effect(float(each[0].mean()))
        if sequential.settled(effect, margin):
            used, word = start + len(order[start : start + CHUNK]), _word(effect, margin, item)
            break
    whole = paired.effect([each[0]], [each[1]], _mean, np.random.default_rng(1), draws=2000)
    return {"n": len(differences), "used": used, "stopped": word, "whole": _word(whole, margin, item)}


def _mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ values / counts.sum(1)


def _word(effect: Effect, margin: float, item: items.Behaviour) -> str:
    return verdicts.decide(effect, margin=margin, better=item.better, adjusted_p=effect.p, distrust=())


def saved(results: Path) -> list[dict[str, Any]]:
    """Return one row for every shipped study that is finished, and costly measurement."""
    rows = []
    for name in STUDIES:
        found = shipped(name, results)
        if found is None:
            rows.append({"study": name, "label": "", "pairs": 0})
            continue
        every = list(replay(*found))
        for label in dict.fromkeys(r["label"] for r in every):
            mine = [r for r in every if r["label"] == label]
            opposed = {
                ("worsened", "improved"),
                ("improved", "worsened"),
                ("unchanged", "worsened"),
                ("unchanged", "improved"),
            }
            rows.append(
                {
                    "study": name,
                    "label": label,
                    "pairs": len(mine),
                    "n": mine[0]["n"],
                    "used": sum(r["used"] for r in mine),
                    "of": sum(r["n"] for r in mine),
                    "stopped": sum(r["stopped"] != "inconclusive" for r in mine),
                    "lost": sum(r["stopped"] == "inconclusive" != r["whole"] for r in mine),
                    "opposed": sum((r["stopped"], r["whole"]) in opposed for r in mine),
                }
            )
    return rows


def main() -> None:
    """Print the rows."""
    for row in saved(Path(sys.argv[1] if len(sys.argv) > 1 else "whatelse-results")):
        print(row)


if __name__ == "__main__":
    main()
