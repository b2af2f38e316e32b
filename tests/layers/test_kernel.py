import copy

import pytest
import torch
from torch import nn

from whatelse.errors import ArtifactError
from whatelse.layers import kernel
from whatelse.layers.kernel import Kernel, lacking, suits
from whatelse.models import subject
from whatelse.modules import codec

pytest.importorskip("torchao", reason="kernels of few bits need torchao")
HERE = ["int8_dynamic", "int8_weight", "float8_weight"]
CPU = torch.device("cpu")


@pytest.fixture
def layer(rng):
    made = nn.Linear(17, 5)
    made.weight.data = torch.randn(5, 17, generator=rng)
    return made.requires_grad_(requires_grad=False)


def residual(inner, rng):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = inner, nn.Linear(17, 3)
            self.head.weight.data = torch.randn(3, 17, generator=rng)

        def forward(self, x):
            return self.head(x + self.inner(x).relu())

    return Beside().eval().requires_grad_(requires_grad=False)


@pytest.mark.known_answer
def test_int8_is_worked_number_by_number(layer, rng):
    x = torch.randn(4, 17, generator=rng)
    scale = layer.weight.abs().amax(1, keepdim=True) / 127.5
    weight = (layer.weight * (1 / scale)).round().clamp(-128, 127) * scale
    plain = Kernel.of(layer, "int8_weight")
    assert torch.allclose(plain.weights()[0], weight, atol=1e-6)
    assert torch.allclose(plain(x), nn.functional.linear(x, weight, layer.bias), atol=1e-5)
    step = x.abs().amax(1, keepdim=True) / 127.5
    rounded = (x * (1 / step)).round().clamp(-128, 127) * step
    want = nn.functional.linear(rounded, weight, layer.bias)
    assert torch.allclose(Kernel.of(layer, "int8_dynamic")(x), want, atol=1e-5)


@pytest.mark.known_answer
def test_float8_keeps_three_bits_of_mantissa(layer):
    weight = Kernel.of(layer, "float8_weight").weights()[0]
    assert bool(((weight - layer.weight).abs() <= layer.weight.abs() / 16 + 1e-4).all())
    assert not torch.equal(weight, layer.weight)


@pytest.mark.parametrize("kind", HERE)
@pytest.mark.parametrize("bias", [True, False])
def test_it_comes_back_bit_for_bit_in_one_byte_a_weight(kind, bias, layer, rng):
    if not bias:
        layer.bias = None
    model = nn.Sequential(Kernel.of(layer, kind), nn.ReLU())
    tensors, spec = codec.encode(model)
    again = codec.decode(tensors, spec)
    for shape in ((1, 17), (4, 17), (2, 3, 17)):
        x = torch.randn(shape, generator=rng)
        assert torch.equal(again(x), model(x))
        assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert all(type(t) is torch.Tensor for t in tensors.values())
    stored = sum(t.numel() * t.element_size() for t in tensors.values())
    assert 5 * 17 < stored <= 5 * 17 + 5 * (1 + 4 + 4 * bias)


@pytest.mark.parametrize("kind", HERE)
def test_a_model_in_double_precision_computes_the_same(kind, layer, rng):
    model = Kernel.of(layer, kind)
    x = torch.randn(3, 17, generator=rng)
    wide = copy.deepcopy(model).double()(x.double())
    assert wide.dtype == torch.float64
    assert torch.equal(wide.float(), model(x))


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(("kind", "flows"), [("int8_dynamic", False), ("int8_weight", True), ("float8_weight", True)])
def test_what_loses_gradients_is_asked_through_a_surrogate(kind, flows, beside, rng):
    inner = nn.Linear(17, 17)
    inner.weight.data = torch.randn(17, 17, generator=rng) / 4
    made = Kernel.of(inner, kind)
    model = residual(made, rng) if beside else nn.Sequential(made, nn.Tanh())
    found = subject.of(model, "m", "k", torch.randn(8, 17, generator=rng), rng)
    assert "differentiates" in found.offers
    assert (found.surrogate is None) == flows


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("config", ["Int8DynamicActivationInt8WeightConfig", "Int8WeightOnlyConfig"])
def test_so_it_is_for_models_that_torchao_made_itself(config, beside, rng):
    with kernel._quiet():
        from torchao import quantization
    inner = nn.Linear(17, 17)
    inner.weight.data = torch.randn(17, 17, generator=rng) / 4
    inner.requires_grad_(requires_grad=False)
    inside = nn.Sequential(inner)
    quantization.quantize_(inside, getattr(quantization, config)(set_inductor_config=False))
    model = residual(inside, rng) if beside else inside
    found = subject.of(model, "m", "k", torch.randn(8, 17, generator=rng), rng)
    assert "differentiates" in found.offers
    assert (found.surrogate is None) == (config == "Int8WeightOnlyConfig")


