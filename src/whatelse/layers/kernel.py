"""Linear layers that torchao's kernels compute from weights in few bits, kept as plain tensors."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import ArtifactError, MissingExtraError
from whatelse.layers.compressed import CompressedLayer, linear
from whatelse.layers.exported import Dequantizing, Integers
from whatelse.layers.quantized import UNROUNDED, Quantized

# What each mode computes in; the layer hands its inputs over in this type and returns them in their own.
_COMPUTED = {
    "int8_dynamic": torch.float32,
    "int8_weight": torch.float32,
    "int4_weight": torch.bfloat16,
    "float8_dynamic": torch.bfloat16,
    "float8_weight": torch.float32,
}
MODES = tuple(_COMPUTED)
_CUDA = {"int4_weight", "float8_dynamic"}  # Kernels of CUDA alone, which no exporter knows.
_FLOATS = {"int8_weight", "float8_weight"}  # Weights are multiplied as the floats that they stand for.
_REMARKS = {
    "int8_dynamic": "an int8 kernel multiplies, activations rounded a row at a time; input gradients are dropped",
    "int8_weight": "stored as int8, multiplied as floats; activations are not rounded",
    "int4_weight": "an int4 kernel multiplies; activations are bfloat16",
    "float8_dynamic": "a float8 kernel multiplies, activations rounded a row at a time",
    "float8_weight": "stored as float8, multiplied as floats; activations are not rounded",
}


class Kernel(CompressedLayer):
    """A linear layer whose weight is one of torchao's quantized tensors, put together anew for every pass.

    Its state is the plain tensors that such a weight consists of, so that it is saved without pickle; float8 ones are
    kept as their bytes, which no conversion of the whole model touches.

    Exporters know neither torchao's tensors nor its kernels, so that to them the layer shows the same numbers in plain
    operations: codes and rounded activations multiplied as floats, then scaled. Outputs differ by the rounding of
    float32 sums. The modes of CUDA kernels alone, ``int4_weight`` and ``float8_dynamic``, are not exported.
    """

    bias: Tensor | None

    def __init__(
        self, mode: str, shape: Sequence[int], stored: Mapping[str, Sequence[Any]], *, bias: bool, group: int = 0
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"no kernel {mode!r}; there are: {', '.join(MODES)}")
        self.mode, self.shape, self.group = mode, tuple(shape), group
        kept = sum(math.prod(size) * _dtype(str(dtype)).itemsize for size, dtype in stored.values())
        if math.prod(self.shape) > 2 * kept:
            raise ValueError(f"{kept} bytes stand for no weight of shape {self.shape}; a code has 4 bits or more")
        self.drops_gradients = mode == "int8_dynamic"
        self.stored = {name: (tuple(size), str(dtype)) for name, (size, dtype) in stored.items()}
        self.register_buffer("bias", torch.zeros(self.shape[0]) if bias else None)
        for name, (size, dtype) in self.stored.items():
            self.register_buffer(name, torch.zeros(size, dtype=_kept(_dtype(dtype))))

    @classmethod
    def of(cls, layer: nn.Linear, mode: str, group: int = 0) -> Kernel:
        """Return the layer with its weight rounded by torchao.

        Args:
            layer: One that `suits` the mode.
            mode: One of `MODES`.
            group: Inputs that share a scale, for the mode of four bits.
        """
        weight = _quantized(layer.weight.detach(), mode, group)
        names, _ = weight.__tensor_flatten__()  # type: ignore[attr-defined] # of torchao's tensors
        tensors: dict[str, Tensor] = {name: getattr(weight, name) for name in names}
        stored = {name: (tuple(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in tensors.items()}
        made = cls(mode, layer.weight.shape, stored, bias=layer.bias is not None, group=group)
        made.to(layer.weight.device)
        with torch.no_grad():
            for name, tensor in tensors.items():
                made.get_buffer(name).copy_(tensor.view(_kept(tensor.dtype)))
            if made.bias is not None:
                made.bias.copy_(layer.bias)
        return made

    def arguments(self) -> dict[str, Any]:
        """Return its mode, its shape and those of the tensors that it keeps."""
        stored = {name: [list(size), dtype] for name, (size, dtype) in self.stored.items()}
        fixed = {"mode": self.mode, "shape": list(self.shape), "stored": stored}
        return {**fixed, "bias": self.bias is not None, "group": self.group}

    def weights(self) -> list[Tensor]:
        """Return the weight as floats, and the bias."""
        if self.mode == "int4_weight":  # the one weight that cannot be asked for
            one = torch.eye(self.shape[1], device=self._device(), dtype=_COMPUTED[self.mode])
            weight = functional.linear(one, self._weight()).T
        else:
            weight = self._weight().dequantize()
        return [weight] if self.bias is None else [weight, self.bias]

    def remark(self) -> str:
        """Say what multiplies, and what becomes of gradients."""
        return _REMARKS[self.mode]

    def plain(self) -> nn.Module | None:
        """Return the layer with its weight as floats; None where its kernel rounds what enters."""
        return linear(self._weight().dequantize(), self.bias) if self.mode in _FLOATS else None

    def coded(self) -> Quantized | None:
        """Return the layer as integers with scales; None of every mode but that of eight bits, inputs as they are."""
        if self.mode != "int8_weight":
            return None
        made = Quantized("Linear", self.shape, 8, UNROUNDED, bias=self.bias is not None)
        with torch.no_grad():
            made.scale.copy_(self.get_buffer("scale").flatten())
            if made.bias is not None and self.bias is not None:
                made.bias.copy_(self.bias)
            made.take(self.get_buffer("qdata"))
        return made.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output in the type of its input.

        Args:
            x: ``(..., in)``.
        """
        dtype = _COMPUTED[self.mode]
        bias = None if self.bias is None else self.bias.to(dtype)
        if torch.compiler.is_exporting():
            out = self._plain(x.to(dtype))
            return (out if bias is None else out + bias).to(x.dtype)
        if not x.numel():  # kernels refuse an empty batch, as an expert gets to which nothing is sent
            return x.new_zeros((*x.shape[:-1], self.shape[0]))
        return functional.linear(x.to(dtype), self._weight(), bias).to(x.dtype)

    def exported(self, kind: str) -> nn.Module:
        """Return itself, or for ONNX a form whose codes the exporter does not turn into floats.

        Args:
            kind: ``onnx`` or ``pt2``.
        """
        if kind != "onnx" or self.mode in _CUDA:
            return self
        made, codes = deepcopy(self), self.get_buffer("qdata")
        for name in self.stored:
            delattr(made, name)
        held = codes if codes.dtype == torch.int8 else codes.view(torch.float8_e4m3fn)
        return Dequantizing(made, Integers(held, self.get_buffer("scale").flatten(), None, 0))

    def computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the output for rounded inputs, with a weight and a bias from outside, in plain operations.

        Args:
            x: ``(..., in)``.
            weight: Of its shape, float32.
            bias: ``(out,)``.
        """
        if self.mode != "int8_dynamic":
            return functional.linear(x, weight, bias)
        rounded, step = _rows(x)
        out = functional.linear(rounded, weight) * step
        return out if bias is None else out + bias

    def _plain(self, x: Tensor) -> Tensor:
        """Return the output without bias in operations that exporters know.

        Raises:
            ArtifactError: The mode has none.
        """
        if self.mode in _CUDA:
            raise ArtifactError(f"the kernel {self.mode} runs on CUDA only and cannot be exported")
        codes = self.get_buffer("qdata")
        codes = codes.to(x.dtype) if codes.dtype == torch.int8 else _float8(codes)
        scale = self.get_buffer("scale").to(x.dtype).flatten()
        if self.mode != "int8_dynamic":
            return functional.linear(x, codes) * scale
        rounded, step = _rows(x)
        return functional.linear(rounded, codes) * step * scale

    def _device(self) -> torch.device:
        return self.get_buffer(next(iter(self.stored))).device

    def _weight(self) -> Tensor:
        kind, context = _template(self.mode, self.shape, self.group, self._device())
        tensors = {}
        for name, (_, dtype) in self.stored.items():
            wanted = _dtype(dtype)
            # Converted back, as `double()` on a whole model widens scales, which kernels do not take.
            tensors[name] = self.get_buffer(name).to(_kept(wanted)).view(wanted)
        weight: Tensor = kind.__tensor_unflatten__(tensors, context, None, None)
        return weight


def suits(mode: str, layer: nn.Module, group: int = 0) -> bool:
    """Return whether a kernel takes a layer.

    Args:
        mode: One of `MODES`.
        layer: Any layer.
        group: Inputs that share a scale, for the mode of four bits.
    """
    if not isinstance(layer, nn.Linear) or layer.weight.dtype != torch.float32:
        return False
    if mode == "int4_weight":
        return group in {32, 64, 128, 256} and layer.in_features % group == 0
    return mode != "float8_dynamic" or (layer.in_features % 16 == 0 and layer.out_features % 16 == 0)


def lacking(mode: str, device: torch.device) -> str:
    """Return what is found where a device cannot compute in a mode; nothing where it can.

    Four bits ask for CUDA capability 8.0, float8 for 8.9; eight bits run anywhere.

    Args:
        mode: One of `MODES`.
        device: Where the model is.
    """
    if mode.startswith("int8"):
        return ""
    if device.type != "cuda":
        return f"a model on {device.type}"
    have = torch.cuda.get_device_capability(device)
    need = (8, 0) if mode == "int4_weight" else (8, 9)
    return "" if have >= need else f"CUDA capability {have[0]}.{have[1]}"


def _rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return inputs in whole steps of 8 bits, and the step of every row."""
    step = (x.abs().amax(-1, keepdim=True) / 127.5).clamp(min=torch.finfo(torch.float32).eps)
    return (x * (1 / step)).round().clamp(-128, 127), step


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise TypeError(f"torch has no type {name!r}")
    return found


