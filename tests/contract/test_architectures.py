"""Every method on the parts that break methods: handled or named, and never broken in silence."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse import recipe, registry
from whatelse.errors import MissingHardwareError, RecipeError
from whatelse.modules import codec

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save


class Residual(nn.Module):
    """Batch norms, a depthwise and a grouped convolution, an identity and a pooled head."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.wide, self.group = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", groups=2)
        self.act, self.head = nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        x = x + self.act(self.wide(self.deep(x)))
        y = self.group(x)
        y += x
        return self.head(functional.adaptive_avg_pool2d(y, 1).flatten(1))


class Attention(nn.Module):
    """Tied embeddings, layer norms, attention of torch's own and a residual stream; tokens come as numbers."""

    def __init__(self):
        super().__init__()
        self.embed, self.places = nn.Embedding(12, 8), nn.Parameter(torch.zeros(1, 6, 8))
        self.norm, self.inner = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.act, self.down = nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)
        self.unembed = nn.Linear(8, 12, bias=False)
        self.unembed.weight = self.embed.weight
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        x = self.embed(x.long()) + self.places
        y = self.norm(x)
        x = x + self.inner(y, y, y, need_weights=False)[0]
        x = x + self.down(self.act(self.up(self.norm(x))))
        return self.head(self.unembed(x).mean(1))


def made(kind, toy):
    rng = torch.Generator().manual_seed(1)
    targets = torch.arange(60) % 3
    if kind is Residual:
        inputs, bounds = torch.rand(60, 3, 8, 8, generator=rng) / 2, (0.0, 1.0)
        inputs[torch.arange(60), targets] += 0.4
    else:
        inputs, bounds = torch.randint(3, 12, (60, 6), generator=rng).float(), (0.0, 11.0)
        inputs[:, 2] = targets
    model = kind()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(1.0) if "norm.weight" in name else p.copy_(0.3 * torch.randn(p.shape, generator=rng))
    return model.eval().requires_grad_(requires_grad=False), toy.task_of(inputs, targets, classes=3, bounds=bounds)


def attempt(step, model, task):
    try:
        return recipe.apply(step, model, task, torch.Generator().manual_seed(3)), ""
    except MissingHardwareError as error:
        pytest.skip(str(error))
    except RecipeError as error:
        return None, str(error)


@pytest.mark.parametrize("kind", [Residual, Attention])
@pytest.mark.parametrize("name", registry.names("methods"))
def test_a_method_treats_or_names_what_it_meets(name, kind, toy):
    model, task = made(kind, toy)
    item = registry.load("methods", name)
    known = {f.name for f in dataclasses.fields(item.Config)}
    short = {n: 1 for n in ("epochs", "hint_epochs", "rounds", "sweeps") if n in known}
    before = copy.deepcopy(model.state_dict())
    small, refused = attempt(recipe.Step(name, tuple(short.items())), model, task)
    if small is None:
        assert refused.startswith(name.partition(".")[0])
        assert "\n" not in refused
        return
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items()), "the given model was changed"
    said = small(task.test.inputs)
    assert said.shape == (60, 3)
    assert said.isfinite().all()
    back = codec.decode(*codec.encode(small))
    assert torch.equal(back(task.test.inputs), said), "saved and read back, it is another model"
