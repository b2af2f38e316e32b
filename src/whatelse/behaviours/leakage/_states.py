"""The model at other moments of its training than the end: gradients are large at the start, and tell more."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import NotMeasurableError, RecipeError
from whatelse.evidence import loudness
from whatelse.evidence.cache import Evidence
from whatelse.layers.compressed import CompressedLayer
from whatelse.modules.walk import copied, pruned
from whatelse.training.initialize import initialize
from whatelse.training.rng import fork_rng

STATES = ("trained", "untrained", "early")
BATCH = 32  # Examples of a step of early training.
_RATE, _SEED = 0.1, 2021  # Every model starts at the same draws.


def at(evidence: Evidence, state: str, steps: int) -> nn.Module:
    """Return the model at a moment of its training, a copy unless it is ``trained``.

    ``untrained`` draws all weights anew, those that are zero stay so; ``early`` then takes some steps of SGD on train
    with the recorded labels, batches of 32 and rate 0.1.

    Args:
        evidence: Of the model; counts the passes.
        state: One of `STATES`.
        steps: Of early training.

    Raises:
        NotMeasurableError: Weights cannot be drawn anew, as quantized ones, or are computed at every pass.
    """
    if state == "trained":
        return evidence.model
    fixed = [
        p for p in evidence.model.modules() if isinstance(p, CompressedLayer) and p.weights() and not [*p.parameters()]
    ]
    if fixed:
        kind = type(fixed[0]).__name__
        raise NotMeasurableError(f"state={state} needs weights that can be drawn anew; those in {kind} cannot")
    rng = evidence.draws(_SEED)
    model = copied(evidence.model)
    masks = [(p, (p != 0).to(p.dtype)) for p in pruned(model)]
    try:
        initialize(model, rng)
    except RecipeError as error:
        raise NotMeasurableError(f"state={state} needs weights that can be drawn anew: {error}") from error
    with torch.no_grad():
        for parameter, mask in masks:
            parameter.mul_(mask)
    if state == "early":
        _train(model, evidence, steps, rng)
    return model


def louder(evidence: Evidence, model: nn.Module, state: str, steps: int) -> float:
    """Return how many times louder a model is than its baseline at the same moment of its training; 1 of the baseline.

    Args:
        evidence: Of the model; counts the passes.
        model: What `at` returned.
        state: One of `STATES`.
        steps: Of early training.
    """
    if state == "trained" or evidence.reference is None:
        return loudness.louder(evidence)
    whole = evidence.reference

    def make() -> dict[str, Tensor]:
        return {"spread": torch.tensor(_spread(whole, at(whole, state, steps)), dtype=torch.float64)}

    before = float(whole.once(f"spread on select, state={state} steps={steps}", make)["spread"])
    return loudness.ratio(_spread(evidence, model), before)


@torch.no_grad()
def _spread(evidence: Evidence, model: nn.Module) -> float:
    inputs = evidence.split("select").inputs
    evidence.passes.forward += len(inputs)
    return loudness.spread(torch.cat([model(x) for x in torch.split(inputs, evidence.batch)]))


def _train(model: nn.Module, evidence: Evidence, steps: int, rng: torch.Generator) -> None:
    train = evidence.split("train")
    masks = {id(p): (p != 0).to(p.dtype) for p in pruned(model)}
    parameters = list(model.parameters())
    model.train().requires_grad_(requires_grad=True)
    size = min(BATCH, len(train))
    with fork_rng(rng), torch.enable_grad():
        for _ in range(steps):
            rows = torch.randperm(len(train), generator=rng)[:size]
            loss = functional.cross_entropy(model(train.inputs[rows]), train.observed[rows])
            slopes = torch.autograd.grad(loss, parameters, materialize_grads=True)
            with torch.no_grad():
                for parameter, slope in zip(parameters, slopes, strict=True):
                    parameter.sub_(_RATE * slope * masks.get(id(parameter), 1.0))
    model.eval().requires_grad_(requires_grad=False)
    evidence.passes.forward += steps * size
    evidence.passes.backward += steps * size
