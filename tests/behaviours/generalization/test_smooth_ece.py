import numpy as np
import pytest

from whatelse.behaviours.generalization import ece, smooth_ece


def slowly(confidence, correct, points=1500):
    """Blasiok & Nakkiran 2024: every reflection of every Gaussian, then the bandwidth that equals the error."""
    t = (np.arange(points) + 0.5) / points

    def error(width):
        mirrored = [at for m in (-4, -2, 0, 2, 4) for at in (confidence + m, m - confidence)]
        kernel = sum(np.exp(-(((t[:, None] - at) / width) ** 2) / 2) for at in mirrored) / width / np.sqrt(2 * np.pi)
        return np.abs(kernel @ (correct - confidence) / len(confidence)).mean()

    low, high = 1e-3, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return low


@pytest.mark.known_answer
def test_values_are_confidence_and_correctness(answers, rng):
    chances = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.05, 0.05, 0.9]])
    answer = smooth_ece.measure(answers(np.log(chances), [0, 2, 2]), smooth_ece.Config(), rng)
    assert answer["confidence"].tolist() == pytest.approx([0.7, 0.5, 0.9], abs=1e-6)
    assert answer["correct"].tolist() == [1, 0, 1]


@pytest.mark.known_answer
@pytest.mark.parametrize("power", [1.0, 1.5, 3.0])
def test_it_is_the_slow_kernel_up_to_the_grid(answer_of, power):
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.uniform(0.1, 1, 300), [1.0, 1.0, 0.0]])
    correct = (rng.random(303) < confidence**power).astype(float)
    found = smooth_ece.summarise(
        answer_of({"confidence": confidence, "correct": correct}), smooth_ece.Config(), np.ones((1, 303))
    )
    # Sharing between neighbors on a grid of h = 1 / 256 widens the kernel by at most (h / s)**2 / 8 in relative terms.
    assert found == pytest.approx([slowly(confidence, correct)], rel=0.005)


@pytest.mark.known_answer
def test_one_sided_error_is_its_mean(answer_of):
    # Always too sure: the absolute value never matters, so the error is mean(f - y) at every bandwidth.
    confidence = np.linspace(0.3, 0.9, 50)
    found = smooth_ece.summarise(
        answer_of({"confidence": confidence, "correct": np.zeros(50)}), smooth_ece.Config(), np.ones((1, 50))
    )
    assert found == pytest.approx([confidence.mean()], abs=1e-6)


def test_a_resample_is_the_error_of_the_repeated_examples(answer_of):
    rng = np.random.default_rng(1)
    columns = {"confidence": rng.uniform(0.2, 1, 60), "correct": rng.random(60) < 0.5}
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=4)
    again = [answer_of({name: np.repeat(column, c) for name, column in columns.items()}) for c in counts]
    slow = [smooth_ece.summarise(one, smooth_ece.Config(), np.ones((1, 60)))[0] for one in again]
    assert smooth_ece.summarise(answer_of(columns), smooth_ece.Config(), counts) == pytest.approx(slow, abs=1e-9)


def test_it_does_not_jump_at_a_border_between_bins(answer_of):
    at = 13 / 15
    sides = [answer_of({"confidence": [at + d, 0.9, 0.9], "correct": [1, 0, 0]}) for d in (-1e-6, 1e-6)]
    jump = []
    for item in (ece, smooth_ece):
        below, above = (item.summarise(side, item.Config(), np.ones((1, 3)))[0] for side in sides)
        jump.append(abs(below - above))
    assert jump[0] > 0.05
    assert jump[1] < 1e-5


def test_perfect_answers_have_no_error(answer_of):
    found = smooth_ece.summarise(
        answer_of({"confidence": [1, 1], "correct": [1, 1]}), smooth_ece.Config(), np.ones((2, 2))
    )
    assert found.tolist() == [0, 0]
