import dataclasses
from types import SimpleNamespace

import pytest
import torch

from whatelse.exhibits import collect
from whatelse.findings.record import parse
from whatelse.models import subject
from whatelse.study import run, run_study, spec
from whatelse.tasks.task import Task

TREES = """
[[rows]]
name = "trees"
title = "Trees"
[[measurements]]
row = "trees"
item = "transparency.tree"
label = "tree"
tasks = ["clean"]
margin = 0.02
primary = true
"""


def test_kept_trees_stand_in_their_row_for_the_baseline_and_the_strong(small, tmp_path, inline, monkeypatch):
    monkeypatch.setattr(run, "engine", lambda *_: inline)
    text = small.replace("[0, 1]", "[0]").replace("epochs = 6", "epochs = 3") + TREES
    found = run_study.run_study(spec.parse(text, "small"), tmp_path)
    trees = [e for e in found.exhibits if e.kind == "tree"]
    assert [(e.row, e.task, e.candidate) for e in trees] == [
        ("trees", "clean", "baseline"),
        ("trees", "clean", "half"),
    ]
    assert trees[0].tree.n == 600
    assert parse(found).exhibits[-1].kind == "tree"


def test_a_missing_group_is_not_named(toy):
    codes = {"style": torch.tensor([1, -1, 0]), "digit": torch.tensor([0, 1, 1])}
    task = toy.task_of(torch.zeros(3, 2), [0, 1, 0], groups=codes)
    names = {"style": ("plain", "turned"), "digit": ("3", "8")}
    task = Task("toy", 2, None, task.splits, names)
    assert [collect._groups(i, task) for i in range(3)] == ["; turned", "", "; plain"]


@pytest.fixture
def colored(toy):
    """Three examples in three channels between -1 and 1: gray, colored, white."""
    inputs = torch.zeros(3, 3, 2, 2)
    inputs[1] = torch.tensor([-1.0, 0.5, 0.2])[:, None, None]
    inputs[2] = 1
    return toy.task_of(inputs, [0, 1, 0], bounds=(-1.0, 1.0))


@pytest.mark.parametrize(("shape", "shown"), [((1, 2, 2), 1), ((3, 2, 2), 1), ((4, 2, 2), 0), ((12,), 0)])
def test_harm_is_shown_of_images_of_one_channel_or_three_and_never_of_rows(toy, monkeypatch, shape, shown):
    lead = SimpleNamespace(primary=True, tasks=("clean",), item="generalization.accuracy")
    study = SimpleNamespace(candidates=[SimpleNamespace(name="a", level="strong")], measurements=[lead], seeds=(0,))
    monkeypatch.setattr(collect, "_trees", lambda *_: iter(()))
    monkeypatch.setattr(collect, "_rebuilt", lambda *_: None)
    monkeypatch.setattr(collect, "_harmed", lambda *_: iter([{"kind": "harmed"}]))
    task = toy.task_of(torch.zeros(3, *shape), [0, 1, 0])
    made = list(collect._make(study, SimpleNamespace(jobs=()), None, {"clean": task}))
    assert made == [{"kind": "harmed"}] * shown


@pytest.mark.known_answer
def test_a_colored_example_is_shown_in_gray_with_what_all_its_channels_contribute(colored, monkeypatch):
    models = {}
    for name, factor in (("baseline", 1.0), ("half", 2.0)):
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2, bias=False))
        with torch.no_grad():
            net[1].weight.copy_(factor * torch.arange(12.0) * torch.tensor([[-1.0], [1.0]]) / 2)
        models[name] = subject.of(net, name, name, colored.test.inputs, torch.Generator().manual_seed(0))
    jobs = {(name, 0): SimpleNamespace(subject=name, baseline="", chain=()) for name in models}
    monkeypatch.setattr(collect, "_subject", lambda job, store, task: models[job.subject])
    monkeypatch.setattr(collect, "KeptEvidence", lambda *_: None)
    item = collect._item(1, jobs, "half", 0, None, colored)
    assert item["image"] == [[0.45, 0.45], [0.45, 0.45]]
    # Of class 0 or 1 alike: -w for pixel u, then .5 w and .2 w of the channels behind it, 4 and 8 weights on.
    sign = 1 if item["before"] == "1" else -1
    expected = [sign * (-u + 0.5 * (u + 4) + 0.2 * (u + 8)) for u in range(4)]
    for name in ("baseline", "candidate"):  # twice as loud, and brought to the loudness of the baseline
        assert sum(item["maps"][name], []) == pytest.approx(expected, abs=1e-3)
    models["half"] = dataclasses.replace(models["half"], without=frozenset({"differentiates", "opens"}))
    assert "maps" not in collect._item(1, jobs, "half", 0, None, colored)
    boundless = dataclasses.replace(colored, bounds=None)
    assert "image" not in collect._item(1, jobs, "half", 0, None, boundless)


@pytest.mark.known_answer
def test_what_was_rebuilt_in_color_is_shown_in_gray(colored, monkeypatch):
    kept = {"shown": colored.test.inputs, "made": 2 * colored.test.inputs, "values": torch.ones(3)}
    monkeypatch.setattr(collect, "_values", lambda *_: kept)
    lead = SimpleNamespace(item="leakage.inversion", row="leakage", tasks=("clean",))
    made = collect._rebuilt("half", {("half", 0): None}, lead, SimpleNamespace(seeds=(0,)), None, colored)
    assert [(i["image"][0][0], i["reconstruction"][0][0]) for i in made["items"]] == [(0.5, 0.5), (0.45, 0.4), (1, 1)]
