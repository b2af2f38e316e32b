"""Share of test examples whose predicted class is the true one.

``correct[i] = 1`` where ``argmax logits[i] == targets[i]``, else 0; true targets, never the recorded ones.

Reading:
    The share of answers that are right. Compare it with always naming the most frequent class. A note says where the
    baseline is no better than its own answers dealt out blindly: it may still fall, to 0, but has learned nothing.

Cost:
    The shared pass over test, nothing else.

Limits:
    Two models of equal accuracy can differ on many examples (`flips`) and in how sure they are (`likelihood`), and an
    average hides a group that fares worse (`fairness.worst_group`).

Source:
    LeCun, Denker & Solla, Optimal brain damage, NIPS 1989: the measure that compression is tuned on; chance: Cohen, A
    coefficient of agreement for nominal scales, Educational and Psychological Measurement 20, 1960.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "accuracy", "higher", {"predicts"}, "test example"
WORST, BLIND = 0.0, None
_SURE = 1.645  # standard errors of a one-sided 5 %


@dataclass(frozen=True)
class Config:
    """Accuracy has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``correct``: 1 for each test example that is classified correctly and 0 for the others.

    A note says where the baseline is no better than chance.

    Args:
        evidence: Gives the predictions.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    correct = (evidence.predictions("test") == evidence.split("test").targets).float()
    return Answer({"correct": correct}, notes=_chance(evidence))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["correct"] / weights.sum(1)
    return mean


def _chance(evidence: Evidence) -> tuple[str, ...]:
    """Note a baseline that is right no more often than its answers, dealt out blindly, would be (Cohen 1960)."""
    baseline = evidence.reference or evidence
    said, truth = baseline.predictions("test"), baseline.split("test").targets
    if bool((truth == truth[0]).all()):  # as of graded answers and minimal pairs: blind dealing changes nothing there
        return ()
    classes = int(max(said.max(), truth.max())) + 1
    shares = [labels.bincount(minlength=classes).double() / len(truth) for labels in (said, truth)]
    chance, right = float(shares[0] @ shares[1]), float((said == truth).double().mean())
    if right > chance + _SURE * (chance * (1 - chance) / len(truth)) ** 0.5:
        return ()
    return (
        f"the baseline is not shown to be better than chance: right on {right:.3f}, its answers dealt out blindly "
        f"would be on {chance:.3f}; that nothing changed says little",
    )
