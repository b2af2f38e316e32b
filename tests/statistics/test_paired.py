import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from whatelse.statistics import mcnemar, paired, resample, summaries, verdicts
from whatelse.statistics.effect import FINER, LEVELS


def opaque(values, counts):
    """A mean that is not known to be one."""
    return counts @ values / counts.sum(1)


def worst_group(values, counts):
    groups = np.unique(values[:, 1])
    inside = values[:, 1:] == groups
    return ((counts * values[:, 0]) @ inside / (counts @ inside)).min(1)


def rng_of(seed):
    return np.random.default_rng(seed)


# Known answers


@pytest.mark.known_answer
@pytest.mark.parametrize("summarise", [summaries.mean, opaque], ids=["mean", "opaque"])
@pytest.mark.parametrize("kind", ["0/1", "continuous"])
def test_the_interval_of_a_mean_is_scipys(summarise, kind):
    rng = rng_of(1)
    before = rng.exponential(size=300)
    after = before + rng.normal(0.1, 1, 300)
    if kind == "0/1":
        before, after = (before < 1.5) * 1.0, (after < 1.5) * 1.0
    theirs = stats.bootstrap(
        (before, after),
        lambda x, y, axis: y.mean(axis) - x.mean(axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        batch=1000,
        rng=rng_of(2),
    )
    ours = paired.effect([before], [after], summarise, rng_of(3))
    if kind == "continuous":
        alike(ours, theirs)
    else:  # exact counts cover what a percentile misses: wider, by less than a tenth
        ends = theirs.confidence_interval
        assert 1 <= (ours.high - ours.low) / (ends.high - ends.low) <= 1.1
        assert ours.effect == pytest.approx((ends.low + ends.high) / 2, abs=0.15 * ours.se)


@pytest.mark.known_answer
def test_the_interval_of_an_auc_is_scipys():
    rng = rng_of(4)
    member = np.arange(120) % 2
    before, after = (np.stack([rng.normal(size=120) + shift * member, member], 1) for shift in (0.5, 1.0))

    def area(values, index):
        counts = np.stack([np.bincount(row, minlength=120) for row in index.reshape(-1, 120).astype(int)])
        return summaries.auc(values, counts)

    theirs = stats.bootstrap(
        (np.arange(120),),
        lambda index, axis: area(after, index) - area(before, index),
        method="percentile",
        n_resamples=10_000,
        rng=rng_of(5),
    )
    alike(paired.effect([before], [after], summaries.auc, rng_of(6)), theirs)


def alike(ours, theirs):
    """A percentile at .025 of 10,000 draws has a standard error of .027 se, the difference of two .038: 4 of them."""
    assert ours.se == pytest.approx(theirs.standard_error, rel=0.04)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.15 * ours.se)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.15 * ours.se)


@pytest.mark.known_answer
def test_an_effect_by_hand():
    before, after = np.array([0.0, 0, 1, 1]), np.array([1.0, 1, 1, 1])
    counts = resample.counts(4, 40_000, rng_of(1))
    found = paired.effect([before], [after], summaries.mean, rng_of(0), resamples=counts)
    assert (found.before, found.after, found.effect) == (0.5, 1.0, 0.5)
    # Resampled means of four are 0 and 1 at the ends; what four examples cannot know stretches them further.
    assert found.low < 0 < 1 < found.high


@pytest.mark.known_answer
def test_a_few_changes_are_counted_exactly():
    before, after = np.array([0.0, 0, 1, 1]), np.array([1.0, 1, 1, 1])
    found = paired.effect([before], [after], summaries.mean, rng_of(0))
    assert (found.before, found.after, found.effect) == (0.5, 1.0, 0.5)
    assert (found.low, found.high) == mcnemar.bounds(2, 0, 4)
    assert found.p == mcnemar.midp(2, 0) == 0.25
    assert found.tails[0] == (0.05, found.low90, found.high90)
    assert found.tails[1] == (0.025, found.low, found.high)
    assert [level for level, _, _ in found.tails] == sorted((*LEVELS, *FINER), reverse=True)
    assert (found.rose, found.fell) == (2, 0)


@pytest.mark.known_answer
def test_a_few_examples_are_stretched_to_students_t():
    """Percentiles of 40,000 draws have a standard error of 2 % here."""
    values = stats.zscore(stats.norm.ppf((np.arange(12) + 0.5) / 12))  # no skewness, which would move them
    found = paired.effect([np.zeros(12)], [values + 1], summaries.mean, rng_of(3), draws=40_000)
    theirs = stats.ttest_1samp(values + 1, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=0.06)
    assert found.tails[1] == (0.025, found.low, found.high)


