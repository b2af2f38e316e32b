import numpy as np
import pytest

from whatelse.behaviours.generalization import calibration, classwise


@pytest.fixture
def said(answer_of):
    def make(chances, truth):
        names = tuple(f"class {k}" for k in range(chances.shape[1]))
        return answer_of({**dict(zip(names, chances.T, strict=True)), "truth": truth}, names)

    return make


def slowly(claimed, happened):
    """Kumar, Liang & Ma 2019, section 5, one bin after the other."""
    total, n = 0.0, len(claimed)
    for k in range(15):
        inside = np.minimum(np.floor(claimed * 15), 14) == k
        if inside.sum() < 2:
            continue
        y = happened[inside].mean()
        total += inside.sum() / n * ((claimed[inside].mean() - y) ** 2 - y * (1 - y) / (inside.sum() - 1))
    return total


@pytest.mark.known_answer
def test_values_are_chances_and_truth(answers, rng):
    chances = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.05, 0.05, 0.9]])
    evidence = answers(np.log(chances), [0, 2, 1])
    answer = classwise.measure(evidence, classwise.Config(), rng)
    assert answer.table("class 0", "class 1", "class 2") == pytest.approx(chances, abs=1e-6)
    assert answer["truth"].tolist() == [0, 2, 1]
    assert answer.parts.names == ("class 0", "class 1", "class 2")


@pytest.mark.known_answer
def test_one_bin_a_class_by_hand(said):
    # Four examples of chances .8 and .2, three of class 0: both classes miss by .05, less .75 * .25 / 3.
    answer = said(np.array([[0.8, 0.2]] * 4), [0, 0, 0, 1])
    assert classwise.by_part(answer, classwise.Config(), np.ones((1, 4))) == pytest.approx(
        np.full((1, 2), 0.0025 - 0.0625)
    )
    assert classwise.summarise(answer, classwise.Config(), np.ones((1, 4))) == pytest.approx([0.0025 - 0.0625])


@pytest.mark.known_answer
def test_it_is_the_slow_formula_for_every_class(said):
    rng = np.random.default_rng(0)
    chances = rng.dirichlet([1.0, 2.0, 0.3], 400)
    truth = rng.integers(0, 3, 400)
    answer = said(chances, truth)
    slow = [slowly(chances[:, k], (truth == k).astype(float)) for k in range(3)]
    assert classwise.by_part(answer, classwise.Config(), np.ones((1, 400)))[0] == pytest.approx(slow)
    assert classwise.summarise(answer, classwise.Config(), np.ones((1, 400))) == pytest.approx([np.mean(slow)])


def test_resamples_are_centered_on_the_estimate(said):
    rng = np.random.default_rng(0)
    chances = np.stack([np.full(200, 0.5), np.full(200, 0.3), np.full(200, 0.2)], 1)
    truth = (rng.random(200)[:, None] > chances.cumsum(1)).sum(1)
    answer = said(chances, truth)
    draws = classwise.summarise(answer, classwise.Config(), rng.multinomial(200, np.full(200, 1 / 200), size=4000))
    point = classwise.summarise(answer, classwise.Config(), np.ones((1, 200)))[0]
    assert abs(draws.mean() - point) < 4 * draws.std() / np.sqrt(4000)


def test_a_class_that_is_wrong_shows_in_its_own_part(said):
    rng = np.random.default_rng(1)
    truth = (rng.random(2000)[:, None] > np.cumsum([0.5, 0.3, 0.2])).sum(1)
    # Class 0 is right, classes 1 and 2 have each other's chances.
    answer = said(np.tile([0.5, 0.2, 0.3], (2000, 1)), truth)
    parts = classwise.by_part(answer, classwise.Config(), np.ones((1, 2000)))[0]
    assert parts == pytest.approx([0, 0.01, 0.01], abs=0.003)


def test_of_two_classes_each_is_the_others_mirror(answers, answer_of, rng):
    random = np.random.default_rng(2)
    logits, targets = random.normal(size=(60, 2)), random.integers(0, 2, 60)
    answer = classwise.measure(answers(logits, targets), classwise.Config(), rng)
    answer = answer.over(answer.matrix().astype(float))
    parts = classwise.by_part(answer, classwise.Config(), np.ones((1, 60)))[0]
    assert parts[0] == pytest.approx(parts[1], abs=1e-6)
    one = answer_of({"confidence": answer["class 0"], "correct": answer["truth"] == 0})
    assert calibration.summarise(one, calibration.Config(), np.ones((1, 60))) == pytest.approx([parts[0]])
