import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm
from statsmodels.stats.contingency_tables import mcnemar as oracle

from whatelse.statistics import mcnemar

TABLES = [(1, 7), (6, 16), (10, 10), (0, 5), (3, 30)]


@pytest.mark.known_answer
@pytest.mark.parametrize(("b", "c"), TABLES)
def test_exact_is_that_of_scipy_and_statsmodels(b, c):
    assert mcnemar.exact(b, c) == pytest.approx(binomtest(b, b + c).pvalue)
    assert mcnemar.exact(c, b) == pytest.approx(oracle([[9, b], [c, 9]], exact=True).pvalue)


@pytest.mark.known_answer
@pytest.mark.parametrize(("b", "c"), TABLES)
def test_midp_counts_half_of_the_observed_table(b, c):
    few, n = min(b, c), b + c
    tail = binomtest(few, n, alternative="less").pvalue
    by_hand = 1 if b == c else 2 * tail - math.comb(n, few) / 2**n
    assert mcnemar.midp(b, c) == pytest.approx(by_hand)
    assert mcnemar.midp(c, b) == pytest.approx(by_hand)


@pytest.mark.known_answer
def test_p_values_are_the_published_ones():
    # Fagerland, Lydersen and Laake 2013: airway responsiveness (1 and 7 of 21), complete response (6 and 16 of 161).
    assert mcnemar.midp(1, 7) == pytest.approx(10 / 256)
    assert mcnemar.exact(1, 7) == pytest.approx(18 / 256)
    assert mcnemar.midp(6, 16) == pytest.approx(0.034690, abs=5e-7)
    assert mcnemar.exact(6, 16) == pytest.approx(0.052479, abs=5e-7)


