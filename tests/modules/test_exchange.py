"""A part takes the place of a layer only where nothing but the values of its calls changes."""

import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.modules.exchange import exchange, refuse_unused


class Half(nn.Module):
    """Stands for a linear layer: half of what it says."""

    def __init__(self, layer):
        super().__init__()
        self.inner = (layer,)

    def forward(self, x):
        return self.inner[0].forward(x) / 2


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.a(x).relu())


class Reads(Plain):
    def forward(self, x):
        return self.b(self.a(x).relu() + self.a.weight.mean())


class Asks(Plain):
    def forward(self, x):
        x = self.a(x)
        return self.b(x.relu() if isinstance(self.a, nn.Linear) else x)


class Width(Plain):
    def forward(self, x):
        return self.b(self.a(x).view(-1, self.a.out_features))


class Harmless(Plain):
    def forward(self, x):
        getattr(self.a, "weight", None)
        return self.b(input=self.a(input=x).relu())


class Hooked(Plain):
    def __init__(self):
        super().__init__()
        self.a.register_forward_hook(lambda part, given, output: output + 1)


def frozen(kind):
    model, rng = kind().eval().requires_grad_(requires_grad=False), torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.copy_(torch.randn(p.shape, generator=rng))
    return model


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("kind", "placed"),
    [(Plain, "ab"), (Harmless, "ab"), (Reads, "b"), (Asks, "b"), (Width, "b"), (Hooked, "b")],
    ids=lambda kind: getattr(kind, "__name__", kind),
)
def test_what_is_more_than_called_stays(kind, placed, rng):
    model, x = frozen(kind), torch.randn(6, 4, generator=rng)
    before = model(x)
    parts = {name: Half(getattr(model, name)) for name in "ab"}
    a, b = model.a, model.b
    made = exchange(model, parts, x)
    assert [name for name in "ab" if getattr(made, name) is parts[name]] == list(placed)
    if placed == "b":
        assert made.a is a
        assert torch.allclose(made(x), before / 2, atol=1e-6)
    else:
        assert torch.allclose(made(x), (b(a(x).relu() / 2)) / 2, atol=1e-6)
    assert not a._forward_pre_hooks, "an undone trial leaves nothing behind"


@pytest.mark.known_answer
def test_a_layer_used_twice_is_replaced_twice(rng):
    class Twice(Plain):
        def forward(self, x):
            return self.b(self.a(self.a(x)))

    model, x = frozen(Twice), torch.randn(6, 4, generator=rng)
    a, b = model.a, model.b
    made = exchange(model, {"a": Half(a)}, x)
    assert torch.allclose(made(x), b(a(a(x) / 2) / 2), atol=1e-6)


def test_a_model_in_which_no_part_stands_is_refused(rng):
    model, x = frozen(Asks), torch.randn(6, 4, generator=rng)
    parts = {"a": Half(model.a)}
    with pytest.raises(RecipeError, match=r"mine: the model reads weights, kinds or sizes of a besides calling them"):
        refuse_unused(exchange(model, parts, x), parts, "mine")
