import numpy as np
import pytest

from whatelse.statistics import counts, mcnemar, paired, resample, sides, summaries


def worst(values, counts):
    weight = np.stack([counts @ (values[:, 1] == g) for g in (0, 1)], 1)
    right = np.stack([counts @ (values[:, 0] * (values[:, 1] == g)) for g in (0, 1)], 1)
    return (right / weight).min(1)


@pytest.mark.known_answer
@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize("summarise", [summaries.mean, worst])
def test_the_numbers_are_those_of_effect(seeds, summarise):
    rng = np.random.default_rng(1)
    shape = (120,) if summarise is summaries.mean else (120, 2)
    before, after = ([rng.integers(0, 2, shape).astype(float) for _ in range(seeds)] for _ in range(2))
    resamples = resample.resamples(120, 500, np.random.default_rng(2))
    exact = seeds == 1 and summarise is summaries.mean
    given = None if exact else resamples.held
    whole = paired.effect(before, after, summarise, np.random.default_rng(3), draws=500, resamples=given)
    old, new = (sides.side(v, summarise, resamples) for v in (before, after))
    found = sides.contrast(old, new, np.random.default_rng(3))
    assert found.numbers == pytest.approx(whole.numbers)
    assert np.array(found.tails) == pytest.approx(np.array(whole.tails))


@pytest.mark.known_answer
def test_the_parts_of_groups_have_exact_bounds_and_their_own_size():
    """Of group 0 two of 30 change, of group 1 none of 90: its 90 examples exclude no more than theirs can."""
    code = np.repeat([0, 1], [30, 90])
    before, after = (np.stack([np.ones(120), code], 1) for _ in range(2))
    after[:2, 0] = 0
    resamples = resample.resamples(120, 400, np.random.default_rng(2))

    def rates(values, counts):
        inside = values[:, 1:] == [0, 1]
        return (counts * values[:, 0]) @ inside / (counts @ inside)

    told = [sides.outcomes([v[:, [0, 1, 1]]], 2) for v in (before, after)]
    old, new = (sides.parts([v], rates, resamples, t) for v, t in zip((before, after), told, strict=True))
    assert [s.units for s in new] == [30, 90]
    first, second = (sides.contrast(b, a, np.random.default_rng(0)) for b, a in zip(old, new, strict=True))
    assert (first.effect, first.low, first.high) == pytest.approx((-2 / 30, *mcnemar.bounds(0, 2, 30)))
    assert (second.low, second.high) == pytest.approx(mcnemar.bounds(0, 0, 90))


def test_several_seeds_and_clusters_have_no_exact_counts():
    values = [np.random.default_rng(s).integers(0, 2, 60).astype(float) for s in range(2)]
    alone = resample.resamples(60, 50, np.random.default_rng(0))
    users = resample.resamples(60, 50, np.random.default_rng(0), np.arange(60) // 6)
    assert sides.side(values[:1], summaries.mean, alone).each is not None
    assert sides.side(values, summaries.mean, alone).each is None
    clustered = sides.side(values[:1], summaries.mean, users)
    assert clustered.each is None
    assert clustered.units == 10


def test_the_smallest_group_says_what_nothing_excludes():
    values = np.stack([np.ones(200), np.arange(200) < 20], 1)
    resamples = resample.resamples(200, 4000, np.random.default_rng(0))
    side = sides.side([values], worst, resamples, sides.outcomes([values[:, [0, 1, 1]]], 2))
    found = sides.contrast(side, side, np.random.default_rng(0))
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 20), rel=0.01)
    # A group that is smaller still does not count where the number leaves it out, and is a part all the same.
    kept = np.where(values[:, 1] == 1, -1, 0)
    told = sides.outcomes([np.stack([values[:, 0], values[:, 1], kept], 1)], 2)
    assert told.sizes() == [180, 20]
    assert sides.side([values], worst, resamples, told).units == 180