@pytest.mark.known_answer
def test_intervals_are_the_published_ones():
    assert mcnemar.interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert mcnemar.interval(6, 16, 161) == pytest.approx((-0.1240, -0.0054), abs=5e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(("b", "c", "n"), [(1, 7, 21), (40, 20, 160), (0, 3, 50), (2, 2, 400)])
def test_at_the_ends_the_score_is_the_quantile(b, c, n, level):
    """With the restricted maximum of the likelihood found by search, not from Tango's quadratic equation."""

    def score(delta):
        def minus_likelihood(down):
            up = down + delta
            rest = 1 - up - down
            return -sum(k * np.log(q) for k, q in ((b, up), (c, down), (n - b - c, rest)) if k)

        ends = max(0, -delta) + 1e-13, (1 - delta) / 2 - 1e-13
        down = minimize_scalar(minus_likelihood, bounds=ends, method="bounded", options={"xatol": 1e-13}).x
        return (b - c - n * delta) / np.sqrt(n * (2 * down + delta - delta**2))

    low, high = mcnemar.interval(b, c, n, level)
    z = norm.ppf((1 + level) / 2)
    assert low < (b - c) / n < high
    assert score(low) == pytest.approx(z, rel=1e-3)
    assert score(high) == pytest.approx(-z, rel=1e-3)


@pytest.mark.known_answer
def test_nothing_changed_leaves_what_n_examples_cannot_exclude():
    # With b = c = 0 the variance at delta is delta (1 - delta) / n: the end solves n delta = z^2 (1 - delta).
    end = norm.ppf(0.975) ** 2 / (100 + norm.ppf(0.975) ** 2)
    assert mcnemar.interval(0, 0, 100) == pytest.approx((-end, end))
    assert mcnemar.midp(0, 0) == 1
    assert mcnemar.exact(0, 0) == 1


def test_everything_changed_stays_inside_the_possible():
    assert mcnemar.interval(0, 9, 9)[0] == -1
    assert mcnemar.interval(9, 0, 9)[1] == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mcnemar.midp(-1, 2), "b=-1, c=2"),
        (lambda: mcnemar.exact(1, -2), "b=1, c=-2"),
        (lambda: mcnemar.interval(5, 6, 10), r"n=10 is less than b \+ c = 11"),
        (lambda: mcnemar.interval(0, 0, 0), "n=0"),
        (lambda: mcnemar.interval(1, 1, 10, level=1), "level=1"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.known_answer
def test_bounds_where_nothing_changed_are_the_rule_of_three():
    for n in (10, 100, 1000):
        assert mcnemar.bounds(0, 0, n, 0.9) == pytest.approx((-(1 - 0.05 ** (1 / n)), 1 - 0.05 ** (1 / n)))


@pytest.mark.known_answer
def test_bounds_join_clopper_and_pearsons_limits():
    low, high = (stats.binomtest(k, 60).proportion_ci(0.95, method="exact") for k in (3, 7))

    def joined(one, other, p, q):
        tied = math.sqrt(p * q / ((1 - p) * (1 - q)))  # how multinomial shares p and q move against each other
        return math.sqrt(one**2 + other**2 + 2 * tied * one * other)

    below = joined(3 / 60 - low.low, high.high - 7 / 60, low.low, high.high)
    above = joined(low.high - 3 / 60, 7 / 60 - high.low, low.high, high.low)
    assert mcnemar.bounds(3, 7, 60) == pytest.approx((-4 / 60 - below, -4 / 60 + above))


@pytest.mark.known_answer
@pytest.mark.parametrize("n", [5, 8, 25])
def test_a_group_that_is_lost_whole_is_bounded_as_by_the_sign_test(n):
    """All of n are lost.  Were d the truth, that has at most the chance ((1 + d) / 2)^n: gained and lost by turns."""
    for level in (0.05, 0.01, 1e-4):
        least = 2 * level ** (1 / n) - 1
        bound = mcnemar.bounds(0, n, n, 1 - 2 * level)[1]
        assert -bound == pytest.approx(max(least, -1.0), abs=1e-6) or least < 0


@pytest.mark.known_answer
@pytest.mark.parametrize("n", [3, 8, 30])
def test_bounds_keep_their_level_of_models_that_disagree_everywhere(n):
    """Enumerated: every table, over truths of up to total disagreement, where independent limits err far more often."""
    tables = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    every = np.array([[b, c, n - b - c] for b, c in tables])
    for level in (0.05, 0.005, 2e-4):
        above = np.array([mcnemar.bounds(*table, n, 1 - 2 * level)[1] for table in tables])
        for harm in (0.0, 0.02, 0.2):
            for gained in (0.05, 0.2, (1 - harm) / 2 - 1e-9):
                chance = stats.multinomial.pmf(every, n, [gained, gained + harm, 1 - 2 * gained - harm])
                assert chance[above < -harm - 1e-12].sum() <= level


@pytest.mark.known_answer
@pytest.mark.parametrize("n", [10, 50])
def test_either_bound_errs_at_most_as_often_as_it_says(n):
    """Enumerated: every table of up to 25 changes, over truths that make fewer on average."""
    tables = [(b, c) for b in range(min(n, 25) + 1) for c in range(min(n - b, 25) + 1)]
    bounds = {table: mcnemar.bounds(*table, n, 0.9)[0] for table in tables}
    score = {table: mcnemar.interval(*table, n, 0.9)[0] for table in tables}
    worst = {"bounds": 0.0, "score": 0.0}
    for lost in (0.01, 0.04, 0.1, 0.2, 0.278):
        for gained in (0.0, 0.01, 0.06):
            chance = stats.multinomial.pmf([[b, c, n - b - c] for b, c in tables], n, [gained, lost, 1 - gained - lost])
            for name, low in (("bounds", bounds), ("score", score)):
                over = sum(p for p, table in zip(chance, tables, strict=True) if low[table] > gained - lost)
                worst[name] = max(worst[name], float(over))
    assert worst["bounds"] <= 0.05
    assert worst["score"] > 0.055, "a score interval does not keep its level on one side"
