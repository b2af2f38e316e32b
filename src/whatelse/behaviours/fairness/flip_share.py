"""Harm of the group that compression hits most: its share of right-to-wrong flips above that of everybody.

``max_g harmed(g) - harmed(all)``, ``harmed`` the share of examples that the baseline classifies correctly and the
candidate does not. The maximum is over groups with at least ``least`` test examples; ``all`` is over every example.
Being a maximum it is above zero by chance alone: read it against the controls.

Source:
    Hooker et al., Characterising bias in compressed models, 2020, arXiv:2010.03058.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.fairness import _groups
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "share of examples", "lower", {"predicts", "groups"}, "test example"


@dataclass(frozen=True)
class Config:
    """Settings of the harm by group."""

    group: str = param("", "Name of the grouping; empty takes the first one of the task.")
    least: int = param(30, "Test examples below which a group is left out of the maximum.", low=1)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return whether each test example flips from right to wrong and its group code, -1 if left out, ``(N, 2)``.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model; takes the note with the numbers by group.
        config: Which grouping.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping, or fewer than two groups are large enough.
    """
    del rng
    code = _groups.codes(candidate, config.group, config.least, atleast=2)
    targets = baseline.split("test").targets
    harmed = (baseline.predictions("test") == targets) & (candidate.predictions("test") != targets)
    candidate.note(f"harmed: {_by_group(candidate, config.group, harmed, code)}")
    return torch.stack([harmed, code], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the largest group share of harmed examples minus the overall share in every resample, ``(draws,)``.

    Args:
        values: What `compare` returned, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    harmed = values[:, 0]
    rates = _groups.rates(harmed, _groups.members(values[:, 1]), counts)
    excess: np.ndarray = np.fmax.reduce(rates, axis=1) - counts @ harmed / counts.sum(1)
    return excess


def _by_group(candidate: Evidence, group: str, harmed: Tensor, code: Tensor) -> str:
    parts = []
    for each in sorted(set(code[code >= 0].tolist())):
        inside = code == each
        parts.append(f"{_groups.name(candidate, group, each)} {int(harmed[inside].sum())} of {int(inside.sum())}")
    return ", ".join(parts)
