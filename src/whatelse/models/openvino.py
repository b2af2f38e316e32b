"""A model in OpenVINO's own format, run by its plugin for processors on one thread: it only predicts.

Where a processor has units for it the plugin computes in bfloat16 unless told otherwise; here it is told to compute in
single precision, as the model was made to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import ArtifactError, NotMeasurableError, TaskError, in_short
from whatelse.models import foreign
from whatelse.tasks.task import Task

_FLOATS = {"f32": np.float32, "f64": np.float64, "f16": np.float16}
_WHOLE = {"i64": np.int64, "i32": np.int32, "u8": np.uint8}
_CODES = {"i8", "u8", "i4", "u4", "u2", "nf4", "f8e4m3", "f8e5m2", "f4e2m1"}
# What hands weights on, and what takes numbers that are bounds and places.
_PASSED = {"Convert", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "FakeQuantize"}
_SETTINGS = {
    "FakeQuantize",
    "Reshape",
    "Transpose",
    "StridedSlice",
    "Pad",
    "Interpolate",
    "Range",
    "Power",
    "Broadcast",
}
_PRECISION = "INFERENCE_PRECISION_HINT"


class OpenVinoScores:
    """A compiled model, asked for class scores.

    Attributes:
        key: SHA-256 of both files.
        told: What a reader must know of it.
    """

    def __init__(self, path: Path, task: Task) -> None:
        import openvino  # noqa: PLC0415 - an extra

        self._name, self._classes = path.name, task.classes
        self.key = foreign.key_of("openvino", [path, path.with_suffix(".bin")])
        core = openvino.Core()
        asked = {_PRECISION: "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        try:
            self._model = core.read_model(path)
            self._run = core.compile_model(self._model, "CPU", asked)
        except Exception as error:  # a damaged file raises errors of many kinds
            raise ArtifactError(f"{path}: OpenVINO cannot run it: {in_short(error)}") from error
        self._inputs, self._fixed = _inputs(self._model.inputs, task, self._name)
        self._at, self._rank = _output(self._model.outputs, task.classes, self._name)
        made = self._model.outputs[self._at].get_node().input_value(0).get_node()
        self._made = _last(made) if _last(made) in foreign.READ and not self._rank else ""
        version = openvino.get_version().split("-")[0]
        precision = self._run.get_property(_PRECISION).get_type_name()
        self.told = tuple(self._remarks(version, precision))

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

    def stored_bytes(self) -> Sequence[int]:
        """Return the bytes of every constant."""
        return [_size(one) for one in _constants(self._model)]

    def stored_weights(self) -> Sequence[int]:
        """Return how many weights are not zero, of every constant that is multiplied or looked up by.

        Raises:
            NotMeasurableError: None is.
        """
        found = [_nonzero(one) for one in _constants(self._model) if _is_weight(one)]
        if not found:
            raise NotMeasurableError(f"needs weights that can be found; {self._name} shows none")
        return found

    def _remarks(self, version: str, precision: str) -> list[str]:
        told = [f"{self._name} is run by OpenVINO {version} on one thread in {precision}, and only predicts"]
        if self._fixed:
            told.append(f"{self._name} takes {self._fixed} examples at once: a last batch is filled up by its last one")
        if self._made:
            told.append(f"{self._name} ends in a {self._made.lower()}: {foreign.READ[self._made]}")
        if self._rank:
            told.append(f"{self._name} names a class and gives no scores: its confidences mean nothing")
        return told

    def _asked(self, x: Tensor) -> Tensor:
        given = [_handed(x, kind, what, self._name) for kind, what in self._inputs]
        try:
            found = np.array(self._run(given)[self._at])  # a copy: the next answer overwrites it
        except Exception as error:  # OpenVINO raises errors of its own
            raise TaskError(
                f"{self._name} cannot answer inputs of shape {tuple(x.shape)}: {in_short(error)}"
            ) from error
        answer = torch.from_numpy(found)
        if self._rank:
            return foreign.one_each(answer.flatten(), self._classes, self._name)
        return foreign.read(self._made, answer)


def _inputs(wanted: Sequence[Any], task: Task, name: str) -> tuple[list[tuple[str, str]], int]:
    """Return the type of every input and what it is given, and the size of a batch where that is fixed.

    Raises:
        TaskError: There are other inputs than the task can give.
    """
    found, fixed = [], 0
    for one in wanted:
        kind, called = one.get_element_type().get_type_name(), next(iter(one.names), "")
        what = "inputs" if len(wanted) == 1 else foreign.of_text(called) if task.vocabulary else ""
        if not what or kind not in {*_FLOATS, *_WHOLE}:
            every = ", ".join(f"{next(iter(o.names), '')} {o.get_element_type().get_type_name()}" for o in wanted)
            allowed = "one of numbers is needed, or of texts input_ids with attention_mask and token_type_ids"
            raise TaskError(f"{name} takes the inputs {every}; {allowed}")
        found.append((kind, what))
        shape = one.get_partial_shape()
        if shape.rank.is_static:
            sizes = [size.get_length() if size.is_static else None for size in shape]
            foreign.check_shape(name, sizes[1:], task.shape)
            fixed = sizes[0] or 0
    return found, fixed


def _output(given: Sequence[Any], classes: int, name: str) -> tuple[int, int]:
    """Return the place of the output that holds scores, and 1 where it holds classes alone.

    Raises:
        TaskError: None can be told from the others.
    """
    told = []
    for at, one in enumerate(given):
        kind, shape = one.get_element_type().get_type_name(), one.get_partial_shape()
        if kind in {*_FLOATS, *_WHOLE}:
            sizes = [size.get_length() if size.is_static else None for size in shape] if shape.rank.is_static else None
            told.append((at, foreign.Output(next(iter(one.names), f"{at}"), int(kind in _WHOLE), kind, sizes)))
    best = foreign.scores_of([o for _, o in told], classes, name)
    return next(at for at, o in told if o is best), best.rank


def _handed(x: Tensor, kind: str, what: str, name: str) -> Any:  # noqa: ANN401 - an array
    """Return inputs as an input takes them.

    Raises:
        TaskError: It takes whole numbers, and these are none.
    """
    wanted = {**_FLOATS, **_WHOLE}[kind]
    if what != "inputs":
        return ((x != 0).numpy() if what == "mask" else np.zeros(tuple(x.shape))).astype(wanted)
    if kind in _WHOLE and x.is_floating_point() and not torch.equal(x, x.round()):
        told = "; of pixels from 0 to 1 say --pixels MODEL=uint8" if kind == "u8" else ""
        raise TaskError(
            f"{name} takes inputs of type {kind}; the data are floating-point numbers between whole ones{told}"
        )
    return np.ascontiguousarray(x.numpy().astype(wanted))


def _last(node: Any) -> str:  # noqa: ANN401 - of OpenVINO
    while node.get_type_name() in _PASSED:
        node = node.input_value(0).get_node()
    return str(node.get_type_name())


def _constants(model: Any) -> Iterator[Any]:  # noqa: ANN401 - of OpenVINO
    return (node for node in model.get_ops() if node.get_type_name() == "Constant")


def _kind(constant: Any) -> str:  # noqa: ANN401 - of OpenVINO
    return str(constant.get_output_element_type(0).get_type_name())


def _size(constant: Any) -> int:  # noqa: ANN401 - of OpenVINO
    bits = constant.get_output_element_type(0).bitwidth
    return int(-(-int(np.prod(list(constant.get_output_shape(0)), dtype=np.int64)) * bits // 8))


def _users(output: Any) -> Iterator[tuple[Any, int]]:  # noqa: ANN401 - of OpenVINO
    """Yield who takes a result, also by way of what only hands it on."""
    for taken in output.get_target_inputs():
        node, at = taken.get_node(), taken.get_index()
        if node.get_type_name() in _PASSED and at == 0:
            yield from _users(node.output(0))
        else:
            yield node, at


def _is_weight(constant: Any) -> bool:  # noqa: ANN401 - of OpenVINO
    users = list(_users(constant.output(0)))
    if _kind(constant) in _CODES:
        wide = len(constant.get_output_shape(0)) > 1
        return wide and any(node.get_type_name() != "Subtract" or at == 0 for node, at in users)
    many = int(np.prod(list(constant.get_output_shape(0)), dtype=np.int64)) > 1
    return many and _kind(constant) in {*_FLOATS, "bf16"} and any(_learned(node, at) for node, at in users)


def _learned(node: Any, at: int) -> bool:  # noqa: ANN401 - of OpenVINO
    if node.get_type_name() in {"Multiply", "Subtract"}:
        return not _of_codes(node.input_value(1 - at).get_node())
    return node.get_type_name() not in _SETTINGS


def _of_codes(node: Any) -> bool:  # noqa: ANN401 - of OpenVINO
    """Return whether a result is made of codes alone: what it is multiplied by is their scale."""
    while node.get_type_name() in {*_PASSED, "Subtract"}:
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant" and _kind(node) in _CODES


def _nonzero(constant: Any) -> int:  # noqa: ANN401 - of OpenVINO
    numbers = np.asarray(constant.data).astype(np.float64)
    shape = list(constant.get_output_shape(0))
    if _kind(constant) in _CODES and numbers.size != np.prod(shape):
        return int(np.prod(shape))  # packed: which code stands for zero is not looked for
    for node, at in _users(constant.output(0)):
        if node.get_type_name() == "Subtract" and at == 0:
            zero = node.input_value(1).get_node()
            while zero.get_type_name() in _PASSED:
                zero = zero.input_value(0).get_node()
            return int(np.count_nonzero(numbers.reshape(shape) != np.asarray(zero.data).astype(np.float64)))
    return int(np.count_nonzero(numbers))
