import copy

import pytest
import torch
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods.train import adversarial, finetune, scratch


def cloud(toy, rng, count=200):
    """One feature that is large but wrong in a tenth of the cases; ten small ones that together are always right."""
    y = torch.arange(count) % 2
    sign = (2.0 * y - 1)[:, None]
    strong = torch.where(torch.rand(count, 1, generator=rng) < 0.1, -sign, sign)
    weak = 0.1 * sign + 0.05 * torch.randn(count, 10, generator=rng)
    return toy.task_of(torch.cat([strong, weak], 1), y)


@pytest.mark.known_answer
@pytest.mark.parametrize(("eps", "clean"), [(0.2, 0.0), (0.5, 0.5)])
def test_of_a_linear_model_the_attack_takes_eps_times_the_l1_norm_from_the_margin(eps, clean, toy, rng, adam):
    # Between two classes the worst point of the ball is known: it lowers the margin s * (w1 - w0) x by eps |w1 - w0|_1
    # (Goodfellow et al., section 5). The weight 0 of each row is a mask.
    x, y = torch.randn(20, 4, generator=rng), torch.arange(20) % 2
    model = torch.nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 4, generator=rng))
        model.bias.zero_()
        model.weight[:, 0] = 0
    w, b = (p.detach().double().requires_grad_() for p in model.parameters())

    def objective():
        margin = (2 * y - 1) * ((x.double() @ (w[1] - w[0])) + b[1] - b[0])
        attacked = functional.softplus(-margin + eps * (w[1] - w[0]).abs().sum()).mean()
        return (1 - clean) * attacked + clean * functional.softplus(-margin).mean()

    def masked():
        w.data[:, 0] = 0

    adam([w, b], objective, 12, 0.05, masked)
    config = adversarial.Config(eps=eps, clean=clean, steps=8, epochs=12, rate=0.05, batch=20)
    tuned = adversarial.compress(model, config, toy.task_of(x, y), rng)
    assert torch.allclose(tuned.weight.double(), w, atol=1e-4)
    assert torch.allclose(tuned.bias.double(), b, atol=1e-4)


def test_a_linear_classifier_becomes_more_robust_than_by_further_training(toy, rng):
    task, eps = cloud(toy, rng), 0.3
    x, y = task.test.inputs, task.test.targets

    def robust(model):
        w = model.weight[1] - model.weight[0]
        margin = (2 * y - 1) * (x @ w + model.bias[1] - model.bias[0])
        return float((margin > eps * w.abs().sum()).float().mean())

    start = scratch.compress(torch.nn.Linear(11, 2), scratch.Config(epochs=5), task, rng)
    plain = finetune.compress(start, finetune.Config(epochs=60, rate=0.1), task, rng)
    tuned = adversarial.compress(start, adversarial.Config(eps=eps, epochs=60, rate=0.1), task, rng)
    assert robust(tuned) > 0.85  # the large feature alone is right in 9 of 10 cases
    assert robust(plain) < 0.5


@pytest.mark.parametrize("fresh", [False, True])
def test_without_a_radius_it_is_plain_training(fresh, toy, rng):
    task = cloud(toy, rng, 40)
    model = torch.nn.Sequential(torch.nn.Linear(11, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    plain = scratch if fresh else finetune
    one = adversarial.compress(
        model, adversarial.Config(eps=0, fresh=fresh, epochs=2), task, torch.Generator().manual_seed(3)
    )
    two = plain.compress(model, plain.Config(epochs=2), task, torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_convolutional_residual_net_with_norms_is_trained_whole_and_its_zeros_stay(residual, rng):
    model, task = residual
    with torch.no_grad():
        model.body[0].weight[0] = 0
    before = copy.deepcopy(model.state_dict())
    tuned = adversarial.compress(model, adversarial.Config(epochs=1, steps=2), task, rng)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not tuned.body[0].weight[0].any()
    assert all(not torch.equal(p, q) for p, q in zip(tuned.parameters(), model.parameters(), strict=True))
    assert not any(m.training for m in tuned.modules())


def test_what_cannot_be_attacked_or_trained_is_refused(task, toy, rng):
    with pytest.raises(RecipeError, match=r"train\.adversarial: the model has no trainable parameters"):
        adversarial.compress(torch.nn.ReLU(), adversarial.Config(), task, rng)
    words = toy.task_of(torch.zeros(4, 3, dtype=torch.int64), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(RecipeError, match=r"train\.adversarial: the inputs are torch\.int64"):
        adversarial.compress(torch.nn.Linear(3, 2), adversarial.Config(), words, rng)
