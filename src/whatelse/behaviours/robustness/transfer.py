"""How often a point that fools one model fools the other: attacks that transfer between baseline and candidate.

Counted are the first ``examples`` of test that both models classify correctly and whose point, found by APGD on the
source model (all steps taken, kept from `robustness.accuracy`), fools that source; the value is the share of them that
fools the target too. *to candidate*: an attacker who has the public baseline against the compressed model; *from
candidate*: one who has the deployed small model against the large one behind it.

Reading:
    Twins transfer far from perfectly: read it between the twin (another seed) and the placebo (nearly the same
    weights). High *to candidate* says that the public baseline is a good stand-in for an attacker; lower is safer.

Cost:
    ``steps + 1`` passes forward and backward of ``examples`` of test on the source model, shared with `accuracy` where
    the strength is the same, and one pass forward on the target.

Limits:
    It counts only examples that both models get right and the attack flips on its source, a subset that differs from
    candidate to candidate: of a candidate that is hardly right anywhere it says little. One attack at one strength;
    points made to transfer would do so more often.

Source:
    Zhao, Shumailov, Mullins & Anderson, To compress or not to compress: understanding the interactions between
    adversarial attacks and neural network compression, SysML 2019, arXiv:1810.00208.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.robustness import _attack
from whatelse.errors import NotMeasurableError
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = (
    1,
    "share of attacks",
    "lower",
    {"predicts", "differentiates", "inputs in bounds"},
    "test example",
)


@dataclass(frozen=True)
class Config:
    """Settings of the transfer; those of the attack as in `robustness.accuracy`, whose points it then shares."""

    direction: str = param("to candidate", "Which model is fooled.", choices=("to candidate", "from candidate"))
    radius: float = param(0.1, "Largest change of a feature, in units of the input.", low=0.0)
    steps: int = param(20, "Gradient steps of the attack.", low=1, high=10_000)
    examples: int = param(300, "Test examples attacked, from the first.", low=1)
    least: int = param(20, "Examples counted below which there is no share.", low=1)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return for each example whether it counts, and whether it counts and the target is fooled, ``(M, 2)``.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model; takes the note of how many examples count.
        config: Direction and strength.
        rng: Not used; the kept attack starts at the same points for all models.

    Raises:
        NotMeasurableError: A model does not differentiate, test inputs leave their bounds, or hardly any example
            counts.
    """
    del rng
    ways = {"to candidate": (baseline, candidate), "from candidate": (candidate, baseline)}
    source, target = ways[config.direction]
    budget = _attack.Budget(config.radius, config.steps)
    found, fools = _attack.points(source, budget, config.examples)
    labels = source.split("test").targets[: len(found)]
    right = [e.predictions("test")[: len(found)] == labels for e in (source, target)]
    counted = right[0] & right[1] & fools
    many = int(counted.sum())
    if many < config.least:
        raise NotMeasurableError(f"needs {config.least} examples that both get right and the attack flips; has {many}")
    candidate.note(f"{many} of {len(labels)} examples count: both models right, the attacked one fooled")
    return torch.stack([counted, counted & _attack.fooled(target, found, labels)], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the share of attacks that transfer in every resample, ``(draws,)``.

    Args:
        values: What `compare` returned, ``(M, 2)``.
        counts: How often each example stands in each resample, ``(draws, M)``.
    """
    totals = counts @ values.astype(np.float64)
    share: np.ndarray = totals[:, 1] / np.maximum(totals[:, 0], 1e-9)
    return share
