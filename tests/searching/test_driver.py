import json
import math
from dataclasses import replace

import pytest
import torch

import whatelse
from whatelse import items
from whatelse.auditing.questions import default, read_questions, settled
from whatelse.errors import BudgetError, RecipeError, SettingError, StoreError, TaskError, UnknownItemError
from whatelse.gate import budgets as owners
from whatelse.gate.decide import decide
from whatelse.searching.confirm import LEAST
from whatelse.searching.driver import search

pytestmark = pytest.mark.slow  # whole searches: not for every save

ACCEPTED = """
[[budgets]]
behaviour = "generalization.accuracy"
most = 0.05
[[budgets]]
label = "harmed (right before, wrong after)"
most = 0.08
"""
FEW = ("quantize.uniform(bits=[8, 4, 2], activation_bits=32)", "decompose.svd(rank=0.25)")


def asked():
    """The questions of an audit that cost next to nothing."""
    every = read_questions(default())
    costly = ("attribution.", "robustness.", "leakage.", "mechanism.", "membership.")
    return settled(replace(every, measurements=[m for m in every.measurements if not m.item.startswith(costly)]))


@pytest.fixture
def budgets():
    return owners.parse(ACCEPTED)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def found(model, task, kept):
    return search(model, task, owners.parse(ACCEPTED), choices=FEW, trials=8, asked=asked(), results=kept)


def test_it_ends_in_a_smaller_model_that_keeps_every_budget_on_test(found, model, task, budgets):
    record = found.record
    winner = record.trial(record.winner)
    assert winner.share < 0.5
    assert winner.chance >= LEAST  # it need not be sure on select: what is confirmed is confirmed
    findings = whatelse.audit(model, {"winner": found.model}, task, asked())
    assert decide(budgets, findings).verdict == "GO"
    assert decide(budgets, found.findings).verdict == "GO"


def test_trials_are_what_an_independent_count_says(found, model, task):
    with torch.no_grad():
        before = model(task.split("select").inputs).argmax(1)
    targets = task.split("select").targets
    trial = found.record.trials[0]
    made = whatelse.compress(model, trial.recipe, task).model
    with torch.no_grad():
        after = made(task.split("select").inputs).argmax(1)
    right, still = before == targets, after == targets
    assert trial.harm["accuracy"] == pytest.approx(float(right.double().mean() - still.double().mean()))
    assert trial.harm["harmed (right before, wrong after)"] == pytest.approx(float((right & ~still).double().mean()))


def test_a_second_search_finds_all_done_and_the_seed_decides(found, model, task, budgets, tmp_path):
    whatelse.save(model, tmp_path / "model")
    told = {"choices": FEW, "trials": 8, "asked": asked(), "results": tmp_path / "results", "on": "inline"}
    first, again = (search(str(tmp_path / "model"), task, budgets, **told) for _ in range(2))
    for other in (first, again):
        assert [t.recipe for t in other.record.trials] == [t.recipe for t in found.record.trials]
        assert [t.over for t in other.record.trials] == [t.over for t in found.record.trials]
        assert other.record.winner == found.record.winner
    assert first.record.seconds["measuring"]
    assert first.record.seconds["planning"]
    assert not again.record.seconds["measuring"]
    assert [t.seconds for t in again.record.trials] == [t.seconds for t in first.record.trials]


def test_the_search_never_reads_test(model, task, budgets, found):
    # Other examples of test change the confirmation and no trial.
    flipped = task.splits["test"].take(torch.arange(len(task.test)).flip(0))
    other = whatelse.Task("other", 3, task.bounds, {**task.splits, "test": flipped}, task.group_names)
    record = search(model, other, budgets, choices=FEW, trials=8, asked=asked()).record
    assert [(t.recipe, t.over) for t in record.trials] == [(t.recipe, t.over) for t in found.record.trials]


def test_the_winner_is_written_as_compress_writes_it(model, task, budgets, kept, tmp_path):
    out = tmp_path / "small"
    found = search(model, task, budgets, choices=FEW, trials=8, asked=asked(), results=kept, out=out)
    back = whatelse.load(out)
    with torch.no_grad():
        assert torch.equal(back(task.test.inputs), found.model(task.test.inputs))
    record = json.loads((out / "whatelse.json").read_text("utf-8")) if (out / "whatelse.json").exists() else None
    assert found.record.folder == str(out)
    assert record is None or record["recipe"] == found.record.trial(found.record.winner).recipe


