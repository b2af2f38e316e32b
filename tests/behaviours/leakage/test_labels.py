import numpy as np
import pytest
import torch

from whatelse.answer import Answer
from whatelse.behaviours.leakage import labels
from whatelse.errors import NotMeasurableError

TARGETS = [0, 0, 0, 1, 0, 1, 2, 2]


@pytest.fixture
def flat(toy):
    """A model that finds all three classes equally likely, its last layer fed with one feature an example."""

    def make(*layers, targets=TARGETS):
        model = torch.nn.Sequential(*layers)
        for p in model[-1].parameters():
            torch.nn.init.zeros_(p)
        inputs = torch.eye(len(targets))
        return toy.evidence_of(model, toy.task_of(inputs, targets, classes=3, bounds=(0.0, 1.0)))

    return make


@pytest.mark.known_answer
def test_the_signs_of_the_bias_by_hand(flat, toy, rng):
    # Gradients of the bias: (1/3 - 3/4, 1/3 - 1/4, 1/3), class 1 is missed; then (1/3 - 1/4, 1/3 - 1/4, 1/3 - 1/2).
    evidence = flat(torch.nn.Linear(8, 3))
    answer = labels.measure(evidence, labels.Config(), rng)
    assert answer["overlap"].tolist() == pytest.approx([1 / 2, 1 / 3])
    assert labels.summarise(answer, labels.Config(), toy.ones(answer)) == pytest.approx([5 / 12])
    assert answer.notes[0].startswith("gradient norm of the last layer 2.0e-01")
    # In pairs: {0}, {0, 1}, {0, 1}, {2}, all of them found as 1/3 - 1/2 < 0.
    answer = labels.measure(evidence, labels.Config(batch=2), rng)
    assert answer["overlap"].tolist() == [1, 1, 1, 1]


@pytest.mark.known_answer
def test_after_a_relu_the_weights_tell_what_the_bias_does_not(flat, rng):
    first = torch.nn.Linear(8, 8)
    with torch.no_grad():
        first.weight.copy_(torch.eye(8))
        first.bias.zero_()
    evidence = flat(first, torch.nn.ReLU(), torch.nn.Linear(8, 3))
    # Zero weights count as pruned and share nothing: the bias alone.
    assert labels.measure(evidence, labels.Config(), rng)["overlap"].tolist() == pytest.approx([1 / 2, 1 / 3])
    # Each example has a feature of its own, where the gradient is (1/3 - y) / 4.
    evidence.model[-1].weight.fill_(1e-12)
    assert labels.measure(evidence, labels.Config(), rng)["overlap"].tolist() == [1, 1]
    # Without the weight of the fourth example's feature its label is not seen there.
    evidence.model[-1].weight[:, 3] = 0
    assert labels.measure(evidence, labels.Config(), rng)["overlap"].tolist() == [0.5, 1]


@pytest.mark.parametrize("name", ["whole", "pruned", "quantized", "factored"])
def test_one_example_always_gives_its_label_away(zoo, toy, rng, name):
    evidence = toy.evidence_of(zoo.models[name], zoo.task)
    assert labels.measure(evidence, labels.Config(batch=1), rng)["overlap"].tolist() == [1] * 12


def test_a_converged_model_is_not_saved_by_rounding(flat, rng):
    model = torch.nn.Linear(8, 3)
    evidence = flat(model)
    with torch.no_grad():
        # Margins of 25: in single precision 1 - p is zero.
        model.weight.copy_(25.0 * torch.nn.functional.one_hot(torch.tensor(TARGETS), 3).T)
    assert labels.measure(evidence, labels.Config(batch=1), rng)["overlap"].tolist() == [1] * 8


def test_inner_units_that_may_be_negative_are_not_read(chain, toy, rng):
    """After a factor without nonlinearity an absent class may have negative entries: nothing false is read."""
    model = chain(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2, bias=False), torch.nn.Linear(2, 3))
    inputs = torch.randn(40, 6, generator=rng)
    targets = torch.arange(40) // 4 % 3
    evidence = toy.evidence_of(model, toy.task_of(inputs, targets, classes=3))
    assert labels.measure(evidence, labels.Config(), rng)["overlap"].tolist() == [1] * 10


def test_batches_are_limited_by_test_and_setting(flat, rng):
    evidence = flat(torch.nn.Linear(8, 3))
    assert len(labels.measure(evidence, labels.Config(batch=3), rng)) == 2
    assert len(labels.measure(evidence, labels.Config(batch=1, batches=5), rng)) == 5
    with pytest.raises(NotMeasurableError, match="needs a batch of 9 examples; test has 8"):
        labels.measure(evidence, labels.Config(batch=9), rng)


def test_what_is_missing_is_said(flat, rng):
    with pytest.raises(NotMeasurableError, match="needs a linear last layer; it is LayerNorm"):
        labels.measure(flat(torch.nn.Linear(8, 3), torch.nn.LayerNorm(3)), labels.Config(), rng)
    with pytest.raises(NotMeasurableError, match="with a bias, or one after a ReLU"):
        labels.measure(flat(torch.nn.Linear(8, 3, bias=False)), labels.Config(), rng)


def test_the_summary_is_the_weighted_mean():
    answer, counts = Answer({"overlap": torch.tensor([1.0, 0.5])}), np.array([[1, 1], [3, 1]])
    assert labels.summarise(answer, labels.Config(), counts) == pytest.approx([0.75, 0.875])
