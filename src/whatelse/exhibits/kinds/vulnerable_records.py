"""Records by how exposed they are to a membership attack, and whom compression exposed more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from whatelse.exhibits.asked import Asked
from whatelse.exhibits.pictures import picture
from whatelse.findings.exhibits import Exhibit, Picture
from whatelse.tasks.task import Task

VERSION, SCOPE = 1, "row"
SHOWN = 8


def exposure(values: Tensor) -> Tensor:
    """Return the exposure of every member, in [0, 1], ``(members,)``: the share of non-members with a lower score.

    A member of exposure .99 is found by an attacker who accuses one non-member in a hundred. Ties count half.

    Args:
        values: Score of a membership attack, and 1 for a member or 0 for a non-member, ``(P, 2)``.
    """
    score, member = values[:, 0], values[:, 1] > 0.5
    others = score[~member].sort().values
    below, upto = (torch.searchsorted(others, score[member].contiguous(), right=r) for r in (False, True))
    return (below + upto) / (2 * max(1, len(others)))


def exhibits(asked: Asked) -> Iterator[Exhibit]:
    """Return for every candidate the members that it exposes more than its control does, and those it exposes most.

    Exposures are averaged over seeds, as every seed attacks the same members. Records are named by their row in train;
    of images the picture is shown, of tables and texts nothing.

    Args:
        asked: A question about membership: its parts are operating points, its values the score of an attack, and 1
            for a member or 0 for a non-member.

    Yields:
        Two of every candidate.
    """
    if asked.behaviour.part != "operating point":
        return
    for candidate in asked.candidates:
        held = asked.held(candidate)
        if held:
            before, after = ([torch.from_numpy(pair[i].matrix()) for pair in held] for i in (0, 1))
            yield from compared(before, after, asked, candidate.name)


def compared(before: Sequence[Tensor], after: Sequence[Tensor], asked: Asked, candidate: str) -> list[Exhibit]:
    """Return both exhibits of one candidate.

    Args:
        before: Values of the control, one a seed, ``(P, 2)``.
        after: Values of the candidate, likewise.
        asked: Gives the task, whose train split holds the members.
        candidate: Name of the candidate.
    """
    old, new = (torch.stack([exposure(v) for v in side]).mean(0) for side in (before, after))
    change = new - old
    members = (after[0][:, 1] > 0.5).nonzero().flatten()  # records are train, row by row, then others
    more = int((change > 0).sum())
    titles = {
        f"exposed more: {more} of {len(change)} members, by {float(change.mean()):+.3f} on average": change,
        "most exposed members": new,
    }
    return [
        Exhibit(
            row=asked.measurement.row,
            kind="exposed",
            task=asked.task_name,
            candidate=candidate,
            title=title,
            items=tuple(_item(i, int(members[i]), old, new, asked.task, len(before)) for i in _first(order)),
        )
        for title, order in titles.items()
    ]


def _first(order: Tensor) -> list[int]:
    picks: list[int] = order.argsort(descending=True, stable=True)[:SHOWN].tolist()
    return picks


def _item(place: int, index: int, old: Tensor, new: Tensor, task: Task, seeds: int) -> Picture:
    over = f", mean of {seeds} seeds" if seeds > 1 else ""
    return Picture(
        image=picture(task.train.inputs[index], task),
        note=f"exposure {float(old[place]):.2f} → {float(new[place]):.2f}{over}",
        index=index,
        truth=str(int(task.train.observed[index])),
    )
