import pytest
import torch

from whatelse.errors import SettingError
from whatelse.modules import codec
from whatelse.nets import mlp


@pytest.mark.known_answer
@pytest.mark.parametrize(("hidden", "sizes"), [("64x32", [5, 64, 32, 3]), ("7", [5, 7, 3]), ("4x4x4", [5, 4, 4, 4, 3])])
def test_its_function_is_that_of_its_formula(hidden, sizes, rng):
    model = mlp.build(mlp.Config(hidden), (5,), 3, rng)
    weights = [p.detach() for p in model.parameters()]
    assert [w.shape[1] for w in weights[::2]] + [3] == sizes
    x = torch.randn(6, 5, generator=rng)
    slow = x
    for i, (weight, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        slow = (slow if i == 0 else slow.clamp(min=0)) @ weight.T + bias
    assert torch.allclose(model(x), slow, atol=1e-6)
    assert torch.equal(codec.decode(*codec.encode(model))(x), model(x))


def test_images_are_flattened(rng):
    assert mlp.build(mlp.Config(), (1, 4, 4), 3, rng)(torch.rand(2, 1, 4, 4, generator=rng)).shape == (2, 3)


@pytest.mark.parametrize("hidden", ["", "64x", "64,32", "0", "-3", "64x3.5"])
def test_widths_that_are_none_are_refused(hidden, rng):
    with pytest.raises(SettingError, match="it takes widths of 1 to 65536 joined by x"):
        mlp.build(mlp.Config(hidden), (5,), 3, rng)
