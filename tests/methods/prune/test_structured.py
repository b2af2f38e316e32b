import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse import recipe
from whatelse.behaviours.efficiency import macs
from whatelse.errors import MissingExtraError, RecipeError
from whatelse.methods.prune import structured
from whatelse.modules import codec, importance, surgery
from whatelse.modules.dependency import Group, groups
from whatelse.nets import cnn, resnet, transformer

IMPORTANCES = ["magnitude", "taylor", "fpgm"]


def drawn(model, seed=1):
    """Every tensor of the model random, running statistics too, so that no mistake cancels."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.2 if "running" in name else -0.5, 1.0 if "running" in name else 0.6, generator=rng)
    return model.eval().requires_grad_(requires_grad=False)


def perceptron():
    """Four hidden neurons; by sum of squares in and out: 1 + 4, 9 + 1, 0.25 + 0.25, 4 + 0.01."""
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.5, 0.0], [0.0, -2.0]]))
        model[0].bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
        model[2].weight.copy_(torch.tensor([[2.0, 0.0, 0.5, 0.1], [0.0, 1.0, 0.0, 0.0]]))
        model[2].bias.copy_(torch.tensor([0.7, 0.9]))
    return model.eval().requires_grad_(requires_grad=False)


def convolutional():
    parts = [nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten()]
    return drawn(nn.Sequential(*parts, nn.Linear(64, 3)))


def images(toy, rng, shape=(2, 8, 8), count=60):
    inputs = torch.randn(count, *shape, generator=rng)
    return toy.task_of(inputs, torch.arange(count) % 3, classes=3)


@pytest.mark.known_answer
def test_the_neurons_of_smallest_weight_go(task, rng):
    small = structured.compress(perceptron(), structured.Config(ratio=0.5, round_to=1), task, rng)
    assert small[0].weight.tolist() == [[1.0, 0.0], [0.0, 3.0]]
    assert torch.allclose(small[0].bias, torch.tensor([0.1, 0.2]))
    assert small[2].weight.tolist() == [[2.0, 0.0], [0.0, 1.0]]
    assert torch.allclose(small[2].bias, torch.tensor([0.7, 0.9]))
    assert (small[0].out_features, small[2].in_features) == (2, 2)


@pytest.mark.known_answer
@pytest.mark.parametrize("importance", IMPORTANCES)
def test_a_pruned_convolution_equals_the_masked_one(importance, toy, rng):
    model, task = convolutional(), images(toy, rng)
    config = structured.Config(ratio=0.5, importance=importance, scope="uniform", round_to=1)
    small = structured.compress(model, config, task, rng)
    assert [tuple(p.shape) for n, p in small.named_parameters() if "weight" in n] == [
        *((3, 2, 3, 3), (3,)),
        *((2, 3, 3, 3), (3, 32)),
    ]
    # Found again by their bias, which is drawn anew for every channel; then only readers are zeroed, by hand.
    kept = [int((model[0].bias == b).nonzero()) for b in small[0].bias]
    kept2 = [int((model[3].bias == b).nonzero()) for b in small[3].bias]
    masked = convolutional()
    with torch.no_grad():
        masked[3].weight[:, [i for i in range(6) if i not in kept]] = 0
        places = masked[6].weight.view(3, 4, 16)
        places[:, [i for i in range(4) if i not in kept2]] = 0
    assert torch.allclose(small(task.train.inputs), masked(task.train.inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.known_answer
def test_magnitude_and_widths_are_those_of_torch_pruning_itself(toy, rng):
    tp = pytest.importorskip("torch_pruning")
    model, x = drawn(resnet.build(resnet.Config(depth=8, width=8), (2, 8, 8), 3, rng)), torch.randn(2, 2, 8, 8)
    small = structured.compress(
        model, structured.Config(ratio=0.25, scope="uniform", round_to=1), images(toy, rng), rng
    )
    theirs = drawn(resnet.build(resnet.Config(depth=8, width=8), (2, 8, 8), 3, rng)).requires_grad_(requires_grad=True)
    tp.pruner.BasePruner(
        theirs, x, tp.importance.GroupMagnitudeImportance(), pruning_ratio=0.25, ignored_layers=[theirs.linear]
    ).step()
    assert {n: t.shape for n, t in small.state_dict().items()} == {n: t.shape for n, t in theirs.state_dict().items()}
    assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in small.state_dict().items())


class Gate(nn.Module):
    """Molchanov's gate: multiplies every channel by one."""

    def __init__(self, channels):
        super().__init__()
        self.open = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x * self.open