def rates_of(parts):
    def rates(values, counts):
        inside = values[:, 1:2] == np.arange(parts)
        with np.errstate(invalid="ignore"):
            return (counts * values[:, 0]) @ inside / (counts @ inside)

    return rates


def meant(values, counts):
    return np.nanmean(rates_of(3)(values, counts), 1)


@pytest.mark.known_answer
@pytest.mark.parametrize("sizes", [(3, 40, 200), (5, 5, 5)])
def test_a_mean_over_classes_has_the_bounds_of_each_joined_in_squares(sizes):
    """Of the first class one is lost of the few there are: what few leave open stands in the mean by its share."""
    code = np.repeat([0, 1, 2], sizes)
    before, after = (np.stack([np.ones(sum(sizes)), code], 1) for _ in range(2))
    after[0, 0] = 0
    resamples = resample.resamples(len(code), 100, np.random.default_rng(0))
    told = [sides.outcomes([v[:, [0, 1, 1]]], 3, averaged=True) for v in (before, after)]
    old, new = (sides.side([v], meant, resamples, t) for v, t in zip((before, after), told, strict=True))
    found = sides.contrast(old, new, np.random.default_rng(0))
    each = [mcnemar.bounds(0, lost, n, 0.9) for lost, n in zip((1, 0, 0), sizes, strict=True)]
    middle = [-1 / sizes[0], 0, 0]
    below = np.sqrt(sum((m - low) ** 2 for m, (low, _) in zip(middle, each, strict=True))) / 3
    above = np.sqrt(sum((high - m) ** 2 for m, (_, high) in zip(middle, each, strict=True))) / 3
    assert (found.effect, found.low90, found.high90) == pytest.approx(
        (-1 / sizes[0] / 3, -1 / sizes[0] / 3 - below, -1 / sizes[0] / 3 + above)
    )
    assert (found.rose, found.fell) == (0, 1)
    assert found.p == 1 or found.p > 0.05
    # A minimum looks like a mean as long as every answer is right, and is none.
    assert sides.side([before], meant, resamples, sides.outcomes([before[:, [0, 1, 1]]], 3)).strata is None


@pytest.mark.known_answer
def test_a_mean_over_classes_keeps_its_level():
    """Of classes of 2 to 60 examples, a twentieth lost and a twentieth gained of each: 5 % may lie beyond a bound."""
    draw, sizes, beyond, tries = np.random.default_rng(5), (2, 3, 5, 8, 20, 60), 0, 150
    for _ in range(tries):
        changes = [draw.choice([-1.0, 0, 1], n, p=[0.05, 0.9, 0.05]) for n in sizes]
        found = counts.averaged(0.5, 0.5, changes)
        beyond += found.tails[0][1] > 0
    assert beyond / tries <= 0.05


@pytest.mark.known_answer
def test_the_p_of_a_mean_over_classes_is_that_of_its_bounds():
    changes = [np.array([-1.0] * 9 + [0.0]), np.zeros(50)]
    found = counts.averaged(1.0, 0.55, changes)
    level = found.p / 2

    def high(at):
        one, other = (mcnemar.reach(*(np.array([v]) for v in table), at)[1][0] for table in ((0, 9, 10), (0, 0, 50)))
        return -0.45 + np.hypot(one, other) / 2

    assert high(1.02 * level) < 0 < high(0.98 * level)


