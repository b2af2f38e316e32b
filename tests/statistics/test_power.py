import math

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.power import normal_power

from whatelse.statistics import mcnemar, power


@pytest.mark.known_answer
@pytest.mark.parametrize(("level", "wanted"), [(0.05, 0.8), (0.05, 0.9), (0.01, 0.8)])
def test_the_detectable_effect_is_found_with_that_power(level, wanted):
    effect = power.detectable(0.02, level=level, power=wanted)
    # statsmodels, for one sample of 1 with standard deviation .02; the far tail adds less than 1e-4.
    assert normal_power(effect / 0.02, 1, level, sigma=1.0) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.known_answer
def test_the_detectable_effect_by_hand():
    assert power.detectable(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-6)
    assert power.detectable(0.0) == 0


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("discordance", "margin", "n"),
    [
        (0.01, 0.01, 1083),
        (0.02, 0.01, 2165),
        (0.05, 0.01, 5412),
        (0.10, 0.01, 10_823),
        (0.01, 0.005, 4 * 1083),
        (0.10, 0.02, 10_823 / 4),
    ],
)
def test_sizes_for_equivalence_are_those_of_the_table(discordance, margin, n):
    # The table's other margins are multiples of its rounded numbers.
    assert power.equivalence_n(discordance, margin, 0.9) == pytest.approx(n, abs=0 if margin == 0.01 else 4)


@pytest.mark.known_answer
def test_sizes_for_equivalence_give_the_power():
    """By simulation, 20,000 samples: standard error .002; the normal approximation is good to about .01."""
    n = power.equivalence_n(0.05, 0.02, 0.9)
    rng = np.random.default_rng(0)
    up, down, _ = rng.multinomial(n, [0.025, 0.025, 0.95], 20_000).T
    mean = (up - down) / n
    se = np.sqrt((up + down) / n - mean**2) / math.sqrt(n)
    assert (np.abs(mean) + norm.ppf(0.95) * se < 0.02).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.known_answer
def test_needed_by_hand():
    # The standard error is 1. To find 2: n (1.960 + .842)^2 / 4. To show 0 within 2: n (1.645 + 1.282)^2 / 4.
    assert power.needed(2.0, 2 - 1.959964, 2 + 1.959964, 0.0, 1000) == math.ceil(1000 * (2.8015852 / 2) ** 2)
    assert power.needed(0.0, -1.959964, 1.959964, 2.0, 1000) == math.ceil(1000 * (2.9264053 / 2) ** 2)


@pytest.mark.known_answer
@pytest.mark.parametrize(("truth", "margin"), [(0.5, 0.2), (0.1, 1.0), (0.0, 1.0), (0.6, 1.0)])
def test_with_so_many_examples_the_question_is_settled(truth, margin):
    """Had the estimate been the truth: by simulation, 20,000 studies, standard error .003."""
    n, half = 100, 1.0
    need = power.needed(truth, truth - half, truth + half, margin, n)
    se = half / norm.ppf(0.975) * math.sqrt(n / need)
    seen = np.random.default_rng(0).normal(truth, se, 20_000)
    different = np.abs(seen) > norm.ppf(0.975) * se
    same = np.abs(seen) + norm.ppf(0.95) * se < margin
    assert (different | same).mean() > 0.79
    se *= math.sqrt(2)
    seen = np.random.default_rng(0).normal(truth, se, 20_000)
    alone = max((np.abs(seen) > norm.ppf(0.975) * se).mean(), (np.abs(seen) + norm.ppf(0.95) * se < margin).mean())
    assert alone < 0.7, "half as many are not enough"


def test_the_longer_arm_counts_and_more_than_n_are_needed():
    assert power.needed(0.5, 0.4, 1.5, 0.0, 100) == power.needed(0.5, -0.5, 0.6, 0.0, 100)
    assert power.needed(5.0, 4.9, 5.1, 1.0, 100) == 101