def test_the_record_is_read_back(found, tmp_path):
    from whatelse.findings.searched import load

    path = tmp_path / "search.json"
    path.write_text(found.record.to_json(), "utf-8")
    assert load(path) == found.record


@pytest.mark.parametrize("strategy", ["random", "uniform"])
def test_controls_search_the_same_space(model, task, budgets, strategy):
    record = search(model, task, budgets, strategy=strategy, choices=FEW, trials=4, asked=asked()).record
    assert len(record.trials) == 4
    assert record.strategy == f"{strategy}()"


def test_where_nothing_is_feasible_the_nearest_is_named(model, task):
    tight = owners.parse('[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.02\n')
    rough = ("quantize.uniform(bits=2, grid='tensor')",)
    found = search(model, task, tight, choices=rough, strategy="uniform", asked=asked())
    record = found.record
    assert (found.model, found.findings, record.winner) == (None, None, 0)
    nearest = record.trial(record.nearest)
    assert nearest.over[nearest.binding] == min(max(t.over.values()) for t in record.trials)
    assert nearest.over[nearest.binding] > 0


@pytest.mark.parametrize("strategy", ["descend", "uniform"])
def test_widths_and_recipes_for_the_whole_model_are_searched(model, task, budgets, strategy):
    space = ("widths", "prune.magnitude(sparsity=[0.3, 0.6])")
    how = {"space": space, "strategy": strategy, "trials": 4, "minimize": "parameters", "asked": asked()}
    record = search(model, task, budgets, **how).record
    assert "choices: 1 of the whole model, " in record.space
    smaller = [t for t in record.trials if t.share is not None and t.share < 1]
    assert {step.split("(")[0] for t in smaller for step in t.recipe.split(" > ")} >= {"prune.widths"}
    for trial in smaller[:2]:
        made = whatelse.compress(model, trial.recipe, task).model
        assert trial.value == sum(int((p != 0).sum()) for p in made.parameters())


def test_costly_measurements_end_once_they_are_clear(model, task, monkeypatch):
    from whatelse.auditing import sequential

    looked, whole = [], sequential.effects

    def watched(m, models, *rest):
        found = whole(m, models, *rest)
        looked.append((m.label, m.margin, {e.on for e in models.values()}, found[0]))
        return found

    monkeypatch.setattr(sequential, "effects", watched)
    every = read_questions(default())
    attack = next(m for m in every.measurements if m.costly)
    attack = replace(attack, settings={**attack.settings, "examples": 200})
    some = settled(replace(every, measurements=[m for m in every.measurements if m.item == "generalization.accuracy"]))
    some = replace(some, measurements=[*some.measurements, attack])
    text = f'[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.05\n[[budgets]]\nlabel = "{attack.label}"\n'
    budgets = owners.parse(f"{text}most = 0.6\n")
    how = {"choices": FEW, "strategy": "uniform", "trials": 2, "asked": some}
    record = search(model, task, budgets, **how, stop=True).record
    assert {name for name, *_ in looked} == {attack.label}
    assert {margin for _, margin, _, _ in looked} == {0.6}
    assert {on for *_, splits, _ in looked for on in splits} == {"select"}
    assert min(contrast.n for *_, contrast in looked) < 200
    measured = [t.harm[attack.label] for t in record.trials if attack.label in t.harm]
    assert len(measured) == len(looked)
    looked.clear()
    search(model, task, budgets, **how)
    assert not looked


def test_after_training_layers_are_packed_and_the_surrogate_goes_on(model, task, budgets):
    record = search(
        model, task, budgets, choices=FEW[:1], then="train.finetune(epochs=1)", trials=3, asked=asked()
    ).record
    assert all("> mixed.layers" in t.recipe and t.recipe.startswith("train.finetune") for t in record.trials)
    assert all(t.share is not None for t in record.trials)