@pytest.mark.known_answer
def test_taylor_is_the_squared_slope_of_molchanovs_gate(toy, rng):
    model, task = convolutional(), images(toy, rng, count=120)
    found, _ = groups(model, task.calibration.inputs[:4], "test")
    gated = nn.Sequential(*model[:3], Gate(6), *model[3:5], Gate(4), *model[5:])
    slow = [torch.zeros(6), torch.zeros(4)]
    for batch in torch.arange(120).split(importance.BATCH):
        loss = functional.cross_entropy(gated(task.calibration.inputs[batch]), task.calibration.observed[batch])
        slopes = torch.autograd.grad(loss, [gated[3].open, gated[6].open])
        slow = [total + slope.flatten() ** 2 / 3 for total, slope in zip(slow, slopes, strict=True)]
    scores = importance.scores(model, found, "taylor", task.calibration)
    for score, expected in zip(scores, slow, strict=True):
        assert torch.allclose(score.float(), expected, rtol=1e-4)


@pytest.mark.known_answer
def test_fpgm_is_the_sum_of_distances_to_the_other_filters(toy, rng):
    model = convolutional()
    group = groups(model, images(toy, rng).train.inputs[:4], "test")[0][0]
    filters = model[0].weight.flatten(1).tolist()
    slow = [sum(sum((a - b) ** 2 for a, b in zip(f, g, strict=True)) ** 0.5 for g in filters) for f in filters]
    assert importance._fpgm(model, group).tolist() == pytest.approx(slow, rel=1e-5)


@pytest.mark.known_answer
def test_parameters_and_arithmetic_fall_as_predicted(toy, rng):
    model, task = drawn(cnn.build(cnn.Config(width=16, hidden=32), (1, 8, 8), 3, rng)), images(toy, rng, (1, 8, 8))
    small = structured.compress(model, structured.Config(ratio=0.5, scope="uniform"), task, rng)
    # Widths 16, 32, 32, 32 become 8, 16, 16, 16.
    sizes = [9 * 8 + 8, 9 * 8 * 16 + 16, 9 * 16 * 16 + 16, 16 * 4 * 16 + 16, 16 * 3 + 3]
    assert sum(p.numel() for p in small.parameters()) == sum(sizes)
    done = macs.measure(toy.evidence_of(small, task), macs.Config(), rng)
    assert done["macs"].tolist() == [64 * 9 * 8, 16 * 9 * 8 * 16, 4 * 9 * 16 * 16, 64 * 16, 16 * 3]


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["A", "B"])
def test_coupled_layers_of_a_residual_net_shrink_together(kind, toy, rng):
    model = drawn(resnet.build(resnet.Config(depth=8, width=8, kind=kind), (2, 8, 8), 3, rng))
    task = images(toy, rng)
    small = structured.compress(model, structured.Config(ratio=0.5, scope="uniform", round_to=1), task, rng)
    stream = 8 if kind == "A" else 4  # the zero padding of kind A pins what runs past it
    assert small.conv1.weight.shape == (stream, 2, 3, 3)
    assert small.layer1[0].conv1.weight.shape == (4, stream, 3, 3)
    assert small.layer1[0].conv2.weight.shape == (stream, 4, 3, 3)
    assert small.bn1.num_features == small.layer1[0].bn2.num_features == stream
    assert small.layer3[0].conv2.weight.shape == (4 * stream, 16, 3, 3)
    assert small.linear.weight.shape == (3, 4 * stream)
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(task.train.inputs), small(task.train.inputs))


