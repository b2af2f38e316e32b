import numpy as np
import pytest

from whatelse.searching.confirm import MOST, finalists, in_sequence


def test_finalists_go_from_safe_to_small():
    trials = [
        ("a", 0.10, -0.01),
        ("b", 0.104, -0.5),
        ("c", 0.12, -0.2),
        ("d", 0.2, -0.1),
        ("e", 0.3, -0.6),
        ("f", 0.05, 0.1),
    ]
    # b is not 6 % larger than a, d is less inside than c, and f breaks a budget.
    assert finalists(trials) == ["e", "c", "a"]


def test_a_larger_one_that_is_as_far_inside_is_safer():
    assert finalists([("a", 0.1, -0.1), ("b", 0.2, -0.1)]) == ["b", "a"]


def test_there_are_six_at_the_most_and_the_smallest_is_one_of_them():
    trials = [(i, 0.1 * 1.1**i, -0.01 * i) for i in range(20)]
    found = finalists(trials)
    assert len(found) == MOST
    assert found[-1] == 0


def test_without_a_feasible_trial_nobody_is_a_finalist():
    assert finalists([("a", 0.1, 0.1)]) == []


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("passing", "answer", "opened"),
    [("abc", "c", "abc"), ("ab", "b", "abc"), ("ac", "a", "ab"), ("bc", None, "a"), ("", None, "a")],
)
def test_the_last_before_the_first_failure_is_the_answer_and_nothing_after_it_is_opened(passing, answer, opened):
    seen = []

    def passes(one):
        seen.append(one)
        return one in passing

    assert in_sequence("abc", passes) == answer
    assert "".join(seen) == opened


@pytest.mark.known_answer
def test_the_answer_breaks_a_budget_no_more_often_than_the_level():
    # Every candidate breaks its budget, and each test passes such a one with chance .05: the first alone decides.
    rng = np.random.default_rng(0)
    wrong = sum(in_sequence(range(6), lambda _: rng.random() < 0.05) is not None for _ in range(20_000))
    assert wrong / 20_000 == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 20_000) ** 0.5)
