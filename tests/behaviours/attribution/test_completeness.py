import captum.attr
import numpy as np
import pytest
import torch

from whatelse.behaviours.attribution import completeness
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject


@pytest.fixture
def seen(toy, rng):
    def make(*layers):
        net = torch.nn.Sequential(*layers)
        for p in net.parameters():
            torch.nn.init.normal_(p, 0, 0.6, generator=rng)
        x = torch.randn(7, 4, generator=rng)
        return toy.evidence_of(net, toy.task_of(x, torch.arange(7) % 3, classes=3))

    return make


@pytest.mark.known_answer
@pytest.mark.parametrize("steps", [3, 32])
def test_it_is_captums_convergence_delta(seen, toy, rng, steps):
    evidence = seen(torch.nn.Linear(4, 9), torch.nn.ReLU(), torch.nn.Linear(9, 3))
    net, y, x = evidence.model, evidence.predictions(), evidence.split("test").inputs
    method = captum.attr.IntegratedGradients(lambda x, y: subject.log_odds(net(x), y))
    _, delta = method.attribute(
        x.clone().requires_grad_(), additional_forward_args=y, n_steps=steps, return_convergence_delta=True
    )
    change = subject.log_odds(net(x), y) - subject.log_odds(net(torch.zeros_like(x)), y)
    values = completeness.measure(evidence, completeness.Config(steps=steps), rng)
    assert values[:, 0].tolist() == pytest.approx(delta.abs().tolist(), abs=1e-5)
    assert values[:, 1].tolist() == pytest.approx(change.abs().tolist(), abs=1e-5)
    summary = completeness.summarise(values.numpy(), toy.ones(values))
    assert summary == pytest.approx([float(delta.abs().sum() / change.abs().sum())], abs=1e-5)


@pytest.mark.known_answer
def test_of_a_model_of_two_classes_without_hidden_layer_it_is_zero(toy, rng):
    net = torch.nn.Linear(3, 2)
    evidence = toy.evidence_of(net, toy.task_of(torch.randn(6, 3, generator=rng), torch.arange(6) % 2))
    values = completeness.measure(evidence, completeness.Config(steps=1), rng)
    assert values[:, 0].tolist() == pytest.approx([0] * 6, abs=1e-6)
    assert bool((values[:, 1] > 0).all())


def test_more_steps_miss_less(seen, toy, rng):
    evidence = seen(torch.nn.Linear(4, 30), torch.nn.ReLU(), torch.nn.Linear(30, 3))
    few, many = (completeness.measure(evidence, completeness.Config(steps=s), rng).numpy() for s in (2, 200))
    assert completeness.summarise(many, toy.ones(many)) < completeness.summarise(few, toy.ones(few)) / 5


def test_where_no_margin_changes_there_is_no_number():
    values = np.array([[0.0, 0.0], [1.0, 4.0]])
    found = completeness.summarise(values, np.array([[1.0, 0], [1, 1]]))
    assert np.isnan(found[0])
    assert found[1] == 0.25


def test_examples_are_the_first_and_gradients_are_needed(seen, rng):
    evidence = seen(torch.nn.Linear(4, 3))
    assert completeness.measure(evidence, completeness.Config(examples=2), rng).shape == (2, 2)
    blind = Evidence(
        subject.Subject("m", evidence.model, "k", without=frozenset({"differentiates", "opens"})), evidence.task
    )
    with pytest.raises(NotMeasurableError, match="needs a model that differentiates"):
        completeness.measure(blind, completeness.Config(), rng)
