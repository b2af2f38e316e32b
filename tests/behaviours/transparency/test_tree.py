import sys

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from torch.nn import functional

from whatelse.behaviours.transparency import _distilled, tree
from whatelse.errors import MissingExtraError, NotMeasurableError
from whatelse.layers.soft_tree import SoftTree
from whatelse.tasks.task import Task


@pytest.fixture
def slope(toy):
    """Logits 0 and ``x - 3.5`` on ``x = 0..7``: a tree of depth 1 splits at 3.5."""
    model = torch.nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [1.0]]))
        model.bias.copy_(torch.tensor([0.0, -3.5]))
    return toy.evidence_of(model, toy.task_of(torch.arange(8.0)[:, None], [0, 0, 1, 0, 1, 1, 1, 0]))


@pytest.fixture
def blobs(toy):
    """A linear model of three classes on inputs without ties, with a train split whose labels are not its answers."""
    draw = torch.Generator().manual_seed(1)
    model = torch.nn.Linear(4, 3)
    for p in model.parameters():
        torch.nn.init.normal_(p, generator=draw)
    x, unseen = torch.randn(3000, 2, 2, generator=draw), torch.randn(60, 2, 2, generator=draw)
    with torch.no_grad():
        logits, said = (model(part.flatten(1)) for part in (x, unseen))
    observed = logits.argmax(1).roll(1)
    train = toy.split_of(x, logits.argmax(1), observed)
    # Half of the targets are what the model says, so that accuracy and fidelity differ.
    targets = torch.where(torch.arange(60) % 2 == 0, said.argmax(1), 0)
    task = toy.task_of(unseen, targets, classes=3, train=train)
    return toy.evidence_of(torch.nn.Sequential(torch.nn.Flatten(), model), task)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("accuracy", [1, 1, 0, 1, 1, 1, 1, 0]),
        ("fidelity", [1, 1, 1, 1, 1, 1, 1, 1]),
        # Grown on labels the tree splits at 1.5 (Gini .33 against .375 at 3.5): it is right on 2, wrong on 3.
        ("gain", [0, 0, -1, 1, 0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_stump_by_hand(slope, toy, rng, score, expected, kind):
    config = tree.Config(depth=1, score=score, kind=kind)
    answer = tree.measure(slope, config, rng)
    assert answer["depth 1"].tolist() == expected
    assert tree.summarise(answer, config, toy.ones(answer)) == pytest.approx([np.mean(expected)])
    assert answer.parts.names == ("1",)
    assert answer.ends == ({"worst": -1.0} if score == "gain" else {})
    (shown,) = answer.shown
    assert shown.kind == "tree"
    assert shown.tensors["threshold"].tolist() == [3.5, 0, 0]
    assert shown.tensors["class"].tolist()[1:] == [0, 1]
    assert shown.tensors["n"].tolist() == [8, 4, 4]


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_it_is_scikit_learns_tree_of_every_depth(blobs, rng, kind):
    task, said = blobs.task, blobs.predictions("test").numpy()
    x, unseen, z = task.train.inputs.flatten(1), task.test.inputs.flatten(1), blobs.logits("train")
    z = z - z.mean(1, keepdim=True)  # what a model says does not depend on it
    for score in ("accuracy", "fidelity", "gain"):
        found = tree.measure(blobs, tree.Config(depth=4, score=score, kind=kind), rng)
        assert found.parts.names == ("2", "3", "4")
        for depth in range(2, 5):
            if kind == "regression":
                told = DecisionTreeRegressor(max_depth=depth).fit(x, z).predict(unseen).argmax(1)
            else:
                told = DecisionTreeClassifier(max_depth=depth).fit(x, z.argmax(1)).predict(unseen)
            grown = DecisionTreeClassifier(max_depth=depth).fit(x, task.train.observed).predict(unseen)
            right = told == task.test.targets.numpy()
            scores = {"accuracy": right, "fidelity": told == said}
            scores["gain"] = right.astype(int) - (grown == task.test.targets.numpy())
            assert found[f"depth {depth}"].tolist() == scores[score].astype(float).tolist(), depth


@pytest.mark.known_answer
def test_every_depth_is_a_part_and_the_deepest_is_the_answer(answer_of):
    answer = answer_of({"depth 2": [1, 0, 1], "depth 3": [0, 0, 1], "depth 4": [1, 1, 0]})
    counts = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])
    config = tree.Config(depth=4)
    parts = tree.by_part(answer, config, counts)
    np.testing.assert_allclose(parts, [[2 / 3, 1 / 3, 2 / 3], [1.0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(tree.summarise(answer, config, counts), parts[:, -1])


@pytest.mark.known_answer
@torch.no_grad()
def test_a_soft_tree_cut_back_says_the_mixture_of_what_is_below_node_by_node(rng):
    made = SoftTree(3, 4, 3, mixture=True)
    for p in (made.weight, made.bias, made.phi):
        torch.nn.init.normal_(p, generator=rng)
    x, unseen = torch.randn(40, 3, generator=rng).numpy(), torch.randn(9, 3, generator=rng).numpy()
    found = _distilled._says_softly(made, x, unseen, 3)
    seen, asked = (_distilled._scaled(part, x) for part in (x, unseen))
    reach, q = made.route(seen).leaf.exp().sum(0), made.phi.softmax(1)
    for at, depth in enumerate((2, 3)):
        for n in range(9):
            told = torch.zeros(4)
            for node in range(2**depth):
                below = range(node * 2 ** (3 - depth), (node + 1) * 2 ** (3 - depth))
                here = sum(float(made.route(asked[n : n + 1]).leaf.exp()[0, leaf]) for leaf in below)
                mean = sum(reach[leaf] * q[leaf] for leaf in below) / sum(reach[leaf] for leaf in below)
                told += here * mean
            assert int(found[n, at]) == int(told.argmax())
    assert torch.equal(found[:, -1], made(asked).argmax(1))


@pytest.mark.known_answer
def test_a_soft_tree_follows_a_linear_model_where_a_stump_of_one_input_cannot(toy, rng):
    draw = torch.Generator().manual_seed(2)
    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 3.0]]))
        model.bias.zero_()
    x = torch.randn(300, 2, generator=draw)
    evidence = toy.evidence_of(model, toy.task_of(x, (x.sum(1) > 0).long()))
    scores = {}
    for kind in _distilled.KINDS:
        config = tree.Config(depth=1, score="fidelity", kind=kind)
        answer = tree.measure(evidence, config, rng)
        scores[kind] = float(tree.summarise(answer, config, toy.ones(answer))[0])
    assert scores["soft"] > 0.95 > 0.85 > scores["regression"]
    assert scores["classification"] < 0.85
    gain = tree.measure(evidence, tree.Config(depth=1, score="gain", kind="soft"), rng)
    assert abs(gain["depth 1"].mean()) < 0.05, "labels that the model repeats teach a soft tree as well"