@pytest.mark.known_answer
def test_heads_go_whole_and_the_count_survives_saving(toy, rng):
    config = transformer.Config(vocabulary=9, width=16, heads=4, depth=2, hidden=12)
    model = drawn(transformer.build(config, (6,), 3, rng))
    with torch.no_grad():
        model.blocks[0].value.weight[4:8] *= 0.01  # two heads that say nothing
        model.blocks[0].value.weight[12:] *= 0.01
        for name in ("query", "key"):
            getattr(model.blocks[0], name).weight[4:8] *= 0.01
            getattr(model.blocks[0], name).weight[12:] *= 0.01
    task = toy.task_of(torch.randint(0, 9, (40, 6), generator=rng).float(), torch.arange(40) % 3, classes=3)
    small = structured.compress(model, structured.Config(ratio=0.5, scope="uniform", round_to=1), task, rng)
    block = small.blocks[0]
    assert block.query.weight.shape == block.key.weight.shape == block.value.weight.shape == (8, 8)
    assert block.out.weight.shape == (8, 8)
    assert block.linear1.weight.shape == (6, 8)
    assert small.embedding.weight.shape == (9, 8)
    assert small.positions.shape == (6, 8)
    biases = model.blocks[0].query.bias
    assert torch.equal(block.query.bias, torch.cat([biases[:4], biases[8:12]]))
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(task.train.inputs), small(task.train.inputs))
    # The reloaded model is a torch.fx graph: it can be pruned once more.
    once_more = structured.compress(again, structured.Config(ratio=0.5, scope="uniform", round_to=1), task, rng)
    assert once_more.get_submodule("blocks.0.query").weight.shape == (4, 4)


def test_global_scope_removes_the_share_and_spares_no_layer_nor_empties_one(toy, rng):
    model, task = convolutional(), images(toy, rng)
    with torch.no_grad():
        model[3].weight *= 1e-3  # relative scores: a layer of small weights is not pruned away
        model[0].weight[:5] *= 1e-4
        model[1].weight[:5] *= 1e-4
    small = structured.compress(model, structured.Config(ratio=0.6, round_to=1), task, rng)
    widths = small[0].out_channels, small[3].out_channels
    assert sum(widths) == 10 - 6
    assert min(widths) >= 1
    many = structured.compress(model, structured.Config(ratio=0.9, keep=0.5, round_to=1), task, rng)
    assert (many[0].out_channels, many[3].out_channels) == (3, 2)


@pytest.mark.parametrize(("size", "step", "rounded"), [(9, 8, 8), (12, 8, 16), (1, 8, 8), (9, 1, 9), (9, 32, 9)])
def test_kept_widths_are_multiples_where_the_layer_is_wide_enough(size, step, rounded):
    group = Group("layer", 1, {("layer", "out"): tuple((i,) for i in range(20))})
    assert structured._rounded(group, size, step) == rounded


class Mixed(nn.Module):
    """A grouped and a depthwise convolution, tied weights, an attention with its head count written down."""

    def __init__(self):
        super().__init__()
        self.enter, self.grouped = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 1, groups=2)
        self.mix, self.depthwise = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 6, 3, groups=6, padding=1)
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.two.weight = self.one.weight
        self.query, self.key, self.value = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.depthwise(self.mix(self.grouped(self.enter(x).relu())).relu()).relu().flatten(2).transpose(1, 2)
        x = self.two(self.one(x).relu()) + x
        q, k, v = (part(x).view(len(x), -1, 2, 4).transpose(1, 2) for part in (self.query, self.key, self.value))
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.head(seen.transpose(1, 2).flatten(2).mean(1))


def test_what_cannot_be_cut_is_left_alone(toy, rng):
    model, task = drawn(Mixed()), images(toy, rng, (2, 4, 4))
    found, refused = groups(model, task.train.inputs[:4], "test")
    assert not found
    assert refused["enter"] == "grouped is a Conv2d that cannot be cut"
    assert "shares its weight" in refused["one"]
    assert any("forward fails" in reason for reason in refused.values())
    with pytest.raises(RecipeError, match=r"nothing can be removed \(enter: grouped is a Conv2d"):
        structured.compress(model, structured.Config(), task, rng)


