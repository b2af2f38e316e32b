"""Cells and effects with their keys: what decides a number is in its key, and what does not is not."""

from __future__ import annotations

from collections.abc import Sequence

from whatelse import items
from whatelse.auditing.questions import Measurement
from whatelse.store.folder import key
from whatelse.study.jobs import Cell, Data, Effects, Handed, Job, Made

# How answers are laid out in the store: what was kept in another way is made again.
_LAYOUT = "answer 1"


def cell(
    m: Measurement,
    data: Data,
    models: tuple[Made | Handed, Made | Handed],
    seed: int,
    again: int,
    references: Sequence[str] = (),
    on: str = "test",
) -> Cell:
    """Return a measurement of one model on one task.

    Args:
        m: What is measured.
        data: The task.
        models: The model, and the one that it is compared with.
        seed: The seed of the study.
        again: 0, or the number of another measurement with other random numbers.
        references: Keys of what shadow models say, where it needs them.
        on: The split that it is measured on.
    """
    item = items.behaviour(m.item)
    given = item.changed(m.settings)
    # An item of a file that is not ours may change while its VERSION does not.
    inputs = [
        _LAYOUT,
        *([item.origin] if item.origin else []),
        models[0].key,
        data.key,
        *([data.names] if data.names else []),
    ]
    # What a recipe made has the baseline in its key; of what was handed over the baseline may be any.
    if item.pair or isinstance(models[0], Handed):
        inputs.append(models[1].key)
    inputs += [*references, *([f"again {again}"] if again else []), *([] if on == "test" else [f"on {on}"])]
    return Cell(key(m.item, item.version, dict(given), *inputs, seed=seed), m.label, m.item, given)


def effects(
    m: Measurement,
    task: str,
    made: Sequence[tuple[Job, Cell]],
    pairs: tuple[tuple[str, str], ...],
    draws: int,
    drawn_by: tuple[str, ...],
    *told: str,
    redraws: bool = False,
) -> Effects:
    """Return all effects of one measurement on one task.

    Args:
        m: What is measured.
        task: Name of the task.
        made: Its cells, of every subject one a seed, with the jobs that make them.
        pairs: Which subject is held against which other.
        draws: Resamples an interval.
        drawn_by: The label, and what decides which resamples are drawn.
        told: What tells it apart from others of the same measurement, in its name.
        redraws: Whether effects are also told under seeds that are drawn again.
    """
    cells: dict[str, list[str]] = {}
    for job, one in made:
        cells.setdefault(job.subject, []).append(one.key)
    given = {"pairs": pairs, "draws": draws, "drawn by": drawn_by, "cells": list(cells.items())}
    given |= {"redraws": 1} if redraws else {}
    return Effects(
        name=" · ".join(("effects", task, m.label, *told)),
        key=key("effects", 8, given, m.item, seed=0),
        label=m.label,
        task=task,
        item=m.item,
        given=items.behaviour(m.item).changed(m.settings),
        cells=tuple((subject, tuple(keys)) for subject, keys in cells.items()),
        pairs=pairs,
        draws=draws,
        resampled_by=drawn_by[1:],
        drawn_by=drawn_by,
        needs=tuple(job.name for job, _ in made),
        redraws=redraws,
    )
