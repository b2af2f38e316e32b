import pytest
import torch

from whatelse.layers.tree import Tree
from whatelse.modules import codec


@pytest.fixture
def tree():
    """Asks x1 <= 0.5; where it is more, x0 <= 2: leaves 0, 1, 2 from the left."""
    made = Tree(leaves=3, classes=2, depth=2)
    made.feature.copy_(torch.tensor([1, 0]))
    made.threshold.copy_(torch.tensor([0.5, 2.0]))
    made.child.copy_(torch.tensor([[-1, 1], [-2, -3]]))
    made.values.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 3.0]]))
    return made


def test_by_hand(tree):
    # On the threshold one goes left; what is no number goes right, as it is not below.
    x = torch.tensor([[9.0, 0.5], [2.0, 0.6], [2.1, 0.6], [0.0, float("nan")]])
    assert tree.reached(x).tolist() == [0, 1, 2, 1]
    assert tree(x.view(4, 1, 2)).tolist() == [[1, 0], [0, 2], [4, 3], [0, 2]]


def test_it_is_read_as_rules_and_as_data(tree):
    assert tree.rules() == ["x1 <= 0.5: class 0", "x1 > 0.5 and x0 <= 2: class 1", "x1 > 0.5 and x0 > 2: class 0"]
    assert tree.rules(["age", "hours"])[0] == "hours <= 0.5: class 0"
    leaves = [{"leaf": i, "class": c, "logits": z} for i, c, z in ((0, 0, [1, 0]), (1, 1, [0, 2]), (2, 0, [4, 3]))]
    inner = {"feature": 0, "threshold": 2.0, "left": leaves[1], "right": leaves[2]}
    assert tree.structure() == {"feature": 1, "threshold": 0.5, "left": leaves[0], "right": inner}


def test_a_tree_of_one_leaf_answers_always_alike():
    made = Tree(leaves=1, classes=2, depth=0)
    made.values.copy_(torch.tensor([[0.0, 1.0]]))
    assert made(torch.zeros(3, 4)).tolist() == [[0, 1]] * 3
    assert made.rules() == ["always: class 1"]


def test_it_is_saved_and_says_what_it_is(tree):
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    again = codec.decode(*codec.encode(torch.nn.Sequential(torch.nn.Flatten(), tree)))
    assert torch.equal(again(x), tree(x))
    assert sum(w.numel() for w in tree.weights()) == 2 + 6
    assert "multiplies nothing" in tree.remark()
