"""What the columns of tables hold, for whoever checks that they were understood."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from whatelse.datasets import _groups, _tabular
from whatelse.datasets._column import Column
from whatelse.tasks.columns import ColumnSeen

_OWN = 0.9  # Share of rows with a value of their own from which on texts are names.
_TWO = 2


def columns(
    files: Mapping[str, _tabular.File], called: Mapping[str, str], plan: _tabular.Plan
) -> tuple[ColumnSeen, ...]:
    """Return what every column holds, over all rows of all files.

    Args:
        files: As `_tabular.task` takes them.
        called: Likewise.
        plan: What the columns are.

    Raises:
        TaskError: A column is not there.
    """
    _tabular.check(files, called, plan)
    whole = files[_tabular.WHOLE]
    asked = _groups.parse(plan.groups, list(whole), called[_tabular.WHOLE])
    grouped = {part.column for parts in asked.values() for part in parts}
    target = whole[plan.label].listed()
    found = []
    for name, column in whole.items():
        if name in plan.skipped():
            found.append(ColumnSeen(name, "not read", "left out", 0, 0))
            continue
        parts = [file[name] for file in files.values()]
        distinct = len({value for part in parts for value in part.given()})
        missing = sum(int(part.absent().sum()) for part in parts)
        role = _role(name, plan) + (", group" if name in grouped else "")
        kind = _kind(parts, distinct, as_words=name in _tabular.listed(plan.categories))
        plain = bool(plan.text) or role.startswith(("target", "left", "cluster"))  # of texts every row has its own
        told = "" if plain else _told(column, target, distinct, kind)
        found.append(ColumnSeen(name, kind, role, distinct, missing, told))
    return tuple(found)


def _role(name: str, plan: _tabular.Plan) -> str:
    if name == plan.label:
        return "target"
    if name in _tabular.listed(plan.cluster):
        return "cluster"
    return "input" if plan.seen(name) else "left out"


def _kind(parts: list[Column], distinct: int, *, as_words: bool) -> str:
    rows = sum(len(part) for part in parts)
    if not as_words and all(part.numbers() is not None for part in parts):
        return "numbers"
    if distinct <= _TWO:
        return "yes or no"
    return "texts" if distinct > _OWN * rows else "categories"


def _told(column: Column, target: Column, distinct: int, kind: str) -> str:
    """Return what a reader should look at in a column that is an input."""
    if not distinct:
        return "every value is missing"
    if distinct == 1:
        return "constant"
    if kind == "texts":
        return "nearly every row has a value of its own: a name, or a number of the row? leave it out"
    if _same(column.listed(), target):
        return "it equals the target, by another name: leave it out"
    return "it tells the target without fail: was it known before the target was?" if _tells(column, target) else ""


def _same(column: Column, target: Column) -> bool:
    """Say whether each value goes with one class, and each class with one value."""
    pairs = np.unique(np.stack([column.index, target.index]), axis=1)
    return len(np.unique(column.index)) == len(np.unique(target.index)) == int(pairs.shape[1])


def _tells(column: Column, target: Column) -> bool:
    """Say whether every class has an interval of its own in a column of numbers."""
    numbers = column.numbers()
    if numbers is None or np.isnan(numbers).any():
        return False
    codes = np.unique(target.index)
    ends = sorted((float(numbers[target.index == c].min()), float(numbers[target.index == c].max())) for c in codes)
    return all(high < low for (_, high), (low, _) in zip(ends[:-1], ends[1:], strict=True))
