import pytest
import torch

from whatelse.behaviours.robustness import _attack, _pool

RADIUS = 0.3
QUICK = _pool.Plan("linf", RADIUS, 10, 30, 1000, "quick")
STANDARD = _pool.Plan("linf", RADIUS, 10, 30, 1000, "standard")


@pytest.mark.known_answer
def test_each_strength_runs_its_attacks():
    assert QUICK.climbs(10) == [("log odds", 0)]
    assert STANDARD.climbs(2) == [("log odds", 0)] * 4
    assert STANDARD.climbs(3) == [*[("log odds", 0)] * 4, ("ratio", 0), ("target", 0), ("target", 1)]
    assert [k for name, k in STANDARD.climbs(20) if name == "target"] == list(range(9))
    assert QUICK.passes(10) == 2 * 23
    assert STANDARD.passes(3) == 8 * 23
    assert QUICK.blind_queries(10) == 30 + 46


@pytest.mark.parametrize("plan", [QUICK, STANDARD])
def test_later_attacks_keep_just_the_points_that_fell_others(lines, claims, reversed_, plan):
    mine = claims(reversed_(lines.linear_of(lines.first)))
    pool = _pool.own(mine, plan)
    fell = pool.first & ~pool.stands
    assert 5 < int(fell.sum()) == len(pool.rows) == len(pool.later)
    assert sorted(pool.rows.tolist()) == fell.nonzero().flatten().tolist()
    assert bool(_attack.fooled(mine, pool.later, lines.labels[pool.rows]).all())
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
