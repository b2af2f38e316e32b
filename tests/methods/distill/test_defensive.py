import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods.distill import defensive
from whatelse.methods.train import scratch
from whatelse.training.initialize import initialize


@pytest.mark.known_answer
@pytest.mark.parametrize("t", [1.0, 10.0])
def test_teacher_and_student_are_trained_from_one_start_on_the_losses_written_out(t, toy, adam):
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 3, generator=rng), torch.arange(12) % 4 % 3
    model, start = nn.Linear(3, 3), nn.Linear(3, 3)
    initialize(model, rng)
    initialize(start, torch.Generator().manual_seed(5))
    config = defensive.Config(temperature=t, epochs=15, rate=0.1, batch=12)
    task = toy.task_of(x, y, classes=3)
    made = defensive.compress(model, config, task, torch.Generator().manual_seed(5))

    x, targets = x.double(), torch.eye(3, dtype=torch.float64)[y]
    for _ in ("teacher", "student"):
        w, b = (p.detach().double().requires_grad_() for p in start.parameters())

        def objective(w=w, b=b, targets=targets):
            return -(targets * torch.softmax((x @ w.T + b) / t, 1).log()).sum(1).mean()

        adam([w, b], objective, 15, 0.1)
        targets = torch.softmax((x @ w.T + b) / t, 1).detach()
    assert torch.allclose(made.weight.double(), w, atol=1e-4)
    assert torch.allclose(made.bias.double(), b, atol=1e-4)


def sizes_and_attacks(model, x, y):
    """Spread of the logits, share of vanished gradients, and accuracy under a step up the two losses."""

    def margin(z):
        return z.scatter(1, y[:, None], -1e9).amax(1) - z.gather(1, y[:, None]).squeeze(1)

    def slope(loss):
        at = x.clone().requires_grad_()
        return torch.autograd.grad(loss(model(at)).sum(), at)[0]

    def accuracy(way):
        return float((model((x + 0.15 * way.sign()).clamp(0, 1)).argmax(1) == y).float().mean())

    by_loss = slope(lambda z: functional.cross_entropy(z, y, reduction="none"))
    gone = float((by_loss.flatten(1).norm(dim=1) < 1e-8).float().mean())
    return float(model(x).std(1).mean()), gone, accuracy(by_loss), accuracy(slope(margin))


@pytest.mark.slow
@pytest.mark.known_answer
def test_it_masks_the_gradient_of_the_loss_and_does_not_defend():
    from whatelse.datasets import digits

    task = digits.load(digits.Config())
    x, y = task.test.inputs, task.test.targets
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    plain = scratch.compress(net, scratch.Config(epochs=60), task, torch.Generator().manual_seed(1))
    config = defensive.Config(temperature=20, epochs=60)
    masked = defensive.compress(net, config, task, torch.Generator().manual_seed(1))
    size, gone, by_loss, by_margin = sizes_and_attacks(plain, x, y)
    size_now, gone_now, by_loss_now, by_margin_now = sizes_and_attacks(masked, x, y)
    assert size_now > 20 / 4 * size
    assert gone < 0.02
    assert gone_now > 0.5
    assert by_loss_now > by_loss + 0.15, "against the cross-entropy it looks like a defense"
    assert by_margin_now < by_margin + 0.03, "against the margin it is none"


def test_the_architecture_and_the_mask_stay_and_the_model_given_too(task, rng):
    model = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight[2] = 0
    before = copy.deepcopy(model.state_dict())
    made = defensive.compress(model, defensive.Config(epochs=3), task, rng)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not made[0].weight[2].any()
    assert [tuple(p.shape) for p in made.parameters()] == [tuple(p.shape) for p in model.parameters()]
    assert not any(m.training for m in made.modules())


def test_a_model_without_parameters_is_refused(task, rng):
    with pytest.raises(RecipeError, match=r"distill\.defensive: the model has no trainable parameters"):
        defensive.compress(nn.ReLU(), defensive.Config(), task, rng)
