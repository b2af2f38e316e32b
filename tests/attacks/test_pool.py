import pytest
import torch

from whatelse.attacks import attack
from whatelse.attacks import pool as _pool

RADIUS = 0.3
QUICK = _pool.Plan("linf", RADIUS, 10, 30, 1000, "quick")
STANDARD = _pool.Plan("linf", RADIUS, 10, 30, 1000, "standard")


@pytest.mark.known_answer
def test_each_strength_runs_its_attacks():
    def ranks(plan, classes):
        return [[c.rank if c.way == "toward" else c.way for c in some] for some in plan.climbs(classes)]

    assert ranks(QUICK, 10) == [[0], [1], ["ratio", 0, "on"]]
    assert ranks(QUICK, 2) == ranks(STANDARD, 2) == [[0], [0, "on"]]
    assert ranks(STANDARD, 3) == [[0], [1], ["ratio", 0, "on"]]
    assert ranks(STANDARD, 20) == [[0], [1], ["ratio", 0, 2, "on", 3]]
    # The first climb, two targets, the linearization, and of the nearest the ratio, again, and on.
    assert QUICK.passes(10) == 3 * 23 + 1 + 5 + 2 * (23 // 2) + 24 // 2
    assert STANDARD.passes(3) == 3 * 23 + 1 + 2 + 2 * (23 // 2) + 24 // 2
    assert QUICK.blind_queries() == 30 + 2 * 23


@pytest.mark.known_answer
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_the_target_that_is_nearest_is_gone_for_first(toy, rng, norm, dual):
    """Of a linear model the gap to each class, over the dual norm of the difference of weights, says how far it is."""
    weight = torch.randn(6, 20, generator=rng)
    model = torch.nn.Linear(20, 6, bias=False)
    model.weight = torch.nn.Parameter(weight)
    inputs = torch.randn(50, 20, generator=rng)
    labels = (inputs @ weight.T).argmax(1)
    mine = toy.evidence_of(model, toy.task_of(inputs, labels, classes=6))
    ranked, far = _pool._ranked(mine, inputs, labels, _pool.Plan(norm, 0.1, 20, 10, 50, "standard"), 5)
    scores = inputs @ weight.T
    gap = scores.gather(1, labels[:, None]) - scores
    wide = (weight[labels][:, None] - weight[None]).norm(p=dual, dim=2)
    truth = (gap / wide / 0.1).scatter(1, labels[:, None], torch.inf).sort(1)
    assert torch.equal(ranked, truth.indices[:, :5])
    assert torch.allclose(far, truth.values[:, :5], rtol=1e-4)


def test_what_says_nothing_of_its_slope_is_near(toy, rng):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Hardtanh(1e9, 2e9))
    inputs, labels = torch.rand(7, 4, generator=rng), torch.arange(7) % 3
    mine = toy.evidence_of(model, toy.task_of(inputs, labels, classes=3))
    plan = _pool.Plan("linf", 0.1, 20, 10, 7, "quick")
    assert bool((_pool._ranked(mine, inputs, labels, plan, 2)[1] == 0).all())


@pytest.mark.known_answer
def test_the_far_are_left_alone_unless_one_of_the_sample_falls(lines, toy):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    right = mine.predictions("test") == lines.labels
    corner = lines.inputs + lines.worst(lines.first, lines.labels, 50.0)  # fells whoever is attacked
    near = torch.arange(120) < 60
    for sampled, attacked in ((None, right & near), (100, right)):
        left, sample = _pool._Standing(mine, lines.inputs, lines.labels), torch.zeros(120, dtype=torch.bool)
        if sampled is not None:
            sample[right.nonzero().flatten()[-1]] = True
        left.attack(lambda rows: corner[torch.cat(rows)], [near], [sample])
        assert torch.equal(left.stands, right & ~attacked)


@pytest.mark.known_answer
def test_of_a_round_each_climb_asks_for_its_own_and_what_several_fell_falls_once(lines, toy):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    right = mine.predictions("test") == lines.labels
    corner, asked = lines.inputs + lines.worst(lines.first, lines.labels, 50.0), []
    near, none = [torch.arange(120) < 60, torch.arange(120) < 40], torch.zeros(120, dtype=torch.bool)

    def find(rows):
        asked.append([some.tolist() for some in rows])
        return torch.cat([corner[rows[0]], corner[rows[1]] + 1e-3])

    left = _pool._Standing(mine, lines.inputs, lines.labels)
    left.attack(find, near, [none, none])
    assert asked == [[(right & some).nonzero().flatten().tolist() for some in near]]
    assert torch.equal(left.stands, right & ~near[0])
    rows, points = left.joined()
    assert sorted(rows.tolist()) == (right & near[0]).nonzero().flatten().tolist()
    assert torch.allclose(points, corner[rows], atol=2e-3)


@pytest.mark.known_answer
def test_the_search_goes_outwards_until_of_a_block_none_falls(lines, toy, monkeypatch):
    monkeypatch.setattr(_pool, "_BLOCK", 10)
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    left = _pool._Standing(mine, lines.inputs, lines.labels)
    order, sample = left.stands.nonzero().flatten().flip(0), torch.zeros(120, dtype=torch.bool)
    left.least[order] = torch.arange(len(order)).float()
    sample[order[-3:]] = True
    corner, asked = lines.inputs + lines.worst(lines.first, lines.labels, 50.0), []

    def find(rows, x, y):
        asked.append(rows.tolist())
        return corner[rows] if len(asked) < 3 else x

    left.search(find, sample)
    assert asked == [order[[-3, -2, -1, *range(10)]].tolist(), order[10:30].tolist(), order[30:50].tolist()]
    assert len(order) > 60
    assert not left.stands[order[[-3, -2, -1, *range(30)]]].any()
    assert bool(left.stands[order[30:-3]].all())


@pytest.mark.known_answer
def test_how_far_attacks_ended_is_that_of_the_closed_form(lines, toy):
    """Of a linear model the climb ends in a corner, and the border is as far from there as the margin there says."""
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    corner = lines.inputs + lines.worst(lines.first, lines.labels, RADIUS)
    ends = attack.first(mine, QUICK.gradient_budget(), 1000)
    stands = (mine.predictions("test") == lines.labels) & ~ends.fooled
    truth = lines.margin(lines.first, corner, lines.labels) / (lines.first[0] - lines.first[1]).abs().sum() / RADIUS
    assert int(stands.sum()) > 5
    assert torch.allclose(ends.far[stands], truth[stands], atol=1e-4)


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
