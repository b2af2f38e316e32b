import itertools

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from whatelse.behaviours.leakage import _scores


def pair(*shape, seed=5):
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(shape, generator=rng, dtype=torch.float64)
    return images, (images + 0.2 * torch.randn(shape, generator=rng, dtype=torch.float64)).clamp(0, 1)


@pytest.mark.known_answer
def test_the_ratio_is_of_the_range_of_the_inputs():
    images = torch.zeros(1, 4, dtype=torch.float64)
    assert _scores.psnr(images, images + 0.5, 5.0).tolist() == pytest.approx([20])


@pytest.mark.known_answer
def test_structural_similarity_of_one_window_by_hand():
    a, b = torch.full((1, 16), 0.5, dtype=torch.float64), torch.full((1, 16), 0.25, dtype=torch.float64)
    assert _scores.ssim(a, a, 1.0).tolist() == pytest.approx([1])
    assert _scores.ssim(a, b, 1.0).tolist() == pytest.approx([(0.25 + 1e-4) / (0.3125 + 1e-4)])
    # An image and its negative about 1/2: same mean, covariance minus the variance.
    c = torch.tensor([[0.0, 1.0] * 8], dtype=torch.float64)
    assert _scores.ssim(c, 1 - c, 1.0).tolist() == pytest.approx([(-0.5 + 9e-4) / (0.5 + 9e-4)])


@pytest.mark.known_answer
@pytest.mark.parametrize(("side", "gaussian"), [(8, False), (16, True), (32, True)])
def test_structural_similarity_is_that_of_torchmetrics(side, gaussian):
    images, rebuilt = pair(3, 3, side, side)
    _, places = structural_similarity_index_measure(
        rebuilt, images, gaussian_kernel=gaussian, kernel_size=7, data_range=1.0, return_full_image=True
    )
    edge = 5 if gaussian else 3  # windows over the edge of the image are theirs alone
    theirs = places[..., edge:-edge, edge:-edge].mean((1, 2, 3))
    assert _scores.ssim(images, rebuilt, 1.0).tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


@pytest.mark.known_answer
def test_structural_similarity_window_by_window():
    images, rebuilt = pair(2, 1, 8, 9)
    for image, other, value in zip(images[:, 0], rebuilt[:, 0], _scores.ssim(images, rebuilt, 2.0), strict=True):
        found = []
        for row, column in itertools.product(range(2), range(3)):
            a, b = (x[row : row + 7, column : column + 7].flatten() for x in (image, other))
            both = torch.cov(torch.stack([a, b]), correction=0)
            top = (2 * a.mean() * b.mean() + 4e-4) * (2 * both[0, 1] + 36e-4)
            found.append(top / ((a.mean() ** 2 + b.mean() ** 2 + 4e-4) * (both[0, 0] + both[1, 1] + 36e-4)))
        assert float(value) == pytest.approx(float(torch.stack(found).mean()))


@pytest.mark.known_answer
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_images_in_any_order_are_matched(batch, rng):
    images = torch.rand(8, 1, 4, 4, generator=rng).double()
    order = torch.cat([start + torch.randperm(batch, generator=rng) for start in range(0, 8, batch)])
    taken = _scores.match(images, images[order] + 0.01, batch)
    assert torch.equal(order[taken], torch.arange(8))


@pytest.mark.known_answer
def test_the_assignment_is_the_best_of_all():
    """Where the nearest is asked for by two images: 0 and 3 against 2 and 10, so 0 with 2 and 3 with 10."""
    images, rebuilt = torch.tensor([[0.0], [3.0]]), torch.tensor([[10.0], [2.0]])
    assert _scores.match(images, rebuilt, 2).tolist() == [1, 0]
    images, rebuilt = pair(5, 3)
    taken = _scores.match(images, rebuilt, 5)
    costs = {p: float((images - rebuilt[list(p)]).square().sum()) for p in itertools.permutations(range(5))}
    assert tuple(taken.tolist()) == min(costs, key=costs.get)


@pytest.mark.known_answer
def test_ranks_of_planted_reconstructions():
    pool = torch.tensor([[0.0], [10.0], [20.0], [21.0], [21.0]], dtype=torch.float64)
    # Its own is nearest; one of four is nearer; all are nearer; as near as one other.
    rebuilt = torch.tensor([[1.0], [16.0], [-50.0], [21.0]], dtype=torch.float64)
    values = _scores.rank(pool[:4], rebuilt, pool)
    assert values.tolist() == [1, 0.25, 0.5, 0.875]


@pytest.mark.known_answer
def test_chance_is_a_half():
    rng = torch.Generator().manual_seed(8)
    images, guesses = (torch.randn(400, 6, generator=rng, dtype=torch.float64) for _ in range(2))
    values = _scores.rank(images, guesses, images)
    # Each is about uniform; of 400, up to 3 standard errors.
    assert float(values.mean()) == pytest.approx(0.5, abs=3 * 12**-0.5 / 20)


def test_a_pool_smaller_than_the_images_serves_all():
    images, rebuilt = pair(4, 3)
    assert _scores.rank(images, images, images[:2]).tolist() == [1, 1, 1, 1]
    assert _scores.rank(images, rebuilt, images[:2]).shape == (4,)
