"""Generalization gap: accuracy on the train labels as recorded minus accuracy on the test targets.

Train is scored on what training saw, wrong labels included, test on the truth: under label noise a large gap says
that the noise was fitted. It closes both when fitting stops and when the model breaks, so read it beside accuracy.

Reading:
    0 is a model that does on new examples as on those it was fitted to. Negative values are usual under label noise
    that was not fitted, since train is then scored on wrong labels.

Cost:
    The shared pass over test, and a forward pass over train.

Limits:
    Smaller is not better by itself: a model that has lost everything has no gap. Records of train and test are
    resampled together, and training is not repeated: the interval is that of these models.

Source:
    Zhang et al., Understanding deep learning requires rethinking generalization, ICLR 2017, arXiv:1611.03530.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "difference of accuracies", "lower", {"predicts"}, "record"
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """The generalization gap has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return whether each record, of train and then of test, is ``correct``, and whether it is a ``member`` of train.

    Args:
        evidence: Gives the predictions on train and test.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    seen = (evidence.predictions("train") == evidence.split("train").observed).float()
    unseen = (evidence.predictions("test") == evidence.split("test").targets).float()
    member = torch.cat([torch.ones_like(seen), torch.zeros_like(unseen)])
    return Answer({"correct": torch.cat([seen, unseen]), "member": member})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy on train minus that on test in every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, N)``.
    """
    del config
    correct, member = answer["correct"], answer["member"]
    seen = weights @ (correct * member) / (weights @ member)
    unseen = weights @ (correct * (1 - member)) / (weights @ (1 - member))
    gap: np.ndarray = seen - unseen
    return gap
