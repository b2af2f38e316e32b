import pytest
import torch
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from whatelse.behaviours.transparency import size


@pytest.fixture
def steps(toy):
    def make(logits):
        """A model of the given logits of class 1 at ``x = 0, 1, ...``: a ReLU for each change of slope."""
        table = torch.tensor(logits)
        slopes = torch.diff(table, prepend=table.new_zeros(1))
        slopes = torch.diff(slopes, prepend=slopes.new_zeros(1))
        hinges = torch.nn.Linear(1, len(table))
        head = torch.nn.Linear(len(table), 2)
        with torch.no_grad():
            hinges.weight.fill_(1)
            hinges.bias.copy_(1 - torch.arange(float(len(table))))
            head.weight.copy_(torch.stack([0 * slopes, slopes]))
            head.bias.zero_()
        x = torch.arange(float(len(table)))[:, None]
        task = toy.task_of(x, torch.arange(len(table)) % 2)
        return toy.evidence_of(torch.nn.Sequential(hinges, torch.nn.ReLU(), head), task)

    return make


@pytest.fixture
def plane(toy):
    """A linear model of two classes on inputs without ties."""
    draw = torch.Generator().manual_seed(0)
    model = torch.nn.Linear(3, 2)
    for p in model.parameters():
        torch.nn.init.normal_(p, generator=draw)
    x = torch.randn(50, 3, generator=draw)
    return toy.evidence_of(model, toy.task_of(x, torch.arange(50) % 2))


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("logits", "depth", "leaves", "length"),
    [
        ([0.0, 0.0, 10.0, 30.0], 1, [0, 2], 1),
        # First apart: 30; then 10 from the zeros, which need no further split: paths of 2, 2, 2 and 1.
        ([0.0, 0.0, 10.0, 30.0], 2, [0, 1, 2], 7 / 4),
        ([0.0, 0.0, 10.0, 30.0], 4, [0, 1, 2, 0, 0], 7 / 4),
        ([0.0, 0.0, 0.0, 0.0], 2, [1, 0, 0], 0),
        ([0.0, 1.0, 10.0, 11.0], 2, [0, 0, 4], 2),
    ],
)
def test_leaves_paths_and_questions_by_hand(steps, toy, rng, logits, depth, leaves, length):
    evidence, totals = steps(logits), {}
    for count in ("leaves", "path length", "weights"):
        config = size.Config(depth=depth, count=count)
        answer = size.measure(evidence, config, rng)
        assert count != "leaves" or answer[f"depth {depth}"].tolist() == leaves
        totals[count] = size.summarise(answer, config, toy.ones(answer))
    assert totals["leaves"] == pytest.approx([sum(leaves)])
    assert totals["path length"] == pytest.approx([length])
    assert totals["weights"] == pytest.approx([sum(leaves) - 1]), "splits of a binary tree"


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_it_counts_as_scikit_learn_does_at_every_depth(plane, toy, rng, kind):
    x, z = plane.task.train.inputs, plane.logits("train")
    z = z - z.mean(1, keepdim=True)  # what a model says does not depend on it
    found = {c: size.measure(plane, size.Config(6, c, kind), rng) for c in ("leaves", "path length", "weights")}
    assert found["leaves"].parts.names == ("2", "3", "4", "5", "6")
    parts = {name: size.by_part(answer, size.Config(6), toy.ones(answer))[0] for name, answer in found.items()}
    for at, depth in enumerate(range(2, 7)):
        model = (DecisionTreeRegressor if kind == "regression" else DecisionTreeClassifier)(max_depth=depth)
        fitted = model.fit(x, z if kind == "regression" else z.argmax(1))
        assert parts["leaves"][at] == fitted.get_n_leaves()
        assert parts["weights"][at] == fitted.tree_.node_count - fitted.get_n_leaves()
        assert parts["path length"][at] == pytest.approx(fitted.decision_path(x).sum(1).mean() - 1)
        levels = fitted.tree_.compute_node_depths() - 1
        ends = fitted.tree_.children_left < 0
        assert found["leaves"][f"depth {depth}"].tolist() == [int(((levels == d) & ends).sum()) for d in range(7)]
    assert size.summarise(found["leaves"], size.Config(6), toy.ones(found["leaves"])) == parts["leaves"][-1]


@pytest.mark.known_answer
def test_a_soft_tree_is_full_and_reads_every_input_at_every_node(plane, toy, rng):
    for count, expected in (("leaves", [4, 8]), ("path length", [2, 3]), ("weights", [3 * 3, 7 * 3])):
        config = size.Config(3, count, "soft")
        answer = size.measure(plane, config, rng)
        assert size.by_part(answer, config, toy.ones(answer)).tolist() == [expected]