@pytest.mark.parametrize("kind", ["seeds", "clusters"])
def test_a_small_part_is_never_surer_than_its_units_under_seeds_and_clusters(kind):
    """Of 20 examples one changes under one of many seeds; or they are of two clusters.  As little as none is shown."""
    code = np.repeat([0, 1], [20, 400])
    base = np.stack([np.ones(420), code], 1)
    seeds = 10 if kind == "seeds" else 1
    after = [base.copy() for _ in range(seeds)]
    after[0][0, 0] = 0
    clusters = None if kind == "seeds" else np.concatenate([np.arange(20) // 10, 2 + np.arange(400)])
    resamples = resample.resamples(420, 2000, np.random.default_rng(0), clusters)
    pair = []
    for values in ([base] * seeds, after):
        told = sides.outcomes([v[:, [0, 1, 1]] for v in values], 2)
        pair.append(sides.parts(values, rates_of(2), resamples, told)[0])
    assert pair[1].units == (20 if kind == "seeds" else 2)
    found = sides.contrast(*pair, np.random.default_rng(0))
    assert found.low90 <= -(1 - 0.05 ** (1 / pair[1].units)) * 0.98
    lost = [v * np.array([0, 1]) for v in ([base] * seeds)]
    told = sides.outcomes([v[:, [0, 1, 1]] for v in lost], 2)
    found = sides.contrast(pair[0], sides.parts(lost, rates_of(2), resamples, told)[0], np.random.default_rng(0))
    assert found.effect == -1
    assert found.high90 == pytest.approx(-(2 * 0.05 ** (1 / pair[1].units) - 1), abs=0.02), "the sign test"


def test_groupings_may_lie_side_by_side_and_a_part_may_be_empty():
    told = np.array([[1, 0, 2, 0, 2], [0, 1, 2, -1, 2], [1, 1, 3, -1, -1], [1, 0, -1, 0, -1]], float)
    found = sides.outcomes([told], 5)
    assert found.sizes() == [2, 2, 2, 1, 0]
    assert found.sizes(np.array([0, 0, 0, 1])) == [2, 1, 1, 1, 0]
    assert found.counted.tolist() == [True, False, True, False, False]


def test_a_biased_summary_is_known_by_its_resamples():
    """An unsigned sum over many bins grows with every resampling; a mean does not."""
    rng = np.random.default_rng(3)
    values = np.stack([rng.normal(size=300), np.arange(300) % 60], 1)
    resamples = resample.resamples(300, 500, rng)

    def unsigned(values, counts):
        return np.abs((counts * values[:, 0]) @ (values[:, 1:] == np.arange(60))).sum(1) / counts.sum(1)

    def plain(values, counts):
        return counts @ values[:, 0] / counts.sum(1)

    assert sides.bias(sides.side([values], unsigned, resamples)) > 1
    assert sides.bias(sides.side([values], plain, resamples)) < 0.2


def test_quantities_that_are_no_sample_vary_over_seeds_only():
    old, new = (sides.side([np.array([1.0, 2.0]), np.array(v)], worst_sum, None) for v in ([3.0], [1.0, 1.0, 5.0]))
    found = sides.contrast(old, new, np.random.default_rng(0), draws=200)
    assert (found.before, found.after, found.effect) == (3, 5, 2)
    assert found.low < 2 < found.high
    same = sides.contrast(old, old, np.random.default_rng(0), draws=200)
    assert (same.low, same.effect, same.high) == (0, 0, 0)


def worst_sum(values, counts):
    return counts @ values


def test_zero_is_a_control():
    resamples = resample.resamples(50, 300, np.random.default_rng(2))
    one = sides.side([np.linspace(0.5, 1.5, 50)], summaries.mean, resamples)
    found = sides.contrast(sides.zero(one), one, np.random.default_rng(0))
    assert (found.before, found.effect) == (0, pytest.approx(1))
    assert found.low > 0.8


def test_nan_and_unpaired_sides():
    resamples = resample.resamples(3, 100, np.random.default_rng(2))
    good, bad = (sides.side([np.array([1.0, 2.0, v])], summaries.mean, resamples) for v in (3, np.nan))
    assert np.isnan(sides.contrast(good, bad, np.random.default_rng(0)).effect)
    two = sides.side([np.ones(3)] * 2, summaries.mean, resamples)
    with pytest.raises(ValueError, match="before has 1 seeds and after has 2"):
        sides.contrast(good, two, np.random.default_rng(0))


def test_where_nothing_varies_the_interval_is_not_a_point():
    resamples = resample.resamples(100, 300, np.random.default_rng(2))
    ones = sides.side([np.ones(100)], summaries.mean, resamples)
    found = sides.contrast(ones, ones, np.random.default_rng(0))
    assert found.high90 == pytest.approx(0.03, abs=0.002), "the rule of three: 3 / 100"


@pytest.mark.known_answer
def test_parts_are_the_sides_of_each_part_alone():
    resamples = resample.resamples(80, 200, np.random.default_rng(2))
    values = [np.random.default_rng(s).random((80, 3)) for s in (0, 1)]
    whole = sides.parts(values, lambda v, counts: counts @ v / counts.sum(1)[:, None], resamples)
    for j, part in enumerate(whole):
        alone = sides.side([v[:, j] for v in values], summaries.mean, resamples)
        assert part.points == pytest.approx(alone.points)
        assert part.drawn == pytest.approx(alone.drawn)
        assert part.left == pytest.approx(alone.left)


@pytest.mark.known_answer
def test_resamples_that_are_too_many_to_hold_are_drawn_anew_and_the_same(monkeypatch):
    held = resample.resamples(50, 40, np.random.default_rng(7).spawn(1)[0])
    monkeypatch.setattr(resample, "HELD", 0)
    monkeypatch.setattr(resample, "BLOCK", 500)
    drawn = resample.resamples(50, 40, np.random.default_rng(7))
    assert drawn.held is None
    first, second = (np.concatenate(list(drawn.blocks())) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(first, held.held)
    assert np.all(first.sum(1) == 50)


@pytest.mark.known_answer
def test_a_share_of_the_way_is_zero_at_its_start_and_one_at_its_end():
    resamples = resample.resamples(200, 300, np.random.default_rng(2))
    rng = np.random.default_rng(5)
    low, high = (sides.side([rng.normal(m, 0.1, 200)], summaries.mean, resamples) for m in (0.2, 0.8))
    middle = sides.side([rng.normal(0.5, 0.1, 200)], summaries.mean, resamples)
    found = {n: sides.share(s, low, high).points[0] for n, s in (("low", low), ("high", high), ("middle", middle))}
    assert found["low"] == 0
    assert found["high"] == 1
    assert found["middle"] == pytest.approx(0.5, abs=0.05)
    assert np.isnan(sides.share(middle, low, low).points[0]), "there is no way between the same two"


@pytest.mark.known_answer
def test_no_change_in_a_small_group_is_as_uncertain_as_the_group_is_small():
    group = np.zeros(5000)
    group[100:140] = 1  # none of them at a place evenly apart
    values = [np.stack([np.arange(5000) % 2, group], 1)]

    def rate(v, counts):
        return counts @ (v[:, 0] * v[:, 1]) / (counts @ v[:, 1])

    resamples = resample.resamples(5000, 400, np.random.default_rng(2))
    one = sides.side(values, rate, resamples)
    found = sides.contrast(one, one, np.random.default_rng(0))
    whole = paired.effect(values, values, rate, np.random.default_rng(0), draws=400)
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), rel=0.05)
    assert found.high > 0.05, "nothing seen in 40 examples"


def test_a_summary_is_not_asked_of_what_is_no_number():
    def by_part(v, counts):
        return counts @ np.eye(4)[v.astype(int)]  # an index error for NaN

    resamples = resample.resamples(6, 100, np.random.default_rng(2))
    found = sides.parts([np.array([0, 1, 2, 3, np.nan, 0])], by_part, resamples)
    assert len(found) == 4
    assert all(np.isnan(side.points).all() for side in found)


def test_parts_of_very_many_groups_are_found_as_one_by_one():
    codes = np.random.default_rng(0).integers(-1, 700, (3000, 2))
    told = np.concatenate([np.ones((3000, 1)), codes, codes], 1)
    found = sides.outcomes([told], 700)
    for part in (0, 13, 699):
        assert found.inside[part].tolist() == np.flatnonzero((codes == part).any(1)).tolist()
