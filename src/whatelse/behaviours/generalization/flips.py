"""Share of test examples whose correctness flips against the baseline, by direction.

*harmed*: right to wrong; *healed*: wrong to right; *moved*: wrong to another wrong class; *any*: the predicted
class changed, the sum of the three; *net*: harmed minus healed, which is the accuracy lost. Two models of equal
accuracy can differ on many examples: harmed and healed cancel in accuracy and not here.

Reading:
    *harmed* is the share of users for whom the smaller model is worse, *healed* those for whom it is better. Retraining
    alone flips examples too: read it against the twin. Fewer are better of *harmed*, *net* and *any*: *any* is volume,
    the share of answers that are other than before, which an owner wants small. *healed* is a gain and *moved* neither
    gain nor loss: their verdict is *not trusted*, and only the number is read.

Cost:
    The shared pass over test of both models, nothing else.

Limits:
    Only the predicted class counts: an example on which the model was unsure flips by a change of any size. The twin's
    flips grow with the errors of the baseline, so shares do not compare between tasks.

Source:
    Dutta et al., Accuracy is not all you need, NeurIPS 2024, arXiv:2407.09141; the same examples are the
    compression-impacted exemplars of Hooker et al. 2019, arXiv:1911.05248.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Doubt
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 3, "share of examples", "lower", {"predicts"}, "test example"
WORST, BLIND = 1.0, None

_UNSIDED = ("healed", "moved")


@dataclass(frozen=True)
class Config:
    """Settings of the flips."""

    kind: str = param("harmed", "Which flips count.", choices=("harmed", "healed", "moved", "any", "net"))


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``flip``: 1 for each test example that flips, 0 for the others, and -1 where ``net`` counts a healed one.

    Where fewer flips are not better, that is doubted.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Which flips count.
        rng: Not used; the behaviour is deterministic.
    """
    del rng
    targets = baseline.split("test").targets
    before, after = baseline.predictions("test"), candidate.predictions("test")
    harmed = ((before == targets) & (after != targets)).float()
    healed = ((before != targets) & (after == targets)).float()
    moved = ((before != after) & (before != targets) & (after != targets)).float()
    flips = {"harmed": harmed, "healed": healed, "moved": moved}
    right = float((before == targets).float().mean())
    # Only what is right can be harmed, only what is wrong healed or moved.
    ends = {"worst": {"harmed": right, "net": right, "any": 1.0}.get(config.kind, 1 - right)}
    flips |= {"any": harmed + healed + moved, "net": harmed - healed}
    unsided = Doubt(f"kind {config.kind} is not better where it is lower: read the number")
    doubts = (unsided,) if config.kind in _UNSIDED else ()
    return Answer({"flip": flips[config.kind]}, doubts=doubts, ends=ends)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of flips of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["flip"] / weights.sum(1)
    return mean
