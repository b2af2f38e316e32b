import numpy as np
import pytest

from whatelse.behaviours.fairness import sde


@pytest.mark.known_answer
def test_it_is_the_slow_difference_of_the_two_changes(canned, toy, rng):
    draw = np.random.default_rng(0)
    target = draw.integers(0, 4, 300)
    before, after = (np.where(draw.random(300) < p, target, draw.integers(0, 4, 300)) for p in (0.8, 0.6))
    mine = canned(np.eye(4)[after], target)
    answer = sde.compare(canned(np.eye(4)[before], target), mine, sde.Config(), rng)
    said = {"before": before, "after": after, "truth": target}
    assert {name: answer[name].tolist() for name in answer.columns} == {n: codes.tolist() for n, codes in said.items()}
    slow = []
    for c in range(4):
        (fp0, fn0), (fp1, fn1) = (
            (np.sum((s == c) & (target != c)) + 0.5, np.sum((s != c) & (target == c)) + 0.5) for s in (before, after)
        )
        slow.append((fn1 - fn0) / fn0 - (fp1 - fp0) / fp0)
    assert sde.by_part(answer, sde.Config(), toy.ones(answer))[0] == pytest.approx(slow)
    assert sde.summarise(answer, sde.Config(), toy.ones(answer)) == pytest.approx([np.mean(np.abs(slow))])
    assert answer.parts.names == ("class 0", "class 1", "class 2", "class 3")


@pytest.mark.known_answer
def test_a_class_said_too_seldom_leans_up_and_the_one_said_instead_down(canned, toy, rng):
    target = np.arange(300) % 3
    row = np.arange(300) // 3
    before = np.where(row < 10, (target + 1) % 3, target)
    after = np.where((row < 31) & (target == 0), 1, before)
    mine = canned(np.eye(3)[after], target)
    answer = sde.compare(canned(np.eye(3)[before], target), mine, sde.Config(), rng)
    # Misses of class 0 and alarms of class 1 go from 10.5 to 31.5: three times as many.
    assert sde.by_part(answer, sde.Config(), toy.ones(answer))[0] == pytest.approx([2, -2, 0])
    assert sde.summarise(answer, sde.Config(), toy.ones(answer)) == pytest.approx([4 / 3])


def test_a_class_that_a_resample_lacks_is_left_out(answer_of):
    answer = answer_of({"before": [0, 0, 1, 1], "after": [1, 0, 0, 1], "truth": [0, 0, 1, 1]})
    counts = np.array([[1, 1, 0, 0]])
    assert np.isnan(sde.by_part(answer, sde.Config(), counts)[0, 1])
    assert np.isfinite(sde.summarise(answer, sde.Config(), counts)).all()


def test_a_class_without_false_alarms_is_noted_and_one_that_rules_is_doubted(canned, rng):
    target, row = np.arange(300) % 3, np.arange(300) // 3
    before = np.where(row < 10, np.array([1, 2, 1])[target], target)
    mine = canned(np.eye(3)[np.zeros(300, int)], target)
    answer = sde.compare(canned(np.eye(3)[before], target), mine, sde.Config(), rng)
    assert answer.notes[0].startswith("the baseline raises no false alarm for 1 of 3 classes")
    assert [doubt.text for doubt in answer.doubts] == [
        "the largest relative change, of false alarms of class 0 from none to 200, rests on half an example"
    ]
