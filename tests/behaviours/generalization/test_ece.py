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
    values = ece.measure(answers(np.log(chances), [0, 2, 2]), ece.Config(), rng)
    assert values[:, 0].tolist() == pytest.approx([0.7, 0.5, 0.9], abs=1e-6)
    assert values[:, 1].tolist() == [1, 0, 1]


@pytest.mark.known_answer
def test_two_bins_by_hand():
    # Confidence .9, one of two right; confidence .5, both right: (2 * .4 + 2 * .5) / 4.
    values = np.array([[0.9, 1], [0.9, 0], [0.5, 1], [0.5, 1]])
    assert ece.summarise(values, np.ones((1, 4))) == pytest.approx([0.45])
    # The first example alone: .1; the last two alone: .5.
    assert ece.summarise(values, np.array([[3, 0, 0, 0], [0, 0, 1, 2]])) == pytest.approx([0.1, 0.5])


@pytest.mark.known_answer
def test_it_is_the_slow_formula():
    rng = np.random.default_rng(1)
    confidence = np.concatenate([rng.uniform(0.1, 1, 300), [1.0, 1.0, 0.0]])
    correct = (rng.random(303) < confidence**2).astype(float)
    found = ece.summarise(np.stack([confidence, correct], 1), np.ones((1, 303)))
    assert found == pytest.approx([slowly(confidence, correct)])


def test_full_confidence_lies_in_the_last_bin():
    # In one bin the two errors cancel to |.995 - .5|; apart they would not.
    assert ece.summarise(np.array([[1.0, 1], [0.99, 0]]), np.ones((1, 2))) == pytest.approx([0.495])


@pytest.mark.known_answer
def test_the_parts_are_the_accuracies_of_the_bins(answers, rng):
    chances = np.array([[0.9, 0.1], [0.1, 0.9], [0.62, 0.38], [0.38, 0.62]])
    evidence = answers(np.log(chances), [0, 0, 0, 1])
    values = ece.measure(evidence, ece.Config(), rng).numpy().astype(float)
    parts = ece.by_part(values, np.array([[1, 1, 1, 1], [0, 2, 1, 1], [1, 0, 0, 0]]))
    assert parts.shape == (3, 15)
    assert parts[:, 13].tolist() == [0.5, 0, 1]  # .87 to .93
    assert parts[:2, 9].tolist() == [1, 1]  # .60 to .67
    assert np.isnan(np.delete(parts, [9, 13], 1)).all()
    assert np.isnan(parts[2, 9])
    assert evidence.parts[0] == "0.00 to 0.07"
    assert evidence.parts[14] == "0.93 to 1.00"


def test_parts_and_their_sizes_make_the_whole():
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.1, 1, 300)
    values = np.stack([confidence, (rng.random(300) < 0.6).astype(float)], 1)
    parts = ece.by_part(values, np.ones((1, 300)))[0]
    bins = np.floor(confidence * 15).astype(int)
    errors = [abs(confidence[bins == k].mean() - parts[k]) * (bins == k).mean() for k in np.unique(bins)]
    assert ece.summarise(values, np.ones((1, 300))) == pytest.approx([sum(errors)])
