"""What is left of gradients that are made small before they are shared; whoever receives them knows how.

Source:
    The largest entries: Aji & Heafield, Sparse communication for distributed gradient descent, EMNLP 2017,
    arXiv:1704.05021; linear rounding: Alistarh et al., QSGD, NeurIPS 2017, arXiv:1610.02132, without its random
    rounding; signs with one scale a tensor: Karimireddy et al., Error feedback fixes SignSGD, ICML 2019,
    arXiv:1901.09847, without its error feedback.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

KINDS = ("whole", "top-k", "8 bit", "sign")
_LEVELS = 127  # on either side of zero, of 8 bits
_SOFT, _TINY = 2.0, 1e-300


def send(
    gradients: Mapping[str, Tensor], masks: Mapping[str, Tensor], kind: str, keep: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what is shared of gradients by tensor, ``(batches, entries)``, and for top-k which entries (1 or 0).

    ``top-k`` shares the largest entries of every tensor, ``8 bit`` rounds to 127 even steps on either side of zero up
    to the largest entry of the tensor, ``sign`` shares signs times the mean absolute entry.

    Args:
        gradients: By tensor, ``(batches, entries)``; those of pruned weights are zero.
        masks: 1 where a weight is not pruned, by tensor, for tensors with pruned weights.
        kind: One of `KINDS`.
        keep: Share of the entries of a tensor that top-k shares, at least one of them; pruned weights do not count.
    """
    if kind == "whole":
        return dict(gradients), {}
    values: dict[str, Tensor] = {}
    known: dict[str, Tensor] = {}
    for name, g in gradients.items():
        count = _count(g, masks.get(name))
        if kind == "top-k":
            known[name] = _largest(g, max(1, math.ceil(keep * count)))
            values[name] = g * known[name]
        elif kind == "sign":
            values[name] = g.sign() * g.abs().sum(1, keepdim=True) / count
        else:
            step = g.abs().amax(1, keepdim=True) / _LEVELS
            values[name] = torch.where(step > 0, (g / step).round(), 0.0) * step
    return values, known


def likened(
    gradients: Mapping[str, Tensor], known: Mapping[str, Tensor], masks: Mapping[str, Tensor], kind: str
) -> dict[str, Tensor]:
    """Return what an attacker holds against what was shared, for the gradients of a guess, differentiable.

    Of ``top-k`` the entries that were shared; for ``sign`` a soft one, ``m g / sqrt(g^2 + (2 m)^2)`` with m the mean
    absolute entry: against signs the plain gradient is no match even at the true input (on digits, untrained network,
    13 against 18 dB after 100 steps). Rounded gradients are matched plainly.

    Args:
        gradients: By tensor, ``(batches, entries)``.
        known: Which entries were shared, as `send` returned it.
        masks: As `send` took it.
        kind: One of `KINDS`.
    """
    if kind != "sign":
        return {n: g * known[n] if n in known else g for n, g in gradients.items()}
    sizes = {n: g.abs().sum(1, keepdim=True) / _count(g, masks.get(n)) for n, g in gradients.items()}
    return {n: sizes[n] * g / (g.square() + (_SOFT * sizes[n]).square() + _TINY).sqrt() for n, g in gradients.items()}


def _count(g: Tensor, mask: Tensor | None) -> int:
    """Return how many entries are not withheld as pruned, at least one."""
    return g.shape[1] if mask is None else max(1, int(mask.sum()))


def _largest(g: Tensor, count: int) -> Tensor:
    return torch.zeros_like(g).scatter(1, g.abs().topk(min(count, g.shape[1])).indices, 1.0)
