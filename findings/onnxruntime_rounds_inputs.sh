#!/usr/bin/env bash
# onnxruntime rounds float inputs to 8 bits where only the weights were quantized.
#
# Behavior: in a model of DequantizeLinear (constant int8 weight, one scale a channel), Transpose with perm [1, 0] and
# MatMul, all else float32, the default optimization (level "extended") puts MatMulNBits in place of the three, which
# quantizes its float inputs to 8 bits. The answers differ from those of the graph as written, and from its own without
# that optimization, by parts in a thousand where float32 rounds by parts in ten million. Nothing warns. A Reshape
# between DequantizeLinear and Transpose prevents it.
# Version: onnxruntime 1.32.0, onnx 1.23.2 (CPU).
# Source: the graph in the file of SessionOptions.optimized_model_filepath; the session option
# "session.qdq_matmulnbits_accuracy_level" is 4 by default, which is 8-bit inputs
# (https://github.com/microsoft/onnxruntime/issues/29849 tells what that level does to language models).
# Why it matters: weight-only quantization is chosen to leave activations alone; who compares the file with the model
# that it was made of finds another one.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.3.5
"$place/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
draw = np.random.default_rng(0)
codes, scale = draw.integers(-127, 128, (128, 64)).astype(np.int8), draw.random(128).astype(np.float32) / 127
x = draw.random((6, 5, 64)).astype(np.float32)
want = x.astype(np.float64) @ (codes * scale[:, None].astype(np.float64)).T


def apart(level, reshaped):
    stored = [numpy_helper.from_array(a, n) for a, n in ((codes, "codes"), (scale, "scale"), (np.array([128, 64]), "shape"))]
    if reshaped:
        stored[0] = numpy_helper.from_array(codes[..., None], "codes")
    nodes = [helper.make_node("DequantizeLinear", ["codes", "scale"], ["whole" if reshaped else "weight"], axis=0)]
    nodes += [helper.make_node("Reshape", ["whole", "shape"], ["weight"])] * reshaped
    nodes += [helper.make_node("Transpose", ["weight"], ["turned"], perm=[1, 0])]
    nodes += [helper.make_node("MatMul", ["x", "turned"], ["y"])]
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [6, 5, s])] for n, s in (("x", 64), ("y", 128))]
    model = helper.make_model(helper.make_graph(nodes, "g", *ends, stored), opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return float(np.abs(session.run(None, {"x": x})[0] - want).max() / np.abs(want).max())


levels = onnxruntime.GraphOptimizationLevel
default, plain = apart(levels.ORT_ENABLE_ALL, 0), apart(levels.ORT_DISABLE_ALL, 0)
reshaped = apart(levels.ORT_ENABLE_ALL, 1)
print(f"largest difference, of the largest output: default {default:.1e}, no optimization {plain:.1e}, reshaped {reshaped:.1e}")
sys.exit(not (default > 1e-4 > 100 * max(plain, reshaped)))
PY
