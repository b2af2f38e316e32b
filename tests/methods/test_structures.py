"""Every method on small networks, one for each thing that people's models do and a method may stumble over.

What a method cannot treat it leaves alone and names, or refuses in one line before any work: nothing changes in
silence.
"""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, weight_norm

from whatelse import recipe, registry
from whatelse.errors import MissingHardwareError, WhatElseError

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")

IMAGES, SIGNALS, TOKENS, ROWS = (3, 8, 8), (2, 16), (6,), (10,)


class Tail(nn.Module):
    """Averages what is left over places and reads it off."""

    def __init__(self, channels):
        super().__init__()
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        return self.head(x.flatten(2).mean(2))


class ChunkConcat(nn.Module):
    """Halves of one convolution, one of them refined twice, all joined again."""

    def __init__(self):
        super().__init__()
        self.stem, self.cut = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 8, 1)
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.join, self.tail = nn.Conv2d(16, 8, 1), Tail(8)

    def forward(self, x):
        halves = self.cut(functional.silu(self.stem(x))).chunk(2, 1)
        a = functional.silu(self.one(halves[1]))
        b = functional.silu(self.two(a))
        return self.tail(functional.silu(self.join(torch.cat([*halves, a, b], 1))))


class SplitStack(nn.Module):
    """Unequal parts by split, equal ones stacked and summed, a view that writes its sizes out."""

    def __init__(self):
        super().__init__()
        self.stem, self.small, self.large = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(4, 6, 1), nn.Conv2d(8, 6, 1)
        self.after, self.tail = nn.Conv2d(6, 8, 3, padding=1), Tail(8)

    def forward(self, x):
        few, many = torch.split(self.stem(x).relu(), [4, 8], 1)
        both = torch.stack([self.small(few), self.large(many)]).sum(0)
        return self.tail(self.after(both.view(-1, 6, 8, 8)).relu())


