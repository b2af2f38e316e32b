"""Harm of the group that compression hits most: its share of right-to-wrong flips above that of everybody.

``max_g harmed(g) - harmed(all)``, ``harmed`` the share of examples that the baseline classifies correctly and the
candidate does not. The maximum is over groups with at least ``least`` test examples; ``all`` is over every example.
The parts are ``harmed(g) - harmed(all)`` of every group, however small, signed.

A note holds, for every group, whether it is over-represented among the harmed: the chance that as many of them fall
into the group if the harmed were drawn from all test examples at random (upper hypergeometric tail, which is Fisher's
exact test), adjusted over the groups (Benjamini-Hochberg).

Reading:
    Being a maximum, the primary number is above zero by chance alone: read it against the controls, never against zero.
    A group whose part is above zero and whose adjusted p is small is harmed more than its size explains.

Cost:
    None of its own: it reads the shared forward pass over test of both models.

Limits:
    A group on which the baseline was seldom right can hardly be harmed, which hides harm. The adjusted p is of this one
    pair of models: a model trained anew harms some groups more than others too.

Source:
    Hooker et al., Characterising bias in compressed models, 2020, arXiv:2010.03058; adjustment: Benjamini & Hochberg,
    Journal of the Royal Statistical Society B 57, 1995.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.behaviours.fairness import _groups
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    3,
    "share of examples",
    "lower",
    {"predicts", "groups"},
    "test example",
    "group",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the harm by group."""

    group: str = param("", _groups.HELP)
    least: int = param(30, "Test examples below which a group is left out of the maximum.", low=1)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return whether each test example is ``harmed``, from right to wrong, and its group.

    Its part, such as ``group sex``, and the same with -1 where it is left out of the maximum, ``large group sex``.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Which grouping.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping.
    """
    del rng
    found = _groups.parting(candidate, config.group, config.least)
    targets = baseline.split("test").targets
    harmed = (baseline.predictions("test") == targets) & (candidate.predictions("test") != targets)
    (groups,) = found.groupings
    return Answer(
        {"harmed": harmed.float(), **found.columns()},
        parts=Parts(found.names()),
        notes=(*found.notes, f"harmed: {_by_group(groups, harmed)}"),
        ends={"worst": _most(baseline.predictions("test") == targets, groups)},
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the largest group share of harmed examples minus the overall share in every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    excess = _excess(answer, weights, large=True)
    most = np.fmax.reduce(excess, axis=1, initial=np.nan)
    return np.asarray(np.where(excess.shape[1] > 1, most, np.nan))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return every group's share of harmed examples minus the overall share in every resample, ``(draws, groups)``.

    NaN where a group is empty.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    return _excess(answer, weights, large=False)


def outcomes(answer: Answer, config: Config) -> np.ndarray:
    """Return the group of each example, beside an outcome that is NaN: an excess is no mean of its own, ``(N, 3)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
    """
    del config
    codes = (_groups.codes(answer, large=large)[0] for large in (False, True))
    return np.column_stack([np.full(len(answer), np.nan), *codes])


def _excess(answer: Answer, weights: np.ndarray, *, large: bool) -> np.ndarray:
    everybody = weights @ answer["harmed"] / weights.sum(1)
    excess: np.ndarray = _groups.by_part(answer, "harmed", weights, large=large) - everybody[:, None]
    return excess


def _most(right: Tensor, found: _groups.Grouping) -> float:
    """Return the largest number there can be: all that the baseline gets right in one group is harmed, no one else."""
    each = [(right & (found.code == g), found.sizes[g]) for g in found.large]
    return max((float(mine.sum()) * (1 / size - 1 / len(right)) for mine, size in each), default=1.0)


def _by_group(found: _groups.Grouping, harmed: Tensor) -> str:
    from scipy.stats import false_discovery_control, hypergeom  # noqa: PLC0415 - listing all items must stay light

    if not found.names:
        return "nobody in a group"
    sizes = np.array(found.sizes)
    hits = np.array([int(harmed[found.code == g].sum()) for g in range(len(sizes))])
    p = hypergeom.sf(hits - 1, len(harmed), int(harmed.sum()), sizes)
    # Some p round to a little above 1.
    adjusted = false_discovery_control(np.clip(p, 0, 1))
    order = np.argsort(adjusted, kind="stable")[: _groups.NAMED]
    names = found.names
    parts = [f"{names[i]} {hits[i]} of {sizes[i]} (p {p[i]:.2g}, adjusted {adjusted[i]:.2g})" for i in order]
    more = f" and {len(p) - len(parts)} more" if len(p) > len(parts) else ""
    return ", ".join(parts) + more
