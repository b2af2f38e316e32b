import pytest
import torch
from sklearn.tree import DecisionTreeRegressor

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


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("logits", "depth", "leaves"),
    [
        ([0.0, 0.0, 10.0, 30.0], 1, [0, 2]),
        # First apart: 30; then 10 from the zeros, which need no further split.
        ([0.0, 0.0, 10.0, 30.0], 2, [0, 1, 2]),
        ([0.0, 0.0, 10.0, 30.0], 4, [0, 1, 2, 0, 0]),
        ([0.0, 0.0, 0.0, 0.0], 2, [1, 0, 0]),
        ([0.0, 1.0, 10.0, 11.0], 2, [0, 0, 4]),
    ],
)
def test_leaves_by_hand(steps, toy, rng, logits, depth, leaves):
    values = size.measure(steps(logits), size.Config(depth=depth), rng)
    assert values.tolist() == leaves
    assert size.summarise(values.numpy(), toy.ones(values)) == pytest.approx([sum(leaves)])


@pytest.mark.known_answer
def test_it_counts_as_scikit_learn_does(toy, rng):
    model = torch.nn.Linear(3, 2)
    for p in model.parameters():
        torch.nn.init.normal_(p, generator=rng)
    x = torch.randn(50, 3, generator=rng)
    evidence = toy.evidence_of(model, toy.task_of(x, torch.arange(50) % 2))
    fitted = DecisionTreeRegressor(max_depth=4).fit(x, evidence.logits("train"))
    values = size.measure(evidence, size.Config(depth=4), rng)
    assert int(values.sum()) == fitted.get_n_leaves()
    paths = fitted.tree_.compute_node_depths() - 1
    expected = [int(((paths == d) & (fitted.tree_.children_left < 0)).sum()) for d in range(5)]
    assert values.tolist() == expected
