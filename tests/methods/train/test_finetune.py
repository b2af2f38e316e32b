import math

import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.train import finetune


def one_cycle(step, steps, low, top, end):
    """The one-cycle schedule of Smith & Topin: a cosine up over the first 30 % of the steps, a cosine down after."""
    turn = 0.3 * steps - 1
    first = step <= turn
    share = step / turn if first else (step - turn) / (steps - 1 - turn)
    a, b = (low, top) if first else (top, end)
    return b + (a - b) / 2 * (1 + math.cos(math.pi * share))


@pytest.mark.known_answer
def test_it_is_adam_on_a_one_cycle_schedule_with_zeros_kept(task, linear, rng):
    # Adam (Kingma & Ba 2015) written out, on full batches, so that the order of the examples does not matter.
    tuned = finetune.compress(linear, finetune.Config(epochs=10, rate=0.25, batch=4), task, rng)
    w = linear.weight.detach().double()
    mask, m, v, running = w != 0, 0, 0, 1.0
    for t in range(10):
        w.requires_grad_()
        loss = torch.nn.functional.cross_entropy(task.train.inputs.double() @ w.T, task.train.observed)
        (g,) = torch.autograd.grad(loss, w)
        rate, beta = one_cycle(t, 10, 0.01, 0.25, 0.01 / 1e4), one_cycle(t, 10, 0.95, 0.85, 0.95)
        m, v = beta * m + (1 - beta) * g, 0.999 * v + 0.001 * g**2
        running = beta ** (t + 1)
        w = (w.detach() - rate * (m / (1 - running)) / ((v / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)) * mask
    assert torch.allclose(tuned.weight.double(), w, atol=1e-4)


def test_zero_weights_stay_zero_and_others_move(task, linear, rng):
    tuned = finetune.compress(linear, finetune.Config(epochs=3, batch=2), task, rng)
    assert tuned.weight[:, 1].tolist() == [0.0, 0.0]
    assert not torch.equal(tuned.weight[:, 0], linear.weight[:, 0])


def test_a_model_without_parameters_is_refused(task, rng):
    with pytest.raises(RecipeError, match="no trainable parameters"):
        finetune.compress(torch.nn.ReLU(), finetune.Config(), task, rng)
