import pytest
import torch

from whatelse.attacks import attack
from whatelse.attacks import pool as _pool

RADIUS = 0.3
QUICK = _pool.Plan("linf", RADIUS, 10, 30, 1000, "quick")
STANDARD = _pool.Plan("linf", RADIUS, 10, 30, 1000, "standard")


@pytest.mark.known_answer
def test_each_strength_runs_its_attacks():
    assert QUICK.climbs(10) == ["log odds"]
    assert STANDARD.climbs(2) == ["log odds"]
    assert STANDARD.climbs(3) == ["log odds", "ratio", "ratio"]
    assert [p.targets(c) for p, c in ((QUICK, 10), (STANDARD, 2), (STANDARD, 3), (STANDARD, 20))] == [
        (0, 0),
        (0, 0),
        (2, 2),
        (9, 3),
    ]
    assert QUICK.passes(10) == 2 * 23
    # Ten steps, two of them of a short climb.
    assert STANDARD.passes(3) == 6 * 23 + 2 * 8
    assert QUICK.blind_queries(10) == 30 + 46


@pytest.mark.known_answer
def test_the_target_that_is_nearest_is_gone_for_first(toy, rng):
    """Of a linear model the gap to each class, over the dual norm of the difference of weights, says how far it is."""
    weight = torch.randn(6, 20, generator=rng)
    model = torch.nn.Linear(20, 6, bias=False)
    model.weight = torch.nn.Parameter(weight)
    inputs = torch.randn(50, 20, generator=rng)
    labels = (inputs @ weight.T).argmax(1)
    mine = toy.evidence_of(model, toy.task_of(inputs, labels, classes=6))
    plan = _pool.Plan("linf", 1e-3, 20, 10, 50, "standard")
    targets = torch.stack([torch.arange(6)[torch.arange(6) != y] for y in labels])
    _, order = _pool._scouted(mine, (inputs, labels, targets), plan, inputs)
    scores = inputs @ weight.T
    gap = scores.gather(1, labels[:, None]) - scores.gather(1, targets)
    width = (weight[labels][:, None] - weight[targets]).abs().sum(2)
    left = gap - 1e-3 * width
    assert torch.equal(order[:, 0], left.argmin(1))


@pytest.mark.parametrize("plan", [QUICK, STANDARD])
def test_later_attacks_keep_just_the_points_that_fell_others(lines, claims, reversed_, plan):
    mine = claims(reversed_(lines.linear_of(lines.first)))
    pool = _pool.own(mine, plan)
    fell = pool.first & ~pool.stands
    assert 5 < int(fell.sum()) == len(pool.rows) == len(pool.later)
    assert sorted(pool.rows.tolist()) == fell.nonzero().flatten().tolist()
    assert bool(attack.fooled(mine, pool.later, lines.labels[pool.rows]).all())
    assert bool(((pool.later - lines.inputs[pool.rows]).abs() <= RADIUS + 1e-6).all())
    assert pool.points.shape == lines.inputs.shape
    spent = mine.passes.forward
    assert torch.equal(_pool.own(mine, plan).stands, pool.stands)
    assert mine.passes.forward == spent


@pytest.mark.known_answer
def test_only_examples_asked_about_fall_to_the_others_points(lines, toy):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    pool = _pool.own(base, QUICK)
    among = torch.arange(120) % 2 == 0
    fell = _pool.tried(mine, pool, among)
    corner = lines.inputs + lines.worst(lines.first, lines.labels, RADIUS)
    assert torch.equal(fell, among & (lines.margin(lines.second, corner, lines.labels) < 0))