@pytest.mark.parametrize(
    ("effect", "low", "high", "margin"),
    [(0.0, -1.0, 1.0, 0.0), (math.nan, -1.0, 1.0, 1.0), (1e-9, -1.0, 1.0, 0.0), (0.1, -math.inf, 1.0, 1.0)],
)
def test_where_no_number_can_settle_it_there_is_none(effect, low, high, margin):
    assert power.needed(effect, low, high, margin, 100) is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: power.detectable(-1.0), "se=-1.0"),
        (lambda: power.detectable(1.0, level=0.9), "level=0.9"),
        (lambda: power.needed(0.0, -1.0, 1.0, -0.5, 10), "margin=-0.5"),
        (lambda: power.needed(0.0, 1.0, -1.0, 0.5, 10), "low=1.0, high=-1.0"),
        (lambda: power.equivalence_n(0.0, 0.1), "discordance=0.0"),
        (lambda: power.equivalence_n(0.1, 0.0), "margin=0.0"),
        (lambda: power.equivalence_n(0.1, 0.1, 1.0), "power=1.0"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.known_answer
@pytest.mark.parametrize(("harm", "most"), [(0.0, 2.0), (4.0, 2.0), (-1.0, 1.0)])
def test_what_settles_a_budget_by_hand(harm, most):
    # The standard error is 1 and the distance 2, on either side: n (1.644854 + .841621)^2 / 4.
    assert power.settles(harm, harm + 1.644854, most, 1000) == math.ceil(1000 * (2.486475 / 2) ** 2)


@pytest.mark.known_answer
def test_sizes_for_non_inferiority_are_those_of_the_table():
    # science/statistics.md: discordance 5 %, margin 1 pp, truth 0, power .9 -> 4282; .8 scales by (2.486 / 2.926)^2.
    se = math.sqrt(0.05 / 1000)
    assert power.settles(0.0, 1.6448536 * se, 0.01, 1000) == pytest.approx(4282 * (2.4864749 / 2.9264053) ** 2, abs=1.5)


@pytest.mark.known_answer
@pytest.mark.parametrize(("harm", "most"), [(0.2, 1.0), (1.5, 1.0)])
def test_so_many_examples_settle_a_budget(harm, most):
    """Had the estimate been the truth: by simulation, 20,000 studies, standard error .003."""
    n, se = 100, 1.0
    need = power.settles(harm, harm + norm.ppf(0.95) * se, most, n)
    seen = np.random.default_rng(0).normal(harm, se * math.sqrt(n / need), 20_000)
    reach = norm.ppf(0.95) * se * math.sqrt(n / need)
    shown = seen + reach <= most if harm < most else seen - reach > most
    assert shown.mean() == pytest.approx(0.8, abs=0.015)


def test_a_budget_that_no_number_settles():
    assert power.settles(1.0, 2.0, 1.0, 100) is None, "the harm is the budget"
    assert power.settles(1.0, 2.0, 1.0 + 1e-9, 100) is None
    assert power.settles(0.0, math.inf, 1.0, 100) is None
    assert power.settles(0.0, 0.1, 1.0, 100) == 101, "more than there were"
    with pytest.raises(ValueError, match="bound=1.0 is below harm=2.0"):
        power.settles(2.0, 1.0, 1.0, 100)
    with pytest.raises(ValueError, match="level=0.0"):
        power.settles(2.0, 3.0, 1.0, 100, level=0.0)


@pytest.mark.known_answer
def test_a_stricter_level_takes_longer():
    # Level .05 / 8: n (2.497705 + .841621)^2 / 4.
    assert power.settles(4.0, 4 + 1.644854, 2.0, 1000, level=0.00625) == math.ceil(1000 * (3.339326 / 2) ** 2)


@pytest.mark.known_answer
@pytest.mark.parametrize("most", [0.01, 0.02, 0.1])
@pytest.mark.parametrize("n", [0, 3, 25])
def test_without_a_change_the_rule_of_three_settles_it(most, n):
    # (1 - most)^n < .05: 299 examples for one point, 149 for two, 29 for ten.
    assert power.settles_counted(0, 0, n, most) == max(n + 1, math.ceil(math.log(0.05) / math.log(1 - most)))


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("gained", "lost", "n", "most"), [(0, 2, 5, 0.02), (2, 2, 40, 0.05), (0, 3, 3, 0.02), (1, 9, 20, 0.3)]
)
def test_so_many_examples_settle_a_count(gained, lost, n, most):
    """Had the counts been the truth: by simulation, 4,000 studies; exact bounds are a little stricter than planned."""
    need = power.settles_counted(gained, lost, n, most)
    assert need > n
    drawn = np.random.default_rng(0).multinomial(need, [gained / n, lost / n, 1 - (gained + lost) / n], 4000)
    below, above = mcnemar.reach(drawn[:, 0], drawn[:, 1], np.full(4000, need), 0.05)
    harm = (drawn[:, 1] - drawn[:, 0]) / need
    shown = harm - above > most if (lost - gained) / n > most else harm + below <= most
    assert shown.mean() >= 0.7


def test_a_count_that_no_number_settles():
    assert power.settles_counted(0, 1, 10, 0.1) is None, "the harm is the budget"
    with pytest.raises(ValueError, match="out of range"):
        power.settles_counted(3, 3, 5, 0.1)
