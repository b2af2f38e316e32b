"""Searches on language models: what they answer is predicted, measured, confirmed and written."""

import importlib.util
import json
import random
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import whatelse
from whatelse import opening
from whatelse.errors import BudgetError, SettingError, TaskError
from whatelse.gate import budgets as owners
from whatelse.modules.walk import copied, place
from whatelse.searching import driver
from whatelse.searching.answers import AnswersJudge, looked_at
from whatelse.searching.gauge import REACHED, over
from whatelse.searching.sensitivity import sensitivities

pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parents[1] / "subjects" / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)

BUDGETS = """
title = "language"
[[budgets]]
label = "negative log-likelihood a byte"
most = 0.05
[[budgets]]
label = "KL divergence a token"
most = 0.05
"""
CHOICES = ("quantize.uniform(bits=[8, 4, 2], activation_bits=32)",)
TEXT = "once upon a time there was small dog and it ran home to its friend the cat sat on mat sun"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("search"), random.Random(0)
    lines = [" ".join(draw.choices(TEXT.split(), k=24)) for _ in range(60)]
    (folder / "docs.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in lines), "utf-8")
    (folder / "seen.jsonl").write_text("".join(f'{{"text": "{line[::-1]}"}}\n' for line in lines), "utf-8")
    with warnings.catch_warnings(action="ignore"):
        language.random(folder / "base", num_hidden_layers=2)
    return folder


def data(files, select=0.5, calibration=True):
    seen = f", calibration='{files / 'seen.jsonl'}', windows=8, window=16" if calibration else ""
    return f"language(path='{files / 'docs.jsonl'}', select={select}{seen})"


def searched(files, **how):
    given = {"trials": 6, "choices": CHOICES, "on": "inline"} | how
    with warnings.catch_warnings(action="ignore"):
        budgets = owners.parse(given.pop("budgets", BUDGETS))
        return whatelse.search(str(files / "base"), given.pop("data", data(files)), budgets, **given)


@pytest.fixture(scope="module")
def problem(files):
    """What a search hands its strategy."""
    seen = {}

    def start(problem, config, rng):
        seen["problem"] = problem
        raise SettingError("enough")

    kept = driver._proposing
    driver._proposing = lambda text: (replace(kept(text)[0], start=start), *kept(text)[1:])
    try:
        with pytest.raises(SettingError, match="enough"):
            searched(files)
    finally:
        driver._proposing = kept
    return seen["problem"]


@pytest.mark.known_answer
def test_what_is_predicted_of_a_model_that_was_asked_is_what_a_plain_sum_says(problem):
    judge, layer = problem.judge, problem.space.axes[0]
    assert isinstance(judge, AnswersJudge)
    base = judge.ask(problem.model)
    changed = judge.ask(place(copied(problem.model), layer.name, problem.parts[0, len(layer.options) - 1]))
    n = len(judge.rows)
    loss, units = base[: 2 * n].reshape(n, 2).T
    after = changed[: 2 * n].reshape(n, 2)[:, 0]
    moved = float((after.sum() - loss.sum()) / units.sum())
    draws = judge._weights[1:]
    each = (draws @ (after - loss).numpy()) / (draws @ units.numpy())
    upper = moved + REACHED * float(np.std(each)) / judge._stands_for**0.5
    told = over(judge._held[0].question, moved, upper, *judge._sizes[0])
    assert judge.over([changed])[0, 0] == pytest.approx(told, rel=1e-4)
    assert (judge.over([base])[0] <= 0).all()


def test_options_that_another_outdoes_are_not_run_and_all_others_are_exact(problem):
    base, moves = problem.judge.ask(problem.model), sensitivities(problem)
    for at, axis in enumerate(problem.space.axes[:3]):
        assert not moves[at][0].any()
        assert any(one is not None for one in moves[at][1:])
        for option, moved in enumerate(moves[at][1:], 1):
            if moved is not None:
                said = problem.judge.ask(place(copied(problem.model), axis.name, problem.parts[at, option]))
                assert torch.equal(said - base, moved)


def test_only_what_is_plainly_counted_is_refused_for_too_few_examples(problem):
    assert not problem.judge.counts.any()


def test_so_much_text_is_looked_at_and_no_more(files):
    with warnings.catch_warnings(action="ignore"):
        task = opening.load_task(data(files)).on("select")
    order = torch.arange(len(task.test)).flip(0)
    assert torch.equal(looked_at(task, order), order.sort().values)  # all of it is short


@pytest.fixture(scope="module")
def found(files, tmp_path_factory):
    place = tmp_path_factory.mktemp("found") / "small"
    return searched(files, out=place), place


def test_a_search_confirms_and_writes_a_model_whose_audit_agrees(found):
    small, place = found
    record = small.record
    assert record.winner
    best = record.trial(record.winner)
    assert best.share < 0.9  # most of so small a model is its table of tokens, which nothing treats
    assert set(best.harm) == {"negative log-likelihood a byte", "KL divergence a token"}
    assert (place / "model.safetensors").exists()
    told = {f.label: f for f in small.findings.findings if f.candidate == "winner"}
    confirmed = next(f.harm["KL divergence a token"] for f in record.finalists if f.trial == record.winner)
    assert told["KL divergence a token"].effect == pytest.approx(confirmed, abs=1e-6)


def test_predictions_are_near_what_is_measured(found):
    remark = next(one for one in found[0].record.remarks if one.startswith("median error"))
    assert all(float(part.rpartition(" ")[2]) < 0.5 for part in remark.partition("budget: ")[2].split(", "))


def test_other_strategies_search_as_well_and_alike_each_time(files):
    one, two = (searched(files, strategy="random", trials=2).record for _ in range(2))
    assert [(t.recipe, t.harm) for t in one.trials] == [(t.recipe, t.harm) for t in two.trials]


def test_blocks_of_a_language_model_may_go(files):
    loose = BUDGETS.replace("most = 0.05", "most = 3")
    record = searched(files, space=["depth"], then="train.finetune(epochs=1, batch=4)", trials=2, budgets=loose).record
    blocks = ["lm.model.layers.0", "lm.model.layers.1"]
    gone = {f"prune.depth(layers='{names}')" for names in (*blocks, "; ".join(blocks))}
    assert {t.recipe.partition(" >")[0] for t in record.trials} <= gone
    assert not any(t.why for t in record.trials)


def test_of_choices_it_is_predicted_how_likely_each_is(files):
    draw = random.Random(1)
    rows = []
    for at in range(300):
        choices = [" ".join(draw.choices(TEXT.split(), k=3)) for _ in range(2 + at % 2)]
        rows.append({"question": " ".join(draw.choices(TEXT.split(), k=3)), "choices": choices, "answer": at % 2})
    path = files / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    items = f"language(path='{path}', select=0.5, calibration='{files / 'seen.jsonl'}', windows=8, window=16)"
    budgets = 'title = "c"\n[[budgets]]\nlabel = "negative log-likelihood of the right choice"\nmost = 0.3\n'
    record = searched(files, data=items, budgets=budgets, trials=5).record
    assert all(not t.why and t.share < 1 for t in record.trials)
    assert record.winner
    remark = next(one for one in record.remarks if one.startswith("median error"))
    assert float(remark.rpartition(" ")[2]) < 0.3


@pytest.mark.parametrize("strategy", ["evolve", "reinforce"])
def test_strategies_of_class_scores_are_refused(files, strategy):
    with pytest.raises(SettingError, match="a language model has none; use descend"):
        searched(files, strategy=strategy)


def test_data_without_select_are_refused_in_a_line(files):
    with pytest.raises(TaskError, match="select has no examples.*select=0.4"):
        searched(files, data=data(files, select=0.0))


def test_text_to_calibrate_on_is_asked_for(files):
    with pytest.raises(TaskError, match="no text to calibrate on"):
        searched(files, data=data(files, calibration=False))


def test_a_budget_on_another_form_of_data_is_refused(files):
    with pytest.raises(BudgetError, match="accuracy"):
        searched(files, budgets=BUDGETS.replace("KL divergence a token", "accuracy of choices"))