@pytest.mark.known_answer
@pytest.mark.parametrize("summarise", [summaries.mean, opaque], ids=["mean", "opaque"])
def test_without_shared_variation_several_seeds_are_a_t_interval(summarise):
    """Standard errors of the ends: .06 of the half-width at most with 40,000 draws; of the p value .002."""
    rng = rng_of(7)
    n, shifts = 200, np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    before = [np.zeros(n)] * 5
    noise = rng.normal(0, 0.01, (5, n))
    after = [shift + e - e.mean() for shift, e in zip(shifts, noise, strict=True)]
    found = paired.effect(before, after, summarise, rng_of(8), draws=40_000)
    theirs = stats.ttest_1samp(shifts, 0)
    low, high = theirs.confidence_interval(0.95)
    low90, high90 = theirs.confidence_interval(0.9)
    assert found.effect == pytest.approx(0.42)
    assert found[3:7] == pytest.approx((low, high, low90, high90), abs=0.06 * (high - low) / 2)
    assert found.p == pytest.approx(theirs.pvalue, abs=0.008)
    assert found.se == pytest.approx((found.high - found.low) / 3.919928)


@pytest.mark.known_answer
def test_seeds_that_agree_are_one_seed():
    rng = rng_of(9)
    before = rng.normal(size=300)
    after = before + rng.normal(0.1, 1, 300)
    one, five = (paired.effect([before] * s, [after] * s, summaries.mean, rng_of(s)) for s in (1, 5))
    assert five[3:7] == pytest.approx(one[3:7], abs=0.15 * one.se)
    assert five.se == pytest.approx(one.se, rel=0.04)


@pytest.mark.known_answer
def test_both_parts_add():
    """Examples and seeds with known variances: the half-width is the percentile of a normal plus a Student t."""
    n, draws = 400, 40_000
    rng = rng_of(10)
    common = stats.zscore(rng.normal(size=n))
    shifts = stats.zscore(np.arange(5.0), ddof=1) * 0.05
    after = [common + shift for shift in shifts]
    found = paired.effect([np.zeros(n)] * 5, after, summaries.mean, rng_of(11), draws=draws)
    parts = rng.normal(0, 1 / math.sqrt(n), 400_000) + rng.standard_t(4, 400_000) * 0.05 / math.sqrt(5)
    assert found.high == pytest.approx(np.quantile(parts, 0.975), rel=0.05)
    assert found.low == pytest.approx(np.quantile(parts, 0.025), rel=0.05)


@pytest.mark.known_answer
@pytest.mark.parametrize("values", ["0/1", "same"])
def test_where_nothing_changed_the_rule_of_three_stands(values):
    n = 100
    before = (np.arange(n) < 90) * 1.0 if values == "0/1" else np.ones(n)
    found = paired.effect([before], [before.copy()], summaries.mean, rng_of(0))
    assert found.effect == 0
    assert found.p == 1
    far90, far = (1 - level ** (1 / n) for level in (0.05, 0.025))
    assert (found.low90, found.high90, found.low, found.high) == pytest.approx((-far90, far90, -far, far))
    counts = resample.counts(n, 10_000, rng_of(1))
    drawn = paired.effect([before], [before.copy()], opaque, rng_of(0), resamples=counts)
    reach = n / (n - 1) if values == "0/1" else 1
    assert (drawn.low90, drawn.high90) == pytest.approx((-far90 * reach, far90 * reach), rel=0.01)
    assert (drawn.low, drawn.high) == pytest.approx((-far * reach, far * reach), rel=0.01)


@pytest.mark.known_answer
def test_where_nothing_changed_the_smallest_group_counts():
    values = np.stack([np.tile([1.0, 0], 100), np.arange(200) < 20], 1)
    found = paired.effect([values], [values], worst_group, rng_of(0))
    # In the group of 20 one right answer less makes 9/19, while in the group of 180 all stay at 1/2.
    assert found.high90 == pytest.approx(math.log(20) * (1 / 2 - 9 / 19), rel=0.01)


@pytest.mark.known_answer
def test_exact_values_vary_over_seeds_only():
    sizes = [np.array([3.0, 4.0]), np.array([3.0, 6.0]), np.array([3.0, 9.0])]

    def total(values, counts):
        return counts @ values

    found = paired.effect([np.zeros(2)] * 3, sizes, total, rng_of(0), draws=40_000, exact=True)
    theirs = stats.ttest_1samp([7, 9, 12], 0)
    assert found.effect == pytest.approx(28 / 3)
    assert found[3:5] == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=0.1)
    assert found.p == pytest.approx(theirs.pvalue, abs=0.005)
    one = paired.effect([sizes[0]], [sizes[1]], total, rng_of(0), exact=True)
    assert one[2:7] == (2, 2, 2, 2, 2)
    assert (one.se, one.p) == (0, 2 / 10_001)
    same = paired.effect([sizes[0]], [sizes[0]], total, rng_of(0), exact=True)
    assert (same.low, same.high, same.p) == (0, 0, 1)


