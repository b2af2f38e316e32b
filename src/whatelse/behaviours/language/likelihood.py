"""Negative log-likelihood of documents in nats a byte, a word or a token: how surprised a language model is by a text.

``sum_i loss[i] / sum_i units[i]`` over documents ``i``, ``loss[i] = -sum_t log p(token t | tokens before)``. Every
token is said once, the first of a document after the token that stands before a text; windows are those of lm-eval's
rolling log-likelihood, the last with as much context as fits.

Reading:
    Lower is better. Times 1.44 it is in bits. A rise of 0.01 nats a token is a perplexity 1 % higher. An average over
    all tokens moves little where few documents are lost: read `tail` and the worst of them beside it.

Cost:
    One pass of the model's body over the tokens of test, which all questions about documents share.

Limits:
    Numbers a token are of one tokenizer: where two models cut the documents otherwise they are not measurable, and
    those a byte are. Text that a model was trained on is likelier than it should be. Perplexity and what a user notices
    are different things: models of equal likelihood differ in their choices, their facts and whom they harm.

Source:
    Gao et al., A framework for few-shot language model evaluation, Zenodo 2023, doi:10.5281/zenodo.10256836 (windows,
    words and bytes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.language import _documents
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "nats", "lower", {"reads", "documents"}, "test example"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of the likelihood."""

    per: str = param("byte", "What it is divided by: bytes are alike for all tokenizers.", choices=_documents.PER)


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
    """Return the negative log-likelihood a unit of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, N)``.
    """
    del config
    return _documents.ratio(answer, "loss", weights)
