import numpy as np
import pytest

from whatelse.behaviours.generalization import calibration


def slowly(confidence, correct):
    """Kumar, Liang & Ma 2019, section 5, one bin after the other."""
    total, n = 0.0, len(confidence)
    for k in range(15):
        last = confidence == 1.0 if k == 14 else False
        inside = ((confidence >= k / 15) & (confidence < (k + 1) / 15)) | last
        if inside.sum() < 2:
            continue
        y = correct[inside].mean()
        biased = (confidence[inside].mean() - y) ** 2
        total += inside.sum() / n * (biased - y * (1 - y) / (inside.sum() - 1))
    return total


@pytest.mark.known_answer
def test_values_are_confidence_and_correctness(answers, rng):
    chances = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.05, 0.05, 0.9]])
    answer = calibration.measure(answers(np.log(chances), [0, 2, 2]), calibration.Config(), rng)
    assert answer["confidence"].tolist() == pytest.approx([0.7, 0.5, 0.9], abs=1e-6)
    assert answer["correct"].tolist() == [1, 0, 1]


@pytest.mark.known_answer
def test_one_bin_by_hand(answer_of):
    # Four examples of confidence .8 in one bin, three of them right: (.8 - .75)**2 - .75 * .25 / 3.
    answer = answer_of({"confidence": [0.8] * 4, "correct": [1, 1, 0, 1]})
    assert calibration.summarise(answer, calibration.Config(), np.ones((1, 4))) == pytest.approx([0.0025 - 0.0625])


@pytest.mark.known_answer
def test_it_is_the_slow_formula(answer_of):
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.uniform(0.1, 1, 300), [1.0, 1.0, 0.0]])
    correct = (rng.random(303) < confidence**2).astype(float)
    found = calibration.summarise(
        answer_of({"confidence": confidence, "correct": correct}), calibration.Config(), np.ones((1, 303))
    )
    assert found == pytest.approx([slowly(confidence, correct)])


def test_full_confidence_lies_in_the_last_bin(answer_of):
    together = answer_of({"confidence": [1, 0.99], "correct": [1, 0]})
    # (.995 - .5)**2 - .25 / 1: two examples of one bin; apart each would be alone and add nothing.
    assert calibration.summarise(together, calibration.Config(), np.ones((1, 2))) == pytest.approx([0.995**2 - 0.995])


def test_a_calibrated_model_scores_zero_on_average(answer_of):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        # One confidence a bin, the case for which the estimate is exactly unbiased.
        confidence = rng.choice((np.arange(5, 15) + 0.5) / 15, 200)
        correct = (rng.random(200) < confidence).astype(float)
        found.append(
            calibration.summarise(
                answer_of({"confidence": confidence, "correct": correct}), calibration.Config(), np.ones((1, 200))
            )[0]
        )
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(300)


def test_resamples_are_centered_on_the_estimate(answer_of):
    rng = np.random.default_rng(0)
    confidence = rng.choice((np.arange(5, 15) + 0.5) / 15, 200)
    answer = answer_of({"confidence": confidence, "correct": rng.random(200) < confidence})
    counts = rng.multinomial(200, np.full(200, 1 / 200), size=4000)
    draws = calibration.summarise(answer, calibration.Config(), counts)
    point = calibration.summarise(answer, calibration.Config(), np.ones((1, 200)))[0]
    # The plug-in correction 1 / (n - 1) would be off by the variance itself, .0085 here.
    assert abs(draws.mean() - point) < 0.0008