def test_a_depthwise_convolution_goes_with_its_channel(toy, rng):
    parts = [nn.Conv2d(2, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model, task = drawn(nn.Sequential(*parts, nn.Linear(6, 3))), images(toy, rng)
    small = structured.compress(model, structured.Config(round_to=1), task, rng)
    assert (small[1].groups, small[1].in_channels, small[1].out_channels) == (3, 3, 3)
    assert small[5].weight.shape == (3, 3)


def test_nothing_goes_at_ratio_zero_and_the_mask_of_a_sparse_model_stays(toy, rng):
    model, task = convolutional(), images(toy, rng)
    with torch.no_grad():
        model[3].weight[model[3].weight.abs() < 0.2] = 0
    same = structured.compress(model, structured.Config(ratio=0.0), task, rng)
    assert same is not model
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), model.parameters(), strict=True))
    (step,) = recipe.parse("prune.structured(ratio=0.5, round_to=1)")
    small = recipe.apply(step, model, task, rng)
    assert set(small[3].weight[small[3].weight != 0].tolist()) <= set(model[3].weight.flatten().tolist())
    assert bool((small[3].weight == 0).any())


def test_a_model_that_drops_gradients_is_refused(toy, rng):
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x):
            return self.layer(x).detach()

    task = toy.task_of(torch.randn(6, 2, generator=rng), torch.arange(6) % 3, classes=3)
    with pytest.raises(RecipeError, match="nothing can be removed .no layer is reached by a gradient"):
        structured.compress(Cut(), structured.Config(), task, rng)


def test_what_torch_pruning_fails_with_is_one_line(task, rng, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("node\n7")

    monkeypatch.setattr("torch_pruning.DependencyGraph.build_dependency", fail)
    with pytest.raises(
        RecipeError, match=r"prune.structured: Torch-Pruning cannot trace this Sequential: 'node"
    ) as caught:
        structured.compress(perceptron(), structured.Config(), task, rng)
    assert "\n" not in str(caught.value)


def test_the_missing_extra_is_named(task, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'whatelse\[structured\]'"):
        structured.compress(perceptron(), structured.Config(), task, rng)


def test_a_removal_that_breaks_the_model_never_comes_out(toy, rng, monkeypatch):
    model, task = convolutional(), images(toy, rng)
    whole = surgery.remove
    monkeypatch.setattr("whatelse.modules.dependency._failure", lambda *_: "")
    monkeypatch.setattr("whatelse.modules.dependency.remove", lambda m, cut: drawn(whole(m, cut), seed=9))
    with pytest.raises(RecipeError, match="removing channels of 0, 3, 6 together breaks the model"):
        structured.compress(model, structured.Config(round_to=1), task, rng)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "ratio=0.3, round_to=8",
            "50.0% of the removable channels went where 30.0% were asked for (widths",
        ),
        (
            "ratio=0.2, round_to=8",
            "0.0% of the removable channels went where 20.0% were asked for (widths",
        ),
        ("ratio=0.3, round_to=1", "31.2% of the removable channels went where 30.0% were asked for (whole units go)"),
        ("ratio=0.5, round_to=8", ""),
    ],
)
def test_a_share_that_was_not_met_is_told(settings, said, toy, rng):
    model, task = drawn(nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))), images(toy, rng, (5,))
    (step,) = recipe.parse(f"prune.structured({settings})")
    left = recipe.left_alone(step, model, recipe.apply(step, model, task, rng))
    assert [text for text in left if "asked for" in text] == ([left[-1]] if said else [])
    assert left[-1].startswith(f"({said}") if said else left == []


@pytest.mark.known_answer
def test_of_groups_that_break_the_model_together_those_that_do_not_go(toy, rng, monkeypatch):
    """Removal of channels of layer 3 is sabotaged: it is left whole and named, and the other goes as it would alone."""
    model, task = convolutional(), images(toy, rng)
    whole = surgery.remove

    def broken(part, cut):
        small = whole(part, cut)
        return drawn(small, seed=9) if ("3", "out") in cut else small

    monkeypatch.setattr("whatelse.modules.dependency._failure", lambda *_: "")
    monkeypatch.setattr("whatelse.modules.dependency.remove", broken)
    (step,) = recipe.parse("prune.structured(scope='uniform', round_to=1)")
    small = recipe.apply(step, model, task, rng)
    assert (small[0].out_channels, small[3].out_channels) == (3, 4)
    left = recipe.left_alone(step, model, small)
    assert left[-3:-1] == ["3", "(3: its answers are not those with these channels set to zero)"]
    assert left[-1].startswith("(23.1% of the removable channels went where 50.0%")
