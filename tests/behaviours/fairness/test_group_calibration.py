import numpy as np
import pytest

from whatelse.behaviours.fairness import group_calibration


@pytest.mark.known_answer
def test_the_variance_between_groups_by_hand(canned, toy, rng):
    # Always 3/4 sure of class 0: right in one half of group 0, everywhere in group 1; group 2 is too small.
    logits = np.log([[0.75, 0.25]] * 9)
    evidence = canned(logits, [0, 1, 0, 1, 0, 0, 0, 0, 1], {"style": [0] * 4 + [1] * 4 + [2]})
    answer = group_calibration.measure(evidence, group_calibration.Config(least=2), rng)
    assert answer["over"].tolist() == pytest.approx([-0.25, 0.75, -0.25, 0.75, -0.25, -0.25, -0.25, -0.25, 0.75])
    assert answer["group style"].tolist() == [0] * 4 + [1] * 4 + [2]
    assert answer["large group style"].tolist() == [0] * 4 + [1] * 4 + [-1]
    signed = group_calibration.by_part(answer, group_calibration.Config(), toy.ones(answer))[0]
    assert signed == pytest.approx([0.25, -0.25, 0.75])
    assert answer.parts.names == ("style 0", "style 1", "style 2")
    # Variance of (1/4, -1/4) is 1/8; noise is (1/4) / 3 in group 0 and none in group 1.
    assert group_calibration.summarise(answer, group_calibration.Config(), toy.ones(answer)) == pytest.approx(
        [1 / 8 - 1 / 24]
    )
    alone = np.array([[1, 1, 1, 1, 0, 0, 0, 0, 1]])
    assert group_calibration.summarise(answer, group_calibration.Config(), alone) == pytest.approx(
        [np.nan], nan_ok=True
    )


@pytest.mark.known_answer
def test_it_is_the_slow_variance_component(answer_of):
    draw = np.random.default_rng(0)
    over, code = draw.normal(size=120), draw.integers(-1, 4, 120)
    answer = answer_of({"over": over, "group style": code, "large group style": code})
    slow = [over[code == g] for g in range(4)]
    means = [s.mean() for s in slow]
    expected = np.var(means, ddof=1) - np.mean([s.var(ddof=1) / len(s) for s in slow])
    assert group_calibration.summarise(answer, group_calibration.Config(), np.ones((1, 120))) == pytest.approx(
        [expected]
    )


@pytest.mark.known_answer
def test_it_is_free_of_bias_and_so_are_its_resamples(answer_of):
    draw = np.random.default_rng(1)
    code = np.arange(150) % 5
    found, resampled = [], []
    for _ in range(300):
        confidence = draw.uniform(0.5, 1, 150)
        over = confidence - (draw.random(150) < confidence)  # calibrated in every group
        answer = answer_of({"over": over, "group style": code, "large group style": code})
        counts = draw.multinomial(150, np.full(150, 1 / 150), size=20)
        found.append(group_calibration.summarise(answer, group_calibration.Config(), np.ones((1, 150)))[0])
        resampled.append(group_calibration.summarise(answer, group_calibration.Config(), counts).mean())
    error = np.std(found) / np.sqrt(300)
    assert abs(np.mean(found)) < 4 * error
    assert abs(np.mean(resampled) - np.mean(found)) < 4 * error
    # The plain variance of the five means would be about var / 30 = 0.006.
    assert 4 * error < 0.003
