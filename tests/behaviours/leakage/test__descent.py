import pytest
import scipy.optimize
import torch

from whatelse.behaviours.leakage import _descent


def bowls(rows, entries, seed=3):
    """Quadratic bowls of different shape, a row each: ``(x - c)^T A (x - c)``."""
    rng = torch.Generator().manual_seed(seed)
    roots = torch.randn(rows, entries, entries, generator=rng, dtype=torch.float64)
    shapes = roots @ roots.mT + 0.1 * torch.eye(entries, dtype=torch.float64)
    centers = torch.randn(rows, entries, generator=rng, dtype=torch.float64)

    def ask(points):
        away = points - centers
        pulled = (shapes @ away[..., None])[..., 0]
        return (away * pulled).sum(1), 2 * pulled

    return ask, centers


def valleys(points):
    """Rosenbrock's curved valley in two dimensions, its lowest point at (1, 1)."""
    x, y = points.unbind(1)
    value = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    return value, torch.stack([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)], 1)


@pytest.mark.known_answer
def test_lbfgs_finds_the_bottom_of_many_bowls_at_once():
    ask, centers = bowls(5, 8)
    start = torch.zeros(5, 8, dtype=torch.float64)
    assert torch.allclose(_descent.lbfgs(ask, start, 80), centers, atol=1e-6)


@pytest.mark.known_answer
def test_lbfgs_follows_a_curved_valley_as_scipy_does():
    starts = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, -1.0]], dtype=torch.float64)
    ends = _descent.lbfgs(valleys, starts, 120)
    for start, end in zip(starts, ends, strict=True):
        theirs = scipy.optimize.minimize(scipy.optimize.rosen, start.numpy(), method="L-BFGS-B", tol=1e-12)
        assert end.tolist() == pytest.approx(theirs.x.tolist(), abs=1e-3)


def test_rows_do_not_see_each_other():
    ask, _ = bowls(3, 6)
    start = torch.ones(3, 6, dtype=torch.float64)
    together = _descent.lbfgs(ask, start, 15)

    def alone(points):
        value, slope = ask(points.expand(3, -1))
        return value[1:2], slope[1:2]

    assert torch.allclose(_descent.lbfgs(alone, start[1:2], 15), together[1:2], atol=1e-9)


def test_lbfgs_never_climbs_and_bears_what_is_no_number():
    def ask(points):
        value = points.square().sum(1)
        broken = value > 30
        return torch.where(broken, torch.nan, (value - 1).square()), 4 * (value - 1)[:, None] * points

    start = torch.tensor([[5.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    end = _descent.lbfgs(ask, start, 40)
    assert end[0].square().sum() == pytest.approx(1, abs=1e-6)
    assert end[1].tolist() == [0, 0]  # no slope there


@pytest.mark.known_answer
def test_adam_by_hand():
    """The first step of Adam is the rate, whatever the slope; the second follows from the averages."""
    asked = []

    def ask(points):
        asked.append(points)
        return points.square().sum(1), 2 * points

    start = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    rate = torch.tensor([0.1, 0.5], dtype=torch.float64)
    wide = (torch.full((2,), -9.0), torch.full((2,), 9.0))
    end = _descent.adam(ask, start, 2, rate, wide, signed=False)
    assert asked[1].tolist() == [pytest.approx([0.9, -0.5])]
    for place, (x, r) in enumerate(((1.0, 0.1), (-1.0, 0.5))):
        one, two = 2 * x, 2 * (x - r * (1 if x > 0 else -1))
        first = (0.9 * 0.1 * one + 0.1 * two) / (1 - 0.9**2)
        second = (0.999 * 0.001 * one**2 + 0.001 * two**2) / (1 - 0.999**2)
        assert float(end[0, place]) == pytest.approx(two / 2 - r / 2 * first / second**0.5)
    same = _descent.adam(ask, start, 1, rate, (torch.tensor([0.95, -9]), wide[1]), signed=True)
    assert same.tolist() == [pytest.approx([0.95, -0.5])]
