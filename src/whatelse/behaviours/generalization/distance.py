"""How far the predicted probabilities moved from the baseline's: volume of change, not direction.

Per test example, with ``p`` the baseline's probabilities and ``q`` the candidate's: *kl* is ``KL(p || q) =
sum p * log(p / q)`` in nats, *js* the Jensen-Shannon divergence ``KL(p || m) / 2 + KL(q || m) / 2`` with ``m = (p +
q) / 2``, in nats and at most ``log 2``, *variation* the total variation ``sum |p - q| / 2`` in [0, 1], the largest
difference in the probability of any set of classes.

Reading:
    0 is a model that answers as the baseline does, to the last probability. It says how much changed and not whether
    for the better: read it beside `flips` and `likelihood`, and against the twin, which moved without compression. It
    is judged all the same, nearer being better, as an owner who replaces a model wants its answers unchanged:
    *worsened* means farther from the baseline, never less accurate. A scale of the scores, a temperature, moves it:
    that is what it is about.

Cost:
    The shared pass over test of both models, nothing else.

Limits:
    Near the baseline it does not rank models by quality. *kl* has no upper bound, and a few examples that one model is
    sure of can make most of its mean; *js* and *variation* are bounded.

Source:
    Dutta et al., Accuracy is not all you need, NeurIPS 2024, arXiv:2407.09141 (KL beside flips); Lin, Divergence
    measures based on the Shannon entropy, IEEE Transactions on Information Theory 1991, doi:10.1109/18.61115 (*js*).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 2, "distance of the outputs", "lower", {"predicts"}, "test example"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of the distance."""

    kind: str = param("kl", "Which distance: kl and js in nats.", choices=("kl", "js", "variation"))


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``distance``: that of the two models' probabilities on each test example, at least 0.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Which distance.
        rng: Not used; the behaviour is deterministic.
    """
    del rng
    # Of two close models the divergence is a small difference of large sums.
    before, after = (e.logits("test").double().log_softmax(1) for e in (baseline, candidate))
    if config.kind == "variation":
        far = (before.exp() - after.exp()).abs().sum(1).div(2)
    elif config.kind == "kl":
        far = _divergence(before, after)
    else:
        middle = torch.logaddexp(before, after) - math.log(2)
        far = (_divergence(before, middle) + _divergence(after, middle)) / 2
    worst = {"kl": None, "js": math.log(2), "variation": 1.0}[config.kind]
    return Answer({"distance": far.float()}, ends={"worst": worst})


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    apart = (log_p - log_q).masked_fill(log_p == -torch.inf, 0)  # of a class that the first rules out nothing comes
    return (log_p.exp() * apart).sum(1).clamp(min=0)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean distance of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["distance"] / weights.sum(1)
    return mean