class ReadsWeights(nn.Module):
    """Reads weights without a call: one only so, one also so, one for its norm."""

    def __init__(self):
        super().__init__()
        self.up, self.read, self.both = nn.Linear(10, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.normed, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = functional.linear(self.up(x).relu(), self.read.weight, self.read.bias).relu()
        x = self.both(x).relu() @ self.both.weight
        return self.head(self.normed(x).relu() / (1 + self.normed.weight.square().mean()))


class AsksKinds(nn.Module):
    """Asks its layers what they are and how wide, as hand-written loops do."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
            if isinstance(part, nn.Conv2d):
                x = torch.tanh(x)
        return self.head(x.mean((2, 3)).view(-1, self.head.in_features))


class Experts(nn.Module):
    """Each example goes to one of four experts, by the sign of two inputs; the first examples reach only one."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(10, 8)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)) for _ in range(4))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        chosen = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
        x = self.up(x).relu()
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            mine = (chosen == i).nonzero().flatten()
            if len(mine):
                out = out.index_add(0, mine, expert(x[mine]))
        return self.head(out)


class Shuffled(nn.Module):
    """Channels are folded into space, twice as high and wide."""

    def __init__(self):
        super().__init__()
        self.stem, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.fold, self.after, self.tail = nn.PixelShuffle(2), nn.Conv2d(4, 8, 3, padding=1), Tail(8)

    def forward(self, x):
        return self.tail(self.after(self.fold(self.up(self.stem(x).relu()))).relu())


class Normalized(nn.Module):
    """Weight norm of the old kind and of the new, spectral norm, and a plain layer."""

    def __init__(self):
        super().__init__()
        self.old, self.new = weight_norm(nn.Conv2d(3, 8, 3)), parametrizations.weight_norm(nn.Conv2d(8, 8, 3))
        self.plain, self.bound = nn.Conv2d(8, 8, 3), parametrizations.spectral_norm(nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.plain(self.new(self.old(x).relu()).relu()).relu()
        return self.head(self.bound(x.mean((2, 3))).relu())


class Multiplied(nn.Module):
    """Depthwise convolutions with and without a channel multiplier, a grouped one, a channel shuffle."""

    def __init__(self):
        super().__init__()
        self.stem, self.depth = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.more, self.group = nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.Conv2d(16, 16, 1, groups=4)
        self.point, self.tail = nn.Conv2d(16, 8, 1), Tail(8)

    def forward(self, x):
        x = self.group(self.more(self.depth(self.stem(x).relu())).relu())
        n, c, h, w = x.shape
        x = x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.tail(self.point(x).relu())


class UpAndDown(nn.Module):
    """A transposed convolution, a skip that is joined, group norm, a flattened map."""

    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.GroupNorm(2, 8)
        self.deep, self.up = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.join, self.batch = nn.Conv2d(16, 4, 1), nn.BatchNorm2d(16)
        self.wide, self.head = nn.Linear(4 * 16, 8), nn.Linear(8, 3)

    def forward(self, x):
        a = self.norm(self.down(x)).relu()
        b = self.up(self.deep(a).relu()).relu()
        x = self.join(self.batch(torch.cat([a, b], 1))).relu()
        return self.head(self.wide(x.flatten(1)).relu())


class Residual(nn.Module):
    """A bottleneck with a projected shortcut, squeeze and excitation, and a batch norm that starts at zero."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.an = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6)
        self.b, self.bn = nn.Conv2d(6, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.short, self.squeeze, self.excite = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.tail = Tail(12)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.bn(self.b(self.an(self.a(x)).relu()))
        y = y * self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.tail((y + self.short(x)).relu())


class Attention(nn.Module):
    """Tokens, tied embeddings, torch's own attention and one written by hand, layer norms."""

    def __init__(self):
        super().__init__()
        self.embed, self.places = nn.Embedding(12, 8), nn.Parameter(torch.zeros(1, 6, 8))
        self.norm, self.inner = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.unembed, self.head = nn.Linear(8, 12, bias=False), nn.Linear(12, 3)
        self.unembed.weight = self.embed.weight

    def forward(self, x):
        x = self.embed(x.long()) + self.places
        y = self.norm(x)
        x = x + self.inner(y, y, y, need_weights=False)[0]
        q, k, v = (f(x).unflatten(2, (2, 4)).transpose(1, 2) for f in (self.query, self.key, self.value))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.down(functional.gelu(self.up(x)))
        return self.head(self.unembed(x).mean(1))


class Encoder(nn.Module):
    """torch's encoder layer, which reads the weights of its linear layers uncalled in evaluation."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(12, 8), nn.Linear(8, 3)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x.long())).mean(1))


class Signals(nn.Module):
    """Convolutions of signals, batch norm, a pooled head."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv1d(2, 8, 3, padding=1), nn.BatchNorm1d(8), nn.Conv1d(8, 8, 3, stride=2)
        self.tail = Tail(8)

    def forward(self, x):
        return self.tail(self.b(self.norm(self.a(x)).relu()).relu())


class Vision(nn.Module):
    """Patches, a class token, places that are learned, one projection for queries, keys and values."""

    def __init__(self):
        super().__init__()
        self.patch, self.norm, self.qkv = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8), nn.Linear(8, 24)
        self.first, self.places = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(1, 5, 8))
        self.out, self.up, self.down, self.head = nn.Linear(8, 8), nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.places
        q, k, v = self.qkv(self.norm(x)).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head((x + self.down(functional.gelu(self.up(x))))[:, 0])


class Shared(nn.Module):
    """One layer used twice, and one that stands under two names."""

    def __init__(self):
        super().__init__()
        self.up, self.again, self.head = nn.Linear(10, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.other = self.again

    def forward(self, x):
        x = self.again(self.up(x).relu()).relu()
        return self.head(self.other(x).relu())


class RawTensors(nn.Module):
    """A batch norm of raw tensors, buffers of the size of the channels, a scale that is learned."""

    def __init__(self):
        super().__init__()
        self.conv, self.after, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), Tail(8)
        self.gain, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.register_buffer("mean", torch.linspace(-0.1, 0.1, 8))
        self.register_buffer("var", torch.linspace(0.5, 1.5, 8))
        self.register_buffer("shift", torch.linspace(-0.1, 0.1, 8).view(1, 8, 1, 1))

    def forward(self, x):
        x = functional.batch_norm(self.conv(x), self.mean, self.var, self.gain, self.bias, training=False).relu()
        return self.tail(self.after(x) + self.shift)


