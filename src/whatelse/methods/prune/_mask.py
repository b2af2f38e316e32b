"""Which weights go: from one score a weight to masks of exact sparsity. What the items of this family share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.modules.calibration import reach
from whatelse.modules.walk import Layer, layers


def prunable(model: nn.Module, item: str, sparsity: float = 0.5, pattern: str = "any") -> dict[str, Layer]:
    """Return the layers that can be pruned, by name.

    Args:
        model: Any module.
        item: Name of the method, for the message.
        sparsity: Share of weights to zero.
        pattern: ``any``, or ``2:4``, which leaves out layers whose input channels (of one group) do not come in fours.

    Raises:
        RecipeError: There is none, or the sparsity does not go with the pattern.
    """
    found = layers(model)
    if not found:
        raise RecipeError(f"{item}: no convolution or linear layer to prune; prune before quantize.uniform")
    if pattern == "any":
        return found
    if sparsity != 0.5:
        raise RecipeError(f"{item}: pattern 2:4 zeroes half of the weights, got sparsity={sparsity}; leave it at 0.5")
    found = {name: layer for name, layer in found.items() if layer.weight.shape[1] % 4 == 0}
    if not found:
        raise RecipeError(f"{item}: pattern 2:4 needs a layer whose input channels come in fours; use pattern='any'")
    return found


def called(model: nn.Module, found: Mapping[str, Layer], inputs: Tensor) -> dict[str, Layer]:
    """Return the layers that some input reaches, by name, in the order in which they are called.

    Args:
        model: Any module.
        found: Some of its layers.
        inputs: Examples, ``(N, ...)``.
    """
    return {name: found[name] for name in reach(model, found, inputs)[0]}


def by_channel(weight: Tensor) -> Tensor:
    """Return a weight as a matrix ``(out, fan-in)`` whose columns run over input channels first, then positions.

    So four neighbours in a row are four channels at one position: what sparse tensor cores multiply.

    Args:
        weight: ``(out, in, ...)``.
    """
    return weight.movedim(1, -1).flatten(1)


def as_weight(matrix: Tensor, like: Tensor) -> Tensor:
    """Return a matrix of `by_channel` in the shape of a weight.

    Args:
        matrix: ``(out, fan-in)``.
        like: The weight, ``(out, in, ...)``.
    """
    return matrix.view(like.movedim(1, -1).shape).movedim(-1, 1)


@torch.no_grad()
def keep(
    found: Mapping[str, Layer], scores: Mapping[str, Tensor], sparsity: float, scope: str, pattern: str = "any"
) -> dict[str, Tensor]:
    """Return which weights stay, bool masks of the weights' shapes, by name.

    Exactly ``round(sparsity * count)`` weights of lowest score go, ``count`` being taken over the scope. Weights that
    are zero already go first and count; where there are more of them, they all stay zero.

    Args:
        found: The layers.
        scores: How much each weight matters, in the weights' shapes.
        sparsity: Share of weights that go.
        scope: ``global`` ranks all layers together, ``layer`` each by itself, ``row`` each output of each layer: rows
            then lose the same number, or one more where the layer's count does not divide.
        pattern: ``any``, or ``2:4``: two of four neighboring input channels go, whatever the scope and sparsity.
    """
    ranked = {n: scores[n].where(layer.weight != 0, -torch.inf) for n, layer in found.items()}
    if pattern == "2:4":
        return {n: as_weight(two_of_four(by_channel(score)), score) for n, score in ranked.items()}
    if scope == "global":
        flat = torch.cat([score.flatten() for score in ranked.values()])
        parts = _highest(flat, round(sparsity * len(flat))).split([s.numel() for s in ranked.values()])  # type: ignore[no-untyped-call] # torch's own
        return {n: part.view_as(score) for (n, score), part in zip(ranked.items(), parts, strict=True)}
    choose = _highest if scope == "layer" else _highest_of_rows
    return {n: choose(score, round(sparsity * score.numel())) for n, score in ranked.items()}


def two_of_four(scores: Tensor) -> Tensor:
    """Return which of each four neighboring columns are the best two, bool.

    Args:
        scores: ``(rows, columns)``, columns in fours.
    """
    fours = scores.reshape(-1, 4)
    kept = torch.zeros(fours.shape, dtype=torch.bool)
    best = fours.argsort(dim=1, stable=True)[:, 2:]
    return kept.scatter(1, best, value=True).view_as(scores)


@torch.no_grad()
def zero(found: Mapping[str, Layer], kept: Mapping[str, Tensor]) -> None:
    """Set the weights that go to zero, in place.

    Args:
        found: The layers.
        kept: Masks as `keep` returns them.
    """
    for name, mask in kept.items():
        found[name].weight.mul_(mask)


def magnitudes(found: Mapping[str, Layer]) -> dict[str, Tensor]:
    """Return the absolute weights of layers, by name.

    Args:
        found: The layers.
    """
    return {name: layer.weight.detach().abs() for name, layer in found.items()}


def cubic(sparsity: float, rounds: int) -> list[float]:
    """Return the sparsity after each round, ``s - s * (1 - r / rounds)**3`` (Zhu & Gupta 2017, arXiv:1710.01878).

    Args:
        sparsity: That of the last round.
        rounds: How many.
    """
    return [sparsity - sparsity * (1 - r / rounds) ** 3 for r in range(1, rounds)] + [sparsity]


def geometric(sparsity: float, rounds: int) -> list[float]:
    """Return the sparsity after each round where each deletes the same share of what is left.

    Args:
        sparsity: That of the last round.
        rounds: How many.
    """
    return [1 - (1 - sparsity) ** (r / rounds) for r in range(1, rounds)] + [sparsity]


def _highest(scores: Tensor, lost: int) -> Tensor:
    kept = torch.ones(scores.numel(), dtype=torch.bool)
    kept[scores.flatten().argsort(stable=True)[:lost]] = False
    return kept.view_as(scores)


def _highest_of_rows(scores: Tensor, lost: int) -> Tensor:
    rows = scores.flatten(1)
    order = rows.argsort(dim=1, stable=True)
    each, more = divmod(lost, len(rows))
    kept = torch.ones(rows.shape, dtype=torch.bool).scatter(1, order[:, :each], value=False)
    if more:
        last = order[:, each : each + 1]
        unlucky = rows.gather(1, last).flatten().argsort(stable=True)[:more]
        kept[unlucky, last[unlucky, 0]] = False
    return kept.view_as(scores)
