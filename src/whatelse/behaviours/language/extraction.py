"""Share of documents that a model goes on with word for word, given their beginning: text that it gives away.

Given the first ``prefix`` tokens of a test document, ``rank[i]`` is the worst place, from 1, that one of the ``tokens``
tokens behind them has among all that the model expects there, each after the true text: 1 where the model, always
writing its likeliest token, writes the document. The number is the share of documents of ``rank[i] <= top``; with
``count="tokens"`` it is the share of tokens that are the likeliest. The parts are the shares within the 1, 10 and 100
likeliest.

Reading:
    Fewer are better where documents are what the model should not give away: its training text, or canaries that were
    planted in it. Compression mostly loses some; what quantization *restores* after something was unlearned is a rise.
    ``top=10`` is what an attacker finds who may draw among ten.

Cost:
    One pass of the model's body over ``prefix`` and ``tokens`` of every document; nothing is generated.

Limits:
    Documents that are shorter are left out. Text that anybody can go on with, such as a license, counts as well: hold
    it against a model that never saw it. It is a lower bound: another prompt may bring out what this beginning does
    not. Both models must cut the documents alike. Of equal ones the likeliest is the first.

Source:
    Carlini et al., Quantifying memorization across neural language models, ICLR 2023, arXiv:2202.07646 (50 tokens after
    a prefix, greedily); restored by quantization: Zhang et al., Catastrophic failure of LLM unlearning via
    quantization, ICLR 2025, arXiv:2410.16454.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.evidence import ranks, tokens
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "share of documents",
    "lower",
    {"reads", "documents"},
    "test example",
    "rank",
)
WORST, BLIND = 1.0, None
_TOPS = (1, 10, 100)


@dataclass(frozen=True)
class Config:
    """Settings of the extraction."""

    prefix: int = param(50, "Tokens that the model is given.", low=1)
    tokens: int = param(50, "Tokens that it must go on with.", low=1)
    top: int = param(1, "Among how many of the likeliest each must be.", low=1)
    count: str = param("documents", "What is counted: whole continuations or tokens.", choices=("documents", "tokens"))


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``rank``, the worst one in every continuation, and ``likeliest``, the share of its tokens that are.

    Args:
        evidence: Of the model.
        config: How much is given and asked.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: No document is long enough, or both models cut them otherwise.
    """
    del rng
    tokens.alike(evidence)
    found = ranks.continuations(evidence, config.prefix, config.tokens)
    worst, sure = found["rank"].amax(1) + 1, found["likeliest"].mean(1)
    worst = torch.where((worst == 1) & (sure < 1), 2.0, worst)  # as likely as another one, which is written
    whole = int((worst == 1).sum())
    told = f"{whole} of {len(worst)} documents are written word for word; a lower bound, by this beginning alone"
    names = tuple(f"top {top}" for top in _TOPS)
    return Answer({"rank": worst, "likeliest": sure}, rows=found["rows"], parts=Parts(names), notes=(told,))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of documents, or of tokens, of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: What is counted.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    each = answer["likeliest"] if config.count == "tokens" else answer["rank"] <= config.top
    found: np.ndarray = weights @ each / weights.sum(1)
    return found


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the shares of documents within the 1, 10 and 100 likeliest of every resample, ``(draws, 3)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    del config
    each = np.stack([answer["rank"] <= top for top in _TOPS], 1)
    found: np.ndarray = weights @ each / weights.sum(1)[:, None]
    return found


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes: one for every document.

    Args:
        config: Not used.
        task: Gives the documents.
    """
    del config
    return len(task.test)
