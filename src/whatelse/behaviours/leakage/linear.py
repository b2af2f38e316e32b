"""Share of the first linear layer's input that is read exactly off its gradients.

With output unit i of a layer ``z = W x + b`` the gradients are ``dL/dW_ij = d_i x_j`` and ``dL/db_i = d_i``, so that
``x_j = (dL/dW_ij) / (dL/db_i)`` for any unit with ``d_i != 0`` whose weight ``W_ij`` is not pruned: the gradient of a
pruned weight is not shared. Where a factored layer ``U V x + b`` stands for it, the attacker knows ``U`` and
``d = dL/db``, hence the gradient ``U^T d`` at the inner units, and divides ``dL/dV`` by it: factors alone withhold
nothing. With ``shares=outer`` the inner factor is frozen, as in some low-rank training, and its gradient not shared:
``dL/dU`` tells ``V x``, hence ``pinv(V) V x``, the projection of x on the rows of V. A layer that is not factored
shares all. Of a quantized layer, whose gradient passes straight through the rounding, the rounded input is found.

Of a ``batch`` the mean gradient is shared, and a unit tells ``sum_n d_ni x_n / sum_n d_ni``, a mixture, unless one
example alone wakes it. A unit speaks for an example where ``|d_mi|`` of all others together is at most ``tolerance``
times ``|sum_n d_ni|``; what other units tell does not count, even where it happens to be right.

Value of an example: by ``count``, the share of the entries that are found to within ``tolerance`` of the input's
largest absolute entry, or, ``norm``, ``1 - |x - found|^2 / |x|^2`` with zero for what is not found, at least 0.
Gradients are of the cross-entropy of scores as loud as the baseline's, in double precision.

Reading:
    1: whoever sees the gradient holds the input of that layer exactly, the whole example if it is the first layer of
    all. With a share s of weights pruned at random and n units active, ``1 - s^n`` of the input is recovered, so only
    strong pruning of narrow layers withholds anything; a frozen factor of rank r withholds all but r dimensions.

Cost:
    Two passes forward and one backward of the first ``examples`` of test, in double precision; not shared with other
    behaviours.

Limits:
    It speaks of gradients without noise, clipping or secure aggregation. Of larger batches it counts what a unit tells,
    and leaves open how an attacker knows which unit speaks for one example alone. In a network of convolutions the
    layer is a late one, and its input is not the image. Needs a linear layer with a bias, or one before such a layer.

Source:
    Geiping et al., Inverting gradients: how easy is it to break privacy in federated learning?, NeurIPS 2020,
    arXiv:2003.14053, proposition 3.1; first for one unit: Phong et al., TIFS 2018, doi:10.1109/TIFS.2017.2787987;
    units that one example of a batch wakes: Boenisch et al., When the curious abandon honesty, EuroS&P 2023,
    arXiv:2112.02918. The attack through two factors and through masks is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.behaviours.leakage import _examples, _gradients
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import placed
from whatelse.settings import param
from whatelse.statistics import summaries
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    2,
    "share of entries",
    "lower",
    {"predicts", "differentiates", "opens"},
    "test example",
)
WORST, BLIND = 1.0, 0.0


_SHARES, _COUNTS = ("all", "outer"), ("entries", "norm")
_ENTRIES = 8_000_000  # of gradients at once


@dataclass(frozen=True)
class Config:
    """Settings of the analytic inversion."""

    examples: int = param(200, "Test examples, from the first.", low=1)
    tolerance: float = param(0.01, "Largest error, as a share of the largest absolute entry.", low=0.0, high=1.0)
    batch: int = param(1, "Examples whose gradients are averaged before they are shared.", low=1, high=10_000)
    shares: str = param("all", "What a factored layer shares: both factors, or the outer alone.", choices=_SHARES)
    count: str = param("entries", "What is counted: entries, or the squared norm.", choices=_COUNTS)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the share of the layer's input that is recovered of each example.

    Args:
        evidence: Gives the model and the examples.
        config: How many examples, and the tolerance.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: The model does not open or differentiate, or has no linear layer of which the attack
            knows the gradient at its units.
    """
    del rng
    model = _gradients.shared(evidence)
    attack = _Attack(model, *_first(model), config)
    test, size = evidence.split("test"), config.batch
    many = min(config.examples, len(test)) // size * size
    if not many:
        raise NotMeasurableError(f"needs a batch of {size} examples; test has {len(test)}, examples={config.examples}")
    values, norms = [], []
    for rows in torch.split(torch.arange(many), attack.together):
        truth = _entering(model, attack.layer, test.inputs[rows].double())
        guess, known, norm = attack.run(test.inputs[rows].double(), test.targets[rows])
        values.append(_score(guess, known, truth, config))
        norms.append(norm)
    evidence.passes.forward += 2 * many
    evidence.passes.backward += many
    told = f"layer {attack.layer or 'itself'}, {truth.shape[1]} inputs"
    return Answer(
        {"recovered": torch.cat(values).float()},
        notes=(f"{told}; median norm of its gradient {float(torch.cat(norms).median()):.1e}",),
        doubts=_gradients.check_silent(torch.cat(norms)),
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean share of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    return summaries.mean(answer["recovered"], weights)


def effort(config: Config, task: Task) -> int:
    """Return an upper bound of the passes that one model costs beyond the shared ones.

    Args:
        config: How many examples.
        task: Its test split bounds them.
    """
    return 3 * min(config.examples, len(task.test))


def _score(guess: Tensor, known: Tensor, truth: Tensor, config: Config) -> Tensor:
    if config.count == "norm":
        lost = (truth - guess.where(known, 0.0)).square().sum(1) / truth.square().sum(1)
        return (1 - lost).clamp(min=0).nan_to_num()
    largest = truth.abs().amax(1, keepdim=True)
    return (known & ((guess - truth).abs() <= config.tolerance * largest)).double().mean(1)


class _Attack:
    """Reads a layer's input off its gradients, or the rows of its frozen inner factor times the input."""

    def __init__(self, model: _gradients.Shared, layer: str, after: str, config: Config) -> None:
        self.model, self.layer, self.after, self.config = model, layer, after, config
        self.frozen = config.shares == "outer" and after != layer
        self.weight = _gradients.tensor_names(after if self.frozen else layer)[0]
        self.bias = _gradients.tensor_names(after)[1]
        entries = model.tensors[self.weight].numel()
        self.together = max(1, _ENTRIES // entries // config.batch) * config.batch

    def run(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs of the layer and which entries are known, ``(M, in)``, and norms of gradients, ``(batches,)``.

        Args:
            inputs: Of the model, ``(M, ...)``.
            labels: ``(M,)``.
        """
        each = _examples.gradients(self.model, inputs, labels, self.weight, self.bias)
        units, weight = each[self.bias], placed.home(self.model.tensors[self.weight])
        if self.after != self.layer and not self.frozen:
            units = units @ placed.home(self.model.tensors[_gradients.tensor_names(self.after)[0]])
        shared = each[self.weight].view(-1, self.config.batch, *weight.shape).mean(1)
        batches = units.view(-1, self.config.batch, units.shape[1])
        others = batches.abs().sum(1, keepdim=True) - batches.abs()
        alone = others <= self.config.tolerance * batches.sum(1, keepdim=True).abs()
        kept = self.model.masks.get(self.weight, torch.ones_like(weight))
        parts = [_divide(*of, kept) for of in zip(shared, batches.mean(1), alone, strict=True)]
        guess, known = (torch.cat(found) for found in zip(*parts, strict=True))
        if self.frozen:
            guess, known = _projected(
                guess, known, placed.home(self.model.tensors[_gradients.tensor_names(self.layer)[0]])
            )
        return guess, known, shared.flatten(1).norm(dim=1)


def _projected(inner: Tensor, told: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``pinv(V) V x`` by the rows of V whose product with x is told, and where any is, ``(M, in)`` each."""
    guess = inner.new_zeros(len(inner), factor.shape[1])
    for pattern in torch.unique(told, dim=0):
        rows = (told == pattern).all(1)
        guess[rows] = inner[rows][:, pattern] @ torch.linalg.pinv(factor[pattern]).T
    return guess, told.any(1, keepdim=True).expand_as(guess)


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
    hook = part.register_forward_pre_hook(lambda _, given: seen.append(placed.home(given[0])))
    try:
        with torch.no_grad():
            model.model(inputs)
    finally:
        hook.remove()
    if not seen or seen[0].shape != (len(inputs), seen[0].shape[-1]):
        raise NotMeasurableError(f"needs a first linear layer that sees each example once, as a vector; not so {layer}")
    return seen[0]


def _divide(weight: Tensor, units: Tensor, alone: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs of one batch and which entries are told, ``(batch, in)``: the most active unit is believed.

    A unit without any gradient at its weights is shut off behind the attacker's back, by clipping for one.

    Args:
        weight: Gradient of the weight, ``(units, in)``.
        units: Gradient at the units, ``(units,)``.
        alone: Which units speak for an example, ``(batch, units)``.
        kept: Which weights are not pruned, ``(units, in)``.
    """
    active = units.abs() * (weight != 0).any(1)
    told = weight / units[:, None]
    believed = (active * alone)[..., None] * kept
    best = believed.argmax(1)
    return told.gather(0, best).nan_to_num(), believed.amax(1) > 0
