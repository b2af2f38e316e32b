import numpy as np
import pytest
import torch

from whatelse.behaviours.mechanism import dead


def answer_of(evidence, rng, **settings):
    return dead.measure(evidence, dead.Config(**settings), rng)


@pytest.fixture
def planted(toy):
    """Hidden units are the inputs: one fires always, one once, two never, though one of these is below zero."""
    x = torch.stack([torch.ones(20), (torch.arange(20) == 7) * 0.5, torch.zeros(20), -torch.ones(20)], 1)
    return toy.evidence_of(
        torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(4, 2)), toy.task_of(x, torch.arange(20) % 2)
    )


@pytest.mark.known_answer
def test_planted_units_are_counted_on_every_resample(planted, rng):
    answer = answer_of(planted, rng)
    assert (answer.matrix() == (planted.split("test").inputs.numpy() > 0)).all()
    with_it, without = np.ones(20), (np.arange(20) != 7) * 1.0
    assert dead.summarise(answer, dead.Config(), np.stack([with_it, without])).tolist() == [0.5, 0.75]


def test_silenced_units_are_found(toy, stack, gaussian, rng):
    task, model = gaussian(), stack(6, 8, 3)
    with torch.no_grad():
        model[0].bias.fill_(1)
        model[0].weight[:3] = 0
        model[0].bias[:3] = -1
    answer = answer_of(toy.evidence_of(model, task), rng)
    assert dead.summarise(answer, dead.Config(), np.ones((1, 120))) == pytest.approx([3 / 8])
    evidence = toy.evidence_of(stack(6, 8, 3, activation=torch.nn.GELU), task)
    few = answer_of(evidence, rng, units=4)
    assert dead.summarise(few, dead.Config(), np.ones((1, 120))) == 0
    assert len(few.notes) == 2