@pytest.mark.known_answer
def test_outcomes_of_0_and_1_agree_with_tango_and_mcnemar():
    """Asymptotically the same: .15 standard errors at 60 discordant pairs, with the noise of the draws."""
    before = np.repeat([0.0, 1, 1, 0], [40, 20, 800, 140])
    after = np.repeat([1.0, 0, 1, 0], [40, 20, 800, 140])
    found = paired.effect([before], [after], summaries.mean, rng_of(0), draws=40_000)
    low, high = mcnemar.interval(40, 20, 1000)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * found.se)
    assert found.p == pytest.approx(mcnemar.midp(40, 20), abs=0.006)


# Resamples


@pytest.mark.parametrize("summarise", [summaries.mean, opaque], ids=["mean", "opaque"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_given_resamples_are_used(summarise, seeds):
    rng = rng_of(12)
    before = [rng.normal(size=50) for _ in range(seeds)]
    after = [b + rng.normal(0.2, 1, 50) for b in before]
    counts = resample.counts(50, 500, rng)
    found = paired.effect(before, after, summarise, rng_of(0), resamples=counts)
    again = paired.effect(before, after, summarise, rng_of(0), resamples=counts)
    assert found == again
    if seeds == 1:
        drawn = (counts @ (after[0] - before[0])) / 50
        # Stretched by Student's t of 49 degrees of freedom over the normal: 3.6 % at most; and its own draws.
        ends = np.quantile(drawn, [0.025, 0.975, 0.05, 0.95])
        assert found[3:7] == pytest.approx(ends, abs=0.1 * np.ptp(ends))


@pytest.mark.known_answer
@pytest.mark.parametrize("seeds", [1, 2])
def test_equal_rows_taken_together_change_nothing(seeds, monkeypatch):
    rng = rng_of(13)
    group = np.arange(400) % 4 == 0
    before = [np.stack([rng.random(400) < 0.9, group], 1) * 1.0 for _ in range(seeds)]
    after = [np.stack([rng.random(400) < 0.85, group], 1) * 1.0 for _ in range(seeds)]
    few = paired.effect(before, after, worst_group, rng_of(1), draws=20_000)
    monkeypatch.setattr(paired, "_FEW", 0)
    every = paired.effect(before, after, worst_group, rng_of(2), draws=20_000)
    assert few[:3] == pytest.approx(every[:3])
    assert few[3:7] == pytest.approx(every[3:7], abs=0.2 * every.se)
    assert few.se == pytest.approx(every.se, rel=0.05)


def test_a_summary_that_is_more_than_its_rows_gets_all_examples():
    seen = set()

    def of_neighbors(values, counts):
        """Pairs of rows (0, 1), (2, 3), ...: the order of the examples matters."""
        seen.add((len(values), len(counts)))
        return counts[:, ::2] @ (values[::2] * values[1::2]) / counts.sum(1)

    rng = rng_of(14)
    before, after = (rng.integers(0, 2, 100).astype(float) for _ in range(2))
    assert math.isfinite(paired.effect([before], [after], of_neighbors, rng_of(0), draws=50).se)
    assert (100, 50) in seen
    assert (4, 50) not in seen


def test_clusters_are_passed_on():
    clusters = np.arange(300) // 10
    rng = rng_of(16)
    before = rng.normal(size=300)
    after = before + rng.normal(size=30)[clusters]
    for summarise in (summaries.mean, opaque):
        single, whole = (
            paired.effect([before], [after], summarise, rng_of(0), clusters=c, draws=2000) for c in (None, clusters)
        )
        # The variance of a mean of 30 in place of 300.
        assert whole.se / single.se == pytest.approx(math.sqrt(10), rel=0.1)


def test_memory_is_bounded():
    rng = rng_of(15)
    before, after = rng.normal(size=(2, 10_000))
    tracemalloc.start()
    paired.effect([before], [after], summaries.median, rng_of(0), draws=1000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200e6


# What no answer can be given to


@pytest.mark.parametrize("exact", [False, True])
def test_values_that_are_no_numbers_are_not_trusted(exact):
    before, after = np.zeros((2, 30))
    after[3] = np.nan
    found = paired.effect([before] * 2, [before, after], summaries.mean, rng_of(0), exact=exact)
    assert all(math.isnan(number) for number in found.numbers)
    assert found.tails == ()
    assert verdict(found) == "not trusted"


def test_a_summary_that_is_no_number_is_not_trusted():
    values = np.stack([np.arange(30.0), np.ones(30)], 1)
    assert verdict(paired.effect([values], [values], summaries.auc, rng_of(0))) == "not trusted"


@pytest.mark.parametrize(("members", "trusted"), [(1, False), (15, True)])
def test_few_undefined_resamples_are_left_out_and_many_are_not_trusted(members, trusted):
    """Without its 1 member are 37 % of the resamples, without all of 15 (of 30) less than one in a billion."""
    values = np.stack([rng_of(0).normal(size=30), np.arange(30) < members], 1)
    other = np.stack([rng_of(1).normal(size=30), np.arange(30) < members], 1)
    found = paired.effect([values], [other], summaries.auc, rng_of(0))
    assert math.isfinite(found.before)
    assert (verdict(found) == "not trusted") != trusted


def test_a_resample_in_fifty_may_be_undefined():
    """Without its 4 members are 1.8 % of the resamples; the others make the interval."""
    values = np.stack([rng_of(0).normal(size=200), np.arange(200) < 4], 1)
    other = np.stack([rng_of(1).normal(size=200), np.arange(200) < 4], 1)
    found = paired.effect([values], [other], summaries.auc, rng_of(0))
    assert all(math.isfinite(number) for number in found.numbers)


def test_one_example_says_little():
    found = paired.effect([np.ones(1)], [np.ones(1)], summaries.mean, rng_of(0))
    assert found.high90 - found.low90 == pytest.approx(1.9)


def verdict(effect, margin=10.0):
    return verdicts.decide(effect, margin=margin, better="higher", adjusted_p=effect.p, distrust=())


@pytest.mark.parametrize(
    ("before", "after", "more", "said"),
    [
        ([np.zeros(7)], [np.zeros(9)], {}, "seed 0: before has 7 examples and after has 9"),
        ([np.zeros(7)] * 2, [np.zeros(7), np.zeros(8)], {}, "seed 1: before has 7 examples and after has 8"),
        ([np.zeros(7), np.zeros(5)], [np.zeros(7), np.zeros(5)], {}, r"seed 1: .* 5 .* 5; .* seed 0 \(7\)"),
        ([np.zeros(7)] * 2, [np.zeros(7)], {}, "before has 2 seeds and after has 1"),
        ([], [], {}, "before has 0 seeds"),
        ([np.zeros(0)], [np.zeros(0)], {}, "0 examples"),
        ([np.zeros(7)], [np.zeros(7)], {"resamples": np.ones((9, 6))}, r"\(9, 6\); \(draws, 7\) is needed"),
        ([np.zeros(7)], [np.zeros(7)], {"clusters": np.ones(6)}, r"\(6,\); \(7,\) is needed"),
    ],
)
def test_unpaired_input_is_named_in_one_line(before, after, more, said):
    with pytest.raises(ValueError, match=said) as caught:
        paired.effect(before, after, summaries.mean, rng_of(0), **more)
    assert "\n" not in str(caught.value)


@pytest.mark.known_answer
@pytest.mark.parametrize("asymmetry", [0.2, 0.5, -0.5])
def test_the_skewness_of_a_mean_moves_its_bounds_as_hall_has_it(asymmetry):
    """Hall's transformation of a ratio at its bound gives back the normal quantile (1992, equation 2.2)."""
    z = stats.norm.ppf(np.array([0.05, 0.5, 0.95]))
    ratio = -paired.hall(z, np.array(asymmetry))  # (mean - truth) / se, where the truth lies at the bound
    g = asymmetry
    assert ratio + g * ratio**2 / 3 + g**2 * ratio**3 / 27 + g / 6 == pytest.approx(-z)


@pytest.mark.known_answer
def test_without_skewness_the_bounds_are_the_percentiles():
    offsets = rng_of(0).normal(size=100)
    assert paired.unskewed(offsets, 0.0) is offsets
    values = np.array([-1.0, 0, 0, 1])
    assert paired.skewness(values) == 0
    assert paired.skewness(np.array([0, 0, 0, 1.0])) == pytest.approx(stats.skew([0, 0, 0, 1]) / 2)


@pytest.mark.known_answer
def test_where_a_few_examples_carry_the_harm_the_upper_bound_keeps_its_level():
    rng, missed, samples = rng_of(4), 0, 300
    for _ in range(samples):
        harm = np.where(rng.random(300) < 0.05, rng.exponential(1.0, 300), rng.normal(0, 0.02, 300))
        found = paired.effect([np.zeros(300)], [harm], summaries.mean, rng, draws=400)
        missed += found.high90 < 0.05
    # Percentiles alone miss in 11 %; .05 and three standard errors of so many samples.
    assert missed / samples <= 0.05 + 3 * (0.05 * 0.95 / samples) ** 0.5
