"""Perplexity of documents a token, a word or a byte: between how many equally likely ones a model chooses.

``exp(sum_i loss[i] / sum_i units[i])`` over documents ``i``, with the losses of `likelihood`: lm-eval's
``word_perplexity`` and ``byte_perplexity``, over the documents together and not document by document.

Reading:
    1 is a model that knows the text; the size of the vocabulary is one that knows nothing. It is the exponential of
    `likelihood` and says nothing else: a number that everybody asks for. It grows without bound where one word is ruled
    out, so that a few documents can decide it.

Cost:
    None of its own: it reads the pass that `likelihood` needs.

Limits:
    As of `likelihood`. Perplexities of two tokenizers do not compare a token, and do a byte or a word.

Source:
    Jelinek et al., Perplexity, a measure of the difficulty of speech recognition tasks, JASA 62, 1977,
    doi:10.1121/1.2016299; words and bytes: Gao et al. 2023, doi:10.5281/zenodo.10256836.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.language import _documents
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "perplexity", "lower", {"reads", "documents"}, "test example"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of the perplexity."""

    per: str = param("token", "Of what: tokens are those of one tokenizer.", choices=_documents.PER)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``loss``, the negative log-likelihood of every document in nats, and ``units``, its length.

    Args:
        evidence: Gives what is said of every token.
        config: By what it is divided.
        rng: Not used; the behaviour is deterministic.
    """
    del rng
    return _documents.losses(evidence, config.per)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the perplexity of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, N)``.
    """
    del config
    found: np.ndarray = np.exp(_documents.ratio(answer, "loss", weights))
    return found
