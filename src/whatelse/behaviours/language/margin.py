"""How much likelier the right choice of an item is than the likeliest wrong one, in nats.

``margin[i] = loglikelihood[i, right] - max_{k != right} loglikelihood[i, k]``; positive where the item is answered
rightly.

Reading:
    A flip is a margin that crosses zero; this also sees those that come near it. A mean that falls at equal accuracy
    says that answers are held by less. A temperature moves it.

Cost:
    None of its own: it reads the pass over the choices that accuracy needs.

Limits:
    A mean hides whose margin fell. Longer choices have larger margins.

Source:
    Dutta et al., Accuracy is not all you need, NeurIPS 2024, arXiv:2407.09141: items of small margin are those that
    flip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.language import _choices
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "nats", "higher", {"choices"}, "test example"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """The margin has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``margin``: that of each item in nats.

    Args:
        evidence: Gives the log-likelihoods of the choices.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: Examples are no items with choices.
    """
    del config, rng
    scores, right = _choices.scores(evidence), evidence.split("test").targets[:, None]
    best = scores.scatter(1, right, -torch.inf).amax(1)
    return Answer({"margin": scores.gather(1, right)[:, 0] - best})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean margin of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each item stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["margin"] / weights.sum(1)
    return mean
