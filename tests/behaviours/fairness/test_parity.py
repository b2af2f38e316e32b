import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_difference

from whatelse.behaviours.fairness import parity
from whatelse.errors import NotMeasurableError


@pytest.mark.known_answer
def test_the_parity_gap_by_hand(answers, toy, rng):
    evidence = answers([1, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 1], {"style": [0, 0, 0, 1, 1, 1]}, classes=2)
    answer = parity.measure(evidence, parity.Config(least=1), rng)
    # Class 1 counts: it has code 0, the other none.
    assert answer.table().tolist() == [[0, -1, 0], [0, 0, 0], [-1, -1, 0], [0, 0, 1], [-1, -1, 1], [-1, 0, 1]]
    assert parity.summarise(answer, parity.Config(), toy.ones(answer)) == pytest.approx([1 / 3])
    assert answer.parts.names == ("class 1",)
    assert any("read its change" in note for note in answer.notes)
    counts = np.array([[1, 1, 1, 0, 1, 1], [1, 1, 1, 0, 0, 0]])
    assert parity.summarise(answer, parity.Config(), counts) == pytest.approx([2 / 3, np.nan], nan_ok=True)
    assert np.isnan(parity.by_part(answer, parity.Config(), counts)[1, 0])  # one group alone has no gap


@pytest.mark.known_answer
@pytest.mark.parametrize("seed", range(3))
def test_of_two_classes_it_is_fairlearns(drawn, toy, rng, seed):
    evidence, said, target, code = drawn(400, 2, seed=seed)
    answer = parity.measure(evidence, parity.Config(), rng)
    expected = demographic_parity_difference(target, said, sensitive_features=code)
    assert parity.summarise(answer, parity.Config(), toy.ones(answer)) == pytest.approx([expected])


@pytest.mark.known_answer
def test_of_more_classes_it_is_the_mean_of_fairlearns_one_against_the_rest(drawn, toy, rng):
    evidence, said, target, code = drawn(400, 4)
    answer = parity.measure(evidence, parity.Config(), rng)
    each = [demographic_parity_difference(target == c, said == c, sensitive_features=code) for c in range(4)]
    assert parity.by_part(answer, parity.Config(), toy.ones(answer))[0] == pytest.approx(each)
    assert parity.summarise(answer, parity.Config(), toy.ones(answer)) == pytest.approx([np.mean(each)])
    config = parity.Config(of=2)
    of = parity.measure(evidence, config, rng)
    assert parity.summarise(of, config, toy.ones(of)) == pytest.approx([each[2]])


def test_a_class_that_no_test_example_is_of_is_refused(drawn, rng):
    evidence, *_ = drawn(100, 3)
    with pytest.raises(
        NotMeasurableError, match="needs test examples of class 7; the test targets are of classes 0, 1, 2"
    ):
        parity.measure(evidence, parity.Config(of=7, least=1), rng)


def test_a_collapsed_model_is_doubted_where_its_baseline_tells_classes_apart(answers, toy, rng):
    groups, targets = {"style": [0, 0, 1, 1]}, [0, 1, 0, 1]
    base, flat = answers(targets, targets, groups, classes=2), answers([1] * 4, targets, groups, classes=2)
    config = parity.Config(least=1)
    alone = parity.measure(flat, config, rng)
    assert alone.notes[-1] == "model answers class 1 throughout"
    assert alone.ends == {"blind": 0.0}
    assert parity.measure(base, config, rng).ends == {}
    flat.reference = base
    found = parity.measure(flat, config, rng)
    assert found.ends == {"blind": 0.0}
    (doubt,) = found.doubts
    assert doubt.one_sided, "the gap can only look smaller than it is"
    assert doubt.text.startswith("model answers class 1 throughout, which its baseline does not")
