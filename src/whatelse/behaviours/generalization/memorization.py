"""Share of the wrongly labelled train examples on which the model repeats the wrong label.

Taken over the train examples whose recorded label is not their target: ``repeated[i] = 1`` where the prediction is
the recorded, wrong label. Such a label follows from nothing but the record itself, so repeating it is fitting
that record; a model that never saw it would do so about once in ``classes - 1`` of its errors. This is a proxy:
memorization in the strict sense compares with models trained without the record.

Reading:
    Near ``errors / (classes - 1)`` nothing is memorized; 1 is a model that repeats every wrong label it was shown. A
    fall by compression at equal accuracy is memory lost, not skill.

Cost:
    A forward pass over train.

Limits:
    It needs a task that knows which recorded labels are wrong. Repeated labels that follow from similar records, such
    as a wrong label given to a whole kind of example, count as memorized.

Source:
    Zhang et al., Understanding deep learning requires rethinking generalization, ICLR 2017, arXiv:1611.03530
    (labels at random are fitted); the strict sense: Feldman & Zhang, What neural networks memorize and why,
    NeurIPS 2020, arXiv:2008.03703.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    1,
    "share of wrong labels repeated",
    "lower",
    {"predicts", "label noise"},
    "training example",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Memorization of wrong labels has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``repeated``: 1 for each wrongly labelled train example whose wrong label is predicted, else 0.

    Args:
        evidence: Gives the predictions on train.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: Every recorded label of train is the true one.
    """
    del config, rng
    train = evidence.split("train")
    wrong = train.observed != train.targets
    if not bool(wrong.any()):
        raise NotMeasurableError(f"needs wrong labels in train; task {evidence.task.name} has none")
    return Answer({"repeated": (evidence.predictions("train") == train.observed)[wrong].float()})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of wrong labels repeated in every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["repeated"] / weights.sum(1)
    return mean
