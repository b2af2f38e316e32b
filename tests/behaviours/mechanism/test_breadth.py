import numpy as np
import pytest
import torch
from scipy.stats import entropy

from whatelse.behaviours.mechanism import breadth


def answer_of(evidence, rng, **settings):
    return breadth.measure(evidence, breadth.Config(**settings), rng)


@pytest.mark.known_answer
def test_planted_units_have_their_number_of_classes(toy, rng):
    classes = torch.arange(60) % 3
    x = torch.stack([(classes == 0) * 2.0, torch.ones(60), 1.0 * (classes != 1), torch.zeros(60)], 1)
    evidence = toy.evidence_of(
        torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(4, 3)), toy.task_of(x, classes, classes=3)
    )
    answer = answer_of(evidence, rng)
    # One class, three, two; the unit that never fires is left out.
    assert breadth.summarise(answer, breadth.Config(), np.ones((1, 60))) == pytest.approx([2])
    silent = answer.over(answer.matrix() * [0, 0, 0, 0, 1])
    assert np.isnan(breadth.summarise(silent, breadth.Config(), np.ones((1, 60)))).all()
    assert answer.ends == {"worst": 3.0}


@pytest.mark.known_answer
@pytest.mark.parametrize("activation", [torch.nn.ReLU, torch.nn.GELU])
def test_it_is_scipys_entropy_on_every_resample(toy, stack, gaussian, rng, activation):
    evidence = toy.evidence_of(stack(6, 9, 3, activation=activation), gaussian())
    answer = answer_of(evidence, rng)
    hidden, classes = evidence.hidden("test").double().numpy(), evidence.split("test").targets.numpy()
    draws = np.random.default_rng(0).multinomial(120, np.full(120, 1 / 120), size=5)
    expected = []
    for d in draws:
        h, c = np.maximum(np.repeat(hidden, d, 0), 0), np.repeat(classes, d)
        means = np.stack([h[c == k].mean(0) for k in range(3)])
        expected.append(np.exp(entropy(means, axis=0)).mean())
    assert breadth.summarise(answer, breadth.Config(), draws) == pytest.approx(expected)
    assert 1 < min(expected) <= max(expected) < 3


def test_order_and_scale_of_units_do_not_matter(toy, stack, gaussian, shuffled, rng):
    task, plain = gaussian(), stack(6, 5, 3)
    one, two = (toy.evidence_of(m, task) for m in (plain, shuffled(plain, [4, 2, 0, 1, 3])))
    told = [breadth.summarise(answer_of(e, rng), breadth.Config(), np.ones((1, 120)))[0] for e in (one, two)]
    assert told[0] == pytest.approx(told[1])
    assert list(answer_of(one, rng, units=2).columns) == ["unit 0", "unit 4", "class"]
