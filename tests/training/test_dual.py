import pytest
import torch

from whatelse.training.dual import Multipliers

FREE = torch.tensor([torch.inf, torch.inf])


@pytest.mark.known_answer
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_it_converges_to_the_multipliers_of_kuhn_and_tucker(scale):
    # min scale * ((x - 3)^2 + (y - 1)^2) under x <= 1 and y <= 2: the first binds, x = 1 and l = 2 * scale * (3 - 1);
    # the second does not, y = 1 and l = 0. The weights go to their best point for each multiplier, as after training.
    players = Multipliers(torch.tensor([1.0, 2.0]), 0.02 * scale, FREE)
    for _ in range(4000):
        x, y = torch.tensor([3.0, 1.0]) - players.now / (2 * scale)
        players.ascend(torch.stack([x, y]))
    assert players.now.tolist() == pytest.approx([4 * scale, 0.0], rel=1e-4)
    assert float(x) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.known_answer
def test_it_converges_beside_gradient_descent_of_the_weights():
    # min x^2 + 2 y^2 under 4 - x - y <= 1, that is x + y >= 3: x = 2, y = 1, l = 2 x = 4 y = 4.
    weights = torch.tensor([0.0, 0.0])
    players = Multipliers(torch.tensor([1.0]), 0.02, FREE[:1])
    for _ in range(5000):
        slope = torch.tensor([2.0, 4.0]) * weights - players.now
        weights = weights - 0.05 * slope
        players.ascend(4 - weights.sum()[None])
    assert weights.tolist() == pytest.approx([2.0, 1.0], rel=1e-3)
    assert float(players.now) == pytest.approx(4.0, rel=1e-3)


@pytest.mark.known_answer
def test_a_step_is_the_violation_over_its_sum_with_the_budget():
    players = Multipliers(torch.tensor([0.1, 0.1]), 0.5, FREE)
    players.ascend(torch.tensor([0.3, 0.1]))
    assert players.now.tolist() == pytest.approx([0.5 * 0.2 / 0.4, 0.0])
    players.ascend(torch.tensor([0.05, -7.0]))  # what is below zero counts as zero, and no multiplier falls below it
    assert players.now.tolist() == pytest.approx([0.25 - 0.5 * 0.05 / 0.15, 0.0])


def test_it_ends_where_it_may_not_pass():
    players = Multipliers(torch.tensor([0.1, 0.1]), 1.0, torch.tensor([1.5, torch.inf]))
    for _ in range(10):
        players.ascend(torch.tensor([1.0, 1.0]))
    assert players.now.tolist() == pytest.approx([1.5, 10 * 0.9 / 1.1])
