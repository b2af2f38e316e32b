"""Quantization as a user of torchao and onnxruntime would write it, and rounding by hand where neither serves."""

from __future__ import annotations

import contextlib
import io
import tempfile
from copy import deepcopy
from pathlib import Path

import onnxruntime
import torch
from onnxruntime import quantization as ort
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn
from torchao.quantization import IntxWeightOnlyConfig, PerAxis, PerGroup, quantize_
from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig
from torchao.quantization.quant_primitives import MappingType

from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, fit, hard_labels


class Session(nn.Module):
    """An ONNX file run by onnxruntime on one thread."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits.

        Args:
            x: ``(N, ...)``.
        """
        return torch.from_numpy(self.session.run(None, {self.name: x.numpy()})[0])


class _Reader(ort.CalibrationDataReader):
    def __init__(self, name: str, inputs: Tensor) -> None:
        self.batches = iter([{name: part.numpy()} for part in torch.split(inputs, 64)])

    def get_next(self) -> dict | None:
        return next(self.batches, None)


def onnx_static(model: nn.Module, task: Task) -> Session:
    """Return the model quantized by onnxruntime: static, QDQ, per channel.

    Args:
        model: What to quantize.
        task: Its calibration split sets the ranges.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder) / f"{n}.onnx" for n in ("plain", "ready", "small"))
        _export(model, plain, task)
        quant_pre_process(plain, ready)
        reader = _Reader(Session(plain).name, task.calibration.inputs)
        ort.quantize_static(ready, small, reader, quant_format=ort.QuantFormat.QDQ, per_channel=True)
        return Session(small)


def onnx_dynamic(model: nn.Module, task: Task, kinds: tuple[str, ...] = ()) -> Session:
    """Return the model quantized by onnxruntime: dynamic, per channel.

    Args:
        model: What to quantize.
        task: Two inputs serve to trace the model.
        kinds: Operators to quantize; all that it can where empty.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder) / f"{n}.onnx" for n in ("plain", "ready", "small"))
        _export(model, plain, task)
        quant_pre_process(plain, ready)
        ort.quantize_dynamic(ready, small, op_types_to_quantize=list(kinds) or None, per_channel=True)
        return Session(small)


def torchao(model: nn.Module, config: object) -> nn.Module:
    """Return a copy quantized by torchao.

    Args:
        model: What to quantize.
        config: One of torchao's.
    """
    small = deepcopy(model)
    quantize_(small, config)
    return small


def intx(bits: int, group: int, *, symmetric: bool) -> IntxWeightOnlyConfig:
    """Return torchao's configuration for weights of few bits.

    Args:
        bits: Bits a weight.
        group: Inputs that share a scale; 0 for one scale an output.
        symmetric: False gives every scale a zero point.
    """
    return IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{bits}"),
        granularity=PerGroup(group) if group else PerAxis(0),
        mapping_type=MappingType.SYMMETRIC if symmetric else MappingType.ASYMMETRIC,
    )


def torchao_aware(model: nn.Module, task: Task, seed: int, bits: int, schedule: Schedule) -> nn.Module:
    """Return a copy trained with torchao's fake quantization in groups of 32, then quantized.

    Args:
        model: What to quantize.
        task: Its train split.
        seed: Decides the order of the examples.
        bits: Bits a weight.
        schedule: How long and how hard.
    """
    small = deepcopy(model)
    fake = IntxFakeQuantizeConfig(getattr(torch, f"int{bits}"), group_size=32, is_symmetric=True)
    quantize_(small, QATConfig(weight_config=fake, step="prepare"))
    rng = torch.Generator().manual_seed(1000 * seed)
    fit(small, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    quantize_(small, QATConfig(step="convert"))
    quantize_(small, intx(bits, 32, symmetric=True))
    return small


@torch.no_grad()
def nearest(model: nn.Module, bits: int) -> nn.Module:
    """Return a copy with every weight rounded to the nearest of a symmetric grid, one scale an output; kept as floats.

    Args:
        model: What to quantize.
        bits: Bits a weight.
    """
    small, top = deepcopy(model), 2 ** (bits - 1) - 1
    for layer in small.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rows = layer.weight.flatten(1)
            scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / top
            layer.weight.copy_(((rows / scale).round().clamp(-top, top) * scale).view_as(layer.weight))
    return small


def _export(model: nn.Module, path: Path, task: Task) -> None:
    any_batch = ({0: torch.export.Dim.DYNAMIC},)
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            model,
            (task.calibration.inputs[:2],),
            path,
            dynamo=True,
            dynamic_shapes=any_batch,
            external_data=False,
            verbose=False,
        )
