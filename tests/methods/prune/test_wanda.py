import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.prune import magnitude, wanda


class Residual(torch.nn.Module):
    """Layers declared in another order than called, a skip, a norm, a grouped convolution, one layer never called."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(32, 3)
        self.unused = torch.nn.Linear(5, 5)
        self.grouped = torch.nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm = torch.nn.BatchNorm2d(8)
        self.first = torch.nn.Conv2d(2, 8, 3, padding="same")

    def forward(self, x):
        x = self.first(x).relu()
        x = x + self.norm(self.grouped(x)).relu()
        return self.head(torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


@pytest.fixture
def model(rng):
    made = Residual().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-1, 1, generator=rng)
    return made


@pytest.fixture
def images(toy):
    inputs = torch.rand(12, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    return toy.task_of(inputs, torch.arange(12) % 3, classes=3)


def entering(model, name, inputs):
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(inputs)
    handle.remove()
    return seen[0]


def slow_scores(layer, x):
    """The paper's score, one weight at a time, from the layer's inputs."""
    if isinstance(layer, torch.nn.Linear):
        return layer.weight.abs() * x.norm(dim=0)
    x = torch.nn.functional.pad(x, (1, 1, 1, 1))
    scores = torch.empty_like(layer.weight)
    outputs, channels, height, width = layer.weight.shape
    for o in range(outputs):
        group = o // (outputs // layer.groups)
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    met = x[:, group * channels + c, i : i + 4, j : j + 4]
                    scores[o, c, i, j] = layer.weight[o, c, i, j].abs() * met.norm()
    return scores


@pytest.mark.known_answer
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_the_lowest_of_each_row_go_in_order_of_the_calls(sparsity, model, images, rng):
    small = wanda.compress(model, wanda.Config(sparsity=sparsity), images, rng)
    with torch.no_grad():
        for name in ("first", "grouped", "head"):
            layer, made = model.get_submodule(name), small.get_submodule(name)
            # Inputs come out of the model whose earlier layers are pruned already: they are the same in `small`.
            scores = slow_scores(layer, entering(small, name, images.calibration.inputs)).flatten(1)
            gone = (made.weight == 0).flatten(1)
            assert int(gone.sum()) == round(sparsity * gone.numel()), "sparsity is exact"
            assert int(gone.sum(1).max() - gone.sum(1).min()) <= 1
            for row, lost in zip(scores, gone, strict=True):
                assert set(row.argsort()[: int(lost.sum())].tolist()) == set(lost.nonzero().flatten().tolist())
            assert torch.equal(made.weight.flatten(1)[~gone], layer.weight.flatten(1)[~gone])
            assert torch.equal(made.bias, layer.bias)
    assert torch.equal(small.unused.weight, model.unused.weight)
    assert torch.equal(small.norm.weight, model.norm.weight)


@pytest.mark.known_answer
def test_a_large_input_saves_a_small_weight(toy, rng):
    layer = torch.nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, 1.0, 0.5], [3.0, 2.0, -0.3]]))
    task = toy.task_of(torch.tensor([[100.0, 1.0, 3.0], [0.0, 1.0, 4.0]]), torch.tensor([0, 1]))
    # Norms 100, sqrt 2, 5: scores 10, 1.4, 2.5 and 300, 2.8, 1.5.
    small = wanda.compress(layer, wanda.Config(sparsity=1 / 3), task, rng)
    assert (small.weight == 0).tolist() == [[False, True, False], [False, False, True]]
    ranked = magnitude.compress(layer, magnitude.Config(sparsity=1 / 3), task, rng)
    assert ranked.weight[0, 0] == 0, "magnitude decides otherwise"


def test_two_of_four_holds_in_every_four_channels(model, images, rng):
    small = wanda.compress(model, wanda.Config(pattern="2:4"), images, rng)
    assert torch.equal(small.first.weight, model.first.weight), "two channels do not come in fours"
    scores = slow_scores(model.grouped, entering(small, "grouped", images.calibration.inputs))
    fours = scores.movedim(1, -1).reshape(-1, 4)
    kept = (small.grouped.weight != 0).movedim(1, -1).reshape(-1, 4)
    assert torch.equal(kept.sum(1), torch.full((len(kept),), 2))
    assert bool(torch.all(fours.where(kept, 9e9).min(1).values > fours.where(~kept, 0.0).max(1).values))
    assert ((small.head.weight != 0).view(3, -1, 4).sum(2) == 2).all()


def test_zeros_that_were_there_count(model, images, rng):
    once = wanda.compress(model, wanda.Config(sparsity=0.4), images, rng)
    twice = wanda.compress(once, wanda.Config(sparsity=0.6), images, rng)
    for name in ("first", "grouped", "head"):
        before, after = (m.get_submodule(name).weight == 0 for m in (once, twice))
        assert int(after.sum()) == round(0.6 * after.numel())
        assert bool(after[before].all())


@pytest.mark.parametrize(
    ("config", "match"),
    [(wanda.Config(), "no convolution or linear"), (wanda.Config(0.6, "2:4"), "no convolution or linear")],
)
def test_nothing_to_prune_is_refused(config, match, task, rng):
    with pytest.raises(RecipeError, match=match):
        wanda.compress(torch.nn.ReLU(), config, task, rng)


class Attentive(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.block(x).mean(1))


def test_the_layers_of_a_transformer_are_seen_and_attention_is_left_alone(toy, rng):
    # A frozen encoder layer in evaluation mode reads its weights without calling its linear layers, unless watched.
    model = Attentive().eval().requires_grad_(requires_grad=False)
    task = toy.task_of(torch.rand(6, 5, 8, generator=rng), torch.arange(6) % 3, classes=3)
    small = wanda.compress(model, wanda.Config(), task, rng)
    for name in ("block.linear1", "block.linear2", "head"):
        weight = small.get_submodule(name).weight
        assert int((weight == 0).sum()) == weight.numel() // 2
    assert torch.equal(small.block.self_attn.in_proj_weight, model.block.self_attn.in_proj_weight)
