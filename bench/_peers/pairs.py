"""The pairs: each of our methods and the peer that a user would pick, at the same strength and the same training."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torchao.quantization as ao
from torch import nn

from _peers import decompose, prune, quantize, train
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule

Make = Callable[[nn.Module, Task, int], nn.Module]

SHORT, LONG, CONV_LONG = Schedule(2, 2e-3, 50), Schedule(4, 4e-3, 50), Schedule(4, 8e-3, 50)

_FLOATS = "The peer keeps floats: no library packs convolutions in so few bits."
_INTEGER = "onnxruntime runs another engine, fused, with integer kernels; ours computes layer by layer in torch."
_ZEROS = "The peer writes its zeros as floats. No CPU kernel skips zeros: neither is faster."
_KERNEL = "Same kernels; ours puts torchao's tensor together anew in each pass, so that it can be saved without pickle."
_NO_LAYER = "The peer multiplies its factors out: TensorLy alone has no layer that keeps them."
_OBD = (
    "The estimate is quadratic, about the trained weights: far from them, at 90 % in one step, it empties the last "
    "stage, and further training mends that less well."
)
_PADDING = (
    "Half of the tokens that a layer sees are padding, which no answer depends on, and the scores count them: without "
    "them Wanda is level (measured aside, 70 %: 75.2 against 75.5)."
)
_TAYLOR = "Another formula: ours squares the change of each place, theirs sums absolute values. Seeds differ in sign."
_ARCHITECTURE = "Ours holds the architecture as JSON, which a state dict leaves to the user's code."
_LOTTERY = "A ticket is trained from random weights, in as many epochs in all; the peer goes on from trained ones."
_GATHER = "onnxruntime stores the embedding in 8 bits too; ours leaves embeddings alone."
_INTX = "torchao keeps a byte a weight at any number of bits; ours packs, and writes its architecture as JSON."


@dataclass(frozen=True)
class Pair:
    """One of our methods and its peer.

    Attributes:
        net: Key of `tasks.ARENAS`.
        ours: A recipe of one step.
        name: The peer, for the table; of one name and one training it is the same.
        peer: Makes the peer of a baseline, a task and a seed.
        tune: How both are trained further afterwards; None for not at all.
        note: Why one of the two may be larger, slower or less accurate.
    """

    net: str
    ours: str
    name: str
    peer: Make
    tune: Schedule | None = None
    note: str = ""

    @property
    def key(self) -> str:
        """Name of its result."""
        return re.sub(r"[^\w.=]+", "-", f"{self.ours} {self.name}").strip("-")


def _resnet() -> list[Pair]:
    def pair(*given: object, tune: Schedule | None = SHORT, note: str = "") -> Pair:
        return Pair("resnet", *given, tune=tune, note=note)

    def lowest(model: nn.Module, task: Task, seed: int) -> nn.Module:
        del task, seed
        return prune.magnitude(model, 0.9, "global")

    return [
        pair("prune.magnitude(sparsity=0.9)", "torch.nn.utils.prune, L1, global", lowest, note=_ZEROS),
        pair("prune.obd(sparsity=0.9, curvature='fisher')", "torch.nn.utils.prune, L1, global", lowest, note=_OBD),
        pair(
            "prune.obd(sparsity=0.5, curvature='fisher')",
            "torch.nn.utils.prune, L1, global, 0.5",
            lambda m, t, s: prune.magnitude(m, 0.5, "global"),
            tune=None,
        ),
        pair(
            "prune.lottery(sparsity=0.8, rounds=2, output_rate=1.0, epochs=4)",
            "torch.nn.utils.prune, L1, by layer; 4 epochs",
            _half_tuned,
            tune=None,
            note=_LOTTERY,
        ),
        pair(
            "prune.structured(scope='uniform', round_to=1)",
            "Torch-Pruning, MagnitudeImportance",
            lambda m, t, s: prune.structured(m, t, "magnitude"),
        ),
        pair(
            "prune.structured(scope='uniform', round_to=1, importance='taylor')",
            "Torch-Pruning, TaylorImportance",
            lambda m, t, s: prune.structured(m, t, "taylor"),
            note=_TAYLOR,
        ),
        pair(
            "decompose.tucker()",
            "TensorLy partial_tucker",
            lambda m, t, s: decompose.tucker(m, 0.5),
            note=_ARCHITECTURE,
        ),
        pair("decompose.cp()", "TensorLy parafac", lambda m, t, s: decompose.cp(m, 0.5), note=_ARCHITECTURE),
        pair("decompose.svd(rank=0.5)", "torch.linalg.svd", lambda m, t, s: decompose.svd(m, 0.5)),
        pair("decompose.svd(rank=0.5, aware=True)", "torch.linalg.svd", lambda m, t, s: decompose.svd(m, 0.5)),
        *_resnet_rounded(),
        *[
            pair(
                f"distill.{name}(epochs=6)",
                "control: same student on labels",
                lambda m, t, s: train.small_from_scratch(m, t, s, Schedule(6, 8e-3, 50)),
                tune=None,
            )
            for name in ("logits", "attention", "attribution")
        ],
    ]


def _half_tuned(model: nn.Module, task: Task, seed: int) -> nn.Module:
    return train.further(prune.magnitude(model, 0.8, "layer"), task, seed, CONV_LONG)


def _resnet_rounded() -> list[Pair]:
    def by_hand(bits: int) -> Make:
        return lambda m, t, s: quantize.nearest(m, bits)

    def tuned(model: nn.Module, task: Task, seed: int) -> nn.Module:
        return quantize.nearest(train.further(deepcopy(model), task, seed, SHORT), 4)

    only, name = "activation_bits=32", "nearest {} bits, by hand"
    aware = "quantize.aware(bits=4, activation_bits=32, epochs=2, rate=0.002)"
    return [
        Pair(
            "resnet",
            "quantize.uniform(bits=8)",
            "onnxruntime quantize_static, per channel",
            lambda m, t, s: quantize.onnx_static(m, t),
            note=_INTEGER,
        ),
        Pair("resnet", f"quantize.uniform(bits=4, {only})", name.format(4), by_hand(4), note=_FLOATS),
        Pair("resnet", "quantize.gptq(bits=4)", name.format(4), by_hand(4), note=_FLOATS),
        Pair("resnet", "quantize.gptq(bits=3)", name.format(3), by_hand(3), note=_FLOATS),
        Pair("resnet", aware, "further training, then nearest 4 bits", tuned, note=_FLOATS),
    ]


def _transformer() -> list[Pair]:
    def pair(*given: object, tune: Schedule | None = None, note: str = "") -> Pair:
        return Pair("transformer", *given, tune=tune, note=note)

    dynamic = "quantize.int8(mode='dynamic')"
    return [
        pair(
            "quantize.int8(mode='weight')",
            "torchao Int8WeightOnlyConfig",
            lambda m, t, s: quantize.torchao(m, ao.Int8WeightOnlyConfig()),
            note=_KERNEL,
        ),
        pair(
            dynamic,
            "torchao Int8DynamicActivationInt8WeightConfig",
            lambda m, t, s: quantize.torchao(m, ao.Int8DynamicActivationInt8WeightConfig()),
            note=_KERNEL,
        ),
        pair(
            dynamic,
            "onnxruntime quantize_dynamic, per channel",
            lambda m, t, s: quantize.onnx_dynamic(m, t),
            note=f"{_GATHER} {_INTEGER}",
        ),
        pair(
            dynamic,
            "onnxruntime quantize_dynamic, per channel, products only",
            lambda m, t, s: quantize.onnx_dynamic(m, t, ("MatMul", "Gemm")),
            note=_INTEGER,
        ),
        pair("quantize.int4()", "torchao IntxWeightOnlyConfig(int4, 32)", _intx(4, symmetric=False), note=_INTX),
        *[
            pair(
                f"quantize.gptq(bits={bits}, grid='group')",
                f"torchao IntxWeightOnlyConfig(int{bits}, 32)",
                _intx(bits, symmetric=True),
                note=_INTX,
            )
            for bits in (4, 3, 2)
        ],
        pair(
            "quantize.aware(bits=2, activation_bits=32, grid='group', epochs=4, rate=0.004)",
            "torchao QATConfig(int2, 32)",
            lambda m, t, s: quantize.torchao_aware(m, t, s, 2, LONG),
            note=_INTX,
        ),
        *_transformer_pruned(),
        pair("decompose.svd(rank=0.25, aware=True)", "torch.linalg.svd", lambda m, t, s: decompose.svd(m, 0.25)),
        pair(
            "decompose.tensor_layer(layer='blocks.0.linear1', modes='8x8', ranks='4x4x16')",
            "TensorLy tucker",
            lambda m, t, s: decompose.tensor_layer(m, "blocks.0.linear1", (8, 8), (4, 4, 16)),
            note=_NO_LAYER,
        ),
        *[
            pair(
                f"distill.{name}(epochs=4, rate=0.004)",
                "control: same student on labels",
                lambda m, t, s: train.small_from_scratch(m, t, s, LONG),
            )
            for name in ("logits", "attention", "attribution", "hints")
        ],
    ]


def _transformer_pruned() -> list[Pair]:
    made = []
    for name in ("wanda", "sparsegpt"):
        for share in (0.5, 0.7):

            def lowest(model: nn.Module, task: Task, seed: int, share: float = share) -> nn.Module:
                del task, seed
                return prune.magnitude(model, share, "layer")

            ours = f"prune.{name}(sparsity={share})"
            made.append(
                Pair("transformer", ours, f"torch.nn.utils.prune, L1, by layer, {share}", lowest, note=_PADDING)
            )
        made.append(
            Pair(
                "transformer",
                f"prune.{name}(pattern='2:4')",
                "torch.ao.pruning WeightNormSparsifier, 2:4",
                lambda m, t, s: prune.two_of_four(m),
                note=_PADDING,
            )
        )
    for importance in ("magnitude", "taylor"):
        title = f"Torch-Pruning, {importance.capitalize()}Importance"

        def narrowed(model: nn.Module, task: Task, seed: int, importance: str = importance) -> nn.Module:
            del seed
            return prune.structured(model, task, importance)

        ours = f"prune.structured(scope='uniform', round_to=1, importance={importance!r})"
        made.append(Pair("transformer", ours, title, narrowed, tune=SHORT))
    return made


def _intx(bits: int, *, symmetric: bool) -> Make:
    return lambda m, t, s: quantize.torchao(m, quantize.intx(bits, 32, symmetric=symmetric))


PAIRS = [*_resnet(), *_transformer()]
