import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from whatelse.errors import RecipeError
from whatelse.layers.quantized import Quantized
from whatelse.methods.quantize import aware, uniform
from whatelse.methods.quantize._calibrated import Widths
from whatelse.modules import codec
from whatelse.nets import cnn
from whatelse.training import loop


def task_with(task, inputs, labels, classes):
    split = type(task.test)(inputs, labels, labels)
    return type(task)("t", classes, (-99, 99), dict.fromkeys(task.splits, split))


@pytest.fixture(scope="module")
def digits():
    found = load_digits()
    inputs = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return inputs, torch.tensor(found.target)


@pytest.fixture(scope="module")
def learned(digits):
    rng = torch.Generator().manual_seed(1)
    model = cnn.build(cnn.Config(width=4, hidden=16), (1, 8, 8), 10, rng)
    schedule = loop.Schedule(8, 8e-3, 50)
    loop.fit(model, digits[0][:600], loop.hard_labels(digits[1][:600]), schedule, rng)
    return model


def accuracy(model, digits):
    with torch.no_grad():
        return float((model(digits[0][600:]).argmax(1) == digits[1][600:]).float().mean())


@pytest.mark.known_answer
@pytest.mark.parametrize("step", ["learned", "range"])
@pytest.mark.parametrize("bits", [2, 3])
def test_at_few_bits_it_beats_rounding_after_training(bits, step, task, digits, learned, rng):
    images = task_with(task, digits[0][:600], digits[1][:600], 10)
    config = {"bits": bits, "activation_bits": 4}
    after = uniform.compress(learned, uniform.Config(**config), images, rng)
    trained = aware.compress(learned, aware.Config(**config, step=step, epochs=3), images, rng)
    assert accuracy(trained, digits) > accuracy(after, digits) + 0.02
    assert all(part.bits == bits for part in trained.modules() if isinstance(part, Quantized))


def small_net():
    return nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


@pytest.fixture
def images(task, rng):
    return task_with(task, torch.rand(60, 2, 6, 6, generator=rng), torch.arange(60) % 3, 3)


GRIDS = [("tensor", True), ("channel", False), ("group", True)]


@pytest.mark.known_answer
@pytest.mark.parametrize(("grid", "symmetric"), GRIDS)
@pytest.mark.parametrize("step", ["learned", "range"])
def test_what_it_trained_is_what_it_returns(grid, symmetric, step, images, rng, monkeypatch):
    """The fake-quantized model at the end of training, caught as it is packed, computes the same, bit for bit."""
    seen = []
    whole = aware._Rounded.packed
    x = torch.randn(4, 64, generator=rng)

    def packed(rounded):
        given = x if isinstance(rounded.layer, nn.Linear) else images.test.inputs
        before = rounded(given)
        made = whole(rounded)
        seen.append(torch.equal(before, made(given)))
        return made

    monkeypatch.setattr(aware._Rounded, "packed", packed)
    config = aware.Config(bits=3, grid=grid, group=5, symmetric=symmetric, step=step, epochs=2)
    made = aware.compress(small_net().eval(), config, images, rng)
    assert seen == [True, True]
    again = codec.decode(*codec.encode(made))
    assert torch.equal(again(images.test.inputs), made(images.test.inputs))


@pytest.mark.known_answer
@pytest.mark.parametrize("bits", [2, 4])
def test_the_gradient_of_a_step_is_that_of_the_paper(bits, rng):
    """LSQ, equation 3: round(v) - v inside the grid, its end outside; times the step, as its logarithm is trained."""
    layer = nn.Linear(6, 3, bias=False).double().requires_grad_()
    layer.float()
    tight = Widths(bits, 32, "channel", 0, symmetric=True).of(layer)
    rounded = aware._Rounded(layer, tight, aware.Config(bits=bits))
    top = 2 ** (bits - 1) - 1
    step = 2 * layer.weight.detach().abs().mean(1) / top**0.5
    assert torch.allclose(rounded.log_step.exp(), step)
    slope = torch.randn(3, 6, generator=rng)
    (rounded.weight() * slope).sum().backward()
    v = layer.weight.detach() / step[:, None]
    inner = torch.where(v.abs() > top, v.sign() * top, v.round() - v)
    assert torch.allclose(rounded.log_step.grad, (slope * inner).sum(1) * step, atol=1e-6)
    assert torch.allclose(layer.weight.grad, slope * (v.abs() <= top), atol=1e-6)


def test_zeros_of_a_pruned_model_stay(images, rng):
    model = small_net().eval()
    zero = {i: torch.rand(model[i].weight.shape, generator=rng) < 0.7 for i in (0, 4)}
    for i, mask in zero.items():
        model[i].weight.data[mask] = 0
    made = aware.compress(model, aware.Config(epochs=2), images, rng)
    assert all(bool((made[i].weight[mask] == 0).all()) for i, mask in zero.items())
    assert all(bool((made[i].weight[~mask] != 0).any()) for i, mask in zero.items())


@pytest.mark.known_answer
def test_batch_norms_hold_the_statistics_of_the_rounded_model_over_train(images, rng):
    made = aware.compress(small_net().eval(), aware.Config(bits=2, epochs=2), images, rng)
    entered = made[0](images.train.inputs)
    assert torch.allclose(made[1].running_mean, entered.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(made[1].running_var, entered.transpose(0, 1).flatten(1).var(1), atol=1e-5)
    assert made[1].momentum == 0.1
    assert not made[1].training


@pytest.mark.known_answer
@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_bounds_move_a_twentieth_of_the_way_with_every_training_batch(clip, rng):
    layer = nn.Linear(10, 3)
    rounded = aware._Rounded(layer, Widths(4, 4, "channel", 0, symmetric=True).of(layer), aware.Config(clip=clip))
    x = torch.randn(30, 10, generator=rng)
    beyond, flat = int(clip * 299), x.flatten().sort().values
    rounded.eval()(x)
    assert rounded.tight.round_input.high == 1, "evaluation moves nothing"
    rounded.train()(x)
    assert rounded.tight.round_input.low == pytest.approx(0.05 * float(flat[beyond]))
    assert rounded.tight.round_input.high == pytest.approx(0.95 + 0.05 * float(flat[-1 - beyond]))


def test_nothing_to_quantize_is_refused(task, rng):
    with pytest.raises(RecipeError, match=r"quantize\.aware.*left to quantize"):
        aware.compress(nn.ReLU(), aware.Config(), task, rng)
