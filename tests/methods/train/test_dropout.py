import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods.train import dropout, scratch
from whatelse.training.initialize import initialize
from whatelse.training.rng import fork_rng


def chain():
    return nn.Sequential(nn.Flatten(), nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


@pytest.mark.known_answer
@pytest.mark.parametrize(("drop", "drop_input", "max_norm"), [(0.5, 0.2, 0.0), (0.3, 0.0, 0.7)])
def test_it_is_training_with_the_masks_written_out(drop, drop_input, max_norm, toy, adam):
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 3, generator=rng), torch.arange(6) % 2
    trained = dropout.compress(
        chain(),
        dropout.Config(drop=drop, drop_input=drop_input, max_norm=max_norm, epochs=6, rate=0.1, batch=6),
        toy.task_of(x, y),
        torch.Generator().manual_seed(2),
    )
    same = torch.Generator().manual_seed(2)
    start = chain()
    initialize(start, same)
    ones = ((6, 3, drop_input), (6, 5, drop))
    with fork_rng(same):
        masks = [[functional.dropout(torch.ones(n, w), p).double() for n, w, p in ones if p] for _ in range(6)]
    orders = [torch.randperm(6, generator=same) for _ in range(6)]
    w1, b1, w2, b2 = tensors = [p.detach().double().requires_grad_() for p in start.parameters()]
    steps = iter(zip(orders, masks, strict=True))

    def objective():
        order, found = next(steps)
        first, second = found if drop_input else (1.0, found[0])
        hidden = (x[order].double() * first @ w1.T + b1).relu()
        return functional.cross_entropy(hidden * second @ w2.T + b2, y[order])

    def shortened():
        for w in (w1, w2):
            norms = w.data.norm(dim=1, keepdim=True)
            w.data.mul_((max_norm / norms).clamp(max=1) if max_norm else 1)

    adam(tensors, objective, 6, 0.1, shortened)
    assert all(torch.allclose(a.double(), b, atol=1e-4) for a, b in zip(trained.parameters(), tensors, strict=True))


@pytest.mark.known_answer
@pytest.mark.parametrize("drop", [0.2, 0.5, 0.8])
def test_the_expected_output_of_a_layer_is_its_plain_output(drop, rng):
    layer, x, draws = nn.Linear(10, 4), torch.randn(1, 10, generator=rng), 20_000
    initialize(layer, rng)
    with fork_rng(rng), dropout._silencing({layer: drop}), torch.no_grad():
        mean = layer(x.expand(draws, 10)).mean(0)
    # One draw has variance sum (w x)^2 drop / (1 - drop); five standard errors.
    spread = ((layer.weight * x) ** 2).sum(1).mul(drop / (1 - drop) / draws).sqrt()
    assert ((mean - layer(x)[0]).abs() < 5 * spread).all()
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias)), "the hook is gone"


@pytest.mark.parametrize("net", ["residual", "sentence"])
def test_without_dropout_it_is_scratch(net, request):
    model, task = request.getfixturevalue(net)
    config = dropout.Config(drop=0, drop_input=0, epochs=2, batch=10)
    one = dropout.compress(model, config, task, torch.Generator().manual_seed(1))
    two = scratch.compress(model, scratch.Config(epochs=2, batch=10), task, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_every_layer_that_gets_the_inputs_is_a_first_layer(residual):
    model, task = residual
    shares = dropout._shares(model, task.train.inputs[:2], dropout.Config())
    assert shares == {model.stem: 0.2, model.body[0]: 0.5, model.body[3]: 0.5, model.side: 0.2, model.head: 0.5}


@pytest.mark.parametrize("net", ["residual", "sentence"])
def test_the_trained_model_is_the_plain_architecture_and_its_zeros_stay(net, request):
    model, task = request.getfixturevalue(net)
    with torch.no_grad():
        model.head.weight[:, 1] = 0
    trained = dropout.compress(model, dropout.Config(epochs=1, max_norm=1.0), task, torch.Generator().manual_seed(1))
    assert [n for n, _ in trained.named_modules()] == [n for n, _ in model.named_modules()]
    assert not any(m._forward_pre_hooks for m in [*trained.modules(), *model.modules()])
    assert not trained.head.weight[:, 1].any()
    assert float(trained.head.weight.norm(dim=1).max()) <= 1 + 1e-6
    assert torch.equal(trained(task.test.inputs), trained(task.test.inputs))


def test_a_model_without_layers_is_refused(task, rng):
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.ones(2, 2))

        def forward(self, x):
            return x @ self.table

    with pytest.raises(RecipeError, match=r"train\.dropout: the model calls no convolution or linear layer"):
        dropout.compress(Table(), dropout.Config(), task, rng)
    with pytest.raises(RecipeError, match=r"train\.dropout: the model has no trainable parameters"):
        dropout.compress(nn.ReLU(), dropout.Config(), task, rng)
