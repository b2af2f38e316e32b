import math

import numpy as np
import pytest
import torch

from whatelse.behaviours.robustness import _attack, accuracy
from whatelse.errors import NotMeasurableError
from whatelse.nets import cnn
from whatelse.subject import log_odds

RADIUS = 0.3


def config(**given):
    return accuracy.Config(**{"radius": RADIUS, "examples": 1000, **given})


class Reversed(torch.nn.Module):
    """The right answers with a gradient that points the wrong way."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(2 * x.detach() - x)


class Stepped(torch.nn.Module):
    """A step that no gradient passes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 1000).round() / 1000)


class Fickle(torch.nn.Module):
    """Another answer at every second call."""

    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x):
        self.calls += 1
        return self.model(x) * (-1) ** self.calls


@pytest.mark.known_answer
@pytest.mark.parametrize("radius", [0.0, 0.1, 0.3, 0.6])
def test_a_linear_model_is_robust_where_its_margin_exceeds_the_dual_norm(lines, toy, rng, radius):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    values = accuracy.compare(base, mine, config(radius=radius), rng)
    width = (lines.second[0] - lines.second[1]).abs().sum()
    margin = lines.margin(lines.second, lines.inputs, lines.labels)
    assert values.tolist() == (margin > radius * width).float().tolist()
    assert 0.1 < values.mean() < 0.9
    assert not mine.doubts


@pytest.mark.known_answer
def test_no_budget_gives_the_unattacked_accuracy(toy, rng):
    net = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
    inputs = torch.rand(40, 1, 8, 8, generator=rng)
    labels = torch.randint(3, (40,), generator=rng)
    labels[:2] = torch.tensor([0, 1])
    mine = toy.evidence_of(net, toy.task_of(inputs, labels, classes=3, bounds=(0.0, 1.0)))
    values = accuracy.compare(mine, mine, config(radius=0.0), rng)
    assert values.tolist() == (mine.predictions() == labels).float().tolist()
    assert not any("without a budget" in doubt for doubt in mine.doubts)


@pytest.mark.known_answer
def test_logits_1024_times_larger_change_nothing(lines, toy):
    found = []
    for scale in (1, 1024):
        rng = torch.Generator().manual_seed(3)
        net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn(p.shape, generator=rng))
            net[2].weight.mul_(scale)
            net[2].bias.mul_(scale)
        labels = net(lines.inputs).argmax(1)
        mine = toy.evidence_of(net, toy.task_of(lines.inputs, labels))
        found.append(accuracy.compare(mine, mine, config(radius=0.2), rng).tolist())
        assert not mine.doubts
    assert found[0] == found[1]
    assert 0.1 < np.mean(found[0]) < 0.9


@pytest.mark.known_answer
def test_points_of_the_baseline_unmask_a_reversed_gradient(lines, toy, claims, rng):
    base, mine = (
        toy.evidence_of(lines.linear_of(lines.first), lines.task),
        claims(Reversed(lines.linear_of(lines.first))),
    )
    values = accuracy.compare(base, mine, config(), rng)
    width = (lines.first[0] - lines.first[1]).abs().sum()
    margin = lines.margin(lines.first, lines.inputs, lines.labels)
    assert values.tolist() == (margin > RADIUS * width).float().tolist()
    assert any("the baseline fools" in doubt for doubt in mine.doubts)


def test_random_search_unmasks_it_without_the_baselines_points(lines, claims, rng):
    mine = claims(Reversed(lines.linear_of(lines.first)))
    accuracy.compare(mine, mine, config(), rng)
    assert any("random search fools" in doubt for doubt in mine.doubts)
    assert not any("the baseline fools" in doubt for doubt in mine.doubts)


def test_a_step_without_gradient_is_not_trusted(lines, claims, rng):
    mine = claims(Stepped(lines.linear_of(lines.first)))
    accuracy.compare(mine, mine, config(), rng)
    assert "masked gradient: 100% of input gradients are exactly zero" in mine.doubts


def test_a_model_that_changes_its_mind_is_not_trusted(lines, claims, rng):
    mine = claims(Fickle(lines.linear_of(lines.first)))
    accuracy.compare(mine, mine, config(), rng)
    assert any("without a budget" in doubt for doubt in mine.doubts)


def test_a_constant_model_is_not_trusted(lines, claims, rng):
    mine = claims(torch.nn.Sequential(lines.linear_of(1e-9 * lines.first), Shifted()))
    accuracy.compare(mine, mine, config(), rng)
    assert any("half the input range" in doubt for doubt in mine.doubts)


class Shifted(torch.nn.Module):
    def forward(self, x):
        return x + torch.tensor([1.0, 0.0])


@pytest.mark.parametrize(
    ("missed", "right", "flagged"), [(1, 20, False), (5, 300, False), (6, 300, True), (0, 9, False)]
)
def test_a_few_misses_are_chance(lines, claims, missed, right, flagged):
    # Of 300 an attack that misses one in 200 leaves 6 or more with probability .004, 5 or more with .019.
    mine = claims(lines.linear_of(lines.first))
    accuracy._check_missed(mine, "random search", missed, right)
    assert bool(mine.doubts) is flagged


def test_it_is_reproducible_and_says_what_it_did(lines, toy):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    runs = [accuracy.compare(base, mine, config(), torch.Generator().manual_seed(5)) for _ in (0, 1)]
    assert torch.equal(*runs)
    assert mine.notes[0] == mine.notes[1]
    assert mine.notes[0].startswith("unattacked 0.")
    assert not base.notes
    kept = base.once("apgd 1 radius=0.3 steps=20 examples=1000", dict)
    assert set(kept) == {"points", "fooled"}


