"""A model in the formats of others: ONNX and PyTorch's exported programs, each read back and held against the model."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Callable, Generator
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from whatelse.errors import ArtifactError, MissingExtraError

# Largest difference of an output, as a share of the largest output, that another runtime's arithmetic may make.
TOLERANCE = 1e-4
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


def onnx(model: nn.Module, path: Path, inputs: Tensor) -> float:
    """Write ``model.onnx`` for batches of any size, run it in onnxruntime, and return the largest difference.

    Args:
        model: In evaluation mode.
        path: The file.
        inputs: ``(N, ...)``, two or more.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        ArtifactError: The model cannot be exported, or says something else in onnxruntime.
    """
    check("onnx")
    import onnxruntime  # noqa: PLC0415 - an extra

    with _exporting(model, "onnx"):
        torch.onnx.export(
            model, (inputs,), path, dynamo=True, dynamic_shapes=_any_batch(), external_data=False, verbose=False
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return _agree("model.onnx", model, inputs, lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]))


def program(model: nn.Module, path: Path, inputs: Tensor) -> float:
    """Write ``model.pt2`` for batches of any size, load it again, and return the largest difference.

    Args:
        model: In evaluation mode.
        path: The file.
        inputs: ``(N, ...)``, two or more.

    Raises:
        ArtifactError: The model cannot be exported, or says something else after loading.
    """
    with _exporting(model, "pt2"):
        torch.export.save(torch.export.export(model, (inputs,), dynamic_shapes=_any_batch()), path)
    return _agree("model.pt2", model, inputs, torch.export.load(path).module())


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


# What `check` takes, and what writes it.
FORMATS: dict[str, Callable[[nn.Module, Path, Tensor], float]] = {"onnx": onnx, "pt2": program}
