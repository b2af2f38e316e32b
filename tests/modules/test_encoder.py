"""torch's own transformer encoder, saved as it is and as methods leave it."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse import recipe
from whatelse.errors import ArtifactError
from whatelse.modules import architecture, codec, walk

PLAIN = {"activation": "relu", "batch_first": True}


class Reader(nn.Module):
    """Tokens come as numbers, 0 is padding."""

    def __init__(self, *, padded=False, **options):
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, **{**PLAIN, **options})
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=padded)
        self.head, self.padded = nn.Linear(8, 3), padded

    def forward(self, x):
        ids = x.long()
        blind = ids == 0 if self.padded else None
        return self.head(self.encoder(self.embed(ids), src_key_padding_mask=blind)[:, 0])


def ready(model, rng):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=rng))
    return model.eval().requires_grad_(requires_grad=False)


@pytest.fixture
def tokens(toy, rng):
    inputs, targets = torch.randint(3, 12, (60, 6), generator=rng).float(), torch.arange(60) % 3
    inputs[::3, 4:] = 0
    return toy.task_of(inputs, targets, classes=3, bounds=(0.0, 11.0))


def there_and_back(model):
    tensors, spec = codec.encode(model)
    return codec.decode({n: t.clone() for n, t in tensors.items()}, json.loads(json.dumps(spec)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_first": True, "activation": "gelu", "layer_norm_eps": 0.1},
        {"activation": functional.gelu, "bias": False},
        {"activation": nn.GELU("tanh")},
        {"activation": nn.SiLU(), "batch_first": False, "dropout": 0.3},
    ],
    ids=str,
)
def test_a_layer_and_an_encoder_come_back_equal(options, rng):
    layer = ready(nn.TransformerEncoderLayer(8, 2, 16, **{**PLAIN, **options}), rng)
    x = torch.randn(5, 6, 8, generator=rng)
    mask = torch.rand(6, 6, generator=rng) > 0.8
    for model in (layer, nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()):
        back = there_and_back(model)
        assert str(back) == str(model)
        assert torch.equal(back(x), model(x))
        if layer.self_attn.batch_first:
            assert torch.equal(back(x, mask), model(x, mask))
        again = there_and_back(back)
        assert torch.equal(again(x), model(x))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "prune.magnitude(sparsity=0.5)",
        "decompose.svd(rank=0.5)",
        "quantize.uniform(bits=3)",
        "decompose.svd(rank=0.5) > quantize.uniform(bits=4)",
        "prune.structured(ratio=0.5)",
    ],
)
def test_what_a_method_makes_of_it_comes_back_equal(text, padded, tokens, rng):
    if "structured" in text:
        pytest.importorskip("torch_pruning", reason="structured pruning needs torch-pruning")
    model = ready(Reader(padded=padded), rng)
    small = copy.deepcopy(model)
    for step in recipe.parse(text):
        small = recipe.apply(step, small, tokens, rng)
    x = tokens.test.inputs
    assert text == "" or not torch.equal(small(x), model(x))
    back = there_and_back(small)
    assert torch.equal(back(x), small(x))
    assert torch.equal(back(x[:7]), small(x[:7]))


def test_a_replaced_part_is_called_again_after_loading(rng):
    layer = ready(nn.TransformerEncoderLayer(8, 2, 16, **PLAIN), rng)
    halved = nn.Sequential(copy.deepcopy(layer.linear2), nn.Identity())
    x = torch.randn(5, 6, 8, generator=rng)
    back = there_and_back(walk.swap(layer, "linear2", halved))
    called = []
    back.linear2[1].register_forward_hook(lambda *_: called.append(1))
    back(x)
    assert called
    assert torch.equal(back(x), layer(x))


def test_the_activation_and_the_layers_of_a_user_are_refused():
    with pytest.raises(ArtifactError, match="with activation tanh; allowed are relu and gelu"):
        architecture.describe(nn.TransformerEncoderLayer(8, 2, 16, activation=torch.tanh))

    class Mine(nn.TransformerEncoderLayer):
        pass

    encoder = nn.TransformerEncoder(Mine(8, 2, 16), 1, enable_nested_tensor=False)
    with pytest.raises(ArtifactError, match="with layers of type Mine"):
        architecture.describe(encoder)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["parts"].pop("norm1"),
        lambda s: s["parts"].update(__class__=s["parts"]["norm1"]),
        lambda s: s["parts"].update(self_attn=s["parts"]["norm1"]),
        lambda s: s.update(activation="eval"),
        lambda s: s.pop("called"),
        lambda s: s.update(kind="TransformerEncoder"),
        lambda s: s.update(kind="TransformerEncoder", parts={}),
        lambda s: s.update(kind="TransformerEncoder", parts={"layers.0": s["parts"]["norm1"]}),
        lambda s: s.update(kind="TransformerEncoder", parts={"layers.1": dict(s)}),
    ],
)
def test_a_damaged_description_is_refused(change):
    spec = architecture.describe(nn.TransformerEncoderLayer(8, 2, 16, **PLAIN))
    change(spec)
    with pytest.raises(ArtifactError):
        architecture.planned(spec)
