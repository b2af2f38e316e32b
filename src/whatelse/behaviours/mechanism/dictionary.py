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

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _features, _layers
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    4,
    "share of features",
    "higher",
    {"predicts", "opens", "same units"},
    "test example",
    "feature",
)
WORST, BLIND = 0.0, None


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
    frozen = baseline.once(name, lambda: _features.fit(baseline.hidden("train"), config.atoms))
    shares = " and ".join(f"{_features.explained(frozen, h):.0%}" for h in (before, after))
    told = f"the dictionary explains {shares} of the variance, before and after"
    codes = torch.cat([_features.encode(frozen, before), _features.encode(frozen, after)], 1)
    features = tuple(f"feature {i}" for i in range(config.atoms))
    return Answer(
        {name: codes[:, at] for at, name in enumerate(_columns(features))},
        parts=Parts(features, unit="correlation"),
        notes=(told, _features.survived(codes.numpy())),
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of surviving features of every resample, ``(draws,)``; NaN if the baseline activates none.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    return _features.share(by_part(answer, config, weights))


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
    return _features.correlations(weights @ _features.products(codes) / weights.sum(1)[:, None])
