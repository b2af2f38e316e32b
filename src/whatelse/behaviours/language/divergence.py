"""How far what a model expects of the next token moved from the baseline: KL divergence a token, whole vocabulary.

``sum_t KL(p_t || q_t) / T`` over the tokens of test, ``p`` the baseline's distribution of the next token after the same
text, ``q`` the candidate's: ``KL(p || q) = sum_v p_v log(p_v / q_v)`` in nats, over every token ``v`` of the
vocabulary.

Reading:
    0 is a model that says the same, to the last probability. On text that the baseline itself might have written it is
    what `likelihood` loses. It says how much changed, not whether for the better, and near 0 it does not rank models
    by what they get right. It is judged all the same, nearer being better: *worsened* means farther from the
    baseline.

Cost:
    None of its own beside `likelihood`: the baseline's head is applied once more to the states that its pass left.
    Distributions are never held but for a few tokens at a time.

Limits:
    Both models must cut the documents into the same tokens and tell apart as many. The mean hides where it comes from:
    read `tail` beside it. A scale of the scores, a temperature, moves it.

Source:
    Dutta et al., Accuracy is not all you need, NeurIPS 2024, arXiv:2407.09141 (KL beside flips); the table of
    llama.cpp's ``llama-perplexity --kl-divergence``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.language import _documents, _tokens
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "nats a token", "lower", {"reads", "documents"}, "test example"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """The divergence has no settings."""


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``divergence``, that of all tokens of every document together in nats, and ``units``, how many these are.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del baseline, config, rng
    return _documents.over(candidate, "divergence", _tokens.divergence(candidate))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean divergence of a token of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, N)``.
    """
    del config
    return _documents.ratio(answer, "divergence", weights)
