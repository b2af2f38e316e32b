import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from whatelse.searching.confirm import LEAST, MOST, believed, finalists, in_sequence


def expected(line, together=0.8):
    """How much smaller the answer of a line of finalists is expected to be, by the logarithm of its size."""
    gain, passed, size = 0.0, 1.0, 1.0
    for at, (_, smaller, chance) in enumerate(line):
        passed *= chance / (line[at - 1][2] ** together if at else 1.0)
        gain, size = gain + passed * math.log(size / smaller), smaller
    return gain


@pytest.mark.known_answer
@pytest.mark.parametrize("seed", range(6))
def test_no_other_line_is_expected_to_end_smaller(seed):
    rng = np.random.default_rng(seed)
    trials = [(i, float(s), float(c)) for i, (s, c) in enumerate(rng.random((9, 2)))]
    found = finalists(trials, most=3)
    some = [t for t in trials if t[2] >= LEAST]
    least = min(size for _, size, _ in some)
    some = [(name, size, believed(chance, least / size)) for name, size, chance in some]
    lines = [
        line
        for count in (1, 2, 3)
        for line in itertools.permutations(some, count)
        if all(a[1] > b[1] and a[2] > b[2] for a, b in itertools.pairwise(line))
    ]
    assert found == [name for name, _, _ in max(lines, key=expected)]


def test_finalists_go_from_safe_to_small():
    trials = [("a", 0.08, 0.7), ("b", 0.104, 0.99), ("c", 0.11, 0.9), ("d", 0.05, 0.3), ("e", 0.04, 0.05)]
    # c is larger than b and less sure, and e would hardly pass.
    assert finalists(trials) == ["b", "a", "d"]


def test_of_two_of_which_select_says_the_same_the_larger_is_safer():
    assert finalists([("a", 0.1, 0.95), ("b", 0.2, 0.95)]) == ["b", "a"]
    assert believed(0.9, 0.5) > believed(0.9, 1.0)


def test_an_unsure_first_is_not_risked():
    assert finalists([("safe", 0.2, 0.97), ("small", 0.19, 0.5)])[0] == "safe"


def test_there_are_at_most_six():
    trials = [(i, 0.5 * 0.9**i, float(norm.cdf(4 - 0.2 * i))) for i in range(21)]
    found = finalists(trials)
    assert len(found) == MOST
    assert found == sorted(found)


def test_what_would_hardly_pass_is_no_finalist():
    assert finalists([("a", 0.1, LEAST / 2)]) == []


def test_what_is_no_smaller_than_the_baseline_is_no_finalist():
    assert finalists([("a", 1.0, 0.99)]) == []


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
