import numpy as np
import pytest
import torch

from whatelse.behaviours.generalization import accuracy, excess_error, shift
from whatelse.tasks.task import Task


@pytest.mark.known_answer
def test_a_shifted_split_errs_more_by_hand(linear, toy, task, rng):
    # On test row 3 of 4 has the wrong target; on the shifted split two of three are wrong.
    test = toy.split_of(task.test.inputs, [0, 0, 1, 0])
    shifted = toy.split_of([[1.0, 0], [2, 0], [-3, 0]], [1, 0, 1])
    both = Task("toy", 2, task.bounds, {**task.splits, "test": test, "shifted": shifted})
    evidence = toy.evidence_of(linear, both)
    config = excess_error.Config(kind="shifted")
    answer = excess_error.measure(evidence, config, rng)
    assert answer.table().tolist() == [
        *([1, w, 0, 0] for w in (0, 0, 0, 1)),
        *([0, 0, 1, w] for w in (0, 1, 1)),
    ]
    counts = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 1, 3, 1, 0]])
    found = excess_error.summarise(answer, config, counts)
    assert found == pytest.approx([2 / 3 - 1 / 4, 1 / 4 - 1 / 2])
    assert excess_error.by_part(answer, config, counts)[:, 0] == pytest.approx(found)
    assert answer.parts.names == ("shifted",)
    assert list(answer.columns) == ["of test", "wrong", "of shift", "wrong, shifted"]
    assert answer.ends == {"worst": 1 - 1 / 4}


@pytest.mark.known_answer
def test_it_is_the_accuracy_lost_under_the_same_corruptions(linear, toy):
    rng = torch.Generator().manual_seed(3)
    inputs = torch.randn(400, 2, generator=rng)
    targets = (inputs[:, 0] + 0.5 * inputs[:, 1] > 0).long()
    evidence = toy.evidence_of(linear, toy.task_of(inputs, targets, bounds=None))
    answer = excess_error.measure(evidence, excess_error.Config(), torch.Generator().manual_seed(7))
    under = shift.measure(evidence, shift.Config(), torch.Generator().manual_seed(7))
    plain = accuracy.measure(evidence, accuracy.Config(), rng)
    counts = np.random.default_rng(0).multinomial(400, np.full(400, 1 / 400), size=5)
    lost = accuracy.summarise(plain, accuracy.Config(), counts)[:, None] - shift.by_part(under, shift.Config(), counts)
    assert excess_error.by_part(answer, excess_error.Config(), counts) == pytest.approx(lost, abs=1e-6)
    assert excess_error.summarise(answer, excess_error.Config(), counts) == pytest.approx(lost.mean(1), abs=1e-6)
    assert answer.parts.names == tuple(f"severity {k}" for k in range(1, 6))
    assert lost.mean() > 0.02


def test_a_model_that_does_not_look_has_no_excess(toy, rng):
    class Blind(torch.nn.Module):
        def forward(self, x):
            return torch.tensor([1.0, 0.0]).expand(len(x), 2) + 0 * x[:, :2]

    task = toy.task_of(torch.arange(8.0).view(4, 2), [0, 0, 0, 1], bounds=None)
    answer = excess_error.measure(toy.evidence_of(Blind(), task), excess_error.Config(), rng)
    assert excess_error.summarise(answer, excess_error.Config(), np.ones((1, 4))).tolist() == [0]
