"""Share of rows of a table that are classified correctly and stay so whatever an adversary may change in them.

The adversary moves every number by at most ``radius`` standard deviations that its column has in train, between the
smallest and the largest value there (without a ``radius``, that of 1/80, 1/40 ... 1.6 at which all attacks together
leave nearest to half of the rows of *select* that the baseline gets right), and gives at most ``swaps`` columns of
categories another category that train has. Columns named in ``fixed`` stay as they are. ``task.features`` tells numbers
from categories; inputs without names of columns, images too, are numbers throughout.

The points tried on a row: projected gradient on the numbers; all single swaps, and for the second one all that can
follow the three worst first ones; the same swaps chosen after the numbers have moved, the numbers moved again after
each; and a random search over numbers from the worst of these, which takes the place of gradients where a model has
none. A row counts 1 if the model is right on it and at every point found for it or for the baseline. The candidate's
points are tried on the baseline as well, and what the baseline loses by them is credited to the candidate: with the
values right ``c`` of the candidate under all points, ``o`` of the baseline under its own and ``p`` under all, the
summary is the mean of ``c + o - p``, so that a model held against the baseline is not worse for having been attacked
twice.

Reading:
    Compare it with the part *unattacked*: the difference is what the attacks take. *numbers alone* and *categories
    alone* say which change is to be feared, *own* is the share without the points of the other model, the one
    comparable with other publications. Random search that finds what gradients miss makes it *not trusted*, and so does
    a model without gradients that seems more robust than its baseline.

Cost:
    On each of ``examples`` rows of either model ``4 * (steps + 1)`` passes for the numbers, twice as many as there are
    categories for the first swap and six times as many for the second, ``6 * (steps + 1)`` for each swap, and 8
    tries. The baseline's points are kept.

Limits:
    It is an upper bound: more steps and swaps find more. Whole numbers move by fractions, and columns that say the same
    thing, such as a degree and the years of study, move apart. A radius in standard deviations means more in a column
    with a long tail. Columns of zeros and ones without ``=`` in their name count as numbers.

Source:
    Simonetto, Ghamizi & Cordy, Constrained adaptive attack: effective adversarial attack against deep neural networks
    for tabular data, NeurIPS 2024, arXiv:2406.00775 (gradients, then search); Kireev, Kulynych & Troncoso, Adversarial
    robustness for tabular data through cost and utility awareness, NDSS 2023, arXiv:2208.13058 (swaps of one-hot
    columns); Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, arXiv:1706.06083.
    Departure: a fixed budget of swaps in place of costs, no constraints between columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.attacks import beam, checks
from whatelse.attacks import columns as _columns
from whatelse.attacks import radius as _radius
from whatelse.attacks.remarks import Remarks, noted
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "accuracy",
    "higher",
    {"predicts", "tables"},
    "test example",
    "attack",
)
WORST, BLIND = 0.0, None
_ATTACKS = ("unattacked", "numbers alone", "categories alone", "own", "pooled")
# The candidate under each attack, then the baseline.
_COLUMNS = (*_ATTACKS, "baseline own", "baseline pooled")
# Of the kept points; raised when the same settings would give others.
_KEPT = 1
# The random search draws the same for every model.
_SEED = 2024
_TRIED = 4
# Standard steps of the radius, each twice the one before, from 1/80 to 1.6 standard deviations; the one tried first.
_LADDER = _radius.Ladder(
    tuple(0.1 * 2.0**k for k in range(-3, 5)),
    tuple(f"{0.1 * 2.0**k:g} standard deviations" for k in range(-3, 5)),
    3,
)


@dataclass(frozen=True)
class Config:
    """Settings of the accuracy of rows under attack."""

    radius: float | None = param(
        None, "Largest change of a number, in standard deviations of its column in train.", low=0.0, kind=float
    )
    swaps: int = param(1, "Most columns of categories that take another one.", low=0, high=2)
    steps: int = param(10, "Gradient steps on the numbers, from each start.", low=1, high=10_000)
    examples: int = param(300, "Test examples attacked, from the first.", low=1)
    fixed: str = param("", "Columns that the adversary may not touch, joined by commas, such as sex,race.")


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return where either model is right under which attacks, 1 or 0.

    The columns: the candidate unattacked, under its numbers alone, under its categories alone, under all of its own
    points, under those of both models; the baseline under its own, and under those of both.

    Args:
        baseline: Evidence of the model before compression; its adversarial points are kept there.
        candidate: Evidence of the model under attack.
        config: Strength of the attacks.
        rng: Not used; the random search draws the same for all models.

    Raises:
        NotMeasurableError: Inputs are texts, a fixed column is none of the table's, or nothing may change.
    """
    del rng
    columns = _columns.read(candidate.task, config.fixed)
    if not (columns.count and config.swaps) and not bool((columns.far > 0).any()):
        raise NotMeasurableError("needs a column that the adversary may change; all are fixed or constant in train")
    chosen = _chosen(baseline, columns, config)
    config = replace(config, radius=chosen.radius)
    (theirs, beaten), (mine, hits) = (_points(evidence, columns, config) for evidence in (baseline, candidate))
    labels = candidate.split("test").targets[: mine.shape[1]]
    right, sound = (e.predictions("test")[: len(labels)] == labels for e in (candidate, baseline))
    own, kept = right & ~hits.any(0), sound & ~beaten.any(0)
    pooled, shared = own & ~_tried(candidate, theirs, labels).any(0), kept & ~_tried(baseline, mine, labels).any(0)
    remarks = Remarks(chosen.notes) + _checked(baseline, candidate, right, hits)
    remarks += _noted(columns, {"unattacked": right, "its own points": own, "those of both models": pooled})
    values = (right, right & ~hits[0], right & ~hits[1], own, pooled, kept, shared)
    fells = bool((right & ~pooled).any())
    return Answer(
        {name: rows.float() for name, rows in zip(_COLUMNS, values, strict=True)},
        parts=Parts(_ATTACKS),
        notes=remarks.notes,
        doubts=remarks.doubts,
        ends={} if fells else {"blind": float(right.float().mean())},  # an attack that fells nobody
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of rows that withstand every attack, the baseline's loss credited, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    share: np.ndarray = by_part(answer, config, weights)[:, -1]
    return share


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of rows on which the model is right under each attack, the last the summary, ``(draws, 5)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    means = weights @ answer.table(*_COLUMNS) / weights.sum(1, keepdims=True)
    means[:, 4] += means[:, 5] - means[:, 6]
    parts: np.ndarray = means[:, :5]
    return parts


def effort(config: Config, task: Task) -> int:
    """Return how many passes the attacks on a model and on the baseline cost at most.

    Args:
        config: Strength of the attacks.
        task: Its categories decide how many swaps there are; none where the question cannot be asked of it.
    """
    try:
        columns = _columns.read(task, config.fixed)
    except NotMeasurableError:
        return 0
    # Three passes a step, as a model with a surrogate is asked apart from it.
    climbed = (2 + beam.WIDTH * config.swaps) * 3 * (config.steps + 1)
    tried = 2 * beam.tries(columns.count, config.swaps) + 2 * _TRIED
    choice = _radius.spent(task, _LADDER, climbed + tried) if config.radius is None else 0
    return 2 * min(config.examples, len(task.test)) * (climbed + tried) + checks.REPEATS + choice


def _checked(baseline: Evidence, candidate: Evidence, right: Tensor, hits: Tensor) -> Remarks:
    """Return whether the candidate's own attacks can be believed; by ``hits`` each fooled it, ``(4, M)``."""
    remarks = Remarks()
    if "differentiates" in candidate.subject.offers:
        missed = right & ~hits[:3].any(0) & hits[3]
        remarks += checks.check_missed("random search", int(missed.sum()), int(right.sum()))
        remarks += checks.check_gradients(candidate, len(right))
    else:
        remarks += noted(f"{candidate.subject.name} has no gradients: its numbers were searched at random")
        if "differentiates" in baseline.subject.offers:
            remarks += checks.BLIND
    return remarks + checks.check_repeats(candidate, len(right))


def _chosen(baseline: Evidence, columns: _columns.Columns, config: Config) -> _radius.Chosen:
    """Return the radius: the one given, or one at which the baseline keeps about half."""
    if config.radius is not None:
        return _radius.Chosen(config.radius)
    if not bool((columns.far > 0).any()):
        return _radius.Chosen(0.0)  # nothing but categories may change
    select = baseline.split("select")

    def withstands(radius: float, rows: Tensor) -> Tensor:
        x, y = select.inputs[rows], select.targets[rows]
        found = _attacked(baseline, x, y, columns, replace(config, radius=radius), baseline.draws(_SEED))
        return ~_tried(baseline, found, y).any(0)

    what = f"of a table swaps={config.swaps} steps={config.steps} fixed={config.fixed}"
    return _radius.choose(baseline, ("radius", what), _LADDER, withstands)


def _points(evidence: Evidence, columns: _columns.Columns, config: Config) -> tuple[Tensor, Tensor]:
    """Return the points tried on each row, ``(4, M, ...)``, and whether they fool the model, ``(4, M)``."""
    test = evidence.split("test")
    inputs, labels = test.inputs[: config.examples], test.targets[: config.examples]

    def make() -> dict[str, Tensor]:
        rng = evidence.draws(_SEED)
        size = beam.rows(inputs, columns.count)
        parts = zip(torch.split(inputs, size), torch.split(labels, size), strict=True)
        found = torch.cat([_attacked(evidence, x, y, columns, config, rng) for x, y in parts], 1)
        return {"points": found, "fooled": _tried(evidence, found, labels)}

    told = f"radius={config.radius} swaps={config.swaps} steps={config.steps} examples={config.examples}"
    kept = evidence.once(f"table attack {_KEPT} {told} fixed={config.fixed}", make)
    return kept["points"], kept["fooled"]


def _attacked(
    evidence: Evidence,
    clean: Tensor,
    labels: Tensor,
    columns: _columns.Columns,
    config: Config,
    rng: torch.Generator,
) -> Tensor:
    """Return each row with numbers moved, categories swapped, both, and both searched at random, ``(4, M, ...)``."""
    queries, radius = 2 * (config.steps + 1), config.radius or 0.0

    def moved(starts: Tensor) -> tuple[Tensor, Tensor]:
        many = len(starts) // len(clean)
        origin, truth = clean.repeat_interleave(many, 0), labels.repeat_interleave(many)
        if "differentiates" in evidence.subject.offers:
            return _columns.climb(evidence, starts, origin, truth, columns, radius, config.steps)
        return _columns.wander(evidence, starts, origin, truth, columns, radius, queries, rng)

    numbers, _ = moved(clean)
    swapped, both = [(clean[:, None], torch.zeros(len(clean), 1))], [(numbers[:, None], torch.zeros(len(clean), 1))]
    for _ in range(config.swaps if columns.count else 0):
        swapped.append(beam.widen(evidence, swapped[-1][0], clean, labels, columns))
        beams, _ = beam.widen(evidence, both[-1][0], clean, labels, columns)
        points, margins = moved(beams.flatten(0, 1))
        both.append((points.view_as(beams), margins.view(beams.shape[:2])))
    categories, joint = (_worst(found) for found in (swapped, both))
    searched, _ = _columns.wander(evidence, joint, clean, labels, columns, radius, queries, rng)
    return torch.stack([numbers, categories, joint, searched])


def _worst(found: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the worst point of all depths but the first, which is tried by itself; the first if it is all there is."""
    points, margins = zip(*(found[1:] or found), strict=True)
    return beam.worst(torch.cat(points, 1), torch.cat(margins, 1))


def _tried(evidence: Evidence, found: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([beam.wrong(evidence, points, labels) for points in found])


def _noted(columns: _columns.Columns, right: dict[str, Tensor]) -> Remarks:
    shares = "; ".join(f"{name} {float(rows.float().mean()):.3f}" for name, rows in right.items())
    moving = int((columns.far > 0).sum())
    return noted(f"{shares}; {moving} numbers and {len(columns.categories)} columns of categories may change")
