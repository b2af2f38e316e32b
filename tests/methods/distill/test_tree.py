import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from whatelse.errors import MissingExtraError, RecipeError
from whatelse.layers.tree import Tree
from whatelse.methods.distill import tree
from whatelse.modules import codec
from whatelse.recipe import parse
from whatelse.training.initialize import initialize
from whatelse.training.loop import Schedule, fit, hard_labels


@pytest.fixture
def teacher(rng):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    initialize(model, rng)
    return model


@pytest.fixture
def points(toy, rng):
    """Inputs on a grid of sixteenths, so that many lie on thresholds, and inputs that do not."""
    x = torch.cat([torch.randint(0, 16, (150, 2, 2), generator=rng) / 16, torch.rand(150, 2, 2, generator=rng)])
    return toy.task_of(x, torch.randint(0, 3, (300,), generator=rng), classes=3)


def ties(seed=0):
    """The number by which the method breaks ties, and the generator as it then is."""
    rng = torch.Generator().manual_seed(seed)
    return int(torch.randint(2**31 - 1, (), generator=rng)), rng


@pytest.mark.known_answer
@pytest.mark.parametrize("depth", [1, 3, 12])
def test_it_is_scikit_learns_regression_tree_on_the_logits(teacher, points, rng, depth):
    x, unseen = points.train.inputs, torch.rand(500, 2, 2, generator=rng)
    with torch.no_grad():
        z = teacher(x)
    theirs = DecisionTreeRegressor(max_depth=depth, random_state=ties()[0]).fit(x.flatten(1), z)
    made = tree.compress(teacher, tree.Config(depth=depth), points, torch.Generator().manual_seed(0))
    near = np.nextafter(theirs.tree_.threshold.astype(np.float32), np.float32(2))
    on = torch.from_numpy(np.stack([near] * 4, 1)).clamp(0, 1).view(-1, 2, 2)  # a hair from every threshold
    for some in (x, unseen, on):
        expected = torch.from_numpy(theirs.predict(some.flatten(1)).astype(np.float32))
        assert torch.equal(made(some), expected)
    assert (made.leaves, made.depth) == (theirs.get_n_leaves(), theirs.get_depth())


@pytest.mark.known_answer
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_probabilities_are_fitted_at_their_temperature_and_kept_as_logarithms(teacher, points, rng, temperature):
    x, unseen = points.train.inputs, torch.rand(100, 2, 2, generator=rng)
    with torch.no_grad():
        soft = torch.softmax(teacher(x) / temperature, 1)
    theirs = DecisionTreeRegressor(max_depth=4, random_state=ties()[0]).fit(x.flatten(1), soft)
    config = tree.Config(depth=4, target="probabilities", temperature=temperature)
    made = tree.compress(teacher, config, points, torch.Generator().manual_seed(0))
    assert torch.allclose(made(unseen).exp(), torch.from_numpy(theirs.predict(unseen.flatten(1))).float(), atol=1e-6)


@pytest.mark.known_answer
def test_the_control_is_scikit_learns_classification_tree_on_the_recorded_labels(teacher, points):
    x, y = points.train.inputs, points.train.observed
    theirs = DecisionTreeClassifier(max_depth=4, random_state=ties()[0]).fit(x.flatten(1), y)
    made = tree.compress(teacher, tree.Config(depth=4, target="labels"), points, torch.Generator().manual_seed(0))
    # Laplace's rule of succession on the counts of each leaf, one by one.
    for leaf, n in zip(made.reached(x).unique(), range(made.leaves), strict=True):
        inside = y[made.reached(x) == leaf]
        shares = [(int((inside == k).sum()) + 1) / (len(inside) + 3) for k in range(3)]
        assert made.values[n].exp().tolist() == pytest.approx(shares, rel=1e-5)
    assert made(x).argmax(1).tolist() == theirs.predict(x.flatten(1)).tolist()


def test_a_class_that_train_lacks_keeps_its_place(teacher, toy):
    task = toy.task_of(torch.arange(8.0).view(8, 1).expand(8, 4), torch.tensor([0, 2] * 4).sort().values, classes=3)
    made = tree.compress(teacher, tree.Config(depth=1, target="labels"), task, torch.Generator())
    assert made.values.exp().tolist() == [pytest.approx([5 / 7, 1 / 7, 1 / 7]), pytest.approx([1 / 7, 1 / 7, 5 / 7])]


