import dataclasses
import re

import numpy as np
import pytest

from whatelse.behaviours.fairness import worst_group
from whatelse.errors import NotMeasurableError

# Right: 2 of 3 in group 0, 1 of 2 in group 1, 0 of 1 in group 2.
TARGETS, SAID, STYLE = [0, 1, 2, 0, 1, 2], [0, 1, 0, 0, 0, 1], [0, 0, 0, 1, 1, 2]


@pytest.mark.known_answer
def test_the_worst_group_by_hand(answers, toy, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    answer = worst_group.measure(evidence, worst_group.Config(least=1), rng)
    assert answer.table().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1], [0, 2, 2]]
    assert worst_group.summarise(answer, worst_group.Config(), toy.ones(answer)) == pytest.approx([0])
    assert worst_group.by_part(answer, worst_group.Config(), toy.ones(answer))[0] == pytest.approx([2 / 3, 1 / 2, 0])
    assert answer.parts.names == ("style 0", "style 1", "style 2")
    assert list(answer.columns) == ["correct", "group style", "large group style"]
    # Without an example of group 2 the worst is group 1, then group 0.
    counts = np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 4, 0, 0], [0, 2, 1, 1, 0, 0]])
    assert worst_group.summarise(answer, worst_group.Config(), counts) == pytest.approx([1 / 2, 2 / 3, 2 / 3])


@pytest.mark.known_answer
def test_it_is_the_slow_minimum(answer_of):
    draw = np.random.default_rng(0)
    right, code = draw.integers(0, 2, 200), draw.integers(-1, 4, 200)
    answer = answer_of({"correct": right, "group style": code, "large group style": code})
    counts = draw.multinomial(200, np.full(200, 1 / 200), size=20)
    slow = [min(np.average(right[code == g], weights=c[code == g]) for g in range(4)) for c in counts]
    assert worst_group.summarise(answer, worst_group.Config(), counts) == pytest.approx(slow)


@pytest.mark.known_answer
def test_a_small_group_is_left_out_of_the_minimum_and_is_a_part(answers, toy, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    answer = worst_group.measure(evidence, worst_group.Config(least=2), rng)
    assert answer["group style"].tolist() == STYLE
    assert answer["large group style"].tolist() == [0, 0, 0, 1, 1, -1]
    assert worst_group.summarise(answer, worst_group.Config(), toy.ones(answer)) == pytest.approx([0.5])
    assert worst_group.by_part(answer, worst_group.Config(), toy.ones(answer))[0] == pytest.approx([2 / 3, 1 / 2, 0])
    assert worst_group.outcomes(answer, worst_group.Config()).tolist() == answer.table().tolist()
    assert answer.notes == ("left out of the number as smaller than 2 examples: style 2 (1)",)


@pytest.mark.known_answer
def test_where_every_group_is_small_there_are_parts_and_no_number(answers, toy, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    answer = worst_group.measure(evidence, worst_group.Config(least=9), rng)
    assert np.isnan(worst_group.summarise(answer, worst_group.Config(), toy.ones(answer))).all()
    assert worst_group.by_part(answer, worst_group.Config(), toy.ones(answer))[0] == pytest.approx([2 / 3, 1 / 2, 0])


@pytest.mark.known_answer
def test_groupings_lie_side_by_side_with_those_whose_value_is_missing(answers, toy, rng):
    half = [0, -1, 0, 1, 0, 1]
    evidence = answers(SAID, TARGETS, {"style": STYLE, "half": half})
    names = ("style: style 0", "style: style 1", "style: style 2", "half: half 0", "half: half 1", "half: half missing")
    for group in ("+", "style + half"):
        answer = worst_group.measure(evidence, worst_group.Config(group=group, least=2), rng)
        assert answer.parts.names == names
        # Right are 0, 1 and 3: 1 of 3 in half 0, 1 of 2 in half 1, and the one of whom it is not known.
        parts = worst_group.by_part(answer, worst_group.Config(), toy.ones(answer))[0]
        assert parts == pytest.approx([2 / 3, 1 / 2, 0, 1 / 3, 1 / 2, 1])
        assert worst_group.summarise(answer, worst_group.Config(), toy.ones(answer)) == pytest.approx([1 / 3])


def test_a_group_that_only_other_splits_have_is_named_without_a_number(answers, toy, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    train = evidence.task.train
    splits = {**evidence.task.splits, "train": dataclasses.replace(train, groups={"style": train.groups["style"] + 3})}
    named = {"style": tuple(f"style {c}" for c in range(6))}
    evidence.task = dataclasses.replace(evidence.task, splits=splits, group_names=named)
    answer = worst_group.measure(evidence, worst_group.Config(least=1), rng)
    assert worst_group.by_part(answer, worst_group.Config(), toy.ones(answer)).shape == (1, 3)
    assert answer.parts.names[:3] == ("style 0", "style 1", "style 2")
    assert set(answer.parts.names[3:]) == {f"style {c + 3}" for c in set(train.groups["style"].tolist())}
    assert answer.notes[-1].startswith("without a test example: style 3")


def test_the_grouping_is_chosen_by_name(answers, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE, "half": [0, 1, 0, 1, 0, 1]})
    answer = worst_group.measure(evidence, worst_group.Config(group="half", least=1), rng)
    assert answer["group half"].tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("groups", "settings", "message"),
    [
        (None, {}, "needs groups; task toy has none"),
        ({"style": STYLE}, {"group": "stile"}, "needs the grouping 'stile'; did you mean style?"),
        ({"style": STYLE}, {"group": "style + hlaf"}, "needs the grouping 'hlaf'"),
    ],
)
def test_what_is_missing_is_said(answers, rng, groups, settings, message):
    evidence = answers(SAID, TARGETS, groups)
    with pytest.raises(NotMeasurableError, match=re.escape(message)):
        worst_group.measure(evidence, worst_group.Config(**settings), rng)
