"""A model in the formats of others: ONNX and PyTorch's exported programs, each read back and held against the model."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import math
import re
import tempfile
import warnings
from collections.abc import Callable, Generator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.errors import ArtifactError, MissingExtraError
from whatelse.layers.compressed import CompressedLayer

# Largest difference of an output, as a share of the largest output, that another runtime's arithmetic may make.
TOLERANCE = 1e-4
_OPSET = 21  # The first whose DequantizeLinear knows blocks and four bits.
_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def check(kind: str) -> None:
    """Refuse a format whose packages are absent.

    Args:
        kind: ``onnx`` or ``pt2``.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    for name in ("onnx", "onnxruntime", "onnxscript") if kind == "onnx" else ():
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"--onnx needs {name}: pip install 'whatelse[onnx]'")


def write(kind: str, model: nn.Module, path: Path, inputs: Tensor) -> float:
    """Write a model in a format of others for batches of any size, run the file, and return the largest difference.

    Layers of this toolkit are written with their codes where the format has a place for them. Where the file then says
    something else, or cannot be written so, they are written as floats: `held` tells which it was.

    Args:
        kind: ``onnx`` or ``pt2``.
        model: In evaluation mode.
        path: The file.
        inputs: ``(N, ...)``, two or more.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        ArtifactError: The model cannot be exported, or says something else in the format's own runtime.
    """
    check(kind)
    coded = _coded(model, kind)
    if coded is not None:
        with contextlib.suppress(ArtifactError):
            return _proven(kind, coded, model, path, inputs)
    return _proven(kind, model, model, path, inputs)


def size(kind: str, model: nn.Module, inputs: Tensor) -> int:
    """Return how many bytes a model takes in a format of others, written as `write` does and then removed.

    Args:
        kind: ``onnx`` or ``pt2``.
        model: In evaluation mode.
        inputs: ``(N, ...)``, two or more.

    Raises:
        ArtifactError: The model cannot be exported.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{kind}"
        with _exporting(model, kind):
            FORMATS[kind].export(_coded(model, kind) or model, path, inputs)
        return path.stat().st_size


def held(kind: str, path: Path) -> tuple[int, int]:
    """Return how many bytes of a file are weights stored as floating-point numbers, and how many are numbers at all.

    What else there is in it is the graph: the operations, their names, and the container.

    Args:
        kind: ``onnx`` or ``pt2``.
        path: What `write` wrote.
    """
    return FORMATS[kind].held(path)


def _proven(kind: str, shown: nn.Module, model: nn.Module, path: Path, inputs: Tensor) -> float:
    """Write what the exporter is shown, and return how far the file's answers are from the model's.

    Raises:
        ArtifactError: It cannot be exported or run, or the answers differ.
    """
    with _exporting(model, kind):
        FORMATS[kind].export(shown, path, inputs)
        return _agree(path.name, model, inputs, FORMATS[kind].run(path))


def _coded(model: nn.Module, kind: str) -> nn.Module | None:
    """Return a copy whose layers show their codes to the exporter; None where no layer has any to show."""
    made, shown = deepcopy(model), False
    for name, part in list(made.named_modules(remove_duplicate=False)):
        stand_in = part.exported(kind) if isinstance(part, CompressedLayer) else part
        if stand_in is not part:
            shown = True
            made = _put(made, name, stand_in)
    return made.eval() if shown else None


def _put(model: nn.Module, name: str, part: nn.Module) -> nn.Module:
    if not name:
        return part
    model.set_submodule(name, part)
    return model


def _export_onnx(model: nn.Module, path: Path, inputs: Tensor) -> None:
    torch.onnx.export(
        *(model, (inputs,), path),
        dynamo=True,
        opset_version=_OPSET,
        dynamic_shapes=_any_batch(),
        external_data=False,
        verbose=False,
    )
    _narrow(path)


def _export_program(model: nn.Module, path: Path, inputs: Tensor) -> None:
    made = torch.export.export(model, (inputs,), dynamic_shapes=_any_batch())
    made.example_inputs = None  # they would be written into the file, and are calibration examples
    for node in made.graph.nodes:
        node.meta.pop("stack_trace", None)  # names of files on this machine, as large as a small model
    torch.export.save(made, path)


def _narrow(path: Path) -> None:
    """Store integers of a byte that fit into four bits as such, where `DequantizeLinear` reads them."""
    import onnx  # noqa: PLC0415 - an extra

    model = onnx.load(path)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    others = {name for node in model.graph.node if node.op_type != "DequantizeLinear" for name in node.input}
    for node in readers:
        mine = [stored.get(name) for name in (node.input[0], *node.input[2:])]
        if all(t is not None and t.name not in others and _fits(t) for t in mine):
            for tensor in mine:
                _halve(tensor)
    onnx.save(model, path)


def _fits(tensor: Any) -> bool:  # noqa: ANN401 - a message of an extra's
    from onnx import TensorProto, numpy_helper  # noqa: PLC0415 - an extra

    if tensor.data_type not in {TensorProto.INT8, TensorProto.UINT8}:
        return False
    values = numpy_helper.to_array(tensor)
    low, high = (-8, 7) if tensor.data_type == TensorProto.INT8 else (0, 15)
    return bool(values.min() >= low and values.max() <= high)


def _halve(tensor: Any) -> None:  # noqa: ANN401 - a message of an extra's
    from onnx import TensorProto, numpy_helper  # noqa: PLC0415 - an extra

    codes = numpy_helper.to_array(tensor).ravel().astype(np.uint8) & 15
    codes = np.append(codes, np.zeros(len(codes) % 2, np.uint8))
    kind = TensorProto.INT4 if tensor.data_type == TensorProto.INT8 else TensorProto.UINT4
    packed = (codes[::2] | codes[1::2] << 4).tobytes()
    tensor.CopyFrom(TensorProto(name=tensor.name, dims=tensor.dims, data_type=kind, raw_data=packed))


def _run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime  # noqa: PLC0415 - an extra

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _run_program(path: Path) -> Callable[[Tensor], Tensor]:
    run: Callable[[Tensor], Tensor] = torch.export.load(path).module()
    return run


def _held_onnx(path: Path) -> tuple[int, int]:
    import onnx  # noqa: PLC0415 - an extra

    kinds = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.DOUBLE: 8}
    kinds |= dict.fromkeys((onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16), 2)
    stored = onnx.load(path).graph.initializer
    return sum(kinds.get(t.data_type, 0) * math.prod(t.dims) for t in stored), sum(t.ByteSize() for t in stored)


def _held_program(path: Path) -> tuple[int, int]:
    made = torch.export.load(path)
    stored = [t for t in (*made.state_dict.values(), *made.constants.values()) if isinstance(t, Tensor)]
    sizes = [(t.numel() * t.element_size(), t.is_floating_point()) for t in stored]
    return sum(size for size, floating in sizes if floating), sum(size for size, _ in sizes)


def _any_batch() -> tuple[dict[int, object]]:
    return ({0: torch.export.Dim.DYNAMIC},)


@contextlib.contextmanager
def _exporting(model: nn.Module, kind: str) -> Generator[None, None, None]:
    """Keep the exporters' chatter away; what they raise becomes one line.

    Raises:
        ArtifactError: The exporter refused the model.
    """
    logging.disable(logging.WARNING)
    try:
        quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        with warnings.catch_warnings(), quiet[0], quiet[1]:
            warnings.simplefilter("ignore")
            yield
    except ArtifactError:
        raise
    except Exception as error:  # exporters raise errors of many kinds
        raise ArtifactError(f"cannot export a {type(model).__name__} as {kind}: {_reason(error)}") from error
    finally:
        logging.disable(logging.NOTSET)


def _reason(error: BaseException) -> str:
    """Return in one line what first went wrong; exporters wrap it in advice, and color that."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(_COLORS.sub("", str(error)).split())[:200] or type(error).__name__