def test_small_batches_change_nothing(lines, toy):
    found = []
    for batch in (512, 7):
        mine = toy.evidence_of(lines.linear_of(lines.second), lines.task)
        mine.batch = batch
        found.append(_attack.points(mine, _attack.Budget(RADIUS, 9), 50))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert len(found[0][0]) == 50


def test_what_cannot_be_attacked_is_said(lines, toy, rng):
    blind = toy.evidence_of(Stepped(lines.linear_of(lines.first)), lines.task)
    with pytest.raises(NotMeasurableError, match="differentiates"):
        accuracy.compare(blind, blind, config(), rng)
    outside = toy.evidence_of(lines.linear_of(lines.first), toy.task_of(lines.inputs, lines.labels, bounds=(0.0, 1.0)))
    with pytest.raises(NotMeasurableError, match="needs inputs in bounds"):
        accuracy.compare(outside, outside, config(), rng)
    endless = toy.task_of(lines.inputs, lines.labels, bounds=(-math.inf, math.inf))
    with pytest.raises(NotMeasurableError, match="needs finite bounds"):
        accuracy.compare(*[toy.evidence_of(lines.linear_of(lines.first), endless)] * 2, config(), rng)


def test_the_summary_is_the_weighted_share():
    values, counts = np.array([1.0, 0.0, 1.0]), np.array([[1, 1, 1], [3, 0, 0], [0, 2, 1]])
    assert accuracy.summarise(values, counts) == pytest.approx([2 / 3, 1, 1 / 3])


# The attacks themselves.


@pytest.fixture
def net(toy, rng):
    """A small network on images near its border, where attacks have work to do."""
    model = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
    with torch.no_grad():
        model.head.weight.mul_(20)
    inputs = torch.rand(24, 1, 8, 8, generator=rng)
    labels = model(inputs).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    return toy.evidence_of(model, toy.task_of(inputs, labels, classes=3, bounds=(0.0, 1.0)))


@pytest.mark.known_answer
def test_the_checkpoints_are_those_of_the_paper():
    # p_1 = .22, p_(j+1) = p_j + max(p_j - p_(j-1) - .03, .06), Croce & Hein section 3.1.
    assert {c for c in _attack._checkpoints(100) if c <= 100} == {22, 41, 57, 70, 80, 87, 93, 99}


@pytest.mark.known_answer
def test_it_climbs_as_the_papers_algorithm_does(net, claims, toy):
    # In double precision, as the sign of a gradient magnifies what a batch rounds otherwise than a single example.
    inputs, labels = net.task.test.inputs.double(), net.task.test.targets
    net = claims(net.model.double(), toy.task_of(inputs, labels, classes=3, bounds=(0.0, 1.0)))
    found = _attack.climb(net, inputs, labels, _attack.Budget(0.1, 30), torch.Generator().manual_seed(1))
    noise = 2 * torch.rand(inputs.shape, generator=torch.Generator().manual_seed(1)) - 1
    slow = [slow_apgd(net.model, x, y, n, 0.1, 30) for x, y, n in zip(inputs, labels, noise, strict=True)]
    assert torch.allclose(found, torch.stack(slow), atol=1e-9)
    assert (found - inputs).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def slow_apgd(model, x, y, noise, radius, steps):
    """Algorithm 1 of the paper for one example, with explicit iterates; the best point prefers a wrong answer."""

    def look(z):
        z = z.clone().requires_grad_()
        logits = model(z[None])
        f = -log_odds(logits, y[None]).sum()
        return f.item(), torch.autograd.grad(f, z)[0], bool(logits.argmax() != y)

    def project(z):
        return torch.minimum(torch.maximum(z, x - radius), x + radius).clamp(0, 1)

    checks = sorted(_attack._checkpoints(steps))
    eta, current = 2 * radius, project(x + radius * noise)
    f, g, wrong = look(current)
    f_max, x_max, g_max, previous, seen = f, current, g, current, [(wrong, f, current)]
    rises, halved_last, f_max_last, last_check = 0, True, f, 0
    for k in range(1, steps + 1):
        z = project(current + eta * g.sign())
        new = z if k == 1 else project(current + 0.75 * (z - current) + 0.25 * (current - previous))
        f_new, g_new, wrong = look(new)
        rises += f_new > f
        seen.append((wrong, f_new, new))
        if f_new > f_max:
            f_max, x_max, g_max = f_new, new, g_new
        previous, current, f, g = current, new, f_new, g_new
        if k in checks:
            halve = rises <= 0.75 * (k - last_check) or (not halved_last and f_max_last >= f_max)
            if halve:
                eta, current, f, g = eta / 2, x_max, f_max, g_max
            rises, halved_last, f_max_last, last_check = 0, halve, f_max, k
    return max(seen, key=lambda s: s[:2])[2]


@pytest.mark.known_answer
def test_random_search_finds_the_corner_of_a_linear_model(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    found = _attack.search(mine, lines.inputs, lines.labels, _attack.Budget(RADIUS, 400), rng)
    corner = lines.inputs + lines.worst(lines.first, lines.labels, RADIUS)
    assert torch.allclose(found, corner)


def test_random_search_stays_in_the_ball_and_halves_its_squares_as_the_source(net, rng):
    inputs, labels = net.task.test.inputs, net.task.test.targets
    found = _attack.search(net, inputs, labels, _attack.Budget(0.1, 20), rng)
    assert (found - inputs).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    before, after = (_attack._margin(net, x, labels) for x in (inputs, found))
    assert (after <= before + 1e-6).float().mean() > 0.9
    assert [_attack._share(q / 10_000) for q in (0, 10, 11, 51, 8001)] == [0.8, 0.8, 0.4, 0.2, 0.8 / 2**9]
