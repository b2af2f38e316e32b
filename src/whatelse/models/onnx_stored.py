"""What an ONNX file stores: its arrays wherever they lie, which of them are weights, and which files hold them.

A weight is what is multiplied or looked up by: of a quantized layer its codes. Scales, zero points, statistics of
norms, shapes and bounds are stored and are no weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from whatelse.errors import ArtifactError, NotMeasurableError

# Bits of a number by its type in TensorProto.
_BITS = {
    **{1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128},
    **{16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2},
}
_FLOATS, _CODES = {1, 10, 11, 16}, {2, 3, 4, 5, 6, 17, 18, 19, 20, 21, 22, 23, 25, 26}
# Of operations on quantized numbers: the inputs that are weights. All others of theirs are scales and zero points.
_WEIGHTS = {
    "DequantizeLinear": {0},
    "QuantizeLinear": {0},
    "QLinearConv": {3, 8},
    "QLinearMatMul": {0, 3},
    "ConvInteger": {0, 1},
    "MatMulInteger": {0, 1},
    "QGemm": {0, 3, 6},
    "MatMulNBits": {0, 1, 5},
    "DynamicQuantizeMatMul": {0, 1, 4},
    "MatMulIntegerToFloat": {0, 1, 6},
    "BatchNormalization": {1, 2},
}
# Of those weights, the input that says which code stands for zero.
_ZERO = {
    "DequantizeLinear": {0: 2},
    "QLinearConv": {3: 5},
    "QLinearMatMul": {0: 2, 3: 5},
    "ConvInteger": {0: 2, 1: 3},
    "MatMulInteger": {0: 2, 1: 3},
    "QGemm": {0: 2, 3: 5},
    "MatMulNBits": {1: 3},
    "DynamicQuantizeMatMul": {1: 3},
    "MatMulIntegerToFloat": {0: 4, 1: 5},
}
# Operations whose constants are bounds, sizes and places.
_SETTINGS = {
    "Clip",
    "Resize",
    "Pad",
    "Slice",
    "Range",
    "Pow",
    "Reshape",
    "Expand",
    "ConstantOfShape",
    "Where",
    "Unsqueeze",
}
_PASSED = {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Flatten"}  # hand weights on
_BLOCK = 256  # numbers of a block, of whatever is quantized by blocks: it may reach beyond a small matrix
_WIDTH = 2  # dimensions of a matrix
_LISTS = ("floats", "ints", "strings")


@dataclass
class Stored:
    """What a file stores.

    Attributes:
        files: The file, then those that hold its external data.
        sizes: Bytes of every array.
        weights: Weights that are not zero, of every array of weights.
        unknown: Operations of which it is not known which of their numbers are weights.
        dynamic: Whether activations are scaled as they come, by the largest of the batch.
        last: The operation that makes each output, what only passes numbers on aside.
    """

    files: tuple[Path, ...] = ()
    sizes: list[int] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    dynamic: bool = False
    last: dict[str, str] = field(default_factory=dict)

    def counted(self, name: str) -> list[int]:
        """Return weights that are not zero, of every array of weights.

        Args:
            name: How the message calls the model.

        Raises:
            NotMeasurableError: It cannot be told what its weights are.
        """
        if self.unknown:
            raise NotMeasurableError(f"needs weights that can be told; {name} runs {', '.join(sorted(self.unknown))}")
        if not self.weights:
            raise NotMeasurableError(f"needs weights that can be found; {name} shows none")
        return self.weights


def read(path: Path) -> Stored:
    """Return what a file stores, without running it.

    Args:
        path: The file.

    Raises:
        ArtifactError: It is damaged, or a file that holds its external data is missing or lies elsewhere.
    """
    import onnx  # noqa: PLC0415 - an extra
    from onnx import inliner  # noqa: PLC0415 - an extra

    try:
        model = onnx.load(path, load_external_data=False)
        whole = inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # a damaged file raises errors of many kinds
        raise ArtifactError(f"{path}: no ONNX model that can be read; it is damaged, or of another format") from error
    if not model.graph.node:
        raise ArtifactError(f"{path}: no ONNX model that can be read; it holds no operations")
    try:
        return _stored(path, whole)
    except ArtifactError:
        raise
    except Exception as error:  # likewise: names that are not there, sizes that do not fit
        raise ArtifactError(f"{path}: an ONNX model whose operations do not fit its numbers; it is damaged") from error


def _stored(path: Path, whole: Any) -> Stored:  # noqa: ANN401 - messages of an extra's
    graphs = list(_graphs(whole.graph))
    held = {f"{at} {name}": t for at, graph in enumerate(graphs) for name, t in _arrays(graph)}
    found = Stored(files=(path, *_files(path, list(held.values()))))
    found.sizes = [_size(t) for t in held.values()] + [n for graph in graphs for n in _listed(graph)]
    for at, graph in enumerate(graphs):
        _weigh(found, graph, {n.partition(" ")[2]: t for n, t in held.items() if n.startswith(f"{at} ")}, path.parent)
    found.dynamic = any(node.op_type.startswith("DynamicQuantize") for graph in graphs for node in graph.node)
    found.last = _last(whole.graph)
    return found


def _graphs(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - messages of an extra's
    yield graph
    for node in graph.node:
        for given in node.attribute:
            for inner in (*([given.g] if given.HasField("g") else []), *given.graphs):
                yield from _graphs(inner)


def _arrays(graph: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - likewise
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for sparse in graph.sparse_initializer:
        yield sparse.values.name, sparse.values
        yield f"{sparse.values.name} at", sparse.indices
    for node in graph.node:
        for given in node.attribute:
            if given.HasField("t"):
                yield (node.output[0] if node.op_type == "Constant" else f"{node.output[0]} {given.name}"), given.t


def _listed(graph: Any) -> Iterator[int]:  # noqa: ANN401 - likewise
    """Yield the bytes of long lists among the settings of operations: trees lie there, and linear classifiers."""
    for node in graph.node:
        if node.domain.startswith("ai.onnx.ml"):
            yield from (given.ByteSize() for given in node.attribute if any(len(getattr(given, n)) for n in _LISTS))


def _size(tensor: Any) -> int:  # noqa: ANN401 - likewise
    if tensor.data_type not in _BITS:  # texts
        return sum(map(len, tensor.string_data))
    return int(-(-math.prod(tensor.dims) * _BITS[tensor.data_type] // 8))


def _files(path: Path, tensors: list[Any]) -> list[Path]:
    """Return the files that hold external data.

    Raises:
        ArtifactError: One is missing, too short, or lies outside of the folder.
    """
    found: dict[str, Path] = {}
    for tensor in tensors:
        if not tensor.external_data:
            continue
        told = {entry.key: entry.value for entry in tensor.external_data}
        place = told.get("location", "")
        file = path.parent / place
        if not place or not file.resolve().is_relative_to(path.parent.resolve()):
            raise ArtifactError(f"{path}: weights are said to be in {place!r}; a file beside {path.name} is needed")
        if not file.is_file():
            raise ArtifactError(
                f"{path}: weights of {tensor.name} are in {place}, which is not there; put it beside {path.name}"
            )
        ends = int(told.get("offset", "0")) + int(told.get("length", "") or _size(tensor))
        if file.stat().st_size < ends:
            raise ArtifactError(
                f"{path}: weights of {tensor.name} end at byte {ends:,} of {place}, which has {file.stat().st_size:,}; "
                "it is cut off, or of another model"
            )
        found[place] = file
    return [found[place] for place in sorted(found)]


def _weigh(found: Stored, graph: Any, tensors: dict[str, Any], folder: Path) -> None:  # noqa: ANN401 - likewise
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[tuple[Any, int]]] = {}
    for node in graph.node:
        for at, name in enumerate(node.input):
            users.setdefault(name, []).append((node, at))
        if node.domain.startswith("ai.onnx.ml"):
            _weigh_lists(found, node)
    for name, tensor in tensors.items():
        used = list(_users(name, users))
        kinds = [(_is_weight(node, at, tensor, makers), node, at) for node, at in used]
        if any(kind == "unknown" for kind, _, _ in kinds):
            found.unknown |= {node.op_type for node, _ in used}
            continue
        taken = next(((node, at) for kind, node, at in kinds if kind), None)
        if taken is not None:
            found.weights.append(_nonzero(tensor, *taken, tensors, folder))


def _users(name: str, users: dict[str, list[tuple[Any, int]]]) -> Iterator[tuple[Any, int]]:
    """Yield who takes an array, also by way of what only hands it on; a damaged file may hand on in circles."""
    ahead, seen = [name], {name}
    while ahead:
        for node, at in users.get(ahead.pop(0), []):
            if node.op_type not in _PASSED or at:
                yield node, at
            elif node.output[0] not in seen:
                seen.add(node.output[0])
                ahead.append(node.output[0])


def _is_weight(node: Any, at: int, tensor: Any, makers: dict[str, Any]) -> str:  # noqa: ANN401 - likewise
    if node.op_type in _WEIGHTS:
        return "weight" if at in _WEIGHTS[node.op_type] and _more(node, tensor) else ""
    if node.op_type in _SETTINGS or tensor.data_type not in _FLOATS | _CODES:
        return ""
    if tensor.data_type not in _FLOATS:
        wide = len(tensor.dims) >= _WIDTH and tensor.data_type != 6  # noqa: PLR2004 - places are int32 too
        return "weight" if wide and node.op_type == "Gather" else "unknown" if wide else ""
    if node.op_type == "Mul" and any(_scale(makers.get(name)) for name in node.input):
        return ""  # the scale of the codes, for that of the activations
    return "weight" if math.prod(tensor.dims) > 1 or node.op_type in {"Conv", "Gemm"} else ""


def _more(node: Any, tensor: Any) -> bool:  # noqa: ANN401 - likewise
    return bool(math.prod(tensor.dims) > 1 or node.op_type != "QuantizeLinear")


def _scale(node: Any) -> bool:  # noqa: ANN401 - likewise
    return node is not None and node.op_type == "DynamicQuantizeLinear"


def _nonzero(tensor: Any, node: Any, at: int, tensors: dict[str, Any], folder: Path) -> int:  # noqa: ANN401 - likewise
    """Return how many numbers are not zero; of codes, how many are not the one that stands for it."""
    numbers = _numbers(tensor, folder)
    place = _ZERO.get(node.op_type, {}).get(at, 0)
    zero = tensors.get(node.input[place]) if 0 < place < len(node.input) else None
    settings = {a.name: a.i for a in node.attribute}
    if node.op_type == "MatMulNBits" and at == 1:
        return _packed(numbers, None if zero is None else _numbers(zero, folder), settings)
    if zero is None:
        return int(np.count_nonzero(numbers))
    codes = _numbers(zero, folder)
    if codes.size > 1 and codes.ndim == numbers.ndim:  # of blocks
        _check_block(settings["block_size"], numbers.shape[settings.get("axis", 1)])
        codes = np.repeat(codes, settings["block_size"], settings.get("axis", 1))
        codes = codes[tuple(map(slice, numbers.shape))]
    elif codes.size > 1:
        fits = [axis for axis, size in enumerate(numbers.shape) if size == codes.size]
        axis = settings.get("axis", 0 if "Conv" in node.op_type else fits[-1])
        codes = codes.reshape([-1 if d == axis else 1 for d in range(numbers.ndim)])
    return int(np.count_nonzero(numbers != codes))


def _numbers(tensor: Any, folder: Path) -> Any:  # noqa: ANN401 - an array
    from onnx import numpy_helper  # noqa: PLC0415 - an extra

    found = np.asarray(numpy_helper.to_array(tensor, str(folder)))
    return found if found.dtype.kind in "iuf" else found.astype(np.float32)  # types of few bits know no comparison


def _packed(numbers: Any, zeros: Any, settings: dict[str, int]) -> int:  # noqa: ANN401 - arrays
    """Return how many weights of MatMulNBits are not zero: codes of a few bits, in blocks along each column."""
    bits = settings.get("bits", 4)
    rows, wide = settings["N"], settings["K"]
    codes = _unpacked(numbers.reshape(rows, -1), bits)
    _check_block(wide, codes.shape[1])
    _check_block(settings["block_size"], 2 * codes.shape[1])
    blocks = -(-wide // settings["block_size"])
    if zeros is None:
        zero = np.full((rows, blocks), 2 ** (bits - 1))
    else:
        zero = _unpacked(zeros.reshape(rows, -1), bits)[:, :blocks]
    each = np.repeat(zero, settings["block_size"], 1)[:, :wide]
    return int(np.count_nonzero(codes[:, :wide] != each))


def _check_block(size: int, most: int) -> None:
    """Refuse a block beyond what there is, before memory is taken for it.

    Raises:
        ValueError: It is.
    """
    if not 0 < size <= max(most, _BLOCK):
        raise ValueError(f"a block of {size} where there are {most}")


def _unpacked(numbers: Any, bits: int) -> Any:  # noqa: ANN401 - arrays
    whole = numbers.astype(np.int64)
    parts = [whole >> shift & 2**bits - 1 for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(len(whole), -1)


def _weigh_lists(found: Stored, node: Any) -> None:  # noqa: ANN401 - likewise
    given = {a.name: a for a in node.attribute}
    if node.op_type.startswith("TreeEnsemble") and "nodes_modes" in given:
        inner = [
            v
            for v, mode in zip(given["nodes_values"].floats, given["nodes_modes"].strings, strict=True)
            if mode != b"LEAF"
        ]
        leaves = given.get("class_weights") or given.get("target_weights")
        found.weights += [int(np.count_nonzero(inner)), int(np.count_nonzero(leaves.floats if leaves else []))]
    elif node.op_type in {"LinearClassifier", "LinearRegressor"}:
        both = [*given["coefficients"].floats, *(given["intercepts"].floats if "intercepts" in given else ())]
        found.weights.append(int(np.count_nonzero(both)))
    elif node.op_type not in {"ZipMap", "Normalizer", "ArrayFeatureExtractor", "LabelEncoder", "Scaler", "Binarizer"}:
        found.unknown.add(node.op_type)


def _last(graph: Any) -> dict[str, str]:  # noqa: ANN401 - likewise
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for output in graph.output:
        node = makers.get(output.name)
        for _ in graph.node:  # no more often than that, whatever circles a damaged file has
            if node is None or node.op_type not in _PASSED | {"QuantizeLinear", "DequantizeLinear", "ZipMap"}:
                break
            node = makers.get(node.input[0])
        found[output.name] = "" if node is None else node.op_type
    return found
