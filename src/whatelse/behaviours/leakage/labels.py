"""How well the labels of a batch are read off the gradient of the last layer.

The gradient of a class's bias is ``mean_i (p_ic - y_ic)``, that of its weights the same times the layer's input: for a
class that is not in the batch neither is negative where inputs are not. So every class with a negative entry is in the
batch (after a layer whose outputs may be negative, as in a low-rank pair, only the bias is read). Value of a batch:
the recovered classes and the true ones, size of intersection over union. With one example a batch this is iDLG.
Gradients are of the cross-entropy of scores as loud as the baseline's, in double precision; those of pruned weights are
not shared.

Reading:
    1: all classes of a batch are known to whoever sees its gradient, which is the rule for small batches, compressed or
    not. What is missed is a class whose probability the other examples of the batch outweigh.

Cost:
    One pass forward and one backward of ``batch * batches`` test examples, in double precision; not shared with other
    behaviours.

Limits:
    Only which classes occur is read, not how often. Secure aggregation, noise, clipping and large batches, which
    protect in practice, are not modeled. Needs a linear last layer with a bias, or one after a ReLU.

Source:
    Zhao, Mopuri & Bilen, iDLG: Improved deep leakage from gradients, 2020, arXiv:2001.02610; batches: Yin et al., See
    through gradients: image batch recovery via GradInversion, CVPR 2021, arXiv:2104.07586.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from whatelse.answer import Answer
from whatelse.behaviours.leakage import _examples, _gradients
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.layers.quantized import Quantized
from whatelse.settings import param
from whatelse.statistics import summaries

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    2,
    "overlap of labels",
    "lower",
    {"predicts", "differentiates", "opens"},
    "batch",
)
WORST, BLIND = 1.0, 0.0


@dataclass(frozen=True)
class Config:
    """Settings of the recovery of labels."""

    batch: int = param(4, "Examples whose gradients are averaged before they are shared.", low=1, high=10_000)
    batches: int = param(75, "Batches; no more than test has.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the overlap of recovered and true labels of each batch, in [0, 1].

    Args:
        evidence: Gives the model and, from the start of test, the batches.
        config: Sizes.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: The model does not open or differentiate, its last layer is not linear, or test is smaller
            than one batch.
    """
    del rng
    model = _gradients.shared(evidence)
    names, positive = _head(model)
    test = evidence.split("test")
    many = min(config.batches, len(test) // config.batch)
    if not many:
        raise NotMeasurableError(f"needs a batch of {config.batch} examples; test has {len(test)}")
    inputs, labels = test.inputs[: many * config.batch].double(), test.targets[: many * config.batch]
    each = _examples.gradients(model, inputs, labels, *names)
    found = {n: g.view(many, config.batch, *model.tensors[n].shape).mean(1) for n, g in each.items()}
    evidence.passes.forward += many * config.batch
    evidence.passes.backward += many * config.batch
    read = {n: g.flatten(2).amin(2) if g.dim() > 2 else g for n, g in found.items() if positive or g.dim() == 2}
    recovered = torch.stack(list(read.values())).amin(0) < 0
    true = torch.zeros_like(recovered).scatter(1, labels.view(many, -1), value=True)
    norms = torch.stack([g.flatten(1).square().sum(1) for g in found.values()]).sum(0).sqrt()
    return Answer(
        {"overlap": ((recovered & true).sum(1) / (recovered | true).sum(1)).float()},
        notes=(f"gradient norm of the last layer {float(norms.median()):.1e} (median)",),
        doubts=_gradients.check_silent(norms),
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean overlap of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each batch stands in each resample, ``(draws, batches)``.
    """
    del config
    return summaries.mean(answer["overlap"], weights)


def _head(model: _gradients.Shared) -> tuple[list[str], bool]:
    """Return the names of the last layer's tensors, and whether its inputs are never negative.

    Raises:
        NotMeasurableError: Nothing can be read off the signs of its gradient.
    """
    layers = list(_gradients.leaves(model.model).items())
    name, last = layers[-1]
    if not _gradients.is_linear(last):
        raise NotMeasurableError(f"needs a linear last layer; it is {type(last).__name__}")
    before = layers[-2][1] if len(layers) > 1 else None
    positive = isinstance(before, nn.ReLU | nn.Sigmoid) and not (isinstance(last, Quantized) and _below(last))
    names = [n for n in _gradients.tensor_names(name) if n in model.tensors]
    if not positive and len(names) == 1:
        raise NotMeasurableError("needs a last layer with a bias, or one after a ReLU")
    return names, positive


def _below(layer: Quantized) -> bool:
    return bool(layer.round_input.low < 0)