def _kept(dtype: torch.dtype) -> torch.dtype:
    return torch.uint8 if dtype in {torch.float8_e4m3fn, torch.float8_e5m2} else dtype


def _float8(code: Tensor) -> Tensor:
    """Return what bytes mean as float8_e4m3fn, by arithmetic: ONNX cannot look at bytes as another type."""
    whole = code.to(torch.int32)
    sign, exponent, mantissa = 1 - 2 * (whole // 128), whole // 8 % 16, whole % 8 / 8
    normal = (1 + mantissa) * torch.exp2(exponent.to(torch.float32) - 7)
    return sign * torch.where(exponent == 0, mantissa / 64, normal)


@lru_cache(maxsize=256)
def _template(mode: str, shape: tuple[int, int], group: int, device: torch.device) -> tuple[Any, Any]:
    """Return torchao's type of weight for a shape and what it holds besides tensors."""
    weight = _quantized(torch.zeros(shape, device=device), mode, group)
    return type(weight), weight.__tensor_flatten__()[1]  # type: ignore[attr-defined] # of torchao's tensors


def _quantized(weight: Tensor, mode: str, group: int) -> Tensor:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.to(_COMPUTED[mode]), requires_grad=False)
    with _quiet():
        try:
            from torchao import quantization  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise MissingExtraError("kernels of few bits need torchao: pip install 'whatelse[kernels]'") from error
        quantization.quantize_(layer, _config(mode, group, quantization))
    made = layer.weight.data
    assert type(made) is not Tensor, f"torchao left a weight of shape {tuple(weight.shape)} as it was"
    return made


def _config(mode: str, group: int, torchao: Any) -> Any:  # noqa: ANN401 - an extra's module and its configuration
    if mode == "int8_dynamic":
        return torchao.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
    if mode == "int8_weight":
        return torchao.Int8WeightOnlyConfig(set_inductor_config=False)
    if mode == "float8_weight":
        return torchao.Float8WeightOnlyConfig(set_inductor_config=False)
    if mode == "float8_dynamic":
        return torchao.Float8DynamicActivationFloat8WeightConfig(
            granularity=torchao.PerRow(), set_inductor_config=False
        )
    return torchao.Int4WeightOnlyConfig(
        group_size=group, int4_packing_format="tile_packed_to_4d", set_inductor_config=False
    )


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Keep back what torchao warns and logs on every import, whatever the machine."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