@pytest.mark.parametrize("kind", HERE)
def test_what_it_says_of_itself(kind, layer):
    model = Kernel.of(layer, kind)
    assert [tuple(w.shape) for w in model.weights()] == [(5, 17), (5,)]
    assert ("gradients are dropped" in model.remark()) == (kind == "int8_dynamic")
    assert not model.straight_through


def test_where_it_can_run():
    assert [lacking(kind, CPU) for kind in kernel.MODES] == ["", "", *["a model on cpu"] * 3]
    assert suits("int8_dynamic", nn.Linear(3, 5))
    assert not suits("int8_dynamic", nn.Linear(3, 5).half())
    assert not suits("int8_dynamic", nn.Conv2d(1, 1, 1))
    assert not suits("float8_dynamic", nn.Linear(16, 5))
    assert suits("int4_weight", nn.Linear(64, 5), 32)
    assert not suits("int4_weight", nn.Linear(64, 5), 48)


@pytest.mark.parametrize(
    ("capability", "int4", "float8"), [((7, 5), False, False), ((8, 0), True, False), ((9, 0), True, True)]
)
def test_capability_decides(capability, int4, float8, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    cuda = torch.device("cuda")
    assert (lacking("int4_weight", cuda) == "") == int4
    assert (lacking("float8_dynamic", cuda) == "") == float8
    assert lacking("float8_weight", cuda) in {"", f"CUDA capability {capability[0]}.{capability[1]}"}


@pytest.mark.parametrize(
    ("field", "value"), [("mode", "int3"), ("stored", {"qdata": [[5, 17], "load"]}), ("shape", 3), ("group", [])]
)
def test_a_damaged_description_is_refused(field, value, layer):
    tensors, spec = codec.encode(Kernel.of(layer, "int8_weight"))
    del spec["tree"]["stored" if field == "group" else field]
    with pytest.raises(ArtifactError, match="damaged|fit"):
        codec.decode(tensors, {**spec, "tree": {**spec["tree"], field: value}})


@pytest.mark.parametrize("kind", HERE)
@pytest.mark.parametrize("bias", [True, False])
def test_what_exporters_are_shown_is_the_kernel_up_to_rounding(kind, bias, layer, rng, monkeypatch):
    if not bias:
        layer.bias = None
    made, x = Kernel.of(layer, kind), torch.randn(2, 3, 17, generator=rng)
    said = made(x)
    x[0, 0] = 0  # a row of zeros has the smallest step and not none
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    shown = made(x)
    assert torch.allclose(shown[0, 1:], said[0, 1:], atol=1e-6)
    assert torch.allclose(shown[1], said[1], atol=1e-6)
    assert torch.equal(shown[0, 0], layer.bias if bias else torch.zeros(5))


@pytest.mark.known_answer
def test_bytes_mean_what_torch_says_they_mean():
    code = torch.arange(256, dtype=torch.uint8)
    want = code.view(torch.float8_e4m3fn).float()
    assert torch.equal(kernel._float8(code)[want.isfinite()], want[want.isfinite()])
    assert want.isfinite().sum() == 254


def test_a_mode_that_runs_on_cuda_alone_is_not_exported(monkeypatch):
    made = Kernel(
        "float8_dynamic", (16, 16), {"qdata": [[16, 16], "float8_e4m3fn"], "scale": [[16, 1], "float32"]}, bias=False
    )
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    with pytest.raises(ArtifactError, match="float8_dynamic runs on CUDA only"):
        made(torch.zeros(1, 16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
@pytest.mark.parametrize("mode", HERE)
def test_an_empty_batch_is_answered_as_torch_answers_it(mode, shape, dtype, layer):
    x = torch.zeros(*shape, 17, dtype=dtype)
    got, want = Kernel.of(layer, mode)(x), copy.deepcopy(layer).to(dtype)(x)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
