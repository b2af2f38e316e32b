"""A model that answers over HTTP: it only predicts, and may be another tomorrow.

Two protocols, told apart by the address (`docs/endpoints.md`): a small one of JSON, and that of KServe v2, which Triton
and others speak, where the address holds ``/v2/models/``. What authenticates comes from the environment and stands in
no key, message or finding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from whatelse.errors import TaskError
from whatelse.models import foreign
from whatelse.models.line import Line
from whatelse.tasks.task import Task

_PROBED = 16  # examples that are asked twice
# Of scores, relative to the largest: what the order of sums moves, and beyond what nothing that is measured repeats.
_STEADY = 1e-3
_FLOATS = {"FP32": torch.float32, "FP64": torch.float64}
_WHOLE = {"INT64": torch.int64, "INT32": torch.int32, "INT16": torch.int16, "INT8": torch.int8, "UINT8": torch.uint8}
_ANSWERS = ("scores", "logits", "probabilities", "labels")
_MADE = {"probabilities": "Softmax"}
_UNSTEADY = "unsteady"


class Endpoint:
    """What is asked over HTTP for class scores.

    Attributes:
        key: Of its address, and of its answers to a few examples.
        told: What a reader must know of it.
    """

    def __init__(self, address: str, task: Task) -> None:
        self._line = Line(address)
        self._name, self._classes = address, task.classes
        served = "/v2/models/" in address
        self._protocol: _Plain | _Served = _Served(self._line, task) if served else _Plain(self._line, task.classes)
        off, answers = self._twice(task.test.inputs[:_PROBED])
        where = hashlib.sha256(address.encode()).hexdigest()[:12]
        what = hashlib.sha256(answers.double().numpy().tobytes()).hexdigest()[:12]
        self.key = f"endpoint-{where}-{_UNSTEADY if off else what}"
        told = f"{address} was asked over HTTP, and only predicts; what it is cannot be seen, and is measured anew"
        moves = f"{address} answers two identical requests otherwise, by {off:.1g} of the largest score"
        self.told = (told, *([moves] if off else []))

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        return self._line.requests

    @property
    def most(self) -> int:
        """Most examples of a request."""
        return self._protocol.fixed or self._line.most

    def scores(self, inputs: Tensor) -> Tensor:
        """Return class scores of inputs, ``(N, classes)``, or what stands in their place.

        Args:
            inputs: ``(N, ...)``.

        Raises:
            TaskError: It does not answer, or not with scores of them.
        """
        fixed = bool(self._protocol.fixed)
        return foreign.in_batches(self._protocol.ask, inputs.detach(), self.most, self._name, fixed=fixed)

    def is_still(self, key: str) -> bool:
        """Return whether it answers as it did when it was given a key.

        Args:
            key: That the work was planned for.
        """
        planned, mine = key.split("-"), self.key.split("-")
        if planned[:2] != mine[:2]:
            return False
        return _UNSTEADY in {planned[2], mine[2]} or planned[2] == mine[2]

    def _twice(self, probe: Tensor) -> tuple[float, Tensor]:
        """Return how far answers to two identical requests lie apart, and the first.

        Raises:
            TaskError: So far that nothing that is measured would repeat.
        """
        one, two = self.scores(probe), self.scores(probe)
        if one.shape != two.shape:
            raise TaskError(f"{self._name} answers twice in shapes {tuple(one.shape)} and {tuple(two.shape)}")
        off = float((one - two).abs().nan_to_num(0, 0, 0).max() / one.abs().nan_to_num(0, 0, 0).max().clamp(min=1e-12))
        if off > _STEADY:
            raise TaskError(
                f"{self._name} answers two identical requests otherwise, by {off:.2g} of the largest score, and "
                f"nothing measured of it would repeat; up to {_STEADY:g} is allowed: let one copy of one model answer, "
                "without sampling or dropout"
            )
        return off, one


class _Plain:
    """Inputs as nested lists, answered by scores as nested lists."""

    fixed = 0

    def __init__(self, line: Line, classes: int) -> None:
        self._line, self._classes = line, classes

    def ask(self, x: Tensor) -> Tensor:
        answer = self._line.sent({"inputs": x.tolist()}, len(x) * self._classes)
        given = [name for name in _ANSWERS if name in answer]
        if len(given) != 1:
            got = ", ".join(answer) or "nothing"
            raise TaskError(f"{self._line.address} answers with {got}; one of {', '.join(_ANSWERS)} is needed")
        found = _numbers(answer[given[0]], self._line)
        if given == ["probabilities"] and not bool(((found >= 0) & (found <= 1)).all()):
            got = f"from {float(found.min()):g} to {float(found.max()):g}"
            raise TaskError(f"{self._line.address} answers with probabilities {got}; 0 to 1 is allowed, or name scores")
        if given == ["labels"]:
            return foreign.one_each(found.flatten(), self._classes, self._line.address)
        return foreign.read(_MADE.get(given[0], given[0]), found)


class _Served:
    """The protocol of KServe v2: inputs and outputs have names, types and shapes, which the address tells."""

    def __init__(self, line: Line, task: Task) -> None:
        self._line, self._classes = line, task.classes
        about = line.asked()
        self._inputs = [self._input(one, task, about["inputs"]) for one in _listed(about, "inputs", line)]
        given = [one for one in _listed(about, "outputs", line) if one["datatype"] in {*_FLOATS, *_WHOLE}]
        told = [
            foreign.Output(o["name"], int(o["datatype"] in _WHOLE), o["datatype"], o.get("shape") or ()) for o in given
        ]
        self._output = foreign.scores_of(told, task.classes, line.address)
        first = _listed(about, "inputs", line)[0].get("shape") or [-1]
        self.fixed = first[0] if len(first) == 1 + len(task.shape) and first[0] > 0 else 0

    def _input(self, one: Mapping[str, Any], task: Task, every: Sequence[Any]) -> tuple[str, str, str]:
        """Return the name and the type of an input, and what it is given.

        Raises:
            TaskError: The task cannot give it.
        """
        what = "inputs" if len(every) == 1 else foreign.of_text(one["name"]) if task.vocabulary else ""
        if not what or one["datatype"] not in {*_FLOATS, *_WHOLE}:
            named = ", ".join(f"{other['name']} {other['datatype']}" for other in every)
            allowed = "one of FP32, FP64 or whole numbers is needed, or of texts input_ids with attention_mask"
            raise TaskError(f"{self._line.address} takes the inputs {named}; {allowed}")
        sizes = [size if size > 0 else None for size in one.get("shape") or ()]
        if sizes:
            foreign.check_shape(self._line.address, sizes[-len(task.shape) :], task.shape)
        return one["name"], one["datatype"], what

    def ask(self, x: Tensor) -> Tensor:
        given = [self._handed(x, *one) for one in self._inputs]
        sent = {"inputs": given, "outputs": [{"name": self._output.name}]}
        answer = self._line.sent(sent, len(x) * self._classes, "/infer")
        outputs = _listed(answer, "outputs", self._line)
        found = next((one for one in outputs if one["name"] == self._output.name), None)
        if found is None:
            names = ", ".join(one["name"] for one in outputs)
            raise TaskError(f"{self._line.address} answers with {names}; {self._output.name} is needed")
        numbers, shape = _numbers(found.get("data"), self._line).flatten(), found.get("shape") or [len(x)]
        if prod(shape) != len(numbers):
            raise TaskError(f"{self._line.address} answers with {len(numbers)} numbers of shape {shape}")
        if self._output.rank:
            return foreign.one_each(numbers, self._classes, self._line.address)
        return numbers.reshape(shape)

    def _handed(self, x: Tensor, called: str, kind: str, what: str) -> dict[str, Any]:
        if what == "mask":
            x = (x != 0).long()
        elif what == "zeros":
            x = torch.zeros_like(x)
        elif kind in _WHOLE and x.is_floating_point() and not torch.equal(x, x.round()):
            raise TaskError(f"{self._line.address} takes {called} of {kind}; the data lie between whole numbers")
        data = x.to({**_FLOATS, **_WHOLE}[kind]).flatten().tolist()
        return {"name": called, "shape": list(x.shape), "datatype": kind, "data": data}


def _listed(answer: Mapping[str, Any], part: str, line: Line) -> list[Mapping[str, Any]]:
    """Return the inputs or the outputs in an answer.

    Raises:
        TaskError: It has none that have names and types.
    """
    found = answer.get(part)
    if not isinstance(found, list) or not found or not all(isinstance(o, dict) and _described(o) for o in found):
        raise TaskError(
            f"{line.address} answers without {part} by name and datatype, as KServe v2 does: {line.shown(answer, 120)}"
        )
    return found


def _described(one: Mapping[str, Any]) -> bool:
    named = all(isinstance(one.get(part), str) for part in ("name", "datatype"))
    shape = one.get("shape") or []
    return named and isinstance(shape, list) and all(type(size) is int for size in shape)


def _numbers(found: object, line: Line) -> Tensor:
    """Return lists of numbers as single precision.

    Raises:
        TaskError: They are none.
    """
    told = f"{line.address} answers with {line.shown(found, 80)}; lists of numbers are needed, all as long"
    try:
        # One number alone is as wrong as a text.
        made = torch.tensor(found if isinstance(found, list) else None, dtype=torch.float64).float()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TaskError(told) from error
    if not made.numel():  # of lists that are empty torch makes what it can
        raise TaskError(told)
    return made
