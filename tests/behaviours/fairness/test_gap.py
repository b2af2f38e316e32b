import numpy as np
import pytest

from whatelse.behaviours.fairness import gap

# Right: 2 of 3 in group 0, 1 of 2 in group 1, 0 of 1 in group 2.
TARGETS, SAID, STYLE = [0, 1, 2, 0, 1, 2], [0, 1, 0, 0, 0, 1], [0, 0, 0, 1, 1, 2]


@pytest.mark.known_answer
def test_the_gap_by_hand(answers, toy, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    answer = gap.measure(evidence, gap.Config(least=1), rng)
    assert answer.table().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1], [0, 2, 2]]
    assert gap.summarise(answer, gap.Config(), toy.ones(answer)) == pytest.approx([2 / 3])
    assert gap.by_part(answer, gap.Config(), toy.ones(answer))[0] == pytest.approx([2 / 3, 1 / 2, 0])
    assert answer.parts.names == ("style 0", "style 1", "style 2")
    assert list(answer.columns) == ["correct", "group style", "large group style"]
    counts = np.array([[1, 1, 1, 1, 1, 0], [1, 1, 0, 1, 3, 0], [1, 1, 1, 0, 0, 0]])
    expected = [2 / 3 - 1 / 2, 1 - 1 / 4, np.nan]  # one group alone has no gap
    assert gap.summarise(answer, gap.Config(), counts) == pytest.approx(expected, nan_ok=True)


@pytest.mark.known_answer
def test_it_is_the_slow_difference(answer_of):
    draw = np.random.default_rng(0)
    right, code = draw.integers(0, 2, 200), draw.integers(-1, 4, 200)
    answer = answer_of({"correct": right, "group style": code, "large group style": code})
    counts = draw.multinomial(200, np.full(200, 1 / 200), size=20)
    slow = []
    for c in counts:
        rates = [np.average(right[code == g], weights=c[code == g]) for g in range(4)]
        slow.append(max(rates) - min(rates))
    assert gap.summarise(answer, gap.Config(), counts) == pytest.approx(slow)


def test_it_warns_of_the_bias_and_needs_two_groups_for_a_number(answers, toy, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    answer = gap.measure(evidence, gap.Config(least=2), rng)
    assert any("read its change" in note for note in answer.notes)
    assert gap.summarise(answer, gap.Config(), toy.ones(answer)) == pytest.approx([2 / 3 - 1 / 2]), (
        "of the two that are large"
    )
    for least in (3, 9):
        answer = gap.measure(evidence, gap.Config(least=least), rng)
        assert np.isnan(gap.summarise(answer, gap.Config(), toy.ones(answer))).all()
        assert gap.by_part(answer, gap.Config(), toy.ones(answer))[0] == pytest.approx([2 / 3, 1 / 2, 0])
