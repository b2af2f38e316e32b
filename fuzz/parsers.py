"""Everything that reads what somebody else wrote, as functions of bytes: files, options, answers of an endpoint.

Each is run in this process, so that thousands of inputs a minute can be tried. What it may raise is an error of the
toolkit's own; anything else is a fault.
"""

from __future__ import annotations

import http.server
import io
import json
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import texts
import torch
from data import archive, whole
from safetensors.torch import save as to_bytes

from whatelse import opening
from whatelse.errors import WhatElseError
from whatelse.findings import record
from whatelse.models import line, preparation, recorded
from whatelse.tasks import evals
from whatelse.tasks.task import Split, Task

_ROWS = [f"{20 + i % 50},{'FM'[i % 2]},c{i % 5},{i % 3 % 2}" for i in range(60)]
_TABLE = "\n".join(["age,sex,city,y", *_ROWS])
_LINES = "\n".join(json.dumps({"age": 20 + i % 50, "sex": "FM"[i % 2], "y": i % 3 % 2}) for i in range(60))
_LOG = Path(__file__).parents[1] / "tests" / "subjects" / "evals" / "sums_base.eval"  # as Inspect wrote it
line._PAUSE = 0.0  # noqa: SLF001 - nobody waits between tries here


class Door(NamedTuple):
    """What reads bytes.

    Attributes:
        whole: Such as it takes.
        read: Raises an error of the toolkit's own where it does not take some.
    """

    whole: bytes
    read: Callable[[bytes], object]


@cache
def _place() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def _file(name: str, held: bytes) -> str:
    path = _place() / name
    path.write_bytes(held)
    return str(path)


@cache
def task() -> Task:
    """Return three splits of a few rows of four numbers."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.random((12, 4)).astype("float32")), torch.arange(12) % 2
    split = Split(x, y, y)
    return Task("few", 2, (0.0, 1.0), dict.fromkeys(("train", "calibration", "select", "test"), split))


def _task_of(ending: str, settings: str = "") -> Callable[[bytes], object]:
    def read(held: bytes) -> object:
        path = _file(f"t.{ending}", held)
        return opening.load_task(f"table(path={path!r}, {settings})" if settings else path)

    return read


def _option(name: str) -> Callable[[bytes], object]:
    """Return what reads a setting of a table that is as it should be."""
    path = _file("whole.csv", _TABLE.encode())

    def read(held: bytes) -> object:
        told = {"target": "y", name: held.decode("utf-8", "replace")}
        return opening.load_task(opening.data_text(path, {k: v for k, v in told.items() if v}))

    return read


def _preparation(held: bytes) -> object:
    option, _, text = held.decode("utf-8", "replace").partition("\n")
    fields = tuple(preparation.Preparation.__dataclass_fields__)
    chosen = option if option in fields else fields[len(option) % len(fields)]
    for made in preparation.read({chosen: text.split("\n")}, ["baseline", "a=b", "small"]).values():
        made.check(task(), "small")
    return None


def _model(name: str) -> Callable[[bytes], object]:
    def read(held: bytes) -> object:
        return opening.open_model(_file(name, held), task())

    return read


def _skops(held: bytes) -> object:
    """Read a file of skops whose description of types is what is given, so that chance reaches it."""
    if held[:1] != b"{":
        return opening.open_model(_file("m.skops", held), task())
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("schema.json", held)
    return opening.open_model(_file("m.skops", made.getvalue()), task())


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with the same bytes."""

    protocol_version, said = "HTTP/1.1", b""

    def do_POST(self) -> None:  # noqa: N802 - as http.server calls it
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.said)))
        self.end_headers()
        self.wfile.write(self.said)

    do_GET = do_POST  # noqa: N815 - likewise

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@cache
def _server() -> str:
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{served.server_port}"


def _answer(path: str) -> Callable[[bytes], object]:
    def read(held: bytes) -> object:
        _Answers.said = held
        return opening.open_model(_server() + path, task())

    return read


def _about() -> bytes:
    given: dict[str, Any] = {"name": "input", "datatype": "FP32", "shape": [-1, 4], "data": [0.5] * 48}
    out = {"name": "output", "datatype": "FP32", "shape": [12, 2], "data": [0.25] * 24}
    return json.dumps({"inputs": [given], "outputs": [out]}).encode()


def _findings(held: bytes) -> object:
    return record.load(Path(_file("f.json", held)))


def _columns(held: bytes) -> object:
    return recorded.of_file(_file("s.csv", held), task())


def _arrays(held: bytes) -> object:
    return recorded.of_file(_file("s.npz", held), task())


def _onnx() -> bytes:
    import onnx  # noqa: PLC0415 - an extra
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    s = helper.make_tensor_value_info("s", TensorProto.FLOAT, ["N", 2])
    w = numpy_helper.from_array(np.ones((4, 2), "float32"), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["s"])], "g", [x], [s], [w])
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    del onnx
    return made


def doors() -> dict[str, Door]:
    """Return everything that reads, by name."""
    schema = {"__class__": "LogisticRegression", "__module__": "sklearn.linear_model._logistic", "__loader__": "x"}
    tensors = to_bytes({n: torch.as_tensor(a) for n, a in whole().items()})
    scores = np.linspace(0, 1, 24, dtype="float32").reshape(12, 2)
    rows = "\n".join(f"{a},{b},{i % 2}" for i, (a, b) in enumerate(scores.tolist()))
    return {
        "csv": Door(_TABLE.encode(), _task_of("csv", "label='y', groups='sex,age'")),
        "tsv": Door(_TABLE.replace(",", "\t").encode(), _task_of("tsv", "label='y', cluster='city'")),
        "jsonl": Door(_LINES.encode(), _task_of("jsonl", "label='y'")),
        "npz": Door(archive(whole()), _task_of("npz")),
        "safetensors": Door(tensors, _task_of("safetensors")),
        "groups": Door(b"sex,age:25,40,60,city*sex,age:q4", _option("groups")),
        "bounds": Door(b"-100,100", _option("bounds")),
        "classes": Door(b"0,1", _option("classes")),
        "cluster": Door(b"city", _option("cluster")),
        "preparation": Door(b"mean\nsmall=1,2,3,4\n0.5", _preparation),
        "data": Door(b"digits(noise=0.3)", lambda held: opening.data_call(held.decode("utf-8", "replace"))),
        "answer": Door(json.dumps({"scores": scores.tolist()}).encode(), _answer("/predict")),
        "served": Door(_about(), _answer("/v2/models/m")),
        "findings": Door(texts.readers()["findings.json"][0].encode(), _findings),
        "scores.csv": Door(f"a,b,target\n{rows}".encode(), _columns),
        "scores.npz": Door(archive({"test_scores": scores}), _arrays),
        "skops": Door(json.dumps(schema).encode(), _skops),
        "onnx": Door(_onnx(), _model("m.onnx")),
        "eval": Door(_LOG.read_bytes(), lambda held: evals.read(Path(_file("l.eval", held)))),
    }


def tried(door: Door, held: bytes) -> str:
    """Return where reading some bytes failed otherwise than it should; empty where it did not.

    Args:
        door: What reads.
        held: The bytes.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            door.read(held)
    except WhatElseError as error:
        return "" if str(error).strip() else f"{type(error).__name__} without a word"
    except Exception as error:  # noqa: BLE001 - whatever gets through is the finding
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        assert place is not None
        code = place.tb_frame.f_code
        return f"{type(error).__name__} at {Path(code.co_filename).name}:{place.tb_lineno} in {code.co_name}"
    return ""
