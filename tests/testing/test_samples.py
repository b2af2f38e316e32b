import pytest
import torch

from whatelse import testing
from whatelse.testing import samples


@pytest.mark.known_answer
def test_evidence_of_given_scores_and_of_given_predictions():
    evidence = testing.answering([[3, 1], [0, 2], [1, 0]], [0, 0, 1], {"style": [0, 1, 1]})
    assert evidence.logits("test").tolist() == [[3, 1], [0, 2], [1, 0]]
    assert evidence.predictions("test").tolist() == [0, 1, 0]
    assert evidence.split("test").groups["style"].tolist() == [0, 1, 1]
    evidence = testing.predicting([2, 0, 1], [2, 1, 1])
    assert evidence.predictions("test").tolist() == [2, 0, 1]
    assert evidence.task.classes == 3


def test_the_sample_models_have_learned_their_task_a_little():
    """Models that know nothing, or everything, would let behaviours pass whose numbers never move."""
    task = testing.images()
    for model in testing.models():
        right = (model(task.test.inputs).argmax(1) == task.test.targets).float().mean()
        assert 0.5 < float(right) <= 1
    one, two = testing.models()
    assert not torch.equal(next(one.parameters()), next(two.parameters()))


def test_a_pair_is_fresh_each_time_and_its_reference_is_the_baseline():
    base, mine = samples.pair(frozenset({"predicts"}))
    assert mine.reference is base
    assert samples.pair(frozenset())[0] is not base
    assert samples.pair(frozenset({"texts"}))[1].task.vocabulary == 10
