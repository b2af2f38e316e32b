"""Models of other runtimes, made by the libraries themselves, and a server that answers over HTTP."""

import json
import logging
import threading
import warnings
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from whatelse import opening


@pytest.fixture(scope="session")
def digits():
    return opening.load_task("digits")


@pytest.fixture(scope="session")
def net(digits):
    """A small network that was trained."""
    made = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 4, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Flatten()),
        *(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)),
    )
    rng = torch.Generator().manual_seed(0)
    for tensor in made.parameters():
        tensor.data = 0.2 * torch.randn(tensor.shape, generator=rng)
    steps = torch.optim.Adam(made.parameters(), 5e-3)
    for _ in range(150):
        picks = torch.randint(len(digits.train), (64,), generator=rng)
        steps.zero_grad()
        loss = torch.nn.functional.cross_entropy(made(digits.train.inputs[picks]), digits.train.targets[picks])
        loss.backward()
        steps.step()
    return made.eval()


@contextmanager
def silent():
    """Exporters log what they do, and warn of what is not installed."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def export(net, few, path, *, fixed=False, external=False):
    sizes = None if fixed else ({0: torch.export.Dim.DYNAMIC},)
    with silent():
        torch.onnx.export(
            *(net, (few,), path), dynamo=True, dynamic_shapes=sizes, external_data=external, verbose=False
        )
    return path


@pytest.fixture(scope="session")
def exporting():
    """Returns what writes a module as ONNX."""
    return export


@pytest.fixture(scope="session")
def folder(tmp_path_factory, digits, net):
    """Files of the network: ONNX of every kind, OpenVINO."""
    import numpy as np
    import onnx
    import openvino
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    made = tmp_path_factory.mktemp("foreign")
    few = digits.calibration.inputs[:64]
    export(net, few, made / "float.onnx")
    export(net, few, made / "external.onnx", external=True)
    export(net, few[:5], made / "fixed.onnx", fixed=True)
    export(torch.nn.Sequential(net, torch.nn.Softmax(1)), few, made / "soft.onnx")
    name = onnx.load(made / "float.onnx").graph.input[0].name

    class Few(ort.CalibrationDataReader):
        def __init__(self):
            self.left = [{name: few.numpy()}]

        def get_next(self):
            return self.left.pop() if self.left else None

    with silent():
        ort.quantize_dynamic(made / "float.onnx", made / "dynamic.onnx", weight_type=ort.QuantType.QInt8)
        for kind, form in (("qdq", ort.QuantFormat.QDQ), ("qoperator", ort.QuantFormat.QOperator)):
            ort.quantize_static(made / "float.onnx", made / f"{kind}.onnx", Few(), quant_format=form)
        # torch writes Gemm; what is packed to a few bits is MatMul.
        rng = np.random.default_rng(0)
        weight, bias = (rng.normal(size=size).astype(np.float32) for size in ((64, 10), (10,)))
        weight[:3] = 0
        nodes = [
            onnx.helper.make_node("Flatten", ["x"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "w"], ["product"]),
            onnx.helper.make_node("Add", ["product", "b"], ["logits"]),
        ]
        floats = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            nodes,
            "linear",
            [onnx.helper.make_tensor_value_info("x", floats, ["N", 1, 8, 8])],
            [onnx.helper.make_tensor_value_info("logits", floats, ["N", 10])],
            [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
        )
        linear = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
        onnx.save(linear, made / "linear.onnx")
        unsigned = {"weight_type": ort.QuantType.QUInt8, "per_channel": True}
        ort.quantize_dynamic(made / "linear.onnx", made / "unsigned.onnx", **unsigned)
        packer = MatMulNBitsQuantizer(linear, bits=4, block_size=32, is_symmetric=True)
        packer.process()
        packer.model.save_model_to_file(str(made / "nbits.onnx"))
        whole = openvino.convert_model(made / "float.onnx")
        openvino.save_model(whole, made / "float.xml", compress_to_fp16=False)
        openvino.save_model(whole, made / "half.xml", compress_to_fp16=True)
    return made


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *said):
        del said

    def do_GET(self):
        about = {"name": "m", "versions": ["1"], "platform": "test"}
        about["inputs"] = [{"name": "x", "datatype": "FP32", "shape": [-1, *self.server.owner.shape]}]
        about["outputs"] = [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]
        self._say(200, about)

    def do_POST(self):
        owner = self.server.owner
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        owner.seen.append((self.path, dict(self.headers)))
        if owner.hangs:
            owner.ended.wait(20)
        if owner.fail:
            status, headers = owner.fail.pop(0)
            self._say(status, {"error": f"no: {self.headers.get('Authorization')}"}, headers)
        elif self.path.endswith("/infer"):
            given = asked["inputs"][0]
            found = owner.answer(torch.tensor(given["data"]).reshape(given["shape"]))
            one = {"name": "logits", "datatype": "FP32", "shape": list(found.shape)}
            self._say(200, {"model_name": "m", "outputs": [{**one, "data": found.flatten().tolist()}]})
        else:
            x = torch.tensor(asked["inputs"])
            said = owner.raw(x) if callable(owner.raw) else owner.raw
            self._say(200, said or {"scores": owner.answer(x).tolist()})

    def _say(self, status, said, headers=()):
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # whoever asked may have gone
            self.wfile.write(body)


class Server:
    """Answers in both protocols by a function from a tensor of inputs to a tensor of scores."""

    def __init__(self, answer, shape=(1, 8, 8)):
        self.answer, self.shape = answer, shape
        self.seen, self.fail, self.ended = [], [], threading.Event()
        self.hangs = self.raw = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.owner = True, self
        self._server.handle_error = lambda *_: None  # whoever asked may have gone
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.plain = f"http://127.0.0.1:{self._server.server_port}/predict"
        self.served = f"http://127.0.0.1:{self._server.server_port}/v2/models/m"

    def close(self):
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve():
    """Returns a server of a function; all of them end with the test."""
    every = []

    def start(answer, **given):
        every.append(Server(answer, **given))
        return every[-1]

    yield start
    for one in every:
        one.close()
