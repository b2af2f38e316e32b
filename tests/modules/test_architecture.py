import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse.errors import ArtifactError
from whatelse.modules import architecture, codec


class Block(nn.Module):
    def __init__(self, entering, leaving, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, 1, 1, groups=leaving)
        self.wider = leaving - entering

    def forward(self, x):
        y = self.conv2(functional.relu(self.norm1(self.conv1(x))))
        if self.wider:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.wider // 2, self.wider // 2))
        y += x
        return functional.relu(y)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding="same", padding_mode="reflect")
        self.blocks = nn.Sequential(Block(4, 4, 1), Block(4, 8, 2))
        self.register_buffer("mean", torch.full((1, 1, 1, 1), 0.5), persistent=False)
        self.nothing = nn.Sequential()
        self.idle = nn.Linear(2, 2)  # never called
        self.shift = nn.Parameter(torch.full((8,), 0.25))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        y = self.blocks(functional.relu(self.nothing(self.stem(x - self.mean))))
        y = functional.avg_pool2d(y, y.size()[3])
        return self.head(y.view(y.size(0), -1) + self.shift)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.qkv = nn.Linear(8, 24)
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.unembed = nn.Linear(8, 20, bias=False)
        self.unembed.weight = self.embed.weight  # tied
        self.head = nn.Linear(20, 2)

    def forward(self, x):
        y = self.norm(self.embed(x.long()))
        n, t, d = y.shape
        q, k, v = self.qkv(y).view(n, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = y + functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)
        y = y + self.inner(y, y, y, need_weights=False)[0]
        return self.head(functional.gelu(self.unembed(y)).mean(1))


def ready(kind, rng):
    model = kind()
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.5, generator=rng)
    return model.eval().requires_grad_(requires_grad=False)


def there_and_back(model):
    tensors, spec = codec.encode(model)
    return codec.decode({n: t.clone() for n, t in tensors.items()}, json.loads(json.dumps(spec))), tensors, spec


@pytest.mark.parametrize(
    ("kind", "shape"), [(Residual, (5, 1, 8, 8)), (Attention, (5, 7))], ids=["residual", "attention"]
)
def test_any_module_that_can_be_traced_comes_back_equal_under_its_own_names(kind, shape, rng):
    model = ready(kind, rng)
    x = torch.rand(shape, generator=rng) * 10
    back, _, spec = there_and_back(model)
    for n in (5, 2):  # the batch is not baked in
        assert torch.equal(back(x[:n]), model(x[:n]))
    named = {name for name in model.state_dict() if not name.startswith("idle.")}
    assert set(back.state_dict()) >= named, "the names stay, so that a state dict still fits"
    again, _, same = there_and_back(back)
    assert same == json.loads(json.dumps(spec)) or same == spec
    assert torch.equal(again(x), model(x))


def test_tied_weights_are_stored_once_and_stay_tied(rng):
    back, tensors, _ = there_and_back(ready(Attention, rng))
    assert ("embed.weight" in tensors) != ("unembed.weight" in tensors)
    assert back.get_submodule("embed").weight is back.get_submodule("unembed").weight


def test_the_mode_of_the_users_model_is_left_as_it_was(rng):
    model = ready(Residual, rng).train()
    architecture.describe(model)
    assert model.training


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(x) if x.sum() > 0 else x


class Sorts(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return torch.sort(self.head(x))[0]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(2, 2)

    def forward(self, x):
        return self.cell(x)[0]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Branches, "cannot save a Branches: torch.fx cannot trace its forward"),
        (Sorts, "cannot save a call of sort"),
        (Recurrent, "cannot save cell, a LSTM"),
    ],
)
def test_what_cannot_be_described_is_named(kind, message):
    with pytest.raises(ArtifactError, match=message):
        architecture.describe(kind())


def graph_of(**changed):
    spec = architecture.describe(ready(Residual, torch.Generator().manual_seed(0)))
    at = "output" if changed.get("op") == "exec" else changed.get("op", "call_function")
    call = next(c for c in spec["calls"] if c["op"] == at)
    call |= changed
    return spec


@pytest.mark.parametrize(
    "changed",
    [
        {"target": "os.system"},
        {"target": "torch.load"},
        {"target": "getattr", "args": [{"node": "x"}, "__class__"]},
        {"target": "getattr", "args": [{"node": "x"}, {"tuple": []}]},
        {"op": "call_method", "target": "numpy"},
        {"op": "call_method", "target": "__reduce__"},
        {"op": "call_module", "target": 'x"); import os; ("'},
        {"op": "get_attr", "target": "mean.__class__"},
        {"op": "placeholder", "target": "x=__import__('os')"},
        {"name": "x; import os"},
        {"op": "exec", "target": "x"},
        {"kwargs": {"x=__import__('os'), y": 1}},
        {"name": "import"},
        {"args": [{"evil": 1}]},
        {"args": [{"node": "nowhere"}]},
        {"args": [{"dtype": "load"}]},
    ],
    ids=str,
)
def test_a_file_cannot_name_what_would_run(changed):
    spec = graph_of(**changed)
    with pytest.raises(ArtifactError):
        architecture.planned(spec)


@pytest.mark.parametrize(
    "kind", ["os.path", "_own.Own", "quantized.pack", "Linear.forward", "Module", "nothing.Nothing"]
)
def test_a_file_cannot_name_another_kind_of_layer(kind):
    with pytest.raises(ArtifactError):
        architecture.planned({"kind": kind})


def test_a_part_that_stands_twice_in_a_chain_comes_back_twice_and_shared(rng):
    layer, act = nn.Linear(3, 3), nn.ReLU()
    model = nn.Sequential(layer, act, layer, act, nn.Linear(3, 2)).eval().requires_grad_(requires_grad=False)
    back, tensors, _ = there_and_back(model)
    x = torch.randn(5, 3, generator=rng)
    assert len(back) == 5
    assert torch.equal(back(x), model(x))
    assert back[0].weight is back[2].weight
    assert "2.weight" not in tensors
