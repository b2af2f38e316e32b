"""A model in an ONNX file, run by onnxruntime on one thread: it only predicts.

Of quantized files onnxruntime is the arithmetic: what it answers is what is measured. One whose activations are scaled
as they come takes the scale of a whole batch (`whatelse.models.neighbours`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import ArtifactError, MissingExtraError, TaskError, in_short
from whatelse.models import foreign, onnx_stored, onnx_work
from whatelse.tasks.task import Task

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}
_WHOLE = {np.int64, np.int32, np.uint8}
_FLOATS, _LABELS = ("tensor(float)", "tensor(double)", "tensor(float16)"), ("tensor(int64)", "tensor(int32)")
_QUIET = 4  # of onnxruntime's five levels: what it raises is said, what it logs is not


class OnnxScores:
    """A session of onnxruntime, asked for class scores.

    Attributes:
        key: SHA-256 of the file and of those that hold its external data.
        told: What a reader must know of it.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self._name, self._classes = path.name, task.classes
        self._example = task.test.inputs[:1]
        self._stored = onnx_stored.read(path)
        foreign.check(path, sum(self._stored.sizes), self._stored.files[1:])
        self.key = foreign.key_of("onnx", self._stored.files)
        self._session, version = _session(path)
        try:
            self._inputs = _inputs(self._session.get_inputs(), task, self._name)
            self._fixed = _fixed(self._session.get_inputs())
            self._output = _output(self._session.get_outputs(), task.classes, self._name)
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{path}: names of its inputs or outputs are no UTF-8 text; it is damaged") from error
        last = self._stored.last.get(self._output.name, "")
        self._made = last if last in foreign.READ and self._output.type in _FLOATS else ""
        self.told = tuple(self._remarks(version))

    @property
    def most(self) -> int:
        """Examples of a batch, where that is fixed; else 0."""
        return self._fixed

    def scores(self, inputs: Tensor) -> Tensor:
        """Return class scores of inputs, ``(N, classes)``, or what stands in their place.

        Args:
            inputs: ``(N, ...)``.

        Raises:
            TaskError: They cannot be handed over, or the answer holds no scores of them.
        """
        return foreign.in_batches(self._asked, inputs.detach(), self._fixed, self._name, fixed=True)

    @property
    def mixes(self) -> bool:
        """Whether it takes the scale of its activations from the whole batch."""
        return self._stored.dynamic

    def stored_bytes(self) -> Sequence[int]:
        """Return the bytes of every array in the file and its external data."""
        return self._stored.sizes

    def stored_weights(self) -> Sequence[int]:
        """Return how many weights are not zero, of every array of weights.

        Raises:
            NotMeasurableError: It cannot be told what its weights are.
        """
        return self._stored.counted(self._name)

    def multiplied(self) -> Sequence[int]:
        """Return the multiply-accumulates of every matrix product and convolution, for one example.

        Raises:
            NotMeasurableError: The file runs an operation of which that is not known.
        """
        count = self._fixed or 1
        x = self._example.expand(count, *self._example.shape[1:])
        given = {name: _handed(x, kind, what, self._name) for name, kind, what in self._inputs}
        return onnx_work.counted(self._stored.files, given, count, self._name)

    def _remarks(self, version: str) -> list[str]:
        told = [f"{self._name} is run by onnxruntime {version} on one thread, and only predicts"]
        if self._fixed:
            told.append(f"{self._name} takes {self._fixed} examples at once: a last batch is filled up by its last one")
        if self._made:
            told.append(f"{self._name} ends in a {self._made.lower()}: {foreign.READ[self._made]}")
        if self._output.type in _LABELS:
            told.append(f"{self._name} names a class and gives no scores: its confidences mean nothing")
        return told

    def _asked(self, x: Tensor) -> Tensor:
        given = {name: _handed(x, kind, what, self._name) for name, kind, what in self._inputs}
        try:
            (found,) = self._session.run([self._output.name], given)
        except Exception as error:  # onnxruntime raises errors of its own, none of which it shows
            raise TaskError(
                f"{self._name} cannot answer inputs of shape {tuple(x.shape)}: {in_short(error)}"
            ) from error
        if isinstance(found, list):
            found = _of_maps(found, self._classes, self._name)
        if self._output.type in _LABELS:
            return foreign.one_each(torch.from_numpy(found).flatten(), self._classes, self._name)
        return foreign.read(self._made, torch.from_numpy(np.ascontiguousarray(found)))


