"""The tail of the divergence a token: what the farthest tenth, hundredth and thousandth of tokens lie beyond.

The number is the percentile ``at`` of ``KL(p_t || q_t)`` over the tokens ``t`` of test, with the divergence of
`divergence`: the smallest value that at least so many per cent of the tokens do not exceed. The parts are the
percentiles 90, 99 and 99.9. Documents are drawn whole.

Reading:
    A small 90 with a large 99.9 is a model that says the same nearly everywhere and something else at a few places: a
    mean calls that a small change. Compare them with what another compression of the same size has there.

Cost:
    None of its own: it reads the pass that `likelihood` needs.

Limits:
    A thousandth of few tokens is one of them: with fewer than some ten thousand the last part says little, which its
    interval shows. Both models must cut the documents into the same tokens.

Source:
    The percentiles of llama.cpp's ``llama-perplexity --kl-divergence``; Dutta et al., NeurIPS 2024, arXiv:2407.09141.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.language import _tokens
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "nats a token",
    "lower",
    {"reads", "documents"},
    "test example",
    "percentile",
)
WORST, BLIND = None, None
_PARTS = (90.0, 99.0, 99.9)
_ROOM, _FEW = 1.5, 32  # how many more values are looked at than those that lie beyond on the average


@dataclass(frozen=True)
class Config:
    """Settings of the tail."""

    at: float = param(99.0, "The percentile that is the number.", low=1.0, high=99.99)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``divergence``, that of every token of test in nats; a token is of its document.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del baseline, config, rng
    far, rows = _tokens.divergence(candidate), tokens.documents(candidate)["document"]
    return Answer({"divergence": far}, rows=rows, parts=Parts(tuple(f"{at:g}" for at in _PARTS)))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the percentile of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Which.
        weights: How often each token stands in each resample, ``(draws, T)``.
    """
    return _percentiles(answer["divergence"], weights, (config.at,))[:, 0]


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the percentiles 90, 99 and 99.9 of every resample, ``(draws, 3)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each token stands in each resample, ``(draws, T)``.
    """
    del config
    return _percentiles(answer["divergence"], weights, _PARTS)


def _percentiles(values: np.ndarray, weights: np.ndarray, at: tuple[float, ...]) -> np.ndarray:
    """Return weighted percentiles, ``(draws, len(at))``: the smallest value that so many per cent do not exceed.

    They are found from the largest value down, among as many as suffice for most resamples.
    """
    order, whole = np.argsort(-values, kind="stable"), weights.sum(1)
    found = np.empty((len(weights), len(at)))
    for column, percent in enumerate(at):
        beyond, left, most = whole * (1 - percent / 100) * (1 + 1e-12), np.arange(len(weights)), len(order)
        width = min(most, int(_ROOM * most * (1 - percent / 100)) + _FEW)
        while len(left):
            above = np.cumsum(weights[np.ix_(left, order[:width])], axis=1)  # tokens at a value or beyond it
            place = (above <= beyond[left, None]).sum(1)
            known = (place < width) | (width == most)
            found[left[known], column] = values[order[np.minimum(place[known], most - 1)]]
            left, width = left[~known], min(most, 2 * width)
    return found
