"""What is understood of data: counts that follow from how the data were made, and sizes of closed forms."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import norm

from whatelse import items, opening
from whatelse.auditing.data_check import CHANGED, look
from whatelse.auditing.questions import default, read_questions
from whatelse.tasks.columns import ColumnSeen
from whatelse.tasks.task import Split, Task


def people(count=4000, *, train=True, **more):
    rng = torch.Generator().manual_seed(0)

    def part(n):
        rows = torch.arange(n)
        sex = torch.where(rows % 10 == 0, -1, (rows % 10 < 3).long())
        targets = (rows % 4 == 0).long()
        return Split(torch.rand(n, 3, generator=rng), targets, targets, {"sex": sex})

    splits = {"train": part(count if train else 0), "select": part(400), "test": part(count)}
    splits["calibration"] = splits["train"].take(torch.arange(min(50, len(splits["train"]))))
    names = {"sex": ("m", "f")}
    return Task("people", 2, None, splits, names, ("a", "b", "c"), class_names=("no", "yes"), **more)


@pytest.fixture(scope="module")
def asked():
    return read_questions(default())


def gates(seen):
    return {gate.label: gate for gate in seen.gates}


@pytest.mark.known_answer
def test_classes_and_groups_are_counted(asked):
    seen = look(people(), asked)
    assert seen.splits == {"train": 4000, "calibration": 50, "select": 400, "test": 4000}
    assert {name: sizes["test"] for name, sizes in seen.classes.items()} == {"no": 3000, "yes": 1000}
    told = {(g.grouping, g.name): g.sizes["test"] for g in seen.groups}
    assert told == {("sex", "m"): 2800, ("sex", "f"): 800, ("sex", "missing"): 400}
    assert "400 examples of test lack sex" in seen.hints


@pytest.mark.known_answer
def test_what_can_be_decided_is_the_closed_form(asked):
    found = gates(look(people(), asked))
    reach = norm.ppf(0.95) + norm.ppf(0.95)  # two one-sided tests at 5 %, power .9
    needed = CHANGED * (reach / 0.01) ** 2
    assert found["accuracy"].needed == pytest.approx(needed, abs=1)
    assert (found["accuracy"].can, found["accuracy"].n) == ("no", 4000)
    assert found["accuracy"].within == pytest.approx((CHANGED / 4000) ** 0.5 * reach)
    assert gates(look(people(8000), asked))["accuracy"].can == "yes"
    worst = found["worst group accuracy"]
    assert (worst.part, worst.n, worst.can) == ("sex: missing", 400, "no")
    # Each class counts half: as many as would tell as much, 4 / (1 / 3000 + 1 / 1000).
    assert found["macro accuracy"].n == 3000
    gap = found["accuracy gap"]
    assert gap.n == int(400 * 2800 / 3200)


def test_a_question_that_looks_at_some_examples_has_no_more_of_them(asked):
    asked = replace(asked, measurements=[replace(m, settings={}) for m in asked.measurements])
    found = gates(look(replace(people(), bounds=(0.0, 1.0)), asked))
    config = items.behaviour("robustness.accuracy").configure({})
    assert found["accuracy under attack"].n == config.examples < 4000


def test_what_data_lack_is_said(asked):
    task = people(train=False)
    found = gates(look(task, asked))
    membership = found["membership by loss threshold (AUC, lower bound)"]
    assert (membership.can, "--members" in membership.why) == ("not measurable", True)
    assert "--bounds" in found["accuracy under attack"].why
    bare = replace(task, splits={n: replace(s, groups={}) for n, s in task.splits.items()}, group_names={})
    assert "--groups" in gates(look(bare, asked))["worst group accuracy"].why


def test_persons_are_counted_not_rows(asked):
    task = people()
    owned = replace(task.test, clusters=torch.arange(len(task.test)) // 8)
    seen = look(replace(task, splits={**task.splits, "test": owned}), asked)
    assert seen.clusters == 500
    assert gates(seen)["accuracy"].n == 500


def test_hints_name_what_should_be_looked_at(asked):
    task = people()
    task.test.inputs[:3] = task.train.inputs[:3]
    seen = look(task, asked, [ColumnSeen("id", "texts", "input", 9, 0, "leave it out")])
    assert seen.hints[0] == "column 'id': leave it out"
    assert "3 examples of test stand in train too" in seen.hints
    assert look(opening.load_task("digits"), asked).modality == "images"
