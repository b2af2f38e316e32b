import torch

from whatelse.report.findings import parse
from whatelse.study import conduct, exhibits, run, spec
from whatelse.task import Task

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
    found = conduct.conduct(spec.parse(text, "small"), tmp_path)
    trees = [e for e in found["exhibits"] if e["kind"] == "tree"]
    assert [(e["row"], e["task"], e["candidate"]) for e in trees] == [
        ("trees", "clean", "baseline"),
        ("trees", "clean", "half"),
    ]
    assert trees[0]["tree"]["n"] == 600
    assert parse(found).exhibits[-1].kind == "tree"


def test_a_missing_group_is_not_named(toy):
    codes = {"style": torch.tensor([1, -1, 0]), "digit": torch.tensor([0, 1, 1])}
    task = toy.task_of(torch.zeros(3, 2), [0, 1, 0], groups=codes)
    names = {"style": ("plain", "turned"), "digit": ("3", "8")}
    task = Task("toy", 2, None, task.splits, names)
    assert [exhibits._groups(i, task) for i in range(3)] == ["; turned", "", "; plain"]
