"""What an ONNX file multiplies for one example: its graph as it is stored, with the sizes that one pass shows.

The runtime may fuse operations or pack their weights; what they multiply and sum stays the same. Matrix products and
convolutions count, whatever numbers they are of; gains, biases, norms, pooling and codes do not, as of torch modules.

Source:
    The formulas of ``torch.utils.flop_counter``, halved; operators as the ONNX and onnxruntime documentation has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from whatelse.errors import NotMeasurableError, in_short

_LARGEST = 2**31 - 2**20  # bytes of a model that can be handed to onnxruntime as such
# Where the two factors of an operation stand among its inputs.
_CONVOLUTIONS = {"Conv": (0, 1), "FusedConv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
_TURNED = {"ConvTranspose": (0, 1)}
_PRODUCTS = {
    **{"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3), "Gemm": (0, 1), "QGemm": (0, 3)},
    **{"FusedMatMul": (0, 1), "DynamicQuantizeMatMul": (0, 1), "MatMulIntegerToFloat": (0, 1), "MatMulNBits": (0, 0)},
}
_COUNTED = {**_CONVOLUTIONS, **_TURNED, **_PRODUCTS}
# Operations that multiply nothing, or number by number alone.
_ALONE = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BiasGelu BitShift Cast CastLike
Ceil Celu Clip Compress Concat Constant ConstantOfShape Cos Cosh CumSum DepthToSpace DequantizeLinear Div
Dropout DynamicQuantizeLinear Elu Equal Erf Exp Expand EyeLike FastGelu Flatten Floor Gather GatherElements
GatherND Gelu Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity
InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Max MaxPool
Mean Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearAdd QLinearConcat QLinearLeakyRelu
QLinearMul QLinearSigmoid QLinearSoftmax QuantizeLinear Range Reciprocal Relu Reshape Resize Round
ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Size
SkipLayerNormalization Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Tan Tanh
ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
"""
# Those that sum: what was multiplied by weights before is a product written out, if it is no gain.
_SUMS = """
AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpNormalization LpPool QLinearAveragePool
QLinearGlobalAveragePool ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSum ReduceSumSquare QLinearReduceMean Sum
"""


@runtime_checkable
class Works(Protocol):
    """What says how much it multiplies, without showing it as operations of torch."""

    def multiplied(self) -> Sequence[int]:
        """Return the multiply-accumulates of every operation that multiplies and sums, for one example.

        Raises:
            NotMeasurableError: It runs an operation of which that is not known.
        """


def counted(files: Sequence[Path], given: Mapping[str, Any], examples: int, name: str) -> list[int]:
    """Return the multiply-accumulates of every matrix product and convolution of a file, for one example.

    Args:
        files: The file, then those that hold its external data.
        given: Its inputs.
        examples: How many these are.
        name: How messages call it.

    Raises:
        NotMeasurableError: An operation is not known, none multiplies and sums, or the graph cannot be looked into.
    """
    import onnx  # noqa: PLC0415 - an extra
    from onnx import inliner  # noqa: PLC0415 - an extra

    if sum(path.stat().st_size for path in files) > _LARGEST:
        raise NotMeasurableError(f"needs a file of less than 2 GiB to look into; {name} holds more")
    model = onnx.load(files[0])
    model = inliner.inline_local_functions(model) if model.functions else model
    graph = model.graph
    _check(graph, name)
    nodes = [node for node in graph.node if node.op_type in _COUNTED]
    if not nodes:
        raise NotMeasurableError(f"needs arithmetic that can be seen; {name} runs no matrix product and no convolution")
    known = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    known |= {key: value.shape for key, value in given.items()}
    asked = dict.fromkeys(n for node in nodes for n in (*_factors(node), node.output[0]) if n not in known)
    standing = {output.name for output in graph.output}
    graph.output.extend(onnx.ValueInfoProto(name=n) for n in asked if n not in standing)
    known |= _sizes(model, list(asked), given, name)
    return [_done(node, known) // examples for node in nodes]


def _check(graph: Any, name: str) -> None:  # noqa: ANN401 - messages of an extra's
    """Refuse operations that may multiply and sum in a way that is not known.

    Raises:
        NotMeasurableError: There are some.
    """
    weights = {tensor.name for tensor in graph.initializer if prod(tensor.dims) > 1}
    gained = {n for node in graph.node if node.op_type == "Mul" and weights & set(node.input) for n in node.output}
    sums = set(_SUMS.split())
    unknown = {node.op_type for node in graph.node} - {*_ALONE.split(), *sums, *_COUNTED}
    unknown |= {f"Mul, then {one.op_type}" for one in graph.node if one.op_type in sums and gained & set(one.input)}
    if unknown:
        raise NotMeasurableError(
            f"needs operations whose arithmetic is known; {name} runs {', '.join(sorted(unknown)[:3])}"
        )


def _factors(node: Any) -> tuple[str, str]:  # noqa: ANN401 - likewise
    one, other = _COUNTED[node.op_type]
    return node.input[one], node.input[other]


def _sizes(model: Any, names: list[str], given: Mapping[str, Any], name: str) -> dict[str, tuple[int, ...]]:  # noqa: ANN401 - likewise
    """Return the shape of every tensor of some names in one pass.

    Raises:
        NotMeasurableError: Onnxruntime does not show them.
    """
    import onnxruntime  # noqa: PLC0415 - an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        raw = model.SerializeToString()
        session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        found = session.run(names, dict(given))
    except Exception as error:  # onnxruntime raises errors of its own, none of which it shows
        raise NotMeasurableError(f"needs a graph that can be looked into; {name}: {in_short(error, 120)}") from error
    return {key: value.shape for key, value in zip(names, found, strict=True)}


def _done(node: Any, known: Mapping[str, tuple[int, ...]]) -> int:  # noqa: ANN401 - likewise
    first, second = (known[one] for one in _factors(node))
    made = prod(known[node.output[0]])
    if node.op_type in _TURNED:
        return prod(first) * prod(second[1:])
    if node.op_type in _CONVOLUTIONS:
        return made * prod(second[1:])
    said = {given.name: given.i for given in node.attribute}
    if node.op_type == "MatMulNBits":
        return made * int(said["K"])
    turned = said.get("transA", 0) and len(first) > 1
    return made * first[-2 if turned else -1]
