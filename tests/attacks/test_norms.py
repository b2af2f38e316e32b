import math

import pytest
import torch
from scipy import optimize

from whatelse.attacks import norms

FEATURES = 12


@pytest.fixture
def points(rng):
    """Centers in the unit box, and points far out of it."""
    clean = torch.rand(20, FEATURES, generator=rng, dtype=torch.float64)
    return clean, clean + torch.randn(clean.shape, generator=rng, dtype=torch.float64)


@pytest.mark.known_answer
@pytest.mark.parametrize("radius", [0.3, 0.7, 1.5])
def test_the_nearest_point_is_the_one_that_an_optimizer_finds(points, radius):
    clean, at = points
    found = norms.project(at, clean, radius, "l2", (0.0, 1.0))
    for x, z, mine in zip(clean.numpy(), at.numpy(), found.numpy(), strict=True):
        best = optimize.minimize(
            lambda p, z=z: ((p - z) ** 2).sum(),
            x,
            jac=lambda p, z=z: 2 * (p - z),
            bounds=[(0, 1)] * FEATURES,
            constraints=[{"type": "ineq", "fun": lambda p, x=x: radius**2 - ((p - x) ** 2).sum()}],
            method="SLSQP",
            tol=1e-12,
        )
        assert mine == pytest.approx(best.x, abs=1e-5)


@pytest.mark.known_answer
def test_in_the_maximum_norm_every_feature_is_cut_alone(points):
    clean, at = points
    found = norms.project(at, clean, 0.2, "linf", (0.0, 1.0))
    slow = [
        [min(max(z, x - 0.2, 0), x + 0.2, 1) for x, z in zip(*row, strict=True)] for row in zip(clean, at, strict=True)
    ]
    assert torch.allclose(found, torch.tensor(slow, dtype=torch.float64))


@pytest.mark.parametrize("norm", norms.NORMS)
def test_bounds_may_differ_by_feature_and_radii_by_example(points, norm):
    clean, at = points
    low, high = clean.min(0).values, torch.linspace(1, 2, FEATURES, dtype=torch.float64)
    radius = torch.linspace(0, 1, len(clean), dtype=torch.float64)
    found = norms.project(at, clean, radius, norm, (low, high))
    assert bool(((found >= low) & (found <= high)).all())
    assert bool((norms.size(found - clean, norm) <= radius + 1e-12).all())
    assert torch.equal(found[0], clean[0])
    assert torch.allclose(norms.project(found, clean, radius, norm, (low, high)), found)


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", norms.NORMS)
def test_the_steepest_step_earns_the_dual_norm(norm, rng):
    slope = torch.randn(9, 2, 3, 3, generator=rng)
    step = norms.steepest(slope, norm)
    assert torch.allclose(norms.size(step, norm), torch.ones(9))
    assert torch.allclose((slope * step).flatten(1).sum(1), norms.dual(slope, norm), rtol=1e-5)
    assert not norms.steepest(torch.zeros(2, 3), norm).any()
    # The square of a tiny gradient is zero in single precision; its direction is not.
    assert torch.allclose(norms.size(norms.steepest(slope * 1e-30, norm), norm), torch.ones(9))


@pytest.mark.parametrize("norm", norms.NORMS)
def test_starts_fill_the_ball_and_stay_in_bounds(norm, rng):
    clean = torch.full((4000, 1, 2, 2), 0.5)
    found = norms.start(clean, 0.3, norm, (0.0, 1.0), rng)
    length = norms.size(found - clean, norm)
    assert float(length.max()) <= 0.3 + 1e-6
    # The largest of 4 uniform shares: its mean is 4 / 5. On the sphere all lengths are the radius.
    assert float(length.mean()) == pytest.approx(0.3 * (0.8 if norm == "linf" else 1), rel=0.01)
    assert abs(float((found - clean).mean())) < 5 * 0.3 / math.sqrt(3 * 16000)
    edge = norms.start(torch.zeros(50, 4), 0.3, norm, (0.0, 1.0), rng)
    assert float(edge.min()) == 0
