"""Which group each example belongs to, and rates by group: what the items of this family share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError, nearest
from whatelse.evidence import Evidence

LEFT_OUT = -1


def codes(evidence: Evidence, group: str, least: int, *, atleast: int = 1) -> Tensor:
    """Return the group code of every test example, `LEFT_OUT` where its group is too small, ``(N,)``.

    Groups that are left out are named in a note.

    Args:
        evidence: Its task has the groups, and it takes the note.
        group: Name of the grouping; empty for the task's first.
        least: Examples below which a group is left out.
        atleast: How many groups must remain.

    Raises:
        NotMeasurableError: The task has no such grouping, or too few of its groups are large enough.
    """
    groups = evidence.split("test").groups
    if not groups:
        raise NotMeasurableError(f"needs groups; task {evidence.task.name} has none")
    group = group or next(iter(groups))
    if group not in groups:
        raise NotMeasurableError(f"needs the grouping {group!r}; {nearest(group, groups)}")
    found = groups[group].clone()
    sizes = found[found >= 0].bincount()
    small = [code for code, size in enumerate(sizes.tolist()) if 0 < size < least]
    if small:
        parts = ", ".join(f"{name(evidence, group, code)} ({int(sizes[code])})" for code in small)
        evidence.note(f"left out as smaller than {least} examples: {parts}")
    remaining = int((sizes > 0).sum()) - len(small)
    if remaining < atleast:
        raise NotMeasurableError(f"needs {atleast} or more groups of {least} examples; {group} has {remaining}")
    found[torch.isin(found, torch.tensor(small, dtype=found.dtype))] = LEFT_OUT
    return found


def name(evidence: Evidence, group: str, code: int) -> str:
    """Return the name of a group as the task has it, or its code where it has none.

    Args:
        evidence: Its task has the names.
        group: Name of the grouping; empty for the task's first.
        code: Code of the group.
    """
    known = evidence.task.group_names.get(group or next(iter(evidence.split("test").groups)), ())
    return known[code] if code < len(known) else str(code)


def members(code: np.ndarray) -> np.ndarray:
    """Return whether each example belongs to each group that occurs, one-hot ``(N, groups)``, by rising code.

    Args:
        code: Group of each example, ``(N,)``; those below zero belong to none.
    """
    one_hot: np.ndarray = (code[:, None] == np.unique(code[code >= 0])).astype(np.float64)
    return one_hot


def rates(outcome: np.ndarray, member: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean outcome of every group in every resample, ``(draws, groups)``; NaN where it has no example.

    Args:
        outcome: ``(N,)``.
        member: Whether each example belongs to each group, ``(N, groups)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    size, hits = np.split(counts @ np.concatenate([member, member * outcome[:, None]], 1), 2, axis=1)
    rate: np.ndarray = np.where(size > 0, hits / np.maximum(size, 1), np.nan)
    return rate
