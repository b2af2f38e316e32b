import pytest
import torch

from whatelse.datasets import superposition
from whatelse.errors import SettingError


def load(**settings):
    return superposition.load(superposition.Config(**settings))


@pytest.mark.known_answer
def test_features_are_on_as_often_as_they_should_be():
    task = load(features=5, frequent=0.4, rare=0.025, train=20_000)
    planned = 0.4 * 0.5 ** torch.arange(5.0)
    # Given that one is on at all.
    expected = planned / (1 - (1 - planned).prod())
    on = task.train.inputs > 0
    # Four standard deviations of a share of 20,000.
    assert (on.float().mean(0) - expected).abs().max() < 4 * 0.5 / 20_000**0.5
    assert bool(on.any(1).all())
    values = task.train.inputs[on]
    assert 0 < float(values.min()) <= float(values.max()) <= 1
    assert float(values.mean()) == pytest.approx(0.5, abs=0.01)
    both = on.float().T @ on.float() / len(on)
    expected = planned.outer(planned) / (1 - (1 - planned).prod())
    apart = ~torch.eye(5, dtype=torch.bool)
    assert (both - expected)[apart].abs().max() < 4 * 0.5 / 20_000**0.5, "features are on independently"


def test_the_class_is_the_largest_feature_and_the_mask_marks_it():
    task = load(features=7)
    for split in task.splits.values():
        assert torch.equal(split.targets, split.inputs.argmax(1))
        assert torch.equal(split.masks.float().argmax(1), split.targets)
        assert bool((split.masks.sum(1) == 1).all())
        assert torch.equal(split.groups["frequency"], (split.targets >= 3).long())
    assert task.classes == 7
    assert task.bounds == (0.0, 1.0)
    assert task.features == tuple(f"feature {i}" for i in range(7))
    assert task.modality == "table"


def test_sizes_are_those_asked_for_and_leave_the_other_splits_alone():
    one, two = load(train=100, select=30, test=40), load(train=100, select=30, test=50)
    assert [len(one.splits[n]) for n in ("train", "calibration", "select", "test")] == [100, 20, 30, 40]
    assert torch.equal(one.calibration.inputs, one.train.inputs[:20])
    assert torch.equal(one.train.inputs, two.train.inputs)
    assert one.key == load(train=100, select=30, test=40).key != two.key
    assert not torch.equal(one.train.inputs[:30], one.splits["select"].inputs)


def test_a_rarest_feature_that_is_not_rare_is_refused():
    with pytest.raises(SettingError, match=r"rare=0\.5 is not allowed; at most frequent=0\.3"):
        load(rare=0.5)