BAD = {
    "no such strategy": ({"strategy": "descent"}, UnknownItemError, "descend"),
    "a wrong setting": ({"strategy": "descend(radius=0)"}, SettingError, "radius=0 is outside"),
    "no end": ({"trials": 0}, SettingError, "one of them above 0"),
    "no such space": ({"space": ("width",)}, SettingError, "did you mean widths"),
    "no such cost": ({"minimize": "byte"}, SettingError, "bytes"),
    "no recipe": ({"choices": ("quantize.uniform(",)}, RecipeError, "never closed"),
    "a choice for all": ({"choices": (FEW[0], "distill.logits()")}, RecipeError, "does not go by a layer"),
    "no smaller": ({"choices": ("prune.magnitude(sparsity=0.0)",)}, SettingError, "the space is empty"),
    "what follows": ({"then": "train.finetun()"}, UnknownItemError, "train.finetune"),
    "no such engine": ({"on": "cluster"}, whatelse.WhatElseError, "no such engine"),
}


@pytest.mark.parametrize(("given", "error", "message"), BAD.values(), ids=BAD)
def test_bad_settings_are_refused_in_one_line(model, task, budgets, given, error, message):
    with pytest.raises(error, match=message) as caught:
        search(model, task, budgets, **given)
    assert "\n" not in str(caught.value)


BUDGETS = {
    "not asked": ('behaviour = "fairness.odds"\nmost = 0.1', "not among the questions"),
    "no such label": ('label = "acuracy"\nmost = 0.1', "did you mean|accuracy"),
    "no such group": (
        'behaviour = "fairness.worst_group"\nmost = 0.1\ngroups = ["up"]',
        "no such group|cannot be asked",
    ),
    "too few": ('behaviour = "generalization.accuracy"\nmost = 0.0001', "900 examples of test cannot show"),
    "select too small": ('behaviour = "generalization.accuracy"\nmost = 0.0051', "500 examples of select cannot show"),
    "not of this data": ('behaviour = "attribution.localization"\nmost = 0.1', "cannot be asked"),
}


@pytest.mark.parametrize(("text", "message"), BUDGETS.values(), ids=BUDGETS)
def test_budgets_that_cannot_be_kept_are_refused_before_work(model, task, text, message):
    with pytest.raises(BudgetError, match=message) as caught:
        search(model, task, owners.parse(f"[[budgets]]\n{text}\n"), trials=2)
    assert "\n" not in str(caught.value)


def test_a_budget_below_the_noise_of_measuring_is_refused(model, task, monkeypatch):
    # Measured again, half of what is right by chance is wrong: the same model moves.
    accuracy = items.behaviour("generalization.accuracy")

    def shaky(base, mine, config, rng):
        found = accuracy.answer(base, mine, config, rng)
        column = next(iter(found.columns))
        off = torch.rand(len(found), generator=rng) < (0.2 if mine.again else 0.0)
        return replace(found, columns={column: found.columns[column] * ~off})

    whole, shaken = items.behaviour, replace(accuracy, answer=shaky)
    monkeypatch.setattr(items, "behaviour", lambda name: shaken if name == accuracy.name else whole(name))
    text = '[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.05\n'
    with pytest.raises(BudgetError, match="the baseline itself, measured once more with other random numbers"):
        search(model, task, owners.parse(text), trials=1)


def test_what_is_no_module_is_refused(task, budgets):
    class Remote:
        def scores(self, inputs):
            return inputs[:, :3]

    with pytest.raises(TaskError, match="no torch module"):
        search(Remote(), task, budgets, trials=1)


def test_a_folder_that_is_taken_is_refused_before_work(model, task, budgets, tmp_path):
    (tmp_path / "there").write_text("x")
    with pytest.raises(StoreError, match="is there already"):
        search(model, task, budgets, trials=1, out=tmp_path)


def test_a_trial_that_fails_is_told_and_the_search_goes_on(model, task, budgets, monkeypatch):
    from whatelse import recipe

    whole = recipe.apply
    seen = []

    def sometimes(step, *given):
        seen.append(step)
        if step.name == "mixed.layers" and len([s for s in seen if s.name == "mixed.layers"]) == 2:
            raise RecipeError("a layer does not like it")
        return whole(step, *given)

    monkeypatch.setattr(recipe, "apply", sometimes)
    record = search(model, task, budgets, strategy="random", choices=FEW[:1], trials=3, asked=asked()).record
    failed = [t for t in record.trials if t.why]
    assert len(failed) <= 1
    assert all("does not like it" in t.why and t.share is None for t in failed)
    assert math.isfinite(sum(t.share for t in record.trials if t.share is not None))
