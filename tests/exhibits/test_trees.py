import json

import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from whatelse.behaviours.transparency import tree as behaviour
from whatelse.exhibits import trees
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
    while "left" in node:
        node = node["left" if x[names.index(node["feature"])] <= node["threshold"] else "right"]
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
    assert [_walk(whole, one, names)["class"] for one in x] == [str(c) for c in fitted.predict(x)]
    assert sum(_walk(whole, one, names)["n"] == whole["n"] for one in x) == 0
    assert json.loads(json.dumps(whole)) == whole
    cut = trees.nested(tensors, names.__getitem__, depth=1, classes=lambda c: "xyz"[c])
    assert cut["left"] == {"class": "x", "n": 50}
    assert cut["right"] == {"class": "y", "n": 100, "leaves": fitted.get_n_leaves() - 1}


@pytest.mark.known_answer
def test_the_tree_of_a_measurement_becomes_an_exhibit(toy, rng, linear):
    x = torch.tensor([[-2.0, 1.0], [-1.0, 0.5], [1.0, -0.5], [2.0, 1.0]])
    task = toy.task_of(x, [0, 0, 1, 1])
    evidence = toy.evidence_of(linear, task)
    behaviour.measure(evidence, behaviour.Config(depth=1), rng)
    kept = {"values": torch.zeros(4), **{f"tree {name}": column for name, column in evidence.tree.items()}}
    assert trees.exhibit(kept, "trees", "prune 95 %", task) == {
        "row": "trees",
        "kind": "tree",
        "task": "toy",
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
    assert trees.exhibit({"values": torch.zeros(4)}, "trees", "baseline", task) is None
