import numpy as np
import pytest

from whatelse.behaviours.generalization import ece


def slowly(confidence, correct):
    total = 0.0
    for k in range(15):
        last = confidence == 1.0 if k == 14 else False
        inside = ((confidence >= k / 15) & (confidence < (k + 1) / 15)) | last
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return total


@pytest.mark.known_answer
def test_values_are_confidence_and_correctness(answers, rng):
    chances = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.05, 0.05, 0.9]])
    answer = ece.measure(answers(np.log(chances), [0, 2, 2]), ece.Config(), rng)
    assert answer["confidence"].tolist() == pytest.approx([0.7, 0.5, 0.9], abs=1e-6)
    assert answer["correct"].tolist() == [1, 0, 1]


@pytest.mark.known_answer
def test_two_bins_by_hand(answer_of):
    # Confidence .9, one of two right; confidence .5, both right: (2 * .4 + 2 * .5) / 4.
    answer = answer_of({"confidence": [0.9, 0.9, 0.5, 0.5], "correct": [1, 0, 1, 1]})
    assert ece.summarise(answer, ece.Config(), np.ones((1, 4))) == pytest.approx([0.45])
    # The first example alone: .1; the last two alone: .5.
    assert ece.summarise(answer, ece.Config(), np.array([[3, 0, 0, 0], [0, 0, 1, 2]])) == pytest.approx([0.1, 0.5])


@pytest.mark.known_answer
def test_it_is_the_slow_formula(answer_of):
    rng = np.random.default_rng(1)
    confidence = np.concatenate([rng.uniform(0.1, 1, 300), [1.0, 1.0, 0.0]])
    correct = (rng.random(303) < confidence**2).astype(float)
    found = ece.summarise(answer_of({"confidence": confidence, "correct": correct}), ece.Config(), np.ones((1, 303)))
    assert found == pytest.approx([slowly(confidence, correct)])


def test_full_confidence_lies_in_the_last_bin(answer_of):
    # In one bin the two errors cancel to |.995 - .5|; apart they would not.
    answer = answer_of({"confidence": [1, 0.99], "correct": [1, 0]})
    assert ece.summarise(answer, ece.Config(), np.ones((1, 2))) == pytest.approx([0.495])


@pytest.mark.known_answer
def test_the_parts_are_the_accuracies_of_the_bins(answers, rng):
    chances = np.array([[0.9, 0.1], [0.1, 0.9], [0.62, 0.38], [0.38, 0.62]])
    evidence = answers(np.log(chances), [0, 0, 0, 1])
    answer = ece.measure(evidence, ece.Config(), rng)
    parts = ece.by_part(answer, ece.Config(), np.array([[1, 1, 1, 1], [0, 2, 1, 1], [1, 0, 0, 0]]))
    assert parts.shape == (3, 15)
    assert parts[:, 13].tolist() == [0.5, 0, 1]  # .87 to .93
    assert parts[:2, 9].tolist() == [1, 1]  # .60 to .67
    assert np.isnan(np.delete(parts, [9, 13], 1)).all()
    assert np.isnan(parts[2, 9])
    assert answer.parts.names[0] == "0.00 to 0.07"
    assert answer.parts.names[14] == "0.93 to 1.00"
    assert (answer.parts.unit, answer.parts.better) == ("accuracy", "neither")


def test_parts_and_their_sizes_make_the_whole(answer_of):
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.1, 1, 300)
    answer = answer_of({"confidence": confidence, "correct": rng.random(300) < 0.6})
    parts = ece.by_part(answer, ece.Config(), np.ones((1, 300)))[0]
    bins = np.floor(confidence * 15).astype(int)
    errors = [abs(confidence[bins == k].mean() - parts[k]) * (bins == k).mean() for k in np.unique(bins)]
    assert ece.summarise(answer, ece.Config(), np.ones((1, 300))) == pytest.approx([sum(errors)])
