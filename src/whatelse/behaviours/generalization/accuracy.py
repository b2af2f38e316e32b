"""Share of test examples whose predicted class is the true one.

``values[i] = 1`` where ``argmax logits[i] == targets[i]``, else 0; true targets, never the recorded ones.

Reading:
    The share of answers that are right. Compare it with always naming the most frequent class.

Cost:
    The shared pass over test, nothing else.

Limits:
    Two models of equal accuracy can differ on many examples (`flips`) and in how sure they are (`likelihood`), and an
    average hides a group that fares worse (`fairness.worst_group`).

Source:
    LeCun, Denker & Solla, Optimal brain damage, NIPS 1989: the measure that compression is tuned on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.evidence import Evidence

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "accuracy", "higher", {"predicts"}, "test example"
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Accuracy has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return 1 for each test example that is classified correctly and 0 for the others, ``(N,)``.

    Args:
        evidence: Gives the predictions.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    return (evidence.predictions("test") == evidence.split("test").targets).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the accuracy of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N,)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = counts @ values / counts.sum(1)
    return mean
