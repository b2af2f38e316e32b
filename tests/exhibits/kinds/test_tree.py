import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from whatelse.answer import Answer, Shown
from whatelse.exhibits.kinds import tree as trees
from whatelse.findings import codec
from whatelse.findings.exhibits import Node
from whatelse.findings.record import parse
from whatelse.study import run_study, spec
from whatelse.tasks.task import Task


def _split(toy, shape):
    return toy.split_of(torch.zeros(4, *shape), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("shape", "more", "feature", "name"),
    [
        ((1, 8, 8), {}, 17, "pixel 2,1"),
        ((3, 4, 5), {}, 47, "pixel 1,2 of channel 2"),
        ((3,), {"features": ("age", "sex", "priors")}, 2, "priors"),
        ((3,), {}, 2, "input 2"),
        ((6,), {"vocabulary": 50}, 41, "token 41"),
    ],
)
def test_a_feature_has_the_name_that_a_person_gives_it(toy, shape, more, feature, name):
    split = _split(toy, shape)
    task = Task("toy", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split), **more)
    assert trees.feature_name(task, feature) == name


def _walk(node, x, names):
    while node.left is not None:
        node = node.left if x[names.index(node.feature)] <= node.threshold else node.right
    return node


@pytest.mark.known_answer
def test_walking_the_nested_tree_gives_what_scikit_learn_predicts():
    x, y = load_iris(return_X_y=True)
    fitted = DecisionTreeClassifier(max_depth=4, random_state=0).fit(x, y)
    inner, names = fitted.tree_, ["a", "b", "c", "d"]
    columns = {
        "children_left": inner.children_left, "children_right": inner.children_right, "feature": inner.feature,
        "threshold": inner.threshold, "class": inner.value[:, 0].argmax(1), "n": inner.n_node_samples,
    }  # fmt: skip
    tensors = {name: torch.tensor(column) for name, column in columns.items()}
    whole = trees.nested(tensors, names.__getitem__)
    assert [_walk(whole, one, names).class_ for one in x] == [str(c) for c in fitted.predict(x)]
    assert sum(_walk(whole, one, names).n == whole.n for one in x) == 0
    cut = trees.nested(tensors, names.__getitem__, depth=1, classes=lambda c: "xyz"[c])
    assert cut.left == Node("x", 50)
    assert cut.right == Node("y", 100, leaves=fitted.get_n_leaves() - 1)


@pytest.mark.known_answer
def test_the_trees_of_answers_become_exhibits(toy, made):
    task = toy.task_of(torch.zeros(4, 2), [0, 0, 1, 1])
    columns = {"children_left": [1, -1, -1], "children_right": [2, -1, -1], "feature": [0, -2, -2]}
    columns |= {"threshold": [0.0, 0.0, 0.0], "class": [0, 0, 1], "n": [4, 2, 2]}
    kept = Shown("tree", {name: torch.tensor(column) for name, column in columns.items()})
    plain = Answer({"right": torch.zeros(4)})
    answers = {("prune 95 %", 0): Answer({"right": torch.zeros(4)}, shown=(kept,)), ("baseline", 0): plain}
    (shown,) = trees.exhibits(made.asked_of(task, row="trees", names=("prune 95 %", "gone"), answers=answers))
    assert made.there_and_back(shown) == {
        "row": "trees",
        "kind": "tree",
        "task": "clean",
        "candidate": "prune 95 %",
        "title": "the tree distilled from prune 95 %",
        "items": [],
        "tree": {
            "class": "0",
            "n": 4,
            "feature": "input 0",
            "threshold": 0.0,
            "left": {"class": "0", "n": 2},
            "right": {"class": "1", "n": 2},
        },
    }


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


def test_kept_trees_stand_in_their_row_for_the_baseline_and_the_strong(small, tmp_path):
    text = small.replace("[0, 1]", "[0]").replace("epochs = 6", "epochs = 3") + TREES
    found = run_study.run_study(spec.parse(text, "small"), tmp_path, on="inline")
    trees = [e for e in found.exhibits if e.kind == "tree"]
    assert [(e.row, e.task, e.candidate) for e in trees] == [
        ("trees", "clean", "baseline"),
        ("trees", "clean", "half"),
    ]
    assert trees[0].tree.n == 600
    assert parse(codec.to_json(found)).exhibits[-1].kind == "tree"
