"""What cannot be searched, as a user would ask for it: refused in one line, before any work."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from whatelse.auditing.questions import read_questions
from whatelse.errors import (
    BudgetError,
    RecipeError,
    SettingError,
    StoreError,
    TaskError,
    UnknownItemError,
    WhatElseError,
)
from whatelse.gate import budgets as owners
from whatelse.searching.driver import search

BITS = "quantize.uniform(bits=[8, 5, 4])"
QUESTIONS = """name = "few"
title = "Few"
draws = 200
[[rows]]
name = "r"
title = "r"
[[measurements]]
label = "accuracy"
row = "r"
item = "generalization.accuracy"
margin = 0.01
[[measurements]]
label = "latency"
row = "r"
item = "efficiency.latency"
settings = { turns = 3 }
margin = 0.01
"""


def budgets(**most):
    lines = [f'[[budgets]]\nlabel = "{label.replace("_", " ")}"\nmost = {value}\n' for label, value in most.items()]
    return owners.parse("".join(lines), "mine.toml")


def tried(model, task, kept=None, **given):
    few = {"strategy": "uniform", "choices": [BITS], "trials": 2, "asked": read_questions(QUESTIONS, "questions.toml")}
    return search(model, task, budgets(accuracy=0.05) if kept is None else kept, **(few | given))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"strategy": "random(misses=0)"}, SettingError, "search random: misses=0 is outside"),
        ({"strategy": "random("}, RecipeError, "never closed"),
        ({"trials": -1}, SettingError, "trials=-1"),
        ({"minutes": -1.0}, SettingError, "minutes=-1"),
        ({"then": "quantize.uniform()"}, RecipeError, r"quantize.uniform\(\) does not train; give methods of train or"),
        ({"choices": ["quantize.uniform(bits=[99])"]}, SettingError, r"bits=99 is outside \[2, 8\]"),
        ({"choices": ["quantize.unifrm()"]}, UnknownItemError, "did you mean quantize.uniform"),
        ({"choices": ["quantize.uniform(bits=[])"]}, RecipeError, r"bits=\[\] stands for nothing"),
        ({"choices": ["quantize.uniform() > decompose.svd()"]}, RecipeError, "put decompose.svd before quantize"),
        ({"choices": [BITS, "train.finetune()"]}, RecipeError, "train.finetune.* does not go by a layer's weights"),
        ({"choices": []}, SettingError, "the space is empty"),
        ({"choices": ["decompose.tucker()"]}, SettingError, "the space is empty: .*no ungrouped convolution"),
        (
            {"kept": budgets(accuracy=0.0)},
            BudgetError,
            r"900 examples of test cannot show .*\(no number of examples is",
        ),
        ({"kept": budgets(accuracy=0.001)}, BudgetError, "900 examples of test cannot show .*about 2995 are needed"),
        ({"kept": budgets(acuracy=0.1)}, BudgetError, r"budgets\[0\].label: 'acuracy'; did you mean accuracy"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(model, task, given, error, message):
    with pytest.raises(error, match=message) as told:
        tried(model, task, **given)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("short", ["select", "test"])
def test_a_split_too_small_is_refused_with_the_number_that_it_takes(model, task, short):
    few = replace(task, splits={**task.splits, short: task.splits[short].take(torch.arange(40))})
    with pytest.raises(BudgetError, match=f"40 examples of {short} cannot show .*about [0-9,]+ are needed"):
        tried(model, few)


def test_a_budget_of_no_counted_examples_below_its_noise_is_refused_in_words(model, task):
    # Measured once more it is worse or, by chance, better: the next time it is worse as likely.
    with pytest.raises(BudgetError, match="latency: the baseline itself, measured once more") as told:
        tried(model, task, budgets(latency=1e-6))
    assert "None" not in str(told.value)


def test_scores_in_a_file_are_refused(task, tmp_path):
    np.savez(tmp_path / "scores.npz", logits=np.eye(3, dtype="float32")[task.test.targets])
    with pytest.raises(WhatElseError, match="no torch module|only has recorded scores"):
        tried(str(tmp_path / "scores.npz"), task)


def test_a_folder_with_other_files_is_left_as_it_is(model, task, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        tried(model, task, out=tmp_path)
    assert [place.name for place in tmp_path.iterdir()] == ["notes.txt"]


def test_classes_in_another_order_are_refused_before_work(model, task):
    class Turned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, inputs):
            return self.inner(inputs)[:, [1, 2, 0]]

    with pytest.raises(TaskError, match="class order"):
        search(
            Turned().eval(),
            task,
            owners.parse('[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.05\n'),
            trials=2,
        )


def test_where_examples_lie_in_clusters_the_bound_of_no_change_refuses_nothing(model, task):
    """It is that of a whole cluster that never changed: a few changes, spread over all, may be shown to be few."""
    codes = {name: torch.arange(len(split)) // 50 for name, split in task.splits.items()}
    clustered = replace(task, splits={name: replace(s, clusters=codes[name]) for name, s in task.splits.items()})
    assert tried(model, clustered, budgets(accuracy=0.03)).record.trials
