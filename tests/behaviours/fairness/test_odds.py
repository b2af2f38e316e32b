import numpy as np
import pytest
from sklearn.metrics import recall_score

from whatelse.behaviours.fairness import odds
from whatelse.errors import NotMeasurableError

TARGETS = [0, 0, 1, 1, 0, 0, 1, 2]
SAID = [0, 1, 1, 1, 0, 0, 0, 2]
STYLE = [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.known_answer
def test_the_recall_gap_by_hand(answers, toy, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    answer = odds.measure(evidence, odds.Config(least=1), rng)
    assert answer["correct"].tolist() == [1, 0, 1, 1, 1, 1, 0, 1]
    assert answer["group"].tolist() == STYLE
    assert answer["class"].tolist() == TARGETS
    # Class 0: 1/2 against 1; class 1: 1 against 0; class 2 stands in one group only.
    assert odds.summarise(answer, odds.Config(), toy.ones(answer)) == pytest.approx([0.75])
    assert odds.by_part(answer, odds.Config(), toy.ones(answer))[0] == pytest.approx([0.5, 1, np.nan], nan_ok=True)
    assert answer.parts.names == ("class 0", "class 1", "class 2")


@pytest.mark.known_answer
def test_it_is_the_mean_over_classes_of_scikit_learns_recalls(answer_of):
    draw = np.random.default_rng(0)
    target, group = draw.integers(0, 3, 400), draw.integers(0, 4, 400)
    said = np.where(draw.random(400) < 0.5 + 0.1 * group, target, draw.integers(0, 3, 400))
    answer = answer_of({"correct": said == target, "group": group, "class": target})
    counts = np.concatenate([np.ones((1, 400), int), draw.multinomial(400, np.full(400, 1 / 400), size=10)])
    slow = []
    for c in counts:
        t, s, g = (np.repeat(a, c) for a in (target, said, group))
        recalls = [recall_score(t[g == k], s[g == k], labels=[0, 1, 2], average=None) for k in range(4)]
        slow.append(np.ptp(recalls, axis=0).mean())
    assert odds.summarise(answer, odds.Config(), counts) == pytest.approx(slow)


def test_a_resample_in_which_no_two_groups_share_a_class_has_no_gap(answer_of):
    answer = answer_of({"correct": [1, 0, 1, 1], "group": [0, 1, 0, 1], "class": [0, 0, 1, 1]})
    counts = np.array([[1, 1, 0, 0], [1, 0, 0, 1]])
    assert odds.summarise(answer, odds.Config(), counts) == pytest.approx([1, np.nan], nan_ok=True)


def test_a_class_that_no_two_groups_share_cannot_be_compared(answers, rng):
    evidence = answers(SAID, TARGETS, {"digit": TARGETS})
    with pytest.raises(NotMeasurableError, match="needs a class that stands in two groups"):
        odds.measure(evidence, odds.Config(least=1), rng)


def test_no_group_means_no_gap(answers, rng):
    with pytest.raises(NotMeasurableError, match="needs groups; task toy has none"):
        odds.measure(answers(SAID, TARGETS), odds.Config(), rng)
