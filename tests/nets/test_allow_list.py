"""Every kind of layer that a saved file may name, with arguments that are not the defaults."""

import inspect
import json

import pytest
import torch
from torch import nn

from whatelse.errors import ArtifactError
from whatelse.modules import architecture, codec

ROWS, TABLE, IMAGE = (6,), (6, 9), (6, 6, 7)  # shapes of one input: features; channels, places; channels, rows, columns
POOL = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}
NORM = {"num_features": 6, "eps": 0.1, "momentum": 0.4}
CONVOLUTION = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}
CASES = [
    (nn.Conv1d(6, 4, 3, **CONVOLUTION, padding_mode="circular"), TABLE),
    (nn.Conv2d(6, 4, (3, 2), **CONVOLUTION, bias=False, padding_mode="reflect"), IMAGE),
    (nn.Conv2d(6, 4, 3, padding="same"), IMAGE),
    (nn.ConvTranspose2d(6, 4, 3, 2, (2, 1), output_padding=1, groups=2, bias=False, dilation=2), IMAGE),
    (nn.Linear(6, 3, bias=False), ROWS),
    (nn.Embedding(5, 4, padding_idx=1, max_norm=0.5, norm_type=1.0), "tokens"),
    (nn.MultiheadAttention(6, 2, 0.5, bias=False, add_bias_kv=True, add_zero_attn=True), "attention"),
    (nn.MultiheadAttention(6, 3, kdim=4, vdim=5, batch_first=True), "attention"),
    *((kind(inplace=True), ROWS) for kind in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid)),
    (nn.LeakyReLU(0.3, inplace=True), ROWS),
    (nn.ELU(0.3, inplace=True), ROWS),
    (nn.PReLU(6, init=0.7), TABLE),
    (nn.GELU("tanh"), ROWS),
    (nn.Softplus(0.5, 1.0), ROWS),
    *((kind(), ROWS) for kind in (nn.Sigmoid, nn.Tanh, nn.Identity)),
    (nn.Softmax(0), TABLE),
    (nn.LogSoftmax(2), TABLE),
    (nn.Flatten(2, 3), IMAGE),
    *((kind(0.3, inplace=True), TABLE) for kind in (nn.Dropout, nn.Dropout1d)),
    (nn.Dropout2d(0.3, inplace=True), IMAGE),
    (nn.MaxPool1d(**POOL, dilation=2), TABLE),
    (nn.MaxPool2d(**POOL, dilation=2, return_indices=True), IMAGE),
    (nn.AvgPool1d(**POOL, count_include_pad=False), TABLE),
    (nn.AvgPool2d(**POOL, count_include_pad=False), IMAGE),
    (nn.AvgPool2d(3, divisor_override=4), IMAGE),
    (nn.AdaptiveAvgPool1d(2), TABLE),
    (nn.AdaptiveAvgPool2d((None, 2)), IMAGE),
    (nn.AdaptiveMaxPool2d((3, 2), return_indices=True), IMAGE),
    (nn.ZeroPad2d((1, 2, 0, -1)), IMAGE),
    (nn.Upsample(scale_factor=(1.5, 2.0), mode="bilinear", align_corners=True, recompute_scale_factor=True), IMAGE),
    (nn.Upsample(size=(4, 5)), IMAGE),
    (nn.BatchNorm1d(**NORM, affine=False), TABLE),
    (nn.BatchNorm2d(**NORM, track_running_stats=False), IMAGE),
    (nn.InstanceNorm2d(**NORM, affine=True, track_running_stats=True), IMAGE),
    (nn.LayerNorm((7,), eps=0.1, bias=False), IMAGE),
    (nn.LayerNorm((6, 7), elementwise_affine=False), IMAGE),
    (nn.RMSNorm((7,), eps=0.1), IMAGE),
    (nn.RMSNorm((7,), elementwise_affine=False), IMAGE),
    (nn.GroupNorm(3, 6, eps=0.1, affine=False), IMAGE),
]
# These only decide about gradients, first values, or where and how a tensor is made.
BESIDE = {"scale_grad_by_freq", "sparse", "_weight", "_freeze", "init", "device", "dtype", "args", "kwargs"}


def given(shape, rng):
    if shape == "tokens":
        return (torch.randint(0, 5, (3, 6), generator=rng),)
    if shape == "attention":
        return None
    return (torch.randn(3, *shape, generator=rng),)


def attended(layer, rng):
    first = (3, 4) if layer.batch_first else (4, 3)
    return tuple(torch.randn(*first, size, generator=rng) for size in (layer.embed_dim, layer.kdim, layer.vdim))


def ready(layer, rng):
    with torch.no_grad():
        for tensor in [*layer.parameters(), *layer.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.9, generator=rng)
    return layer.eval().requires_grad_(requires_grad=False)


def flat(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def there_and_back(model):
    tensors, spec = codec.encode(model)
    return codec.decode({n: t.clone() for n, t in tensors.items()}, json.loads(json.dumps(spec)))


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=[repr(layer) for layer, _ in CASES])
def test_a_layer_comes_back_with_all_that_changes_what_it_computes(layer, shape, rng):
    layer = ready(layer, rng)
    x = given(shape, rng) or attended(layer, rng)
    back = there_and_back(nn.Sequential(layer))[0]
    assert type(back) is type(layer)
    ours, theirs = [t.clone() for t in x], [t.clone() for t in x]
    for want, got in zip(flat(layer(*ours)), flat(back(*theirs)), strict=True):
        assert torch.equal(got, want)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), "what was done in place"
    assert str(back) == str(layer)


def test_every_kind_is_tried_and_no_argument_is_forgotten():
    assert {type(layer) for layer, _ in CASES} == set(architecture._ARGUMENTS)
    for kind, stored in architecture._ARGUMENTS.items():
        takes = set(inspect.signature(kind).parameters) - BESIDE
        biased = (nn.MultiheadAttention, *architecture._BIASED, *architecture._MAYBE_BIASED)
        assert takes == {*stored, *(["bias"] if issubclass(kind, biased) and "bias" in takes else [])}, kind


@pytest.mark.parametrize("kind", architecture._MAYBE_BIASED)
def test_a_norm_with_a_weight_and_no_bias_comes_back_so(kind, rng):
    if "bias" not in inspect.signature(kind).parameters:
        pytest.skip("this torch has no such norm")
    layer = ready(kind(3, 6, bias=False) if kind is nn.GroupNorm else kind(6, affine=True, bias=False), rng)
    back = there_and_back(layer)
    assert back.bias is None
    x = torch.randn(3, 6, 7, 7, generator=rng) if kind is not nn.BatchNorm1d else torch.randn(3, 6, 7, generator=rng)
    assert torch.equal(back(x), layer(x))


def test_a_shortcut_around_what_is_done_in_place_comes_back(rng):
    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.act = nn.Linear(6, 6), nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.inner(x)
            return self.act(y) + y

    model, x = ready(Shortcut(), rng), torch.randn(5, 6, generator=rng)
    assert torch.equal(there_and_back(model)(x), model(x))


def test_a_layer_in_another_precision_is_refused_by_name():
    with pytest.raises(ArtifactError, match=r"cannot save a Linear with weight in float64; .*model\.float"):
        architecture.describe(nn.Sequential(nn.Linear(2, 2).double()))
