"""The examples that a candidate harmed most: those whose value moved furthest to the worse, mean over seeds.

Of images, with what each pixel contributes where both models differentiate. Of tables and texts no row is printed, and
a question whose answers bring something to look at by themselves needs no examples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.exhibits.asked import BASELINE, Asked, Candidate
from whatelse.exhibits.pictures import picture, pictured, rounded
from whatelse.findings.exhibits import Exhibit, Maps, Picture
from whatelse.items import Behaviour

VERSION, SCOPE = 1, "row"
SHOWN = 4
# Answers of up to so many rows are summed up row by row where no single column is the outcome.
ROWS = 2000


def exhibits(asked: Asked) -> Iterator[Exhibit]:
    """Return one exhibit for every candidate that harmed some example.

    Args:
        asked: A question about test examples that are images.

    Yields:
        Those of the candidates.
    """
    if not asked.of_test or not pictured(asked.task) or asked.shows_by_itself():
        return
    for candidate in asked.candidates:
        made = _exhibit(asked, candidate)
        if made is not None:
            yield made


def _exhibit(asked: Asked, candidate: Candidate) -> Exhibit | None:
    held, item = asked.held(candidate), asked.behaviour
    config = item.configure(asked.measurement.settings)
    sides = [[outcomes(pair[i], item, config) for pair in held] for i in (0, 1)]
    if not held or any(one is None for side in sides for one in side):
        return None
    before, after = (torch.stack([one for one in side if one is not None]) for side in sides)
    sign = -1 if item.better == "higher" else 1
    harm = sign * (after - before)
    order = harm.mean(0).argsort(descending=True, stable=True)
    picks = [i for i in order[:SHOWN].tolist() if harm[:, i].mean() > 0]
    worst = {i: asked.seeds[int(harm[:, i].argmax())] for i in picks}  # the seed under which it shows best
    shown = [shown_as(i, asked, candidate.name, worst[i], _note(asked, i, before, after)) for i in picks]
    items = tuple(one for one in shown if one is not None)
    if not items:
        return None
    return Exhibit(
        row=asked.measurement.row,
        kind="harmed",
        task=asked.task_name,
        candidate=candidate.name,
        title=f"harmed most by {candidate.name}",
        items=items,
    )


def outcomes(answer: Answer, item: Behaviour, config: object) -> Tensor | None:
    """Return one number for each example, ``(N,)``; None where it has none of its own.

    The outcome that the behaviour says it has; or the first of two columns, the second being a group. Of more columns
    it is the summary of the example alone, such as that of an attack by several means.

    Args:
        answer: What was answered of one model.
        item: The behaviour.
        config: Its settings.
    """
    double = answer.over(answer.matrix().astype(np.float64))
    if item.outcomes is not None and np.isfinite(told := item.outcomes(double, config)[:, 0]).all():
        return torch.from_numpy(told)
    if len(answer.columns) <= 2:
        return next(iter(answer.columns.values()))
    rows = [np.eye(1, len(answer), i) for i in range(len(answer))] if len(answer) <= ROWS else []
    with np.errstate(divide="ignore", invalid="ignore"):
        each = [item.summarise(double, config, row)[0] for row in rows]
    return torch.tensor(each) if each and np.isfinite(each).all() else None


def shown_as(index: int, asked: Asked, name: str, seed: int, note: str = "") -> Picture | None:
    """Return an example with what the baseline and a candidate made of it; None where one of them is gone.

    Args:
        index: Its place in the test split.
        asked: Gives the models.
        name: Of the candidate.
        seed: Under which.
        note: What to write below.
    """
    before, after = asked.evidence_of(BASELINE, seed), asked.evidence_of(name, seed)
    if before is None or after is None:
        return None
    task = asked.task
    image, maps = task.test.inputs[index], None
    if all("differentiates" in one.subject.offers for one in (before, after)):
        maps = Maps(*(rounded((image * one.margin_gradient()[index]).sum(0)) for one in (before, after)))
    return Picture(
        image=picture(image, task),
        note=note,
        index=index,
        truth=str(int(task.test.targets[index])),
        before=str(int(before.predictions()[index])),
        after=str(int(after.predictions()[index])),
        maps=maps,
    )


def _note(asked: Asked, index: int, before: Tensor, after: Tensor) -> str:
    moved = f"{float(before[:, index].mean()):.2g} → {float(after[:, index].mean()):.2g}"
    groups = "".join(f"; {name}" for name in groups_of(index, asked))
    return f"{asked.measurement.label}: {moved}, mean of {len(asked.seeds)} seeds{groups}"


def groups_of(index: int, asked: Asked) -> list[str]:
    """Return the groups that an example belongs to and that have a name, not only a number.

    Args:
        index: Its place in the test split.
        asked: Gives the task.
    """
    task = asked.task
    codes = {g: int(task.test.groups[g][index]) for g in task.group_names}
    named = [task.group_names[g][code] for g, code in codes.items() if code >= 0]
    return [name for name in named if not name.isdigit()]
