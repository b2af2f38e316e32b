"""Sums over the tokens of every document: documents are drawn whole, and a number a token, word or byte is a ratio."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence

PER = ("byte", "word", "token")
_WORDS = re.compile(r"\s+")


def lengths(evidence: Evidence, per: str) -> Tensor:
    """Return how many units every document of test has, ``(N,)`` float64.

    Bytes are those of UTF-8; words are what white space parts, as lm-eval counts them.

    Args:
        evidence: Of a language model.
        per: Out of `PER`.

    Raises:
        NotMeasurableError: Tokens are asked for, and are not those of the baseline.
    """
    if per == "token":
        tokens.alike(evidence)
        found = tokens.documents(evidence)["document"]
        return torch.bincount(found, minlength=len(evidence.split("test"))).double()
    assert evidence.task.language is not None
    texts = (one.continuations[0] for one in evidence.task.language.of(evidence.split("test").inputs))
    count = [len(text.encode()) if per == "byte" else len(_WORDS.split(text)) for text in texts]
    return torch.tensor(count, dtype=torch.float64)


def summed(evidence: Evidence, each: Tensor) -> Tensor:
    """Return the sum over the tokens of every document of test, ``(N,)`` float64.

    Args:
        evidence: Of a language model.
        each: A value for every token, ``(T,)``.
    """
    found = torch.zeros(len(evidence.split("test")), dtype=torch.float64)
    return found.index_add_(0, tokens.documents(evidence)["document"], each.double())


def over(evidence: Evidence, name: str, each: Tensor) -> Answer:
    """Return for every document of test the sum of a value of its tokens, and ``units``, how many tokens it has.

    Args:
        evidence: Of a language model.
        name: Of the column of the sum.
        each: A value for every token, ``(T,)``.

    Raises:
        NotMeasurableError: Its tokens are not those of the baseline.
    """
    return Answer({name: summed(evidence, each), "units": lengths(evidence, "token")})


def losses(evidence: Evidence, per: str) -> Answer:
    """Return for every document of test the ``loss`` of its tokens together, in nats, and how many units it has.

    Args:
        evidence: Of a language model.
        per: Out of `PER`.

    Raises:
        NotMeasurableError: Examples are no documents, or tokens are asked for that are not those of the baseline.
    """
    return Answer({"loss": tokens.losses(evidence), "units": lengths(evidence, per)})


def ratio(answer: Answer, of: str, weights: np.ndarray) -> np.ndarray:
    """Return a sum over drawn documents by how many units they have, ``(draws,)``.

    Args:
        answer: Has the columns ``units`` and that of the sum.
        of: Name of the column that is summed.
        weights: How often each document stands in each resample, ``(draws, N)``.
    """
    found: np.ndarray = (weights @ answer[of]) / (weights @ answer["units"])
    return found
