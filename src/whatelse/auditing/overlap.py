"""Whether what verdicts are given on was seen before: equal inputs in two splits of a task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from whatelse.findings.checks import Overlap
from whatelse.tasks.task import Task

# Which split is looked for in which other, and what it means where it is found there.
_LOOKED = {
    ("test", "train"): "what is said of test is said of members",
    ("test", "calibration"): "what is said of test is said of what compression set its scales by",
    ("test", "select"): "what is said of test is said of what choices were made on",
    ("select", "train"): "what is chosen on select is chosen on members",
}
_PART = 2**22  # numbers that are looked at together


def overlaps(task: Task, name: str) -> list[Overlap]:
    """Return how many examples of test stand in train, calibration and select, and of select in train.

    Inputs are equal where they are the same in the coarser one of the two splits' types of number. A digest of each is
    kept, not the input.

    Args:
        task: Any task.
        name: How its owner calls it.
    """
    found, known = [], dict[tuple[str, torch.dtype], list[bytes]]()

    def digests(split: str, kind: torch.dtype) -> list[bytes]:
        if (split, kind) not in known:
            known[split, kind] = list(_digests(task.split(split).inputs, kind))
        return known[split, kind]

    for (split, within), means in _LOOKED.items():
        mine, others = task.split(split).inputs, task.split(within).inputs
        kind = _coarser(mine.dtype, others.dtype)
        seen = set(digests(within, kind))
        twice = sum(digest in seen for digest in digests(split, kind))
        remark = f"{twice} of {len(mine)} {split} examples stand in {within} too: {means}" if twice else ""
        found.append(Overlap(name, split, within, twice, len(mine), remark))
    return found


def _coarser(one: torch.dtype, two: torch.dtype) -> torch.dtype:
    if one.is_floating_point and two.is_floating_point:
        return max(one, two, key=lambda kind: torch.finfo(kind).eps)
    return torch.promote_types(one, two)


def _digests(inputs: Tensor, kind: torch.dtype) -> Iterator[bytes]:
    for rows in torch.split(inputs, max(1, _PART // max(1, inputs[0].numel()))) if len(inputs) else ():
        flat = rows.flatten(1).to(kind) + 0  # zero has one sign
        for row in flat.contiguous().view(torch.uint8).numpy():
            yield hashlib.blake2b(row.tobytes(), digest_size=16).digest()
