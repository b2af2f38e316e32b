"""How often a point that fools one model fools the other: attacks that transfer between baseline and candidate.

Counted are the first ``examples`` of test that both models classify correctly and whose point, found by APGD on the
source model (five more steps once it is fooled, kept from `robustness.accuracy`, which also chooses the radius where
there is none), fools that source; the value is the share of them that fools the target too. *to candidate*: an attacker
who has the public baseline against the compressed model; *from candidate*: one who has the deployed small model against
the large one behind it.

The parts are the matrix of scenarios: of the examples that both models classify correctly, the share that falls to the
points made on either model, tried on either; of a model that does not differentiate, those made on it are empty.

Reading:
    Twins transfer far from perfectly: read it between the twin (another seed) and the placebo (nearly the same
    weights). High *to candidate* says that the public baseline is a good stand-in for an attacker; lower is safer.

Cost:
    ``steps + 1`` passes forward and backward of ``examples`` of test on the source model, shared with `accuracy` where
    the strength is the same, the same of the target for the matrix, and two passes forward.

Limits:
    It counts only examples that both models get right and the attack flips on its source, a subset that differs from
    candidate to candidate: of a candidate that is hardly right anywhere it says little. One attack at one strength;
    points made to transfer would do so more often.

Source:
    Zhao, Shumailov, Mullins & Anderson, To compress or not to compress: understanding the interactions between
    adversarial attacks and neural network compression, SysML 2019, arXiv:1810.00208.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.attacks import attack
from whatelse.attacks import radius as _radius
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    6,
    "share of attacks",
    "lower",
    {"predicts", "differentiates", "inputs in bounds"},
    "test example",
    "scenario",
)
WORST, BLIND = 1.0, None
_SCENARIOS = (
    "made on the baseline, tried on it",
    "made on the baseline, tried on the candidate",
    "made on the candidate, tried on the baseline",
    "made on the candidate, tried on it",
)


@dataclass(frozen=True)
class Config:
    """Settings of the transfer; those of the attack as in `robustness.accuracy`, whose points it then shares."""

    direction: str = param("to candidate", "Which model is fooled.", choices=("to candidate", "from candidate"))
    radius: float | None = param(None, "Largest change of a feature, in units of the input.", low=0.0, kind=float)
    steps: int = param(20, "Gradient steps of the attack.", low=1, high=10_000)
    examples: int = param(300, "Test examples attacked, from the first.", low=1)
    least: int = param(20, "Examples counted below which there is no share.", low=1)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return for each example whether it counts, and whether it counts and the target is fooled, 1 or 0.

    The other columns are such pairs for the scenarios: both models are right, and the model tried is fooled.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Direction and strength.
        rng: Not used; the kept attack starts at the same points for all models.

    Raises:
        NotMeasurableError: A model does not differentiate, test inputs leave their bounds, or hardly any example
            counts.
    """
    del rng
    ways = {"to candidate": (baseline, candidate), "from candidate": (candidate, baseline)}
    source, target = ways[config.direction]
    source.subject.require("differentiates")
    chosen = _radius.chosen(baseline, "linf", config.radius)
    budget = attack.Budget(chosen.radius, config.steps)
    found, fools = attack.points(source, budget, config.examples)
    labels = source.split("test").targets[: len(found)]
    right = [e.predictions("test")[: len(found)] == labels for e in (source, target)]
    counted = right[0] & right[1] & fools
    many = int(counted.sum())
    if many < config.least:
        raise NotMeasurableError(f"needs {config.least} examples that both get right and the attack flips; has {many}")
    told = f"{many} of {len(labels)} examples count: both models right, the attacked one fooled"
    columns = {"counted": counted, "fooled": counted & attack.fooled(target, found, labels)}
    columns |= _matrix((baseline, candidate), right[0] & right[1], budget, config.examples)
    return Answer(
        {name: column.float() for name, column in columns.items()},
        parts=Parts(_SCENARIOS),
        notes=(*chosen.notes, told),
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of attacks that transfer in every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    totals = weights @ answer.table("counted", "fooled").astype(np.float64)
    share: np.ndarray = totals[:, 1] / np.maximum(totals[:, 0], 1e-9)
    return share


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share that falls in each scenario in every resample, ``(draws, 4)``; NaN where nothing was tried.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    tried, fell = (
        weights @ answer.table(*(_column(of, name) for name in _SCENARIOS)).astype(np.float64)
        for of in ("tried", "fell")
    )
    return np.where(tried > 0, fell / np.maximum(tried, 1e-9), np.nan)


def effort(config: Config, task: Task) -> int:
    """Return the passes that one model costs beyond the shared ones; the baseline's points are among them.

    Args:
        config: Strength of the attack.
        task: Gives the number of test examples.
    """
    each = 2 * (config.steps + 1) + 1
    choice = _radius.effort(task, "linf") if config.radius is None else 0
    return min(config.examples, len(task.test)) * (2 * each + 3) + choice


def _column(of: str, scenario: str) -> str:
    return f"{of}, {scenario}"


def _matrix(models: Sequence[Evidence], both: Tensor, budget: attack.Budget, examples: int) -> dict[str, Tensor]:
    """Return two columns for each scenario: tried, and fallen."""
    columns: dict[str, Tensor] = {}
    for name, (source, tried) in zip(_SCENARIOS, itertools.product(models, repeat=2), strict=True):
        asked = fell = torch.zeros_like(both)
        if "differentiates" in source.subject.offers:
            found, fools = attack.points(source, budget, examples)
            labels = source.split("test").targets[: len(found)]
            asked, fell = both, fools if tried is source else attack.fooled(tried, found, labels)
        columns |= {_column("tried", name): asked, _column("fell", name): asked & fell}
    return columns
