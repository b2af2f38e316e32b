import numpy as np
import pytest

from whatelse.behaviours.fairness import cev


def slow(before, after, target, classes):
    """The paper's points, class by class, from rates with half an error added."""
    points = []
    for c in range(classes):
        rates = [
            [
                (np.sum((said == c) & (target != c)) + 0.5) / (np.sum(target != c) + 1),
                (np.sum((said != c) & (target == c)) + 0.5) / (np.sum(target == c) + 1),
            ]
            for said in (before, after)
        ]
        points.append([(new - old) / old for old, new in zip(*rates, strict=True)])
    return np.array(points)


@pytest.mark.known_answer
def test_it_is_the_mean_squared_distance_from_the_mean_change(canned, toy, rng):
    draw = np.random.default_rng(0)
    target = draw.integers(0, 4, 300)
    before, after = (np.where(draw.random(300) < p, target, draw.integers(0, 4, 300)) for p in (0.8, 0.6))
    answer = cev.compare(*(canned(np.eye(4)[s], target) for s in (before, after)), cev.Config(), rng)
    points = slow(before, after, target, 4)
    each = ((points - points.mean(0)) ** 2).sum(1)
    assert cev.by_part(answer, cev.Config(), toy.ones(answer))[0] == pytest.approx(each)
    assert cev.summarise(answer, cev.Config(), toy.ones(answer)) == pytest.approx([each.mean()])
    counts = draw.multinomial(300, np.full(300, 1 / 300), size=3)
    again = []
    for c in counts:
        points = slow(*(np.repeat(a, c) for a in (before, after, target)), 4)
        again.append(((points - points.mean(0)) ** 2).sum(1).mean())
    assert cev.summarise(answer, cev.Config(), counts) == pytest.approx(again)


@pytest.mark.known_answer
def test_with_many_errors_it_is_the_formula_without_the_half(answer_of):
    draw = np.random.default_rng(1)
    n = 60_000
    target = draw.integers(0, 3, n)
    before, after = (np.where(draw.random(n) < p, target, draw.integers(0, 3, n)) for p in (0.8, 0.4 + 0.2 * target))
    points = []
    for c in range(3):
        old, new = (np.array([np.mean(s[target != c] == c), np.mean(s[target == c] != c)]) for s in (before, after))
        points.append(new / old - 1)
    points = np.array(points)
    exact = ((points - points.mean(0)) ** 2).sum(1).mean()
    answer = answer_of({"before": before, "after": after, "truth": target})
    # Half of about 3,000 errors.
    assert cev.summarise(answer, cev.Config(), np.ones((1, n))) == pytest.approx([exact], rel=2e-3)


def test_errors_that_grow_alike_are_even_and_a_harmed_class_is_not(canned, toy, rng):
    target = np.arange(300) % 3
    row = np.arange(300) // 3
    said = {k: np.where(row < k, (target + 1) % 3, target) for k in (10, 21)}
    uneven = np.where((row < 40) & (target == 0), 1, said[10])
    base = canned(np.eye(3)[said[10]], target)
    even, odd = (canned(np.eye(3)[s], target) for s in (said[21], uneven))
    scores = []
    for mine in (even, odd):
        answer = cev.compare(base, mine, cev.Config(), rng)
        scores.append(cev.summarise(answer, cev.Config(), toy.ones(answer))[0])
        assert answer.parts.names == ("class 0", "class 1", "class 2")
    assert scores[0] == pytest.approx(0)
    assert scores[1] > 1


def test_a_class_without_errors_before_is_noted_and_finite(canned, toy, rng):
    target = np.arange(30) % 3
    after = np.where(np.arange(30) < 3, 0, target)
    mine = canned(np.eye(3)[after], target)
    answer = cev.compare(canned(np.eye(3)[target], target), mine, cev.Config(), rng)
    assert answer["before"].tolist() == target.tolist()
    assert np.isfinite(cev.by_part(answer, cev.Config(), toy.ones(answer))).all()
    assert answer.notes[0].startswith(
        "the baseline raises no false alarm for 3 and finds every example of 3 of 3 classes: there the relative change"
    )
    # Class 0 is said wrongly twice, classes 1 and 2 are missed once each.
    assert [doubt.text for doubt in answer.doubts] == [
        "the largest relative change, of false alarms of class 0 from none to 2, rests on half an example"
    ]


@pytest.mark.known_answer
@pytest.mark.parametrize(("taken_for", "doubts"), [((1, 2, 1), 1), ((1, 2, 0), 0)])
def test_a_constant_model_is_doubted_only_where_its_class_had_no_false_alarm(canned, toy, rng, taken_for, doubts):
    target, row = np.arange(300) % 3, np.arange(300) // 3
    before = np.where(row < 10, np.array(taken_for)[target], target)
    mine = canned(np.eye(3)[np.zeros(300, int)], target)
    answer = cev.compare(canned(np.eye(3)[before], target), mine, cev.Config(), rng)
    points = slow(before, np.zeros(300, int), target, 3)
    expected = ((points - points.mean(0)) ** 2).sum(1).mean()
    assert cev.summarise(answer, cev.Config(), toy.ones(answer)) == pytest.approx([expected])
    assert (expected > 1e4) == bool(doubts)
    half = "the baseline raises no false alarm for 1 of 3 classes: there the relative change rests on half an example"
    assert [note.partition(",")[0] for note in answer.notes] == [half] * doubts
    assert [doubt.text for doubt in answer.doubts] == [
        "the largest relative change, of false alarms of class 0 from none to 200, rests on half an example"
    ] * doubts


def test_a_class_without_misses_is_noted_and_not_doubted_while_others_rule(canned, rng):
    target, row = np.arange(300) % 3, np.arange(300) // 3
    said = [np.where((row < k) & (target > 0), 3 - target, target) for k in (10, 30)]
    before = np.where((row == 99) & (target == 1), 0, said[0])
    mine = canned(np.eye(3)[said[1]], target)
    answer = cev.compare(canned(np.eye(3)[before], target), mine, cev.Config(), rng)
    assert answer.notes[0].startswith("the baseline finds every example of 1 of 3 classes")
    assert answer.doubts == ()
    same = canned(np.eye(3)[before], target)
    assert cev.compare(same, same, cev.Config(), rng).doubts == ()


def test_where_both_models_say_one_class_the_number_is_that_of_any_such_pair(canned, rng):
    target = np.arange(30) % 3
    flat, sharp = canned(np.eye(3)[np.zeros(30, int)], target), canned(np.eye(3)[target], target)
    assert cev.compare(flat, flat, cev.Config(), rng).ends == {"blind": 0.0}
    assert cev.compare(sharp, flat, cev.Config(), rng).ends == {}
