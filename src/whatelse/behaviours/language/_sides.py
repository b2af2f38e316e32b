"""Which documents are on one side of a grouping, and which on the other."""

from __future__ import annotations

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence

_YES = {"1", "true", "yes"}


def inside(evidence: Evidence, group: str, word: str) -> Tensor:
    """Return which documents of test are on the side that a grouping calls 1, true, yes, or by a word, ``(N,)`` bool.

    Args:
        evidence: Of the model.
        group: Name of the grouping.
        word: What those of the side are called, such as ``member``.

    Raises:
        NotMeasurableError: There is no such grouping, or it has one side alone.
    """
    task = evidence.task
    if group not in task.test.groups:
        known = ", ".join(task.test.groups) or "none"
        raise NotMeasurableError(
            f"needs a grouping {group!r} that says which are {word} (--groups); there are: {known}"
        )
    names = task.group_names[group]
    among = torch.tensor([name.strip().lower() in {*_YES, word} for name in names] or [False])
    codes = task.test.groups[group]
    found: Tensor = among[codes.clamp(min=0)] & (codes >= 0)
    if not bool(found.any()) or bool(found.all()):
        raise NotMeasurableError(
            f"needs documents on both sides; {int(found.sum())} of {len(found)} are {word}: {group} has "
            f"{', '.join(names)}, of which 1, true, yes and {word} are"
        )
    return found