def _session(path: Path) -> tuple[Any, str]:
    """Return a session on one thread of the processor, and the version of onnxruntime.

    Raises:
        ArtifactError: It cannot run the file.
        MissingExtraError: onnxruntime is not installed.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(f"{path} needs onnxruntime: pip install 'whatelse[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = _QUIET
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of its own, none of which it shows
        raise ArtifactError(f"{path}: onnxruntime cannot run it: {in_short(error)}") from error
    return session, onnxruntime.__version__


def _inputs(wanted: Sequence[Any], task: Task, name: str) -> list[tuple[str, type, str]]:
    """Return of every input its name, its type, and whether it is the ``inputs``, their ``mask`` or ``zeros``.

    Raises:
        TaskError: There are other inputs than the task can give.
    """
    found: list[tuple[str, type, str]] = []
    for one in wanted:
        what = "inputs" if len(wanted) == 1 else foreign.of_text(one.name) if task.vocabulary else ""
        if one.type not in _TYPES or not what:
            every = ", ".join(f"{other.name} {other.type}" for other in wanted)
            allowed = "one of numbers is needed, or of texts input_ids with attention_mask and token_type_ids"
            raise TaskError(f"{name} takes the inputs {every}; {allowed}")
        found.append((one.name, _TYPES[one.type], what))
        sizes = [size if isinstance(size, int) else None for size in one.shape[1:]]
        if one.shape:
            foreign.check_shape(name, sizes, task.shape)
    return found


def _fixed(wanted: Sequence[Any]) -> int:
    sizes = {one.shape[0] for one in wanted if one.shape}
    return next((size for size in sizes if isinstance(size, int)), 0)


def _output(given: Sequence[Any], classes: int, name: str) -> Any:  # noqa: ANN401 - of onnxruntime
    """Return the output that holds scores.

    Raises:
        TaskError: None can be told from the others.
    """
    ranks = {o.name: [o.type in _FLOATS, o.type.startswith("seq(map"), o.type in _LABELS] for o in given}
    told = [foreign.Output(o.name, ranks[o.name].index(True), o.type, o.shape) for o in given if any(ranks[o.name])]
    return given[[o.name for o in given].index(foreign.scores_of(told, classes, name).name)]


def _handed(x: Tensor, kind: type, what: str, name: str) -> Any:  # noqa: ANN401 - an array
    """Return inputs as an input of the file takes them.

    Raises:
        TaskError: It takes whole numbers, and these are none.
    """
    if what == "mask":
        return (x != 0).numpy().astype(kind)
    if what == "zeros":
        return np.zeros(tuple(x.shape), kind)
    if kind in _WHOLE and x.is_floating_point() and not torch.equal(x, x.round()):
        kinds = np.dtype(kind).name
        told = "; of pixels from 0 to 1 say --pixels MODEL=uint8" if kind == np.uint8 else ""
        raise TaskError(
            f"{name} takes inputs of type {kinds}; the data are floating-point numbers between whole ones{told}"
        )
    return np.ascontiguousarray(x.numpy().astype(kind))


def _of_maps(found: list[dict[Any, float]], classes: int, name: str) -> Any:  # noqa: ANN401 - an array
    """Return what a converter of scikit-learn wraps by class, a column for each in their order.

    Raises:
        TaskError: They are of other classes.
    """
    named = sorted(found[0])
    if len(named) != classes or (isinstance(named[0], int) and named != list(range(classes))):
        raise TaskError(
            f"{name} answers for the classes {', '.join(map(str, named))}; the task has {classes}, 0 to {classes - 1}"
        )
    return np.array([[row[key] for key in named] for row in found], np.float32)