@torch.no_grad()
def _agree(name: str, model: nn.Module, inputs: Tensor, run: Callable[[Tensor], Tensor]) -> float:
    worst = max(_apart(model(some), run(some)) for some in (inputs, inputs[: max(1, len(inputs) - 1)]))
    allowed = max(TOLERANCE, 2 * _jitter(model, inputs))
    if not worst <= allowed:
        raise ArtifactError(
            f"{name}: its outputs differ by {worst:.2g} of the largest output; {allowed:.2g} is allowed"
        )
    return worst


def _apart(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max()) / max(float(ours.abs().max()), 1e-12)


def _jitter(model: nn.Module, inputs: Tensor) -> float:
    """Return how far a change in the last digits of every number in the model moves its outputs.

    Where activations are rounded to few bits, the last digit of a sum decides now and then which level is taken, and
    no two runtimes sum in one order.
    """
    said, rng, worst = model(inputs), torch.Generator().manual_seed(0), 0.0
    for _ in range(4):
        shaken = deepcopy(model)
        for tensor in [*shaken.parameters(), *shaken.buffers()]:
            if tensor.is_floating_point():
                tensor.mul_(1 + 1e-6 * torch.randn(tensor.shape, generator=rng))
        worst = max(worst, _apart(said, shaken(inputs)))
    return worst


class Format(NamedTuple):
    """What is done in a format of others.

    Attributes:
        export: Writes a model, given the file and some inputs.
        run: Returns what the model in a file answers with.
        held: Returns how many bytes of a file are floating-point weights, and how many are numbers at all.
    """

    export: Callable[[nn.Module, Path, Tensor], None]
    run: Callable[[Path], Callable[[Tensor], Tensor]]
    held: Callable[[Path], tuple[int, int]]


FORMATS = {
    "onnx": Format(_export_onnx, _run_onnx, _held_onnx),
    "pt2": Format(_export_program, _run_program, _held_program),
}
