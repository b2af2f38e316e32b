"""From two models to the gate: the default questions and budgets on data of which it is known who was harmed."""

import json
import tomllib

import numpy as np
import pytest
import torch
from torch import nn

from whatelse.auditing import questions as asking
from whatelse.auditing.questions import read_questions
from whatelse.findings import codec
from whatelse.findings.record import parse
from whatelse.gate import _words as words
from whatelse.gate import budgets as owners
from whatelse.gate.decide import decide
from whatelse.study import audit as audits
from whatelse.tasks.task import Split, Task

GATED = ("generalization.accuracy", "generalization.macro_accuracy", "fairness.worst_group")
N = 3000


def questions(*more):
    """Those of the default questions that are about accuracy and gated, with fewer resamples; and what more is told."""
    table = tomllib.loads(asking.default())
    kept = [m for m in table["measurements"] if m["item"] in GATED]
    kept += [{"row": "fairness", "item": item, "label": item, "margin": 0.02} for item in more]
    lines = ['name = "few"\ntitle = "Few"\ndraws = 200\n']
    lines += [f'[[rows]]\nname = "{row}"\ntitle = "{row}"\n' for row in dict.fromkeys(m["row"] for m in kept)]
    for m in kept:
        given = ", ".join(f'{k} = "{v}"' for k, v in m.pop("settings", {}).items())
        lines.append("[[measurements]]\n" + (f"settings = {{ {given} }}\n" if given else ""))
        lines += [f"{k} = {json.dumps(v)}\n" for k, v in m.items()]
    return read_questions("".join(lines), "few.toml")


class Lookup(nn.Module):
    """Answers by the number of the example, in a column of its own."""

    def __init__(self, said, classes, dtype=torch.float32):
        super().__init__()
        self.register_buffer("scores", 4 * nn.functional.one_hot(said, classes).to(dtype))

    def forward(self, x):
        return self.scores[x.flatten(1)[:, 0].long().clamp(0, len(self.scores) - 1)]


def ruled(targets, groups, hit, *, classes=2, shape=(1,), clusters=None, train=None, budgets="", more=(), asked=None):
    """The ruling on a model that answers those who are hit wrong and is right otherwise, as is the baseline."""
    targets = torch.as_tensor(targets)
    codes = {name: torch.as_tensor(code) for name, code in groups.items()}
    x = torch.zeros(len(targets), *shape)
    x.flatten(1)[:, 0] = torch.arange(len(targets))
    test = Split(x, targets, targets, codes, clusters=clusters)
    other = Split(x, targets, targets, codes if train is None else {n: torch.as_tensor(c) for n, c in train.items()})
    task = Task("few", classes, None, {"train": other, "calibration": other, "select": other, "test": test})
    wrong = torch.where(torch.as_tensor(hit), (targets + 1) % classes, targets)
    found = audits.audit(Lookup(targets, classes), {"small": Lookup(wrong, classes)}, task, asked or questions(*more))
    read = parse(json.loads(codec.dumps(found)))
    gate = decide(owners.parse(budgets or owners.default()), read)
    return gate.verdict, {f"{a.question.place.label}: {a.question.group}": a for a in gate.rulings[0].answers}, found


def drawn(n=N, classes=2, seed=0):
    return np.random.default_rng(seed).integers(0, classes, n)


@pytest.mark.known_answer
@pytest.mark.parametrize("shape", [(1,), (3, 4, 4)])
@pytest.mark.parametrize(("few", "verdict"), [(12, "NO-GO"), (3, "INCONCLUSIVE")])
def test_a_small_group_that_is_lost_is_never_a_go(few, verdict, shape):
    style = np.where(np.arange(N) < few, 2, drawn(seed=1))
    got, answers, _ = ruled(drawn(), {"style": style}, style == 2, shape=shape)
    mine = answers["worst group accuracy: style 2"]
    assert (got, mine.question.n) == (verdict, few)
    assert mine.why == f"{few} examples: {few} lost, none gained"
    assert answers["accuracy: "].decision == "within"


@pytest.mark.known_answer
def test_a_small_group_that_keeps_everything_is_named_and_cannot_be_told():
    style = np.where(np.arange(N) < 25, 2, drawn(seed=1))
    told = ("fairness.gap", "fairness.group", "fairness.flip_share", "fairness.group_calibration")
    verdict, answers, found = ruled(drawn(), {"style": style}, np.zeros(N, bool), more=told)
    assert verdict == "INCONCLUSIVE"
    assert answers["worst group accuracy: style 2"].settle == "about 149 examples (now 25)"
    for f in found.findings:
        if f.behaviour.startswith("fairness."):
            assert [p.n for p in f.parts.items if p.name.endswith("style 2")] == [25], f.behaviour
    waived = owners.default().replace('groups = ["*"]\ndemanded', 'groups = ["*"]\nleast = 30\ndemanded')
    assert ruled(drawn(), {"style": style}, np.zeros(N, bool), budgets=waived)[0] == "GO"
    assert ruled(drawn(), {"style": style}, style == 2, budgets=waived)[0] == "NO-GO"


@pytest.mark.known_answer
@pytest.mark.parametrize(("few", "verdict"), [(15, "NO-GO"), (4, "INCONCLUSIVE")])
@pytest.mark.parametrize("classes", [3, 10])
def test_a_rare_class_that_is_lost_is_never_a_go(few, verdict, classes):
    targets = np.where(np.arange(N) < few, classes - 1, drawn(classes=classes - 1))
    got, answers, _ = ruled(targets, {}, targets == classes - 1, classes=classes)
    assert got == verdict
    assert answers[f"macro accuracy: class {classes - 1}"].question.n == few
    assert answers["accuracy: "].decision == "within"


