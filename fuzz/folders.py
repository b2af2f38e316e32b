"""Folders of saved models: some changed by chance, some crafted to ask for work without bound."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _child import Case
from _mutate import plain, raw
from safetensors.torch import save_file
from torch import nn

from whatelse import opening
from whatelse.artifacts import folder as artifact
from whatelse.layers.quantized import Quantized
from whatelse.layers.soft_tree import SoftTree
from whatelse.layers.tree import Tree
from whatelse.nets import cnn, mlp, resnet, transformer
from whatelse.tasks.task import Split, Task

BIG = 10**9
Spec = dict[str, Any]


def task(*shape: int, classes: int = 2) -> Task:
    """Return a task of a few examples.

    Args:
        shape: Of one input.
        classes: How many.
    """
    inputs, targets = torch.rand(12, *shape), torch.arange(12) % classes
    part = Split(inputs, targets, targets)
    return Task("fuzz", classes, (0.0, 1.0), dict.fromkeys(("train", "calibration", "select", "test"), part))


class _Shapes(nn.Module):
    """Computes with shapes, as traced modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return two scores.

        Args:
            x: ``(N, 6)``.
        """
        n, width = x.shape
        wide = torch.cat([x, x.view(n, width // 2, 2).flatten(1)], 1)
        return self.head(torch.nn.functional.pad(wide, (0, width * 2 - wide.shape[1])))


def models() -> dict[str, tuple[nn.Module, Task]]:
    """Return models of every kind that is saved, each with a task that it fits."""
    rng = torch.Generator().manual_seed(0)
    image, row, text = task(1, 8, 8), task(6), task(5)
    convolution = cnn.build(cnn.Config(width=2, hidden=4), (1, 8, 8), 2, rng)
    packed = nn.Sequential(Quantized.of(nn.Linear(6, 8), 4, 8, grid="group", group=2, symmetric=False), nn.ReLU())
    packed.append(Quantized.of(nn.Linear(8, 2), 8, 32))
    sparse = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 2))
    with torch.no_grad():
        sparse[0].weight.mul_(torch.rand(40, 6, generator=rng) > 0.9)
    tree = Tree(3, 2, 2)
    tree.child.copy_(torch.tensor([[1, -1], [-2, -3]]))
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 1, enable_nested_tensor=False
    )
    return {
        "cnn": (convolution, image),
        "mlp": (mlp.build(mlp.Config(), (6,), 2, rng), row),
        "resnet": (resnet.build(resnet.Config(), (1, 8, 8), 2, rng), image),
        "transformer": (transformer.build(transformer.Config(), (5,), 2, rng), text),
        "encoder": (nn.Sequential(encoder, nn.Linear(6, 2)), row),
        "packed": (packed, row),
        "sparse": (sparse, row),
        "tree": (tree, row),
        "soft": (SoftTree(6, 2, 2, mixture=True), row),
        "shapes": (_Shapes(), row),
    }


def mutated(count: int, rng: random.Random, place: Path) -> Iterator[Case]:
    """Yield saved folders, each changed at some places.

    Args:
        count: How many.
        rng: Source of the changes.
        place: Where they are written.
    """
    saved = {}
    for name, (model, asked) in models().items():
        artifact.save(model.eval(), place / f"whole-{name}")
        saved[name] = (place / f"whole-{name}", asked)
    for number in range(count):
        name = rng.choice(list(saved))
        whole, asked = saved[name]
        folder = place / f"{name}-{number}"
        folder.mkdir()
        text, tensors = (whole / artifact.ARCHITECTURE).read_bytes(), (whole / artifact.MODEL).read_bytes()
        way = rng.randrange(5)
        if way < 3:
            text = json.dumps(plain(json.loads(text), rng)).encode()
        elif way == 3:
            text = raw(text, rng)
        if way == 4 or rng.random() < 0.1:
            tensors = raw(tensors, rng)
        (folder / artifact.ARCHITECTURE).write_bytes(text)
        (folder / artifact.MODEL).write_bytes(tensors)
        yield Case(folder.name, lambda folder=folder, asked=asked: opening.open_model(str(folder), asked))


def crafted(place: Path) -> Iterator[Case]:
    """Yield folders of a few kilobytes that ask for work without bound.

    Args:
        place: Where they are written.
    """
    for name, (spec, tensors, asked) in demands().items():
        folder = place / name
        folder.mkdir()
        whole = {"format": artifact.FORMAT, "shapes": {}, "shared": {}, **spec}
        (folder / artifact.ARCHITECTURE).write_text(json.dumps(whole))
        save_file(tensors, folder / artifact.MODEL)
        yield Case(name, lambda folder=folder, asked=asked: opening.open_model(str(folder), asked))


def _sequence(*parts: Spec) -> Spec:
    return {"tree": {"kind": "Sequential", "parts": {str(i): part for i, part in enumerate(parts)}}}


def _call(op: str, target: str, *args: object, name: str = "", **kwargs: object) -> Spec:
    return {"op": op, "name": name or target.rpartition(".")[2], "target": target, "args": list(args), "kwargs": kwargs}


def _graph(*calls: Spec, parts: Spec | None = None, last: str = "") -> Spec:
    begin = _call("placeholder", "x")
    named = [{**call, "name": f"n{i}"} for i, call in enumerate(calls)]
    end = _call("output", "output", {"node": last or f"n{len(calls) - 1}"})
    return {"tree": {"kind": "Graph", "parts": parts or {}, "calls": [begin, *named, end], "tensors": {}}}


X = {"node": "x"}


def _node(number: int) -> Spec:
    return {"node": f"n{number}"}


def demands() -> dict[str, tuple[Spec, dict[str, torch.Tensor], Task]]:
    """Return descriptions that ask for too much, by what they ask for, with their tensors and a task."""
    return {**_of_weights(), **_of_layers(), **_of_calls(), **_of_own_layers(), **_of_structure()}


def _of_weights() -> dict[str, tuple[Spec, dict[str, torch.Tensor], Task]]:
    row, image, none = task(6), task(1, 8, 8), {"x": torch.zeros(3000)}
    two = {"0.weight": torch.zeros(2, 6), "0.bias": torch.zeros(2)}
    layers = {
        "linear": {"kind": "Linear", "in_features": 10**6, "out_features": 10**6},
        "linear-too-large-for-any": {"kind": "Linear", "in_features": 10**15, "out_features": 10**15},
        "conv": {"kind": "Conv2d", "in_channels": 10**5, "out_channels": 10**5, "kernel_size": [9, 9]},
        "embedding": {"kind": "Embedding", "num_embeddings": BIG, "embedding_dim": 1000},
        "batchnorm": {"kind": "BatchNorm2d", "num_features": 10**12},
        "layernorm": {"kind": "LayerNorm", "normalized_shape": [10**6, 10**6]},
        "attention": {"kind": "MultiheadAttention", "embed_dim": 10**6, "num_heads": 1},
        "prelu": {"kind": "PReLU", "num_parameters": 10**12},
    }
    found = {f"weights-{name}": (_sequence(layer), none, row) for name, layer in layers.items()}
    found["weights-empty"] = (
        _sequence(
            {"kind": "Linear", "in_features": 6, "out_features": 2}, {"kind": "LayerNorm", "normalized_shape": [0, BIG]}
        ),
        two,
        row,
    )
    packed = {"like": "Linear", "shape": [10**6, 10**6], "bits": 2, "activation_bits": 8, "bias": False}
    found["weights-packed"] = (_sequence({"kind": "quantized.Quantized", **packed}), none, image)
    return found


def _of_layers() -> dict[str, tuple[Spec, dict[str, torch.Tensor], Task]]:
    """Layers without weights: their sizes are arguments."""
    image = task(1, 8, 8)
    head = {"kind": "Flatten", "start_dim": 1, "end_dim": -1}
    grow = {"kind": "ZeroPad2d", "padding": [300, 300, 300, 300]}
    up = {"kind": "Upsample", "scale_factor": 8.0}
    window = {"kind": "MaxPool2d", "kernel_size": 1500, "stride": 1, "padding": 0}
    stacks = {
        "pad": [{"kind": "ZeroPad2d", "padding": [10**5] * 4}],
        "pad-one-side": [{"kind": "ZeroPad2d", "padding": [0, BIG, 0, 0]}],
        "upsample": [{"kind": "Upsample", "size": [10**5, 10**5]}],
        "upsample-by": [{"kind": "Upsample", "scale_factor": 1e6}],
        "upsample-again": [up] * 8,
        "upsample-bilinear": [{"kind": "Upsample", "size": [60_000, 60_000], "mode": "bilinear"}],
        "pool-to": [{"kind": "AdaptiveAvgPool2d", "output_size": [10**5, 10**5]}],
        "pool-max-to": [{"kind": "AdaptiveMaxPool2d", "output_size": 10**5}],
        "pool-window": [{"kind": "ZeroPad2d", "padding": [1500] * 4}, window],
        "pool-window-average": [{"kind": "ZeroPad2d", "padding": [1500] * 4}, {**window, "kind": "AvgPool2d"}],
        "pad-again": [grow] * 200,
        "pad-overflow": [{"kind": "ZeroPad2d", "padding": [2**62] * 4}],
        "upsample-infinite": [{"kind": "Upsample", "scale_factor": float("inf")}],
    }
    return {f"layers-{name}": (_sequence(*stack, head), {}, image) for name, stack in stacks.items()}


def _of_calls() -> dict[str, tuple[Spec, dict[str, torch.Tensor], Task]]:
    row = task(6)
    many = _call("call_method", "expand", _node(0), 20_000, 20_000)
    one = _call("call_method", "select", X, 1, 0)
    flat = _call("call_function", "torch.sum", X)
    double = [
        _call(
            "call_function",
            "operator.add",
            _node(i - 1) if i else {"tuple": [1, 2]},
            _node(i - 1) if i else {"tuple": [1]},
        )
        for i in range(60)
    ]
    square = [
        _call("call_function", "operator.mul", _node(i - 1) if i else 3, _node(i - 1) if i else 3) for i in range(60)
    ]
    graphs = {
        "repeat": [_call("call_method", "repeat", X, 10**5, 10**5)],
        "expand": [
            _call("call_method", "unsqueeze", X, 2),
            _call("call_method", "expand", _node(0), 2, 6, BIG),
            _call("call_method", "contiguous", _node(1)),
        ],
        "expand-and-multiply": [flat, many, _call("call_function", "torch.matmul", _node(1), _node(1))],
        "pad": [_call("call_function", "functional.pad", X, {"tuple": [0, 10**11]})],
        "arange": [_call("call_function", "torch.arange", 10**12)],
        "arange-then": [
            _call("call_function", "torch.arange", 3 * 10**8),
            _call("call_method", "float", _node(0)),
            _call("call_function", "torch.exp", _node(1)),
        ],
        "unbind": [flat, _call("call_method", "expand", _node(0), BIG), _call("call_method", "unbind", _node(1))],
        "split": [
            flat,
            _call("call_method", "expand", _node(0), BIG),
            _call("call_function", "torch.split", _node(1), 1),
        ],
        "chunk": [
            flat,
            _call("call_method", "expand", _node(0), BIG),
            _call("call_function", "torch.chunk", _node(1), BIG),
        ],
        "power": [_call("call_function", "operator.pow", 10, BIG)],
        "power-of-power": [
            _call("call_function", "operator.pow", 9, 9),
            _call("call_function", "operator.pow", _node(0), _node(0)),
            _call("call_function", "operator.pow", _node(1), _node(1)),
        ],
        "list-times": [_call("call_function", "operator.mul", [1], 10**10)],
        "text-times": [_call("call_function", "operator.mul", "x", 10**10)],
        "text-filled": [_call("call_function", "operator.mod", "%9999999999d", 1)],
        "tuples-doubled": double,
        "numbers-squared": square,
        "einsum": [
            _call("call_function", "torch.einsum", "ni,nj,nk,nl,nm,no,np,nq,nr,ns,nt,nu->ijklmopqrstu", *[X] * 12)
        ],
        "stack": [
            _call("call_function", "torch.stack", {"list": [X] * 5000}),
            _call("call_function", "torch.stack", {"list": [_node(0)] * 5000}),
        ],
        "outer": [
            one,
            _call("call_method", "unsqueeze", _node(0), 1),
            *[_call("call_function", "torch.cat", {"list": [_node(i)] * 9}, 1) for i in range(1, 12)],
        ],
        "iterate": [
            flat,
            _call("call_method", "expand", _node(0), BIG),
            _call("call_function", "torch.stack", _node(1)),
        ],
        "view-of-much": [
            flat,
            _call("call_method", "expand", _node(0), 2, 2 * 10**9),
            _call("call_function", "torch.sum", _node(1), 1),
        ],
        "attention": [
            flat,
            _call("call_method", "expand", _node(0), 1, 2 * 10**6, 8),
            _call("call_function", "functional.scaled_dot_product_attention", _node(1), _node(1), _node(1)),
        ],
        "softmax": [
            flat,
            _call("call_method", "expand", _node(0), 10**5, 10**5),
            _call("call_function", "torch.softmax", _node(1), 1),
        ],
        "cumsum": [flat, _call("call_method", "expand", _node(0), 10**10), _call("call_method", "cumsum", _node(1), 0)],
        "long": [_call("call_function", "torch.relu", _node(i - 1) if i else X) for i in range(50_000)],
        "nested-argument": [_call("call_function", "torch.stack", _nested(150))],
    }
    return {f"calls-{name}": (_graph(*calls), {}, row) for name, calls in graphs.items()}


def _nested(depth: int) -> Any:
    made: Any = X
    for _ in range(depth):
        made = {"list": [made]}
    return made


def _of_own_layers() -> dict[str, tuple[Spec, dict[str, torch.Tensor], Task]]:
    row = task(6)
    tree = {"kind": "tree.Tree", "leaves": 3, "classes": 2, "depth": 2}
    kept = {"feature": torch.zeros(2, dtype=torch.int32), "threshold": torch.zeros(2), "values": torch.zeros(3, 2)}
    circle = {**kept, "child": torch.zeros(2, 2, dtype=torch.int32)}
    away = {**kept, "child": torch.full((2, 2), -50, dtype=torch.int32)}
    quantized = {
        "kind": "quantized.Quantized",
        "like": "Linear",
        "shape": [2, 6],
        "bits": 8,
        "activation_bits": 8,
        "bias": False,
    }
    codes = {
        "codes": torch.zeros(12, dtype=torch.uint8),
        "scale": torch.ones(2, 1),
        "round_input.low": torch.zeros(()),
        "round_input.high": torch.ones(()),
    }
    stored = {"qdata": [[2, 6], "int8"], "scale": [[2], "float32"]}
    kernel = {"kind": "kernel.Kernel", "mode": "int8_weight", "shape": [10**5, 10**5], "stored": stored, "bias": False}
    soft = {"kind": "soft_tree.SoftTree", "features": 6, "classes": 2, "mixture": True}
    return {
        "own-tree-deep": ({"tree": {**tree, "depth": BIG}}, circle, row),
        "own-tree-wide": ({"tree": {**tree, "leaves": 10**12}}, circle, row),
        "own-tree-in-a-circle": ({"tree": tree}, circle, row),
        "own-tree-with-children-that-are-none": ({"tree": tree}, away, row),
        "own-soft-deep": ({"tree": {**soft, "depth": BIG}}, {}, row),
        "own-soft-deeper": ({"tree": {**soft, "depth": 10**15}}, {}, row),
        "own-soft-40": ({"tree": {**soft, "depth": 40}}, {}, row),
        "own-quantized-bits": ({"tree": {**quantized, "bits": 10**10}}, codes, row),
        "own-quantized-activations": ({"tree": {**quantized, "activation_bits": -(10**10)}}, codes, row),
        "own-quantized-group": ({"tree": {**quantized, "grid": "group", "group": BIG}}, codes, row),
        "own-quantized-group-0": ({"tree": {**quantized, "grid": "group", "group": 0}}, codes, row),
        "own-quantized-wide": ({"tree": {**quantized, "shape": [2, 10**12]}}, codes, row),
        "own-quantized-real": ({"tree": {**quantized, "bits": 1e300}}, codes, row),
        "own-kernel-wide": (
            {"tree": kernel},
            {"qdata": torch.zeros(2, 6, dtype=torch.int8), "scale": torch.ones(2)},
            row,
        ),
        "own-tensor-wide": (
            {"tree": {"kind": "tensor.TensorLayer", "modes": [BIG] * 20, "out": 2, "ranks": [BIG] * 21, "bias": True}},
            {},
            row,
        ),
    }


def _of_structure() -> dict[str, tuple[Spec, dict[str, torch.Tensor], Task]]:
    row = task(6)
    deep: Spec = {"kind": "ReLU", "inplace": False}
    for _ in range(300):
        deep = {"kind": "Sequential", "parts": {"0": deep}}
    wide = [{"kind": "Identity"}] * 60_000
    called = {"p": {"kind": "Sequential", "parts": {str(i): {"kind": "ReLU"} for i in range(300)}}}
    again = _graph(*[_call("call_module", "p", _node(i - 1) if i else X) for i in range(15_000)], parts=called)
    shapes = {"tree": {"kind": "Linear", "in_features": 6, "out_features": 2}, "shapes": {"weight": [10**6, 10**6]}}
    return {
        "structure-deep": ({"tree": deep}, {}, row),
        "structure-wide": (_sequence(*wide), {}, row),
        "structure-called-again": (again, {}, row),
        "structure-mask": (
            shapes,
            {"weight.values": torch.zeros(0), "weight.mask": torch.zeros(2, dtype=torch.uint8), "bias": torch.zeros(2)},
            row,
        ),
        "structure-shared-in-a-circle": (
            {
                "tree": {"kind": "Linear", "in_features": 6, "out_features": 2},
                "shared": {"weight": "bias", "bias": "weight"},
            },
            {"x": torch.zeros(1)},
            row,
        ),
    }
