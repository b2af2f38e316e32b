"""A search as a user makes it, on a small network and images that it learned; and whatever cannot be searched."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from whatelse.artifacts import folder
from whatelse.auditing.questions import read_questions
from whatelse.errors import (
    BudgetError,
    RecipeError,
    SettingError,
    StoreError,
    UnknownItemError,
    WhatElseError,
)
from whatelse.gate import budgets as owners
from whatelse.modules import codec
from whatelse.nets import cnn
from whatelse.search import driver, runner
from whatelse.search import trial as trials
from whatelse.tasks.task import Split, Task
from whatelse.training import loop

pytestmark = pytest.mark.slow  # whole searches: not for every save

BITS = ("quantize.uniform(bits=[8, 5, 4, 3, 2])",)
QUESTIONS = """name = "few"
title = "Few"
draws = 500
[[rows]]
name = "r"
title = "r"
"""
ASKED = {
    "accuracy": ("generalization.accuracy", ""),
    "worst group": ("fairness.worst_group", 'settings = { group = "style" }'),
    "calibration": ("generalization.calibration", ""),
    "latency": ("efficiency.latency", "settings = { turns = 3 }"),
    "by owner": ("fairness.worst_group", 'settings = { group = "owner" }'),
}


def questions(*labels):
    lines = [QUESTIONS]
    for label in labels:
        item, given = ASKED[label]
        lines.append(f'[[measurements]]\nlabel = "{label}"\nrow = "r"\nitem = "{item}"\nmargin = 0.01\n{given}\n')
    return read_questions("".join(lines), "questions.toml")


def budgets(**most):
    lines = ['title = "mine"\n']
    for label, value in most.items():
        lines.append(f'[[budgets]]\nlabel = "{label.replace("_", " ")}"\nmost = {value}\n')
    return owners.parse("".join(lines), "mine.toml")


def split(count, seed, noise=0.09):
    rng = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    inputs = 0.5 + noise * torch.randn(count, 1, 8, 8, generator=rng)
    for label, (row, column) in enumerate(((0, 0), (0, 5), (5, 0))):
        inputs[targets == label, 0, row : row + 3, column : column + 3] += 0.12
    return Split(inputs.clamp(0, 1), targets, targets, {"style": torch.arange(count) % 2})


@pytest.fixture(scope="module")
def task():
    splits = {"train": split(150, 0), "calibration": split(60, 1), "select": split(600, 2), "test": split(600, 3)}
    return Task("three", 3, (0.0, 1.0), splits, {"style": ("thin", "bold")})


@pytest.fixture(scope="module")
def model(task):
    rng = torch.Generator().manual_seed(0)
    made = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
    loop.fit(made, task.train.inputs, loop.hard_labels(task.train.targets), loop.Schedule(40, 0.01, 15), rng)
    return made.eval().requires_grad_(requires_grad=False)


@pytest.fixture
def search(model, task):
    def run(kept=None, **given):
        kept = budgets(accuracy=0.03, worst_group=0.06) if kept is None else kept
        given = {
            "strategy": "uniform",
            "choices": BITS,
            "trials": 5,
            "asked": questions("accuracy", "worst group"),
        } | given
        return driver.search(given.pop("model", model), given.pop("task", task), kept, **given)

    return run


def stored(model):
    return sum(t.numel() * t.element_size() for t in codec.encode(model)[0].values())


@pytest.fixture(scope="module")
def found(model, task, tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "small"
    kept, asked = budgets(accuracy=0.03, worst_group=0.06), questions("accuracy", "worst group")
    return out, driver.search(model, task, kept, strategy="uniform", choices=BITS, trials=5, asked=asked, out=out)


@pytest.mark.known_answer
def test_every_trial_is_held_against_the_budgets_as_by_hand(found, model, task):
    record = found[1].record
    assert [trial.number for trial in record.trials] == [1, 2, 3, 4, 5]
    assert record.baseline == stored(model)
    select = task.split("select")
    before = model(select.inputs).argmax(1) == select.targets
    winner = record.trials[record.winner - 1]
    small = folder.load(found[0])
    after = small(select.inputs).argmax(1) == select.targets
    assert winner.harm["accuracy"] == pytest.approx(float(before.double().mean() - after.double().mean()), abs=1e-6)
    by_style = [select.groups["style"] == code for code in range(2)]
    worst = [min(float(right[mine].double().mean()) for mine in by_style) for right in (before, after)]
    assert winner.harm["worst group"] == pytest.approx(worst[0] - worst[1], abs=1e-6)
    assert (winner.value, winner.share) == (stored(small), pytest.approx(stored(small) / stored(model)))


def test_the_answer_is_the_last_that_passes_and_is_proved_on_test(found):
    record = found[1].record
    said = [(one.trial, one.verdict) for one in record.finalists]
    shares = [record.trials[number - 1].share for number, _ in said]
    assert shares == sorted(shares, reverse=True), "from safe to small"
    passed = [number for number, verdict in said if verdict == "GO"]
    assert record.winner == passed[-1]
    assert all(record.trials[number - 1].feasible for number, _ in said)
    assert [one.verdict for one in found[1].findings.findings if one.candidate == "winner"]
    assert record.folder == str(found[0])
    assert any(not trial.feasible for trial in record.trials), "or it was no search"


def test_trials_are_the_same_whatever_test_holds(found, search, task):
    other = replace(task, splits={**task.splits, "test": split(600, 99, noise=0.2)})
    again = search(task=other).record
    for one, two in zip(found[1].record.trials, again.trials, strict=True):
        assert (one.recipe, one.value, one.harm, one.feasible) == (two.recipe, two.value, two.harm, two.feasible)
        # Resamples are told apart by the data.
        assert one.over == pytest.approx(two.over, abs=0.15)
    for one, two in zip(found[1].record.finalists, again.finalists, strict=True):
        assert (one.trial, one.harm) != (two.trial, two.harm), "or the two tests do not differ"


def given():
    """What a text names: objects have no name that a second search would know them by."""
    splits = {"train": split(60, 0), "calibration": split(60, 1), "select": split(600, 2), "test": split(600, 3)}
    return Task("three", 3, (0.0, 1.0), splits, {"style": ("thin", "bold")})


def test_a_search_that_goes_on_finds_its_trials_done(model, search, tmp_path, monkeypatch):
    folder.save(model, tmp_path / "model")
    named = {
        "model": str(tmp_path / "model"),
        "task": f"{__file__}:given",
        "results": tmp_path / "kept",
        "on": "inline",
    }
    named["choices"] = ["quantize.uniform(bits=[3, 2])"]
    first = search(trials=1, **named).record
    began = []
    whole = trials.work_on
    monkeypatch.setattr(runner, "work_on", lambda asked, *rest: began.append(len(asked)) or whole(asked, *rest))
    assert search(trials=1, **named).record.trials == first.trials
    assert began == []
    more = search(trials=2, **named).record
    assert began == [1]
    assert more.trials[:1] == first.trials


def test_where_nothing_is_feasible_the_nearest_is_named(search):
    record = search(choices=["quantize.uniform(bits=[3, 2])"]).record
    assert (record.winner, record.finalists) == (0, ())
    worst = {t.number: max(t.over.values()) for t in record.trials}
    assert record.nearest == min(worst, key=worst.get)
    assert record.trials[record.nearest - 1].binding in worst or record.trials[record.nearest - 1].binding


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"strategy": "unifrm"}, UnknownItemError, "did you mean uniform"),
        ({"strategy": "random(misses=0)"}, SettingError, "search random: misses=0 is outside"),
        ({"strategy": "random("}, RecipeError, "never closed"),
        ({"minimize": "byte"}, SettingError, "--minimize 'byte'; did you mean bytes"),
        ({"trials": 0}, SettingError, "trials=0.*minutes=0; one of them above 0 is needed"),
        ({"trials": -1}, SettingError, "trials=-1"),
        ({"minutes": -1.0}, SettingError, "minutes=-1"),
        ({"then": "train.finetun()"}, UnknownItemError, "did you mean train.finetune"),
        ({"then": "quantize.uniform()"}, RecipeError, "does not train"),
        ({"choices": ["quantize.uniform(bits=[99])"]}, SettingError, r"bits=99 is outside \[2, 8\]"),
        ({"choices": ["quantize.unifrm()"]}, UnknownItemError, "did you mean quantize.uniform"),
        ({"choices": ["quantize.uniform("]}, RecipeError, "never closed"),
        ({"choices": ["quantize.uniform(bits=[])"]}, RecipeError, r"bits=\[\] stands for nothing"),
        ({"choices": [*BITS, "train.finetune()"]}, RecipeError, "train.finetune.* does not go by a layer's weights"),
        ({"choices": ["prune.magnitude(sparsity=0.0)"]}, SettingError, "the space is empty: no layer of this model"),
        ({"choices": []}, SettingError, "the space is empty"),
        ({"on": "clouds"}, WhatElseError, "clouds"),
        ({"kept": budgets(accuracy=0.0)}, BudgetError, r"accuracy: 600 examples of test cannot show .*\(no number of"),
        (
            {"kept": budgets(accuracy=0.001)},
            BudgetError,
            "accuracy: 600 examples of test .*about 2995 are needed",
        ),
        ({"kept": budgets(worst_grop=0.1)}, BudgetError, r"budgets\[0\].label: 'worst grop'.*did you mean worst group"),
        ({"kept": budgets(by_owner=0.1), "asked": questions("by owner")}, WhatElseError, "owner"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(search, given, error, message):
    with pytest.raises(error, match=message) as told:
        search(**given)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("short", ["select", "test"])
def test_a_split_too_small_is_refused_with_the_number_that_it_takes(search, task, short):
    few = replace(task, splits={**task.splits, short: split(60, 7)})
    with pytest.raises(BudgetError, match=f"60 examples of {short} cannot show .*about [0-9,]+ are needed"):
        search(budgets(accuracy=0.03), task=few, asked=questions("accuracy"))


def test_a_baseline_that_breaks_its_own_budget_is_refused_with_its_noise(search):
    kept = budgets(latency=1e-6)
    # Measured once more it is worse or, by chance, better: then it is not shown to keep the budget.
    with pytest.raises(
        BudgetError, match="latency: (the baseline itself, measured once more|on test not even)"
    ) as told:
        search(kept, asked=questions("latency"))
    assert "None" not in str(told.value)


def test_a_model_that_is_no_module_is_refused(search, task, tmp_path):
    logits = np.eye(3, dtype="float32")[task.test.targets]
    np.savez(tmp_path / "scores.npz", logits=logits)
    with pytest.raises(WhatElseError, match="no torch module|only has recorded scores"):
        search(model=str(tmp_path / "scores.npz"))


def test_a_folder_that_is_there_is_not_written_over(search, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="mine"):
        search(out=tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    assert [place.name for place in (tmp_path / "mine").iterdir()] == ["notes.txt"]
