import captum.attr
import numpy as np
import pytest
import torch

from whatelse.answer import Answer
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
    config = completeness.Config(steps=steps)
    answer = completeness.measure(evidence, config, rng)
    assert answer["error"].tolist() == pytest.approx(delta.abs().tolist(), abs=1e-5)
    assert answer["change"].tolist() == pytest.approx(change.abs().tolist(), abs=1e-5)
    summary = completeness.summarise(answer, config, toy.ones(answer))
    assert summary == pytest.approx([float(delta.abs().sum() / change.abs().sum())], abs=1e-5)


@pytest.mark.known_answer
def test_of_a_model_of_two_classes_without_hidden_layer_it_is_zero(toy, rng):
    net = torch.nn.Linear(3, 2)
    evidence = toy.evidence_of(net, toy.task_of(torch.randn(6, 3, generator=rng), torch.arange(6) % 2))
    answer = completeness.measure(evidence, completeness.Config(steps=1), rng)
    assert answer["error"].tolist() == pytest.approx([0] * 6, abs=1e-6)
    assert (answer["change"] > 0).all()


def test_more_steps_miss_less(seen, toy, rng):
    evidence = seen(torch.nn.Linear(4, 30), torch.nn.ReLU(), torch.nn.Linear(30, 3))
    missed = []
    for config in (completeness.Config(steps=2), completeness.Config(steps=200)):
        answer = completeness.measure(evidence, config, rng)
        missed.append(float(completeness.summarise(answer, config, toy.ones(answer))[0]))
    assert missed[1] < missed[0] / 5


def test_where_no_margin_changes_there_is_no_number():
    answer = Answer({"error": torch.tensor([0.0, 1.0]), "change": torch.tensor([0.0, 4.0])})
    found = completeness.summarise(answer, completeness.Config(), np.array([[1.0, 0], [1, 1]]))
    assert np.isnan(found[0])
    assert found[1] == 0.25


def test_examples_are_the_first_and_gradients_are_needed(seen, rng):
    evidence = seen(torch.nn.Linear(4, 3))
    assert len(completeness.measure(evidence, completeness.Config(examples=2), rng)) == 2
    limited = subject.Subject("m", evidence.model, "k", without=frozenset({"differentiates", "opens"}))
    blind = Evidence(limited, evidence.task)
    with pytest.raises(NotMeasurableError, match="needs a model that differentiates"):
        completeness.measure(blind, completeness.Config(), rng)
