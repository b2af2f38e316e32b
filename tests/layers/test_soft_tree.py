import math

import pytest
import torch
from torch.nn import functional

from whatelse.layers.soft_tree import SoftTree
from whatelse.modules import codec
from whatelse.training.initialize import initialize


@pytest.fixture
def tree(rng):
    made = SoftTree(6, 4, 3, mixture=True)
    initialize(made, rng)
    with torch.no_grad():
        made.beta.fill_(2.5)
        made.weight.mul_(4)
    return made


@torch.no_grad()
def slow(tree, x):
    """One example, node by node: probability of every inner node, of turning right there, and of every leaf."""
    reach, right, leaf = {0: 1.0}, {}, {}
    inner = 2**tree.depth - 1
    for node in range(inner):
        right[node] = 1 / (1 + math.exp(-float(tree.beta * (tree.weight[node] @ x + tree.bias[node]))))
        reach[2 * node + 1] = reach[node] * (1 - right[node])
        reach[2 * node + 2] = reach[node] * right[node]
    leaf = [reach[inner + n] for n in range(2**tree.depth)]
    return [reach[n] for n in range(inner)], [right[n] for n in range(inner)], leaf


def test_the_route_is_that_of_a_walk_node_by_node(tree, rng):
    x = torch.randn(5, 2, 3, generator=rng)
    route = tree.route(x)
    assert torch.allclose(route.leaf.exp().sum(1), torch.ones(5)), "every example ends somewhere"
    for n in range(5):
        reach, right, leaf = slow(tree, x[n].flatten())
        assert route.reach[n].exp().tolist() == pytest.approx(reach, rel=1e-4)
        assert route.right[n].exp().tolist() == pytest.approx(right, rel=1e-4)
        assert route.leaf[n].exp().tolist() == pytest.approx(leaf, rel=1e-4)


@pytest.mark.parametrize("mixture", [True, False])
def test_depth_one_by_hand(mixture):
    tree = SoftTree(1, 2, 1, mixture=mixture)
    with torch.no_grad():
        tree.weight.fill_(1)
        tree.beta.fill_(math.log(3))
        tree.phi.copy_(torch.tensor([[0.0, 0.0], [0.0, math.log(4)]]))
    # At x = 1 it turns right with probability 3/4, to a leaf of (1/5, 4/5); the left leaf is (1/2, 1/2).
    expected = [0.25 / 2 + 0.75 / 5, 0.25 / 2 + 0.75 * 4 / 5] if mixture else [1 / 5, 4 / 5]
    assert tree(torch.ones(1, 1)).exp()[0].tolist() == pytest.approx(expected)


def test_it_stays_finite_where_decisions_are_hard(tree, rng):
    with torch.no_grad():
        tree.beta.fill_(1e4)
    logits = tree(torch.randn(50, 6, generator=rng))
    assert logits.isfinite().all()
    assert torch.allclose(logits.logsumexp(1), torch.zeros(50), atol=1e-5)


@torch.no_grad()
def test_it_is_saved_counted_and_drawn_anew(tree, rng):
    x = torch.randn(7, 6, generator=rng)
    for mixture in (True, False):
        tree.mixture = mixture
        again = codec.decode(*codec.encode(torch.nn.Sequential(torch.nn.Flatten(), tree)))
        assert torch.equal(again(x), tree(x))
        assert tree.work(x, tree(x)) == (7 * 8 * 4 if mixture else 0)  # its filters are a matrix product
    before = tree.weight.clone()
    initialize(tree, rng)
    assert not functional.cosine_similarity(before.flatten(), tree.weight.flatten(), 0) > 0.9
    assert tree.beta.item() == 1
    assert tree.weight.abs().max().item() <= 1 / math.sqrt(6)
