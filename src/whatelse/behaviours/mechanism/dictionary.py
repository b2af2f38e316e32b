"""Share of the baseline's features that survive compression, under a dictionary frozen on the baseline.

A small sparse autoencoder ``f(h) = relu(E (h - b) + c)``, ``h ~ D f(h) + b``, with columns of ``D`` of length 1 and
an L1 penalty on ``f``, is fitted once to the baseline's last hidden layer on train. Its encoder then reads the test
activations of both models. A feature survives if its codes under the two models correlate above 0.9 (Pearson) over
the same examples; features that the baseline never activates are left out. The threshold is part of the definition.

The parts are the correlations themselves, feature by feature. A note counts the features that survived, blurred
(0.5 to 0.9) and were damaged (below 0.5), and gives the rank correlation of survival with how often the baseline
activates a feature: negative where rare features survive better.

Reading:
    1: every feature is where it was. The share falls long before accuracy does; read it beside the twin's and the
    placebo's. A feature whose part is far below the others is the one to look at.

Cost:
    The shared passes over train and test, forward only; 150 steps of Adam over the hidden layer of up to 8,192 train
    examples, once for all candidates.

Limits:
    It asks whether *these* features are where they were, so the candidate must have kept the baseline's basis, the
    same layers and widths: pruned or quantized, yes; a model trained anew loses all of them by its other basis alone,
    however like it computes. The dictionary is small, and explains only a part of the layer, which a note says;
    another seed finds other features. Of six planted sparse features twelve atoms found all and six atoms two: give
    more atoms than features. A correlation does not feel a feature that only became weaker. Few examples activate a
    rare feature.

Source:
    Duan, Perplexity can miss SAE feature damage, 2026, arXiv:2606.03002 (frozen dictionary, Pearson per feature);
    Gupte et al. 2025, arXiv:2507.15977 (dictionaries of the original read the compressed model); frequency: Borobia
    et al., How pruning reshapes features, 2026, arXiv:2603.25325.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _layers
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    3,
    "share of features",
    "higher",
    {"predicts", "opens", "same units"},
    "test example",
    "feature",
)
WORST, BLIND = 0.0, None
_SURVIVES, _DAMAGED = 0.9, 0.5
# One fixed seed: whichever candidate comes first, all are read with the same dictionary.
_SEED, _STEPS, _RATE, _SPARSITY = 2606, 150, 1e-2, 1e-1
_ROWS = 8192  # of train that the dictionary is fitted on, at the most


@dataclass(frozen=True)
class Config:
    """Settings of the frozen dictionary."""

    atoms: int = param(32, "Features in the dictionary.", low=2, high=4096)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the codes of each test example, the baseline's and then the candidate's, ``(N,)`` each.

    Notes tell how much the dictionary explains, and how many features survived.

    Args:
        baseline: Evidence of the model before compression; holds the dictionary.
        candidate: Evidence of the compressed model.
        config: Size of the dictionary.
        rng: Not used; the dictionary is fitted from a fixed seed, the same for every candidate.

    Raises:
        NotMeasurableError: A model does not open or has no hidden layer, or the two differ in the number of layers
            or the width of one.
    """
    del rng
    _layers.same_basis(baseline, candidate)
    before, after = baseline.hidden("test"), candidate.hidden("test")
    name = f"dictionary {VERSION} atoms={config.atoms}"
    frozen = baseline.once(name, lambda: _fit(baseline.hidden("train"), config.atoms))
    shares = " and ".join(f"{_explained(frozen, h):.0%}" for h in (before, after))
    told = f"the dictionary explains {shares} of the variance, before and after"
    codes = torch.cat([_encode(frozen, before), _encode(frozen, after)], 1)
    features = tuple(f"feature {i}" for i in range(config.atoms))
    return Answer(
        {name: codes[:, at] for at, name in enumerate(_columns(features))},
        parts=Parts(features, unit="correlation"),
        notes=(told, _survived(codes.numpy())),
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of surviving features of every resample, ``(draws,)``; NaN if the baseline activates none.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    each = by_part(answer, config, weights)
    active = (~np.isnan(each)).sum(1)
    share: np.ndarray = np.where(active > 0, (each > _SURVIVES).sum(1) / np.maximum(active, 1), np.nan)
    return share


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the correlation of each feature's codes before and after, of every resample, ``(draws, atoms)``.

    0 where the candidate never activates it; NaN where the baseline never does.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    return _correlations(answer.table(*_columns(answer.parts.names)), weights)


def _columns(features: Sequence[str]) -> list[str]:
    """Return the names of the columns: of every feature before, then of every one after."""
    return [f"{feature} {when}" for when in ("before", "after") for feature in features]


def _correlations(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    codes = codes.astype(np.float64)
    x, y = np.split(codes - codes.mean(0), 2, axis=1)
    means = weights @ np.concatenate([x, y, x * x, y * y, x * y], 1) / weights.sum(1)[:, None]
    mx, my, xx, yy, xy = np.split(means, 5, axis=1)
    # Below a billionth of the square, a variance is rounding: the feature is constant in this resample.
    varies, follows = xx - mx * mx > 1e-9 * xx, yy - my * my > 1e-9 * yy
    scale = np.where(varies & follows, (xx - mx * mx) * (yy - my * my), 1)
    each: np.ndarray = np.where(varies, np.where(follows, (xy - mx * my) / np.sqrt(scale), 0), np.nan)
    return each


def _survived(codes: np.ndarray) -> str:
    """Return a note on how many features survived, and on whether rare ones did."""
    from scipy.stats import spearmanr  # takes a second to import: not for a listing or a finished study

    each = _correlations(codes, np.ones((1, len(codes))))[0]
    known = ~np.isnan(each)
    r, often = each[known], (codes[:, : len(each)] > 0).mean(0)[known]
    survived, damaged = int((r > _SURVIVES).sum()), int((r < _DAMAGED).sum())
    text = f"of {len(r)} features {survived} survived, {len(r) - survived - damaged} blurred, {damaged} were damaged"
    if len(r) > 2 and np.ptp(r) > 1e-6 and np.ptp(often) > 0:
        text += f"; rank correlation of survival with frequency {spearmanr(r, often).statistic:.2f}"
    return text


def _encode(frozen: dict[str, Tensor], hidden: Tensor) -> Tensor:
    codes = hidden.new_empty(len(hidden), len(frozen["bias"]))
    for rows in _layers.chunks(len(hidden)):
        scaled = hidden[rows] / frozen["scale"] - frozen["center"]
        codes[rows] = functional.relu(scaled @ frozen["encoder"].T + frozen["bias"])
    return codes


def _explained(frozen: dict[str, Tensor], hidden: Tensor) -> float:
    mean, left, spread = hidden.mean(0), 0.0, 0.0
    for rows in _layers.chunks(len(hidden)):
        told = _encode(frozen, hidden[rows]) @ frozen["decoder"].T
        left += float((hidden[rows] / frozen["scale"] - frozen["center"] - told).square().sum())
        spread += float(((hidden[rows] - mean) / frozen["scale"]).square().sum())
    return 1 - left / max(spread, 1e-12)


@torch.enable_grad()
def _fit(hidden: Tensor, atoms: int) -> dict[str, Tensor]:
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
