"""What enters layers is summed up piece by piece: the same as all at once, in memory that does not grow."""

import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whatelse import recipe
from whatelse.modules import calibration
from whatelse.modules import order as _order

MODES = ["zeros", "reflect", "circular", "replicate"]


@pytest.mark.known_answer
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("room", [1, 3000, 10**9])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 2), "stride": (2, 1), "dilation": (1, 2), "padding": (2, 1)},
        {"kernel_size": 3, "stride": 3, "groups": 2},
        {"kernel_size": 1, "stride": 2},
        *({"kernel_size": 3, "padding": 1, "padding_mode": mode, "groups": 4} for mode in MODES[1:]),
        {"kernel_size": (2, 3), "padding": "same"},
    ],
    ids=str,
)
def test_pieces_are_all_places_each_once(options, room, rng):
    layer = nn.Conv2d(4, 8, **options)
    x = torch.randn(3, 4, 9, 7, generator=rng)
    found = list(calibration.pieces(layer, x, room))
    gram, places = sum(part @ part.mT for part in found), sum(part.shape[2] for part in found)
    # By torch's own convolution: with the identity in place of the weight it gives the patches themselves.
    fan_in, weight = layer.weight[0].numel(), layer.weight.detach()
    slow = []
    for group in range(layer.groups):
        probe = nn.Conv2d(4 // layer.groups, fan_in, bias=False, **{**options, "groups": 1})
        probe.weight.data = torch.eye(fan_in).view(fan_in, *weight.shape[1:])
        part = x.chunk(layer.groups, 1)[group]
        slow.append(probe(part).detach().double().movedim(1, 0).flatten(1))
    want = torch.stack([part @ part.mT for part in slow])
    assert places == slow[0].shape[1]
    assert torch.allclose(gram, want, atol=1e-9)
    whole = fan_in * layer.groups * 8 * places
    one_row = whole // (3 * layer(x).shape[2])
    assert len(found) > 1 or room >= whole
    assert all(part.nbytes <= max(room, one_row) for part in found)


@pytest.mark.known_answer
@pytest.mark.parametrize("shape", [(40, 6), (10, 4, 6), (6,)])
def test_rows_of_a_linear_layer_come_in_pieces(shape, rng):
    x = torch.randn(shape, generator=rng)
    found = list(calibration.pieces(nn.Linear(6, 2), x, room=5 * 6 * 8))
    rows = x.reshape(-1, 6).double()
    assert torch.equal(torch.cat(found, 2)[0].T, rows)
    assert max(part.shape[2] for part in found) <= 5


@pytest.mark.known_answer
@pytest.mark.parametrize("output", [1, 2000, 2**22])
def test_sums_do_not_depend_on_the_batches(output, rng, monkeypatch):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1, groups=1)).eval()
    x = torch.randn(21, 2, 6, 6, generator=rng)
    monkeypatch.setattr(calibration, "_OUTPUT", output)
    sizes = [len(part) for part in calibration.batches(model, x)]
    assert sum(sizes) == 21
    assert min(sizes) > 1, "no single example: some models drop the dimension of one"
    layers = {"0": model[0], "2": model[2]}
    entering = {"0": x, "2": model[1](model[0](x)).detach()}
    patches = {"0": functional.unfold(x, 3), "2": functional.unfold(entering["2"], 3, padding=1)}
    grams, energies = (f(model, layers, x) for f in (calibration.grams, calibration.energies))
    for name, p in patches.items():
        whole = p.double().movedim(1, 0).flatten(1)
        assert torch.allclose(grams[name][0], whole @ whole.T / whole.shape[1], atol=1e-6)
        assert torch.allclose(energies[name][0], whole.square().sum(1), atol=1e-4)


class Branching(nn.Module):
    """The first input goes one way, the others another; a third way is never gone."""

    def __init__(self):
        super().__init__()
        self.up, self.left, self.right, self.never = (nn.Linear(3, 3) for _ in range(4))
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        x = self.up(x)
        if float(x[:, 0].max()) > 99:
            x = self.never(x)
        for part, rows in ((self.left, x[:, 0] > 0), (self.right, x[:, 0] <= 0)):
            if bool(rows.any()):
                x = x.masked_scatter(rows[:, None], part(input=x[rows]))
        return self.head(x)


