"""A sparse autoencoder frozen on a baseline, and which of its features are still where they were.

``f(h) = relu(E (h - b) + c)``, ``h ~ D f(h) + b``, with columns of ``D`` of length 1 and an L1 penalty on ``f``.

Source:
    Duan, Perplexity can miss SAE feature damage, 2026, arXiv:2606.03002 (frozen dictionary, Pearson per feature);
    Gupte et al. 2025, arXiv:2507.15977 (dictionaries of the original read the compressed model).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.behaviours.mechanism import _layers

SURVIVES, DAMAGED = 0.9, 0.5
# One fixed seed: whichever candidate comes first, all are read with the same dictionary.
_SEED, _STEPS, _RATE, _SPARSITY = 2606, 150, 1e-2, 1e-1
_DIGITS = 1e-5
_ROWS = 8192  # that the dictionary is fitted on, at the most


def products(codes: np.ndarray) -> np.ndarray:
    """Return what correlations are made of means of, ``(N, 5 atoms)``: codes before, after, squares, and products.

    Args:
        codes: Of every feature before, then of every one after, ``(N, 2 atoms)``.
    """
    codes = codes.astype(np.float64)
    moved = codes - codes.mean(0)
    # Codes that are constant but for their last digits in single precision would correlate as those do.
    moved[:, np.abs(moved).max(0, initial=0) < _DIGITS * np.abs(codes).max(0, initial=0)] = 0
    x, y = np.split(moved, 2, axis=1)
    return np.concatenate([x, y, x * x, y * y, x * y], 1)


def correlations(means: np.ndarray) -> np.ndarray:
    """Return the correlation of each feature's codes before and after, ``(draws, atoms)``.

    0 where the candidate never activates it; NaN where the baseline never does.

    Args:
        means: Of what `products` returns, ``(draws, 5 atoms)``.
    """
    mx, my, xx, yy, xy = np.split(means, 5, axis=1)
    # Below a billionth of the square, a variance is rounding: the feature is constant in this resample.
    varies, follows = xx - mx * mx > 1e-9 * xx, yy - my * my > 1e-9 * yy
    scale = np.where(varies & follows, (xx - mx * mx) * (yy - my * my), 1)
    each: np.ndarray = np.where(varies, np.where(follows, (xy - mx * my) / np.sqrt(scale), 0), np.nan)
    return each


def share(each: np.ndarray) -> np.ndarray:
    """Return the share of features that survive, ``(draws,)``; NaN where the baseline activates none.

    Args:
        each: What `correlations` returns.
    """
    active = (~np.isnan(each)).sum(1)
    found: np.ndarray = np.where(active > 0, (each > SURVIVES).sum(1) / np.maximum(active, 1), np.nan)
    return found


def survived(codes: np.ndarray) -> str:
    """Return a note on how many features survived, and on whether rare ones did.

    Args:
        codes: As of `products`.
    """
    from scipy.stats import spearmanr  # takes a second to import: not for a listing or a finished study

    each = correlations(products(codes).mean(0, keepdims=True))[0]
    known = ~np.isnan(each)
    r, often = each[known], (codes[:, : len(each)] > 0).mean(0)[known]
    kept, damaged = int((r > SURVIVES).sum()), int((r < DAMAGED).sum())
    text = f"of {len(r)} features {kept} survived, {len(r) - kept - damaged} blurred, {damaged} were damaged"
    if len(r) > 2 and np.ptp(r) > 1e-6 and np.ptp(often) > 0:
        text += f"; rank correlation of survival with frequency {spearmanr(r, often).statistic:.2f}"
    return text


def encode(frozen: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """Return the codes of activations, ``(N, atoms)``.

    Args:
        frozen: What `fit` returned.
        hidden: ``(N, width)``.
    """
    codes = hidden.new_empty(len(hidden), len(frozen["bias"]))
    for rows in _layers.chunks(len(hidden)):
        scaled = hidden[rows] / frozen["scale"] - frozen["center"]
        codes[rows] = functional.relu(scaled @ frozen["encoder"].T + frozen["bias"])
    return codes


def explained(frozen: dict[str, Tensor], hidden: Tensor) -> float:
    """Return the share of the variance of activations that a dictionary explains.

    Args:
        frozen: What `fit` returned.
        hidden: ``(N, width)``.
    """
    mean, left, spread = hidden.mean(0), 0.0, 0.0
    for rows in _layers.chunks(len(hidden)):
        told = encode(frozen, hidden[rows]) @ frozen["decoder"].T
        left += float((hidden[rows] / frozen["scale"] - frozen["center"] - told).square().sum())
        spread += float(((hidden[rows] - mean) / frozen["scale"]).square().sum())
    return 1 - left / max(spread, 1e-12)


@torch.enable_grad()
def fit(hidden: Tensor, atoms: int) -> dict[str, Tensor]:
    """Return a dictionary of activations, fitted from a fixed seed.

    Args:
        hidden: ``(N, width)``; rows evenly apart where there are many.
        atoms: Features.
    """
    hidden = hidden[_layers.spread(len(hidden), _ROWS)]
    rng = torch.Generator().manual_seed(_SEED)
    scale = (hidden - hidden.mean(0)).square().sum(1).mean().sqrt().clamp(min=1e-6)
    scaled = hidden / scale
    decoder = functional.normalize(torch.randn(hidden.shape[1], atoms, generator=rng), dim=0)
    free = [decoder.T.clone(), torch.zeros(atoms), decoder, scaled.mean(0)]
    for tensor in free:
        tensor.requires_grad_()
    encoder, bias, decoder, center = free
    adam = torch.optim.Adam(free, lr=_RATE)
    for _ in range(_STEPS):
        codes = functional.relu((scaled - center) @ encoder.T + bias)
        unit = functional.normalize(decoder, dim=0)
        left = scaled - center - codes @ unit.T
        loss = left.square().sum(1).mean() + _SPARSITY * codes.sum(1).mean()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
        adam.step()
    found = {"encoder": encoder, "bias": bias, "decoder": functional.normalize(decoder, dim=0), "center": center}
    return {"scale": scale, **{name: tensor.detach() for name, tensor in found.items()}}