@pytest.mark.known_answer
def test_data_without_groups_go():
    verdict, answers, _ = ruled(drawn(classes=3), {}, np.zeros(N, bool), classes=3)
    assert verdict == "GO"
    assert answers["worst group accuracy: "].decision == "not asked"
    assert "needs groups" in answers["worst group accuracy: "].why


@pytest.mark.known_answer
def test_every_grouping_is_asked_and_those_whose_group_is_missing():
    first, second = drawn(seed=1), np.where(np.arange(N) < 12, -1, drawn(seed=2))
    verdict, answers, _ = ruled(drawn(), {"first": first, "second": second}, second == -1)
    assert verdict == "NO-GO"
    assert answers["worst group accuracy: second: second missing"].decision == "exceeded"


@pytest.mark.known_answer
def test_where_every_group_is_small_each_is_asked():
    people = np.arange(N) // 20
    hit = people == 7
    verdict, answers, found = ruled(drawn(), {"person": people}, hit)
    number = answers["worst group accuracy: "]
    assert (number.decision, number.why) == (
        "not asked", "not measurable: 0 of 150 groups are large enough for the number: read the parts",
    )  # fmt: skip
    assert answers["worst group accuracy: person 7"].decision == "exceeded"
    assert verdict == "NO-GO"
    mine = next(f for f in found.findings if f.behaviour == "fairness.worst_group")
    assert (mine.verdict, mine.before, len(mine.parts.items)) == ("not measurable", None, 150)


def test_a_group_and_a_class_that_only_training_data_have_are_named():
    style, train = drawn(seed=1), drawn(classes=4, seed=2)
    verdict, answers, _ = ruled(drawn(), {"style": style}, np.zeros(N, bool), train={"style": train})
    assert verdict == "INCONCLUSIVE"
    for group in (2, 3):
        one = answers[f"worst group accuracy: style {group}"]
        assert (one.decision, one.why, one.question.n) == ("undecided", "no test example", 0)


@pytest.mark.known_answer
def test_clusters_are_counted_as_one():
    """A group of fourteen examples of two people is lost: two may be chance, fourteen would not."""
    style = np.where(np.arange(N) < 14, 2, drawn(seed=1))
    people = torch.as_tensor(np.where(style == 2, np.arange(N) // 7, np.arange(N)))
    verdict, answers, _ = ruled(drawn(), {"style": style}, style == 2, clusters=people)
    assert answers["worst group accuracy: style 2"].decision == "undecided"
    assert verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("seed", range(2))
def test_a_change_at_random_is_no_harm_to_anybody(seed):
    """One answer in two hundred changes, of whomever: no group or class may be called harmed."""
    hit = np.random.default_rng([9, seed]).random(N) < 0.005
    style = np.random.default_rng([8, seed]).choice(6, N, p=[0.5, 0.4, 0.08, 0.01, 0.005, 0.005])
    targets = np.random.default_rng([7, seed]).choice(5, N, p=[0.5, 0.3, 0.18, 0.015, 0.005])
    verdict, answers, _ = ruled(targets, {"style": style}, hit, classes=5)
    assert verdict != "NO-GO"
    assert not any(a.broken for a in answers.values())


def rows_of(*asked):
    """Accuracy as the primary question, and others that are not."""
    told = ['name="few"\ntitle="Few"\ndraws=200\n[[rows]]\nname="r"\ntitle="R"\n']
    for item, label, given in (("generalization.accuracy", "accuracy", "{}"), *asked):
        told.append(f'[[measurements]]\nrow="r"\nitem="{item}"\nlabel="{label}"\nsettings={given}\nmargin=0.02\n')
    return read_questions("".join(told).replace('label="accuracy"\n', 'label="accuracy"\nprimary=true\n'))


@pytest.mark.parametrize(
    "asked",
    [
        [("fairness.group", "rates", '{group="race"}')],
        [("fairness.worst_group", "worst", '{group="race"}')],
        [("fairness.worst_group", "worst of sexes", '{group="sex"}'), ("fairness.worst_group", "w", '{group="race"}')],
        [("generalization.macro_accuracy", "balanced accuracy", "{}")],
    ],
    ids=lambda a: a[-1][1],
)
def test_a_harm_that_stands_in_the_findings_is_never_passed_by(asked):
    """Whatever the measurement is called, and whether it is primary: 20 of one race, and of one class, are lost."""
    targets, race = drawn(classes=3), np.zeros(N, int)
    targets[targets == 2] = 1
    targets[:20], race[:20] = 2, 1
    hit = np.arange(N) < 20
    groups = {"sex": np.arange(N) % 2, "race": race}
    verdict, answers, _ = ruled(targets, groups, hit, classes=3, asked=rows_of(*asked))
    assert verdict == "NO-GO"
    assert any(a.decision == "exceeded" and a.question.n == 20 for a in answers.values())


def test_a_go_without_a_group_or_class_says_so():
    targets = drawn()
    verdict, _, found = ruled(targets, {}, np.zeros(N, bool), asked=rows_of())
    assert verdict == "GO"
    (ruling,) = decide(owners.parse(owners.default()), found).rulings
    assert words.because(ruling).endswith("no group or class was looked at by itself")
