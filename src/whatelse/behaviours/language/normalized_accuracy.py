"""Share of items whose right choice is the likeliest for its length: lm-eval's ``acc_norm``.

``correct[i] = 1`` where ``argmax_k loglikelihood[i, k] / length[i, k]`` is the right choice, else 0; lengths are in
characters, without what parts a choice from its question, or with ``by = "bytes"`` in bytes. Of equal ones the first
counts.

Reading:
    As of `generalization.accuracy`, which takes the sum of a choice's log-likelihoods and so prefers short ones. Where
    the two disagree, the choices of these items differ in length more than in sense.

Cost:
    None of its own: it reads the pass over the choices that accuracy needs.

Limits:
    Characters stand for tokens, so that models of different tokenizers compare; what is fair to a choice nobody knows.

Source:
    Gao et al., A framework for few-shot language model evaluation, Zenodo 2023, doi:10.5281/zenodo.10256836.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.language import _choices
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "accuracy", "higher", {"choices"}, "test example"
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the normalized accuracy."""

    by: str = param("characters", "What a choice is as long as.", choices=("characters", "bytes"))


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``correct``: 1 for each item whose right choice is the likeliest for its length and 0 for the others.

    Args:
        evidence: Gives the log-likelihoods of the choices.
        config: By what they are divided.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: Examples are no items with choices.
    """
    del rng
    scores = _choices.scores(evidence) / _choices.lengths(evidence, config.by)
    return Answer({"correct": (scores.argmax(1) == evidence.split("test").targets).float()})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the normalized accuracy of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each item stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["correct"] / weights.sum(1)
    return mean