@pytest.mark.known_answer
def test_layers_are_reached_by_whatever_input_reaches_them_in_the_order_of_the_calls():
    model = Branching().eval().requires_grad_(requires_grad=False)
    model.up.weight.copy_(torch.eye(3))
    model.up.bias.zero_()
    x = torch.cat([torch.ones(290, 3), -torch.ones(10, 3)])
    layers = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    order, few = calibration.reach(model, layers, x)
    assert order == ["up", "left", "right", "head"]
    assert bool((few[:, 0] < 0).any())
    assert calibration.reach(model, {"left": model.left}, x)[0] == ["left"]


VALUES = {
    "plain": lambda rng: torch.randn(5000, generator=rng),
    "ties": lambda rng: torch.randint(-3, 4, (5000,), generator=rng).float(),
    "all sizes": lambda rng: torch.randn(5000, generator=rng) * 10.0 ** torch.randint(-30, 30, (5000,), generator=rng),
    "one side": lambda rng: torch.rand(4999, generator=rng) + 1,
    "negative": lambda rng: -torch.rand(77, generator=rng),
    "zeros": lambda rng: torch.cat([torch.zeros(50), -torch.zeros(50)]),
    "infinite": lambda rng: torch.cat([torch.randn(98, generator=rng), torch.tensor([torch.inf, -torch.inf])]),
    "one": lambda rng: torch.full((1,), 0.1),
    "bfloat16": lambda rng: torch.randn(5000, generator=rng).bfloat16(),
}


@pytest.mark.known_answer
@pytest.mark.parametrize("clip", [0.0, 0.001, 0.2, 0.499])
@pytest.mark.parametrize("kind", VALUES)
def test_tails_are_those_of_the_sorted_numbers(kind, clip, rng):
    x = VALUES[kind](rng)
    parts = {"a": x.split(61), "b": (-2 * x).split(1000), "empty": [x[:0]]}

    def stream(see):
        for name, several in parts.items():
            for part in several:
                see(name, part)

    found = _order.tails(stream, clip)
    assert set(found) == {"a", "b"}
    for name, whole in (("a", x), ("b", -2 * x)):
        sorted_, beyond = whole.float().sort().values, int(clip * (len(x) - 1))
        assert found[name][0] == sorted_[beyond]
        assert found[name][1] == sorted_[-1 - beyond]


class Counting(TorchDispatchMode):
    """The most bytes that tensors made under it held at one time, each storage counted once."""

    def __init__(self):
        super().__init__()
        self.held, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided:
                self.hold(leaf)
        return out

    def hold(self, tensor):
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place not in self.held:
            self.now += size
            self.peak = max(self.peak, self.now)
        self.held.setdefault(place, [0, size])[0] += 1
        weakref.finalize(tensor, self.drop, place)

    def drop(self, place):
        self.held[place][0] -= 1
        if not self.held[place][0]:
            self.now -= self.held.pop(place)[1]


STREAMED = ["quantize.gptq(bits=4, activation_bits=8)", "quantize.uniform(clip=0.2)", "quantize.int4()"]
STREAMED += ["prune.sparsegpt()", "prune.wanda()", "decompose.svd(aware=True)", "decompose.svd()", "prune.obd()"]
STREAMED += ["quantize.aware(epochs=1, batch=8)", "prune.structured(importance='taylor', round_to=1)"]
STREAMED += ["distill.hints(epochs=1, hint_epochs=1, batch=8)", "distill.attention(epochs=1, batch=8)"]
STREAMED += ["distill.attribution(epochs=1, batch=8)", "distill.logits(epochs=1, batch=8)"]


@pytest.mark.parametrize("text", STREAMED)
def test_peak_memory_does_not_grow_with_the_examples(text, toy, rng, monkeypatch):
    monkeypatch.setattr(calibration, "_OUTPUT", 2**14)
    monkeypatch.setattr(calibration, "_ROOM", 2**14)
    monkeypatch.setattr("whatelse.methods.distill._features._ROOM", 2**14)
    monkeypatch.setattr("whatelse.modules.importance.BATCH", 8)
    parts = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    model.eval().requires_grad_(requires_grad=False)
    (step,) = recipe.parse(text)
    peaks = []
    for count in (16, 128):
        inputs = torch.rand(count, 1, 12, 12, generator=rng)
        task = toy.task_of(inputs, torch.arange(count) % 2, bounds=(0.0, 1.0))
        with Counting() as counting:
            recipe.apply(step, model, task, rng)
        peaks.append(counting.peak - inputs.nbytes)
    layer = 128 * 8 * 12 * 12 * 4  # the activations of one layer for all examples
    assert peaks[1] < peaks[0] + layer / 8, peaks
