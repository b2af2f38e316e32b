import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_difference

from whatelse.behaviours.fairness import parity
from whatelse.errors import NotMeasurableError


@pytest.mark.known_answer
def test_the_parity_gap_by_hand(answers, toy, rng):
    evidence = answers([1, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 1], {"style": [0, 0, 0, 1, 1, 1]}, classes=2)
    values = parity.measure(evidence, parity.Config(least=1), rng)
    # Class 1 counts: it has code 0, the other none.
    assert values.tolist() == [[0, -1, 0], [0, 0, 0], [-1, -1, 0], [0, 0, 1], [-1, -1, 1], [-1, 0, 1]]
    assert parity.summarise(values.numpy(), toy.ones(values)) == pytest.approx([1 / 3])
    assert evidence.parts == ("class 1",)
    assert any("read its change" in note for note in evidence.notes)
    counts = np.array([[1, 1, 1, 0, 1, 1], [1, 1, 1, 0, 0, 0]])
    assert parity.summarise(values.numpy(), counts) == pytest.approx([2 / 3, np.nan], nan_ok=True)
    assert np.isnan(parity.by_part(values.numpy(), counts)[1, 0])  # one group alone has no gap


@pytest.mark.known_answer
@pytest.mark.parametrize("seed", range(3))
def test_of_two_classes_it_is_fairlearns(drawn, toy, rng, seed):
    evidence, said, target, code = drawn(400, 2, seed=seed)
    values = parity.measure(evidence, parity.Config(), rng)
    expected = demographic_parity_difference(target, said, sensitive_features=code)
    assert parity.summarise(values.numpy(), toy.ones(values)) == pytest.approx([expected])


@pytest.mark.known_answer
def test_of_more_classes_it_is_the_mean_of_fairlearns_one_against_the_rest(drawn, toy, rng):
    evidence, said, target, code = drawn(400, 4)
    values = parity.measure(evidence, parity.Config(), rng)
    each = [demographic_parity_difference(target == c, said == c, sensitive_features=code) for c in range(4)]
    assert parity.by_part(values.numpy(), toy.ones(values))[0] == pytest.approx(each)
    assert parity.summarise(values.numpy(), toy.ones(values)) == pytest.approx([np.mean(each)])
    of = parity.measure(evidence, parity.Config(of=2), rng)
    assert parity.summarise(of.numpy(), toy.ones(of)) == pytest.approx([each[2]])


def test_a_class_that_no_test_example_is_of_is_refused(drawn, rng):
    evidence, *_ = drawn(100, 3)
    with pytest.raises(
        NotMeasurableError, match="needs test examples of class 7; the test targets are of classes 0, 1, 2"
    ):
        parity.measure(evidence, parity.Config(of=7, least=1), rng)
