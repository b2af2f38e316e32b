from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binom

from whatelse.auditing.questions import default, read_questions
from whatelse.gate import budgets as owners
from whatelse.searching.gauge import REACHED, ahead, asked_for, chance, over, passes, spread
from whatelse.statistics.mcnemar import reach


@pytest.mark.known_answer
@pytest.mark.parametrize(("n", "confirming"), [(400, 400), (400, 1600), (2000, 500)])
def test_what_is_aimed_ahead_passes_four_times_in_five(n, confirming):
    # Normal harms of spread 1: where the aimed bound is just the budget, the confirmation passes with chance .8.
    rng, draws = np.random.default_rng(0), 200_000
    se, se_confirming = n**-0.5, confirming**-0.5
    seen = 0.3
    most = ahead(seen, seen + REACHED * se, n, confirming)
    truth = seen + se * rng.standard_normal(draws)  # what it may be, given what was seen
    found = truth + se_confirming * rng.standard_normal(draws)
    passed = (found + REACHED * se_confirming <= most).mean()
    assert passed == pytest.approx(0.8, abs=4 * (0.16 / draws) ** 0.5)


@pytest.mark.known_answer
@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_the_chance_is_that_with_which_the_confirmation_passes(weight):
    rng, draws, n, confirming, most = np.random.default_rng(1), 200_000, 300, 900, 0.5
    se, se_confirming, seen = n**-0.5, confirming**-0.5, 0.35
    question = SimpleNamespace(budget=SimpleNamespace(most=most), tier="critical")
    told = (question, seen, seen + REACHED * se, n, confirming, weight)
    said = chance({"a": over(*told), "other": -9.0}, {"a": spread(*told), "other": 0.1})
    truth = seen + weight**0.5 * se * rng.standard_normal(draws)
    found = truth + se_confirming * rng.standard_normal(draws)
    passed = (found + REACHED * se_confirming <= most).mean()
    assert said == pytest.approx(passed, abs=4 * (0.25 / draws) ** 0.5)


def test_a_budget_from_which_nothing_strays_is_kept_or_not():
    assert chance({"a": 0.1}, {"a": 0.0}) == 0
    assert chance({"a": -0.1}, {"a": 0.0}) == 1


def test_without_sizes_the_bound_itself_is_aimed():
    assert ahead(0.1, 0.3, 0, 100) == 0.3


@pytest.mark.known_answer
@pytest.mark.parametrize(("n", "most"), [(900, 0.02), (1000, 0.05), (149, 0.02)])
def test_the_power_of_a_confirmation_is_that_of_counts(n, most):
    largest = passes(n, most)

    def passing(lost):
        _, above = reach(np.array([0]), np.array([lost]), np.array([n]), 0.05)
        return lost / n + above[0] <= most

    kept = max(k for k in range(n) if passing(k))
    assert binom.cdf(kept, n, largest) == pytest.approx(0.8, abs=1e-6)


def test_too_few_examples_have_no_power():
    assert passes(148, 0.02) is None
    assert passes(149, 0.02) is not None


def test_only_what_budgets_ask_is_measured():
    asked = read_questions(default())
    text = """
    [[budgets]]
    behaviour = "generalization.accuracy"
    most = 0.01
    [[budgets]]
    label = "negative log-likelihood"
    most = 0.01
    [[budgets]]
    behaviour = "mechanism.probe"
    most = 0.1
    demanded = false
    [[budgets]]
    behaviour = "membership.loss"
    most = 0.1
    tier = "advisory"
    """
    labels = [m.label for m in asked_for(owners.parse(text), asked)]
    # The probe is neither demanded nor primary, and an advisory budget constrains nothing.
    assert labels == ["accuracy", "negative log-likelihood"]
