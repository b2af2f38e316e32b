"""Whether the answer to an example depends on what else is in its batch, and in what batches a model is then asked.

A kernel that scales its activations by the largest of the whole batch does so. What such a model says of an example
is not known without its neighbours: it is asked as its owner serves it, where that is declared, else one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from whatelse.errors import TaskError
from whatelse.models.asked import BATCHED
from whatelse.models.model import Bounded, Model, Scores

_APART = 16  # examples that are asked by themselves


@torch.no_grad()
def moved(model: Callable[[Tensor], Tensor], inputs: Tensor, batch: int) -> float:
    """Return how far scores of examples lie from those in a batch, as a share of the largest score.

    Args:
        model: From inputs to class scores.
        inputs: ``(N, ...)``; the first are asked by themselves.
        batch: How many are asked at once.
    """
    few = min(_APART, len(inputs))
    first = inputs[: -(-few // batch) * batch]
    together = torch.cat([model(part) for part in torch.split(first, batch)])
    apart = torch.cat([model(inputs[i : i + 1]) for i in range(few)])
    largest = together.abs().nan_to_num(0, 0, 0).max().clamp(min=1e-12)
    return float((together[:few] - apart).abs().nan_to_num(0, 0, 0).max() / largest)


def alone(model: Callable[[Tensor], Tensor], name: str, probe: Tensor, *, known: bool) -> tuple[bool, tuple[str, ...]]:
    """Say whether a model is asked one example at a time, as its answers depend on their neighbours; with a remark.

    Args:
        model: From inputs to class scores.
        name: How messages call it.
        probe: Some inputs, ``(N, ...)``.
        known: True where the model says so itself, whether these inputs show it or not.
    """
    off = moved(model, probe, len(probe))
    if not (known or off > BATCHED):
        return False, ()
    told = f"answers of {name} depend on the rest of the batch, by up to {off:.1g} of the largest score"
    return True, (f"{told}: asked one example at a time; --batch N asks in batches of N, as it is served",)


def declared(model: Model, inputs: Tensor, batch: int) -> Model:
    """Return a model that is asked so many examples at once, in their order; it is said where that moves answers.

    Args:
        model: Under audit; one that was recorded is as it was recorded.
        inputs: Some inputs, ``(N, ...)``.
        batch: How many.

    Raises:
        TaskError: It does not take so many at once.
    """
    source = model.source
    if not isinstance(source, Scores):
        return model
    most = source.most if isinstance(source, Bounded) else 0
    if 0 < most < batch:
        raise TaskError(
            f"--batch {batch}: {model.name} is asked at most {most} examples at once, and more would go in pieces; "
            f"give --batch {most} or less, or let it take more"
        )
    kept = tuple(told for told in model.remarks if "depend on the rest of the batch" not in told)
    off = moved(source.scores, inputs, batch if batch > 1 else len(inputs))
    if off > BATCHED or model.alone:
        asked = f"in batches of {batch}, in the order of the data," if batch > 1 else "one at a time,"
        told = f"answers of {model.name} depend on the rest of the batch, by up to {off:.1g} of the largest score"
        kept = (*kept, f"{told}: asked {asked} as --batch {batch} says")
    return replace(model, batch=batch, alone=False, mixes=False, remarks=kept)
