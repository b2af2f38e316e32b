import math

import numpy as np
import pytest
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