@pytest.mark.known_answer
def test_noisy_copies_are_labelled_by_the_teacher(teacher, points):
    seed, rng = ties()
    x = points.train.inputs
    noisy = [x + 0.5 * x.std(0) * torch.randn(x.shape, generator=rng) for _ in range(2)]
    all_of_it = torch.cat([x, *noisy])
    theirs = DecisionTreeRegressor(max_depth=3, min_samples_leaf=7, random_state=seed)
    theirs.fit(all_of_it.flatten(1), teacher(all_of_it).detach())
    config = tree.Config(depth=3, leaf=7, copies=2, jitter=0.5)
    made = tree.compress(teacher, config, points, torch.Generator().manual_seed(0))
    assert torch.equal(made(x), torch.from_numpy(theirs.predict(x.flatten(1)).astype(np.float32)))


class Tokens(torch.nn.Module):
    """A teacher of whole numbers that remembers how many examples it was given at once."""

    def __init__(self):
        super().__init__()
        self.table, self.most = torch.nn.Embedding(9, 3), 0

    def forward(self, x):
        self.most = max(self.most, len(x))
        return self.table(x).mean(1)


@pytest.mark.known_answer
def test_tokens_are_split_on_and_large_splits_pass_in_batches(toy, rng):
    x = torch.randint(0, 9, (3000, 4), generator=rng)
    teacher = Tokens().requires_grad_(requires_grad=False)
    task = toy.task_of(x, torch.arange(3000) % 3, classes=3)
    theirs = DecisionTreeRegressor(max_depth=3, random_state=ties()[0]).fit(x, teacher.table(x).mean(1))
    made = tree.compress(teacher, tree.Config(depth=3), task, torch.Generator().manual_seed(0))
    assert torch.allclose(made(x), torch.from_numpy(theirs.predict(x)).float(), atol=1e-6)
    assert teacher.most <= 1024
    with pytest.raises(RecipeError, match=r"distill.tree: noise cannot be added to inputs that are torch.int64"):
        tree.compress(teacher, tree.Config(copies=1), task, rng)


def test_thresholds_between_two_floats_are_rounded_down():
    between = np.float64(np.float32(0.1)) + 1e-12
    rounded = tree._rounded_down(np.array([between, 0.5, -between]))
    assert rounded.tolist() == [np.float32(0.1), 0.5, np.nextafter(np.float32(-0.1), np.float32(-1))]


def test_it_is_saved_and_ends_a_recipe(teacher, points, rng):
    made = tree.compress(teacher, tree.Config(), points, rng)
    again = codec.decode(*codec.encode(made))
    assert isinstance(again, Tree)
    assert torch.equal(again(points.test.inputs), made(points.test.inputs))
    with pytest.raises(RecipeError, match="leaves a tree one"):
        parse("distill.tree() > train.finetune()")


def test_without_scikit_learn_it_says_what_to_install(teacher, points, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'whatelse\[trees\]'"):
        tree.compress(teacher, tree.Config(), points, rng)


@pytest.mark.slow
def test_a_shallow_tree_on_logits_beats_the_tree_on_labels(toy):
    # Measured on scikit-learn's digits, 900 to train, five splits, gain of logits over labels in points at depth
    # 3, 4, 5, 6, 8: 64-64-10 teacher at .971: +3.9, +2.5, +1.6, -2.2, -3.5; 64-256-128-10 teacher at .974: +1.6, +1.1,
    # +0.3, -1.2, -3.0. Accuracies spread by 1 to 6 points over splits, so gains at 3 to 5 are not beyond doubt; at
    # 8 labels win. Held here is the first of these ten cells only, the one with the largest gain.
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    gains = []
    for seed in range(5):
        rng = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(x), generator=rng)
        train = toy.split_of(x[order[:900]], y[order[:900]])
        task = toy.task_of(x[order[900:]], y[order[900:]], classes=10, train=train)
        model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
        initialize(model, rng)
        fit(model, task.train.inputs, hard_labels(task.train.observed), Schedule(30, 8e-3, 50), rng)
        configs = (tree.Config(depth=3, target=target) for target in ("logits", "labels"))
        made = [tree.compress(model, config, task, torch.Generator().manual_seed(0)) for config in configs]
        told = [float((m(task.test.inputs).argmax(1) == task.test.targets).float().mean()) for m in made]
        gains.append(told[0] - told[1])
    assert np.mean(gains) > 0.01
