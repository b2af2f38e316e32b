import copy
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


@pytest.mark.parametrize("net", ["residual", "sentence"])
def test_every_kind_of_part_is_trained_further(net, request):
    # Batch and layer norms, dropout, skip connections, embeddings, attention, bare parameters, tied weights.
    model, task = request.getfixturevalue(net)
    before = copy.deepcopy(model.state_dict())
    config = finetune.Config(epochs=40, rate=0.03, batch=10)
    tuned = finetune.compress(model, config, task, torch.Generator().manual_seed(1))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(not torch.equal(before[k], v) for k, v in tuned.state_dict().items())
    assert not any(m.training for m in tuned.modules())
    x, y = task.train.inputs, task.train.observed
    loss = [float(torch.nn.functional.cross_entropy(m(x), y)) for m in (model, tuned)]
    assert loss[1] < loss[0] / 2


def test_tied_weights_stay_tied_and_the_padding_stays_zero(sentence, rng):
    model, task = sentence
    tuned = finetune.compress(model, finetune.Config(epochs=2), task, rng)
    assert tuned.tied.weight is tuned.words.weight
    assert not tuned.words.weight[0].any()
    assert tuned.words.weight[1:].all()


def test_dropout_layers_work_and_draw_from_the_generator(residual):
    model, task = residual
    sure = copy.deepcopy(model)
    sure.body[5].p = 0.0
    config = finetune.Config(epochs=1, batch=31)
    tuned = [finetune.compress(m, config, task, torch.Generator().manual_seed(1)) for m in (model, model, sure)]
    assert torch.equal(tuned[0].stem.weight, tuned[1].stem.weight)
    assert not torch.equal(tuned[0].stem.weight, tuned[2].stem.weight)
