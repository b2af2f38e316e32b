import numpy as np
import pytest
import torch

from whatelse.behaviours.mechanism import selectivity
from whatelse.errors import NotMeasurableError


def answer_of(evidence, rng, **settings):
    return selectivity.measure(evidence, selectivity.Config(**settings), rng)


def score(evidence, rng):
    answer = answer_of(evidence, rng)
    return selectivity.summarise(answer, selectivity.Config(), np.ones((1, len(answer))))[0]


def slow(hidden, classes):
    """Unit by unit, as the paper writes it."""
    found = []
    for unit in np.maximum(hidden.T, 0):
        means = [unit[classes == c].mean() for c in np.unique(classes)]
        best = int(np.argmax(means))
        rest = np.mean([m for i, m in enumerate(means) if i != best])
        if sum(means) > 0:
            found.append((means[best] - rest) / (means[best] + rest))
    return np.mean(found)


@pytest.fixture
def planted(toy):
    """Hidden units are the inputs: one for class 0 alone, one for all alike, one twice as strong for class 2."""
    classes = torch.arange(60) % 3
    x = torch.stack([(classes == 0) * 2.0, torch.ones(60), 1.0 + (classes == 2), torch.zeros(60)], 1)
    model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(4, 3))
    return toy.evidence_of(model, toy.task_of(x, classes, classes=3))


@pytest.mark.known_answer
def test_planted_units_have_their_index(planted, rng):
    # 1, 0, (2 - 1) / (2 + 1); the unit that never fires is left out.
    assert score(planted, rng) == pytest.approx((1 + 0 + 1 / 3) / 3)


@pytest.mark.known_answer
@pytest.mark.parametrize("activation", [torch.nn.ReLU, torch.nn.GELU, torch.nn.Tanh, torch.nn.Sigmoid])
def test_it_is_the_slow_formula_on_every_resample(toy, stack, gaussian, rng, activation):
    evidence = toy.evidence_of(stack(6, 9, 3, activation=activation), gaussian())
    answer = answer_of(evidence, rng)
    hidden, classes = evidence.hidden("test").double().numpy(), evidence.split("test").targets.numpy()
    draws = np.random.default_rng(0).multinomial(120, np.full(120, 1 / 120), size=5)
    expected = [slow(np.repeat(hidden, d, 0), np.repeat(classes, d)) for d in draws]
    assert selectivity.summarise(answer, selectivity.Config(), draws) == pytest.approx(expected)
    assert ("can be negative" in str(answer.notes)) == (activation in {torch.nn.GELU, torch.nn.Tanh})
    assert (np.array(expected) >= 0).all()
    assert (np.array(expected) <= 1).all()


def test_scale_and_order_of_units_and_layers_without_effect(toy, stack, gaussian, shuffled, rng):
    task, plain = gaussian(), stack(6, 5, 3)
    strong = shuffled(plain, [4, 2, 0, 1, 3])
    with torch.no_grad():
        strong[0].weight.mul_(5)
        strong[0].bias.mul_(5)
    assert score(toy.evidence_of(strong, task), rng) == pytest.approx(score(toy.evidence_of(plain, task), rng))


def test_a_class_that_a_resample_lacks_is_no_class(planted, rng):
    answer = answer_of(planted, rng)
    counts = (planted.split("test").targets.numpy() != 2)[None].astype(float)
    assert selectivity.summarise(answer, selectivity.Config(), counts) == pytest.approx([(1 + 0 + 0) / 3])
    only = (planted.split("test").targets.numpy() == 0)[None].astype(float)
    assert np.isnan(selectivity.summarise(answer, selectivity.Config(), only)).all()


def test_units_are_bounded_and_said(toy, stack, gaussian, rng):
    evidence = toy.evidence_of(stack(6, 9, 3), gaussian())
    answer = answer_of(evidence, rng, units=4)
    assert list(answer.columns) == ["unit 0", "unit 3", "unit 5", "unit 8", "class"]
    assert answer.notes == ("4 of 9 units, evenly apart",)
    fires = evidence.hidden("test").clamp(min=0).numpy()[:, [0, 3, 5, 8]]
    assert (answer.matrix() == np.column_stack([fires, evidence.split("test").targets])).all()
    with pytest.raises(NotMeasurableError, match="needs a hidden layer"):
        answer_of(toy.evidence_of(stack(6, 3), gaussian()), rng)
