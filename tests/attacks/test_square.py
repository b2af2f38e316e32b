import pytest
import torch

from whatelse.attacks import attack, norms, square

RADIUS = 0.3


@pytest.fixture
def net(toy, rng):
    """A linear model of images."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 12 * 8, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(3, 2 * 12 * 8, generator=rng))
        model[1].bias.zero_()
    inputs = torch.rand(24, 2, 12, 8, generator=rng)
    labels = model(inputs).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    return toy.evidence_of(model, toy.task_of(inputs, labels, classes=3, bounds=(0.0, 1.0)))


@pytest.mark.known_answer
def test_it_finds_the_corner_of_a_linear_model(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    found = attack.search(mine, lines.inputs, lines.labels, attack.Budget(RADIUS, 400), rng)
    corner = lines.inputs + lines.worst(lines.first, lines.labels, RADIUS)
    assert torch.allclose(found, corner)


@pytest.mark.known_answer
def test_in_l2_it_comes_near_the_best_that_a_linear_model_allows(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    found = attack.search(mine, lines.inputs, lines.labels, attack.Budget(RADIUS, 600, "l2"), rng)
    assert norms.size(found - lines.inputs, "l2").max() <= RADIUS + 1e-6
    before, after = (lines.margin(lines.first, x, lines.labels) for x in (lines.inputs, found))
    most = RADIUS * (lines.first[0] - lines.first[1]).norm()
    assert bool((before - after <= most + 1e-5).all())
    assert float(((before - after) / most).mean()) > 0.75


@pytest.mark.parametrize("norm", norms.NORMS)
def test_it_stays_in_the_ball_and_hardly_ever_makes_things_better(net, rng, norm):
    inputs, labels = net.task.test.inputs, net.task.test.targets
    radius = 0.1 if norm == "linf" else 1.0
    found = attack.search(net, inputs, labels, attack.Budget(radius, 60, norm), rng)
    assert norms.size(found - inputs, norm).max() <= radius + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    before, after = (square._margin(net, x, labels) for x in (inputs, found))
    assert (after <= before + 1e-6).float().mean() > 0.9
    assert float((after < 0).float().mean()) > 0.05


@pytest.mark.parametrize("norm", norms.NORMS)
def test_whoever_is_fooled_is_asked_no_more(net, norm):
    inputs, labels = net.task.test.inputs, net.task.test.targets
    budget, spent, fell = attack.Budget(0.1 if norm == "linf" else 1.0, 60, norm), [], []
    for stop in (False, True):
        before = net.passes.forward
        found = attack.search(net, inputs, labels, budget, torch.Generator().manual_seed(2), stop=stop)
        spent.append(net.passes.forward - before)
        fell.append(int(attack.fooled(net, found, labels).sum()))
    assert spent[0] == 24 * 61
    assert spent[1] < spent[0]
    assert min(fell) > 2


@pytest.mark.known_answer
def test_its_windows_halve_as_the_source_says():
    assert [square._share(q / 10_000) for q in (0, 10, 11, 51, 8001)] == [0.8, 0.8, 0.4, 0.2, 0.8 / 2**9]
    assert square._sides(28, 28, 0.8, 1) == (25, 25)
    assert square._sides(28, 28, 0.8 / 2**9, 3) == (3, 3)
    assert square._sides(1, 6, 0.8, 1) == (1, 5)


@pytest.mark.known_answer
def test_bumps_are_those_of_the_source():
    # Algorithm 3, worked by hand for five by five: a pyramid of 2 x 5 over the negative of one of 3 x 5.
    rings = [1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9]
    upper = torch.tensor(
        [[rings[2], rings[1], rings[1], rings[1], rings[2]], [rings[2], rings[1], rings[0], rings[1], rings[2]]]
    )
    lower = torch.cat([upper, upper[:1]])
    expected = torch.cat([upper, -lower])
    assert torch.allclose(square._bump(5, 5), expected / expected.norm())
    assert square._bump(1, 1).tolist() == [[-1.0]]
    assert torch.allclose(square._bump(1, 4).norm(), torch.tensor(1.0))


@pytest.mark.known_answer
def test_whoever_would_not_arrive_is_left(lines, toy):
    left, begun = torch.tensor([5.9, 6.1, 10.0, 1.0]), torch.tensor([6.9, 7.1, 10.4, 0.5])
    # At a fifth of the queries and half again the speed, four fifths lead six times as far; the last two hardly moved.
    assert square._lost(left, begun, 0.2).tolist() == [False, True, False, False]
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    budget, rng = attack.Budget(RADIUS, 400), torch.Generator().manual_seed(2)
    found = attack.search(mine, lines.inputs, lines.labels, budget, rng, stop=True)
    corner = lines.inputs + lines.worst(lines.first, lines.labels, RADIUS)
    falls = lines.margin(lines.first, corner, lines.labels) < 0
    assert torch.equal(attack.fooled(mine, found, lines.labels), falls)
    assert mine.passes.forward < 401 * int((~falls).sum())  # as many as those that never fall would be asked