def test_the_trees_are_fitted_once(slope, rng, monkeypatch):
    tree.measure(slope, tree.Config(depth=2, score="gain"), rng)
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    tree.measure(slope, tree.Config(depth=2, score="gain"), rng)
    with pytest.raises(MissingExtraError, match=r"pip install 'whatelse\[trees\]'"):
        tree.measure(slope, tree.Config(depth=3), rng)


def test_a_soft_tree_is_not_drawn_and_not_too_deep(slope, rng):
    assert tree.measure(slope, tree.Config(depth=2, kind="soft"), rng).shown == ()
    with pytest.raises(NotMeasurableError, match="at most 12"):
        tree.measure(slope, tree.Config(depth=13, kind="soft"), rng)


@pytest.mark.known_answer
def test_of_texts_a_tree_asks_how_often_a_token_occurs(toy):
    texts = torch.tensor([[5.0, 5, 2, 0], [5, 2, 2, 0], [7, 7, 7, 7], [7, 5, 2, 0]])
    split = toy.split_of(texts, [0, 0, 1, 1])
    task = Task("texts", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split), vocabulary=9)
    x, unseen, ids, rows = _distilled.columns(task)
    assert rows.tolist() == [0, 1, 2, 3]
    assert ids.tolist() == [7, 2, 5]  # by frequency (5, 4, 4), then by number
    assert x.tolist() == [[0, 1, 2], [0, 2, 1], [4, 0, 0], [1, 1, 1]]
    np.testing.assert_array_equal(x, unseen)


@pytest.mark.known_answer
def test_features_on_another_scale_train_the_same_soft_tree(toy):
    draw = torch.Generator().manual_seed(4)
    x = torch.randn(80, 3, generator=draw)
    sure = functional.one_hot((x[:, 0] > 0).long(), 2).float()
    one = _distilled._teach(x.numpy(), sure, 2)
    other = _distilled._teach((x * torch.tensor([1.0, 1000.0, 0.01]) + 7).numpy(), sure, 2)
    torch.testing.assert_close(one.weight, other.weight, rtol=0.02, atol=0.02)


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", _distilled.KINDS)
def test_of_data_that_is_too_large_a_fixed_part_is_fitted_and_that_is_noted(blobs, rng, monkeypatch, kind):
    monkeypatch.setattr(_distilled, "_VALUES", 4 * 500 + 3)
    rows = _distilled.columns(blobs.task).rows
    assert len(set(rows.tolist())) == 500
    answer = tree.measure(blobs, tree.Config(depth=3, kind=kind, score="gain"), rng)
    assert answer.notes == ("trees are fitted to 500 of 3,000 train examples, the same for every model",)
    if kind == "regression":
        x, z = blobs.task.train.inputs.flatten(1)[rows], blobs.logits("train")[rows]
        z = z - z.mean(1, keepdim=True)  # what a model says does not depend on it
        told = DecisionTreeRegressor(max_depth=3).fit(x, z).predict(blobs.task.test.inputs.flatten(1)).argmax(1)
        grown = DecisionTreeClassifier(max_depth=3).fit(x, blobs.task.train.observed[rows])
        targets = blobs.task.test.targets.numpy()
        gain = (told == targets).astype(float) - (grown.predict(blobs.task.test.inputs.flatten(1)) == targets)
        assert answer["depth 3"].tolist() == gain.tolist()
