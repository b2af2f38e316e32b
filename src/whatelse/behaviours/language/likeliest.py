"""Share of tokens before which a model expects another one than the baseline: what greedy writing would do otherwise.

``sum_t [argmax q_t != argmax p_t] / T`` over the tokens ``t`` of test, ``p`` the baseline's distribution of the next
token after the same text, ``q`` the candidate's. Of equal ones the first counts.

Reading:
    0 is a model that would write the same, given the same beginning. One in a hundred is enough for texts that part
    after some sentences: `generation` says after how many. A temperature does not move it.

Cost:
    None of its own: it reads the pass that `likelihood` needs.

Limits:
    Where the baseline hesitates between two tokens any change moves it. It is judged as fewer being better, and says
    nothing of which token was right. Both models must cut the documents into the same tokens.

Source:
    "Same top p" of llama.cpp's ``llama-perplexity --kl-divergence``; Dutta et al., NeurIPS 2024, arXiv:2407.09141.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.language import _documents, _tokens
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "share of tokens", "lower", {"reads", "documents"}, "test example"
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """The share of other expected tokens has no settings."""


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``moved``, how many tokens of every document another one was expected at, and ``units``, how many it has.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del baseline, config, rng
    return _documents.over(candidate, "moved", _tokens.moved(candidate))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of tokens of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, N)``.
    """
    del config
    return _documents.ratio(answer, "moved", weights)
