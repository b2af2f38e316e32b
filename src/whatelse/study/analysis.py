"""From finished cells to kept effects: measurements that are resampled alike share their resamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whatelse import items
from whatelse.auditing.ask import Failed, Outcome, number, of_kept
from whatelse.auditing.effects import Comparison, to_kept, values_of
from whatelse.errors import WhatElseError
from whatelse.statistics.shared import Pool
from whatelse.store.protocol import Store
from whatelse.study.jobs import Analysis, Effects


def analyze(work: Analysis, store: Store) -> tuple[tuple[str, str], ...]:
    """Compute all effects of some measurements from their finished cells, keep them, and return which failed, and why.

    Args:
        work: Which; they are resampled alike, so that what is drawn serves all of them.
        store: Where cells and effects are kept.

    Raises:
        StoreError: Results cannot be read or written.
    """
    store.near(("values", key) for one in work.effects for _, keys in one.cells for key in keys)
    first = work.effects[0]
    pool = Pool(first.draws, np.random.default_rng(number(("resamples", *first.resampled_by))))
    failed: list[tuple[str, str]] = []
    waiting: list[tuple[Effects, Comparison]] = []
    for one in work.effects:
        waiting.append((one, _compared(one, pool, store)))
        if pool.heavy():
            failed += _conclude(waiting, store)
            waiting = []
    return (*failed, *_conclude(waiting, store))


def _compared(effects: Effects, pool: Pool, store: Store) -> Comparison:
    item = items.behaviour(effects.item)
    rng = np.random.default_rng(number(effects.drawn_by))
    held = Comparison(item, item.configure(dict(effects.given)), pool, rng, redraws=effects.redraws)
    for name, keys in effects.cells:
        held.take(name, values_of([outcome_of(key, store) for key in keys]))
    return held


def _conclude(waiting: Sequence[tuple[Effects, Comparison]], store: Store) -> list[tuple[str, str]]:
    failed = []
    for effects, held in waiting:
        try:
            store.save_record("effects", effects.key, to_kept(held.against(effects.pairs)))
        except WhatElseError:
            raise
        except Exception as error:  # what one question raises is named, and the rest goes on
            failed.append((effects.name, f"{type(error).__name__}: {error}"))
    return failed


def outcome_of(cell: str, store: Store) -> Outcome:
    """Return what came of a cell.

    Args:
        cell: Its key.
        store: Where cells are kept.
    """
    if not store.absent("values", cell):
        return of_kept(*store.load("values", cell))
    error = store.load_record("failed", cell)["error"] if store.has("failed", cell) else "not measured"
    return Failed(error)
