"""The examples that a candidate harmed most: those whose value moved furthest to the worse, mean over seeds.

Of images, with what each pixel contributes where both models differentiate; of what language models are asked, its
beginning. Of tables and of texts with a class no row is printed, and a question whose answers bring something to look
at by themselves needs no examples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.errors import cut
from whatelse.evidence.cache import Evidence
from whatelse.exhibits.asked import BASELINE, Asked, Candidate
from whatelse.exhibits.pictures import picture, pictured, rounded
from whatelse.findings.exhibits import Exhibit, Maps, Picture
from whatelse.items import Behaviour
from whatelse.tasks.language import CHOICES, GRADED

VERSION, SCOPE = 1, "row"
SHOWN = 4
LETTERS = 400  # of a passage, and of a choice a quarter of them
# Answers of up to so many rows are summed up row by row where no single column is the outcome.
ROWS = 2000


def exhibits(asked: Asked) -> Iterator[Exhibit]:
    """Return one exhibit for every candidate that harmed some example.

    Args:
        asked: A question about test examples that are images or passages.

    Yields:
        Those of the candidates.
    """
    seen = pictured(asked.task) or asked.task.language is not None
    if not asked.of_test or not seen or asked.shows_by_itself():
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
    rows = held[0][1].rows
    place = {i: i if rows is None else int(rows[i]) for i in picks}
    shown = [
        shown_as(place[i], asked, candidate.name, worst[i], _note(asked, place[i], before[:, i], after[:, i]))
        for i in picks
    ]
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

    The outcome that the behaviour says it has; a sum over a passage by its ``units``; or the first of two columns, the
    second being a group. Of more columns it is the summary of the example alone, such as that of an attack by several
    means. Where the rows of an answer are parts of examples, such as tokens, there is none.

    Args:
        answer: What was answered of one model.
        item: The behaviour.
        config: Its settings.
    """
    double = answer.over(answer.matrix().astype(np.float64))
    if item.outcomes is not None and np.isfinite(told := item.outcomes(double, config)[:, 0]).all():
        return torch.from_numpy(told)
    if answer.rows is not None and len(set(answer.rows.tolist())) < len(answer.rows):
        return None
    if "units" in answer.columns:
        return next(column for name, column in double.columns.items() if name != "units") / double.columns["units"]
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
    if task.language is not None:
        return _passage(index, note, before, after)
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


def _passage(index: int, note: str, before: Evidence, after: Evidence) -> Picture:
    """Return a passage: a document, a question with what was right and what was chosen, or both sentences of a pair."""
    task = before.task
    assert task.language is not None
    (passage,), most = task.language.of(task.test.inputs[index : index + 1]), LETTERS // 4
    if task.language.form not in {CHOICES, GRADED}:
        return Picture(note=note, index=index, text=cut(" / ".join(passage.continuations), LETTERS))
    said = [cut(text.strip(), most) for text in passage.continuations]
    chosen = [said[int(one.predictions()[index])] for one in (before, after)]
    truth = said[int(task.test.targets[index])]
    text = cut(passage.context, LETTERS)
    return Picture(note=note, index=index, truth=truth, before=chosen[0], after=chosen[1], text=text)


def _note(asked: Asked, index: int, before: Tensor, after: Tensor) -> str:
    moved = f"{float(before.mean()):.2g} → {float(after.mean()):.2g}"
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