class Squeezed(nn.Module):
    """Loses the batch dimension of a single example, and works in half precision nowhere else than inside."""

    def __init__(self):
        super().__init__()
        self.conv, self.wide, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.wide(functional.adaptive_avg_pool2d(self.conv(x).relu(), 1).squeeze()).relu())


class ByName(nn.Module):
    """Hands inputs over by name, and works on one example at a time without a batch dimension."""

    def __init__(self):
        super().__init__()
        self.conv, self.wide, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.stack([self.conv(input=one).relu().mean((1, 2)) for one in x])
        return self.head(input=self.wide(input=x).relu())


class Flattened(nn.Sequential):
    """A chain in which a linear layer reads places, not channels."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(2), nn.Linear(64, 5), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(40, 8), nn.ReLU(), nn.Linear(8, 3)),
        )


class Idle(nn.Module):
    """Holds layers that no pass uses."""

    def __init__(self):
        super().__init__()
        self.up, self.aside, self.head = nn.Linear(10, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.up(x).relu())


def _doubled():
    return nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def _chain():
    parts = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 2), nn.ReLU())
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(32, 3))


def _normed_chain():
    return nn.Sequential(weight_norm(nn.Linear(10, 8)), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def _half():
    return _doubled().to(torch.bfloat16)


# How each is made, and the shape of one of its inputs.
TABLE = {
    **{kind.__name__: (kind, IMAGES) for kind in (ChunkConcat, SplitStack, AsksKinds, Shuffled, Normalized)},
    **{kind.__name__: (kind, IMAGES) for kind in (Vision,)},
    **{kind.__name__: (kind, IMAGES) for kind in (Multiplied, UpAndDown, Residual, RawTensors, Squeezed, ByName)},
    **{kind.__name__: (kind, ROWS) for kind in (ReadsWeights, Experts, Shared, Idle)},
    **{kind.__name__: (kind, TOKENS) for kind in (Attention, Encoder)},
    "Signals": (Signals, SIGNALS),
    "Flattened": (Flattened, IMAGES),
    "Chain": (_chain, IMAGES),
    "NormedChain": (_normed_chain, ROWS),
    "Double": (_doubled, ROWS),
    "Half": (_half, ROWS),
}


def build(name, rng):
    """A network of the table, frozen, its weights and running statistics drawn; and 32 examples for it."""
    make, shape = TABLE[name]
    state = torch.get_rng_state()
    model = make()
    torch.set_rng_state(state)
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_((1.0 if p.dim() == 1 and "norm" in key else 0.0) + 0.4 * torch.randn(p.shape, generator=rng))
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.1, generator=rng)
                part.running_var.uniform_(0.5, 1.5, generator=rng)
    model = model.eval().requires_grad_(requires_grad=False)
    targets = torch.arange(32) % 3
    if shape is TOKENS:
        return model, torch.randint(0, 12, (32, *shape), generator=rng).float(), targets
    inputs = torch.randn(32, *shape, generator=rng)
    if name == "Experts":
        inputs[:12, :2] = -inputs[:12, :2].abs()
        inputs[-6:, :2] = inputs[-6:, :2].abs()
    return model, inputs.to(next(model.parameters()).dtype), targets


@pytest.fixture
def made(toy):
    def make(name):
        model, inputs, targets = build(name, torch.Generator().manual_seed(1))
        return model, toy.task_of(inputs, targets, classes=3, bounds=(-50.0, 50.0))

    return make


def applied(text, model, task):
    """What a recipe of one step makes of a model, or what it says against it; and what it leaves alone."""
    (step,) = recipe.parse(text)
    try:
        small = recipe.apply(step, model, task, torch.Generator().manual_seed(3))
    except MissingHardwareError as error:
        pytest.skip(str(error))
    except WhatElseError as error:
        return None, str(error)
    return small, recipe.left_alone(step, model, small)


def short(name):
    """The method with every setting that makes it long at its least."""
    known = {f.name for f in dataclasses.fields(registry.load("methods", name).Config)}
    long = [n for n in ("epochs", "hint_epochs", "rounds", "sweeps", "steps") if n in known]
    return f"{name}({', '.join(f'{n}=1' for n in long)})"


@pytest.mark.parametrize("structure", TABLE)
@pytest.mark.parametrize("name", registry.names("methods"))
def test_a_method_treats_names_or_refuses(name, structure, made):
    model, task = made(structure)
    before = copy.deepcopy(model.state_dict())
    small, said = applied(short(name), model, task)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items()), "the given model was changed"
    assert not any(part._forward_hooks for part in model.modules()), "a hook was left behind"
    if small is None:
        assert "\n" not in said
        assert "stopped it" not in said, "refused only after something raised inside"
        return
    answers = small(task.test.inputs)
    assert answers.shape == (32, 3)
    assert answers.isfinite().all()
    assert not any(part.training for part in small.modules())
    family = name.split(".")[0]
    if family in {"decompose", "quantize"} or name == "prune.structured":
        whole = untouched(model, small)
        assert whole <= set(said), "a layer was left alone and not named"
        count = [sum(p.numel() for p in m.parameters()) for m in (model, small)]
        assert count[1] < count[0] or whole, "no weight went, and nobody says so"


def untouched(model, small):
    """The convolutions and linear layers that came out as they went in, but for what shares its weight with others."""
    kinds, after = (nn.Linear, nn.modules.conv._ConvNd), dict(small.named_modules(remove_duplicate=False))
    found = set()
    for name, part in model.named_modules():
        same = after.get(name)
        if name and isinstance(part, kinds) and type(same) is type(part) and same.weight.shape == part.weight.shape:
            found |= {name} if torch.equal(same.weight, part.weight) else set()
    return found


NOTHING = ["prune.magnitude(sparsity=0.0)", "prune.wanda(sparsity=0.0)", "prune.sparsegpt(sparsity=0.0)"]
NOTHING += ["prune.obd(sparsity=0.0)", "prune.structured(ratio=0.0)", "train.finetune(epochs=0)"]
NOTHING += ["decompose.svd(rank=1.0)", "decompose.svd(rank=1.0, aware=True)", "decompose.tucker(rank=1.0)"]


@pytest.mark.parametrize("structure", TABLE)
@pytest.mark.parametrize("text", NOTHING)
def test_settings_that_take_nothing_change_nothing(text, structure, made):
    model, task = made(structure)
    small, _ = applied(text, model, task)
    if small is not None:
        wanted, got = model(task.test.inputs), small(task.test.inputs)
        assert torch.allclose(got, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("structure", TABLE)
@pytest.mark.parametrize("text", ["quantize.uniform(bits=8, activation_bits=32)", "quantize.gptq(bits=8)"])
def test_eight_bits_change_little(text, structure, made):
    model, task = made(structure)
    small, _ = applied(text, model, task)
    if small is not None:
        wanted, got = model(task.test.inputs), small(task.test.inputs)
        assert torch.allclose(got, wanted, rtol=0, atol=0.05 * float(wanted.abs().max()))


SILENT = {"ChunkConcat": ("join", "tail.head"), "Residual": ("a", "b"), "UpAndDown": ("wide", "head")}
SILENT |= {"Signals": ("b", "tail.head"), "Vision": ("up", "down"), "Experts": ("experts.2.0", "experts.2.2")}


@pytest.mark.known_answer
@pytest.mark.parametrize("structure", SILENT)
def test_of_channels_those_that_say_nothing_go(structure, made):
    model, task = made(structure)
    maker, reader = (model.get_submodule(name) for name in SILENT[structure])
    maker.weight[::2], maker.bias[::2], reader.weight[:, ::2] = 0.0, 0.0, 0.0
    if structure == "Residual":
        model.an.weight[::2], model.an.bias[::2] = 0.0, 0.0
    small, left = applied("prune.structured(scope='uniform', round_to=1)", model, task)
    assert torch.equal(small.get_submodule(SILENT[structure][0]).bias, maker.bias[1::2])
    assert SILENT[structure][0] not in left


@pytest.mark.known_answer
def test_experts_that_the_first_examples_do_not_reach_are_treated(made):
    model, task = made("Experts")
    reached = (task.train.inputs[:, :2] > 0).long() @ torch.tensor([1, 2])
    assert reached[:12].unique().tolist() == [0]
    assert sorted(reached.unique().tolist()) == [0, 1, 2, 3]
    small, left = applied("quantize.uniform()", model, task)
    assert not left
    assert not [n for n, part in small.named_modules() if isinstance(part, nn.Linear)]
    few = task.train.inputs[:12]
    narrow = dataclasses.replace(task, splits=dict.fromkeys(task.splits, task.train.take(torch.arange(12))))
    small, left = applied("quantize.uniform()", model, narrow)
    assert sorted(left) == [f"experts.{i}.{j}" for i in (1, 2, 3) for j in (0, 2)]
    assert torch.allclose(small(few), model(few), atol=0.2)
    assert small(task.train.inputs).shape == (32, 3)
    small, said = applied("prune.structured(ratio=0.5, round_to=1)", model, narrow)
    assert small is None
    assert "experts.1.0.weight, which no input reached, may read its channels" in said


@pytest.mark.known_answer
def test_a_layer_whose_kind_the_model_asks_for_stays(made):
    model, task = made("AsksKinds")
    for text in ("decompose.svd(rank=0.3)", "quantize.uniform()", "decompose.tensor_layer()"):
        small, said = applied(text, model, task)
        assert small is None
        assert "besides calling them" in said


@pytest.mark.known_answer
def test_a_weight_that_is_read_is_left_alone_by_what_replaces_and_pruned_by_what_zeroes(made):
    model, task = made("ReadsWeights")
    small, left = applied("quantize.uniform(bits=2)", model, task)
    assert [type(getattr(small, n)).__name__ for n in ("up", "head")] == ["Quantized", "Quantized"]
    assert [type(getattr(small, n)).__name__ for n in ("read", "both", "normed")] == ["Linear"] * 3
    assert left == ["read", "both", "normed"]
    small, left = applied("prune.magnitude(scope='layer')", model, task)
    assert left == []
    assert int((small.read.weight == 0).sum()) == 32


class Sent(nn.Module):
    """Two experts; ``2 a + 0.9 b`` against ``1.9 a + 1.1 b`` says which of them an input ``(a, b)`` goes to."""

    def __init__(self, kind, *, always):
        super().__init__()
        self.router, self.head, self.always = nn.Linear(2, 2, bias=False), nn.Linear(4, 3), always
        self.experts = nn.ModuleList(kind() for _ in range(2))
        self.wide = isinstance(self.experts[0], nn.Conv2d)
        self.router.weight.data = torch.tensor([[2, 0.9], [1.9, 1.1]])

    def forward(self, x):
        chosen, out = self.router(x).argmax(1), x.new_zeros(len(x), 4)
        for i, expert in enumerate(self.experts):
            mine = chosen == i
            if self.always or mine.any():
                out[mine] = expert(x[mine][..., None, None] if self.wide else x[mine]).flatten(1)
        return self.head(out)


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("kind", [lambda: nn.Linear(2, 4), lambda: nn.Conv2d(2, 4, 1)])
@pytest.mark.parametrize(
    ("text", "lost"),
    # Without the second column of the router the first expert always wins, with both at the same level the second.
    [("prune.wanda(sparsity=0.5)", 1), ("prune.sparsegpt(sparsity=0.5)", 1), ("quantize.gptq(bits=2)", 0)],
)
def test_an_expert_that_the_compressed_router_never_chooses_is_left_alone_with_the_reason(
    text, lost, kind, always, toy
):
    inputs = torch.tensor([[1.0, 1.0], [1.0, 0.1]]).repeat(6, 1)
    task, model = toy.task_of(inputs, torch.arange(12) % 3, classes=3), Sent(kind, always=always).eval()
    assert set(model.router(inputs).argmax(1).tolist()) == {0, 1}
    small, left = applied(text, model, task)
    assert left == [
        f"experts.{lost}",
        f"(experts.{lost}: no calibration input reaches it once the layers before it are compressed)",
    ]
    assert torch.equal(small.experts[lost].weight, model.experts[lost].weight)
    assert small(inputs).isfinite().all()
