"""Share of the first linear layer's input that is read exactly off its gradients, one example at a time.

With output unit i of a layer ``z = W x + b`` the gradients are ``dL/dW_ij = d_i x_j`` and ``dL/db_i = d_i``, so that
``x_j = (dL/dW_ij) / (dL/db_i)`` for any unit with ``d_i != 0`` whose weight ``W_ij`` is not pruned: the gradient of a
pruned weight is not shared. Where a factored layer ``U V x + b`` stands for it, the attacker knows ``U`` and
``d = dL/db``, hence the gradient ``U^T d`` at the inner units, and divides ``dL/dV`` by it: factors alone withhold
nothing. Of a quantized layer, whose gradient passes straight through the rounding, the rounded input is found.

Value of an example: share of the entries that are found to within ``tolerance`` of the input's largest absolute entry.
Gradients are of the cross-entropy, in double precision.

Reading:
    1: whoever sees one example's gradient holds the input of that layer exactly, the whole example if it is the first
    layer of all. With a share s of weights pruned at random and n units active, ``1 - s^n`` of the input is recovered,
    so only strong pruning of narrow layers withholds anything.

Cost:
    Two passes forward and one backward of the first ``examples`` of test, in double precision; not shared with other
    behaviours.

Limits:
    It speaks of batches of one example without noise, clipping or secure aggregation. In a network of convolutions the
    layer is a late one, and its input is not the image. Needs a linear layer with a bias, or one before such a layer.

Source:
    Geiping et al., Inverting gradients: how easy is it to break privacy in federated learning?, NeurIPS 2020,
    arXiv:2003.14053, proposition 3.1; first for one unit: Phong et al., TIFS 2018, doi:10.1109/TIFS.2017.2787987.
    The attack through two factors and through masks is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.leakage import _examples, _gradients
from whatelse.errors import NotMeasurableError
from whatelse.evidence import Evidence
from whatelse.settings import param
from whatelse.statistics import summaries

VERSION, UNIT, BETTER, NEEDS, OVER = (
    1,
    "share of entries",
    "lower",
    {"predicts", "differentiates", "opens"},
    "test example",
)


@dataclass(frozen=True)
class Config:
    """Settings of the analytic inversion."""

    examples: int = param(200, "Test examples, from the first.", low=1)
    tolerance: float = param(0.01, "Largest error, as a share of the largest absolute entry.", low=0.0, high=1.0)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the share of the layer's input that is recovered of each example, ``(M,)``.

    Args:
        evidence: Gives the model and the examples; takes a note of the layer and the size of its gradients.
        config: How many examples, and the tolerance.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: The model does not open or differentiate, or has no linear layer of which the attack
            knows the gradient at its units.
    """
    del rng
    model = _gradients.shared(evidence)
    layer, after = _first(model)
    test = evidence.split("test")
    inputs, labels = test.inputs[: config.examples].double(), test.targets[: config.examples]
    truth = _entering(model, layer, inputs)
    names = [n for name in (layer, after) for n in _gradients.tensor_names(name) if n in model.tensors]
    each = _examples.gradients(model, inputs, labels, *names)
    found = {n: g.view(len(g), *model.tensors[n].shape) for n, g in each.items()}
    evidence.passes.forward += 2 * len(inputs)
    evidence.passes.backward += len(inputs)
    units = found[_gradients.tensor_names(after)[1]]
    if after != layer:
        units = units @ model.tensors[_gradients.tensor_names(after)[0]]
    weight = _gradients.tensor_names(layer)[0]
    guess, known = _divide(found[weight], units, model.masks.get(weight, torch.ones_like(found[weight][0])))
    largest = truth.abs().amax(1, keepdim=True)
    good = known & ((guess - truth).abs() <= config.tolerance * largest)
    size = float(found[weight].flatten(1).norm(dim=1).median())
    evidence.note(f"layer {layer or 'itself'}, {truth.shape[1]} inputs; median norm of its gradient {size:.1e}")
    return good.double().mean(1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean share of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(M,)``.
        counts: How often each example stands in each resample, ``(draws, M)``.
    """
    return summaries.mean(values, counts)


def _first(model: _gradients.Shared) -> tuple[str, str]:
    """Return the first linear layer and the one whose bias gives the gradient at its units: itself or the next.

    Raises:
        NotMeasurableError: There is none.
    """
    layers = list(_gradients.leaves(model.model).items())
    places = [i for i, (_, part) in enumerate(layers) if _gradients.is_linear(part)]
    if not places:
        raise NotMeasurableError("needs a linear layer; the model has none")
    for name, part in layers[places[0] : places[0] + 2]:
        if _gradients.is_linear(part) and _gradients.tensor_names(name)[1] in model.tensors:
            return layers[places[0]][0], name
    raise NotMeasurableError(f"needs a first linear layer with a bias; {layers[places[0]][0]} has none")


def _entering(model: _gradients.Shared, layer: str, inputs: Tensor) -> Tensor:
    seen: list[Tensor] = []
    part = model.model.get_submodule(layer)
    hook = part.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.no_grad():
            model.model(inputs)
    finally:
        hook.remove()
    if not seen or seen[0].shape != (len(inputs), seen[0].shape[-1]):
        raise NotMeasurableError(f"needs a first linear layer that sees each example once, as a vector; not so {layer}")
    return seen[0]


def _divide(weight: Tensor, units: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return the input by entry and whether any unit tells it, ``(M, in)``: the most active unit is believed.

    A unit without any gradient at its weights is shut off behind the attacker's back, by clipping for one.
    """
    active = units.abs() * (weight != 0).any(2)
    believed = active[..., None] * kept
    best = believed.argmax(1, keepdim=True)
    told = weight.gather(1, best) / units.gather(1, best[:, 0])[:, None]
    return told[:, 0].nan_to_num(), believed.amax(1) > 0
