"""How many units carry the answer: the size of the smallest circuit of a class, averaged over classes.

Units of the last hidden layer (or of all layers) are ordered, for each class, by how far the margin of that class
falls on its examples of calibration when the unit is held at its mean there. On test, all but the first ``k`` units
of the order are held at their means; ``F(k) = (M(k) - M(0)) / (M(all) - M(0))`` of the mean log-odds margins of the
true class is the faithfulness of the circuit. Its size is the smallest ``k`` with ``F(k) >= keep``, as a share of the
units. A class whose margin does not fall when all units are held has no circuit here and counts as 1. The parts are
the classes.

Reading:
    Small: few units decide, which is easier to follow. Training sparse makes circuits small; compression after
    training may only move them. Read the change beside the placebo's.

Cost:
    ``units * examples`` forward passes to order them and ``steps * examples`` to read them; a note says how many. The
    shared pass over calibration gives the means.

Limits:
    The order is greedy and by single ablations: units that stand in for one another look unimportant one at a time,
    so the size is an upper bound. It depends on the ablation (means, not zeros or swaps) and on ``keep``. Sizes come
    in ``steps``. Few examples a class make it noisy. Channels are held all over the image.

Source:
    Wang et al., Interpretability in the wild: a circuit for indirect object identification, ICLR 2023,
    arXiv:2211.00593 (mean ablation, faithfulness); Gao et al., Weight-sparse transformers have interpretable
    circuits, 2025, arXiv:2511.13653; that it depends on the ablation: Miller et al. 2024, arXiv:2407.08734.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _circuit
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    4,
    "share of units",
    "lower",
    {"predicts", "opens"},
    "test example",
    "class",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the circuits."""

    keep: float = param(0.8, "Share of the margin that the circuit keeps.", low=0.05, high=0.99)
    layers: str = param("hidden", "The last hidden layer, or all of them together.", choices=("hidden", "all"))
    examples: int = param(128, "Examples of calibration, and of test, evenly apart, at the most.", low=2)
    steps: int = param(32, "Sizes that are tried, at the most, beside 0.", low=2, high=4096)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return each example's ``class``, how far its margin is above what is to be kept, and the number of ``units``.

    Each is ``(examples,)``, the margin's ``surplus`` at every size that is tried, from a circuit of no unit to one of
    all. A note tells of the passes.

    Args:
        evidence: Gives the layers and the answers.
        config: Which circuits.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    del rng
    found_on, read_on = (_circuit.examples(evidence, split, config.examples) for split in ("calibration", "test"))
    units = _circuit.units(evidence, config.layers)
    sizes = _circuit.steps(len(units), config.steps)
    orders = _circuit.ranking(evidence, found_on, units)
    margins = _circuit.kept(evidence, read_on, orders, {-1: sizes})
    passes = (len(units) + 1) * len(found_on.labels) + len(sizes) * len(read_on.labels)
    surplus = _circuit.surplus(margins, config.keep).float()
    columns = {"class": read_on.labels.float(), **{_at(step): surplus[:, step] for step in range(len(sizes))}}
    # A fact of the model: of how many units the sizes are, which `config.steps` alone does not tell.
    columns["units"] = torch.full((len(surplus),), float(len(units)))
    return Answer(
        columns,
        rows=read_on.rows,
        parts=Parts(_circuit.classes(read_on)),
        notes=(f"{len(units)} units, {len(sizes) - 1} sizes: {passes:,} forward passes",),
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean size over the classes that a resample has, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: How many sizes were tried.
        weights: How often each example stands in each resample, ``(draws, examples)``.
    """
    each = by_part(answer, config, weights)
    mean: np.ndarray = np.nansum(each, 1) / np.maximum((~np.isnan(each)).sum(1), 1)
    return mean


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the size of each class's circuit of every resample, ``(draws, classes)``; NaN where it has no example.

    Args:
        answer: What `measure` returned.
        config: How many sizes were tried.
        weights: How often each example stands in each resample, ``(draws, examples)``.
    """
    codes, sizes = answer["class"], np.array(_circuit.steps(int(answer["units"][0]), config.steps))
    surplus = answer.table(*(_at(step) for step in range(len(sizes)))).astype(np.float64)
    shares = sizes / sizes[-1]
    return np.stack([_size(surplus[codes == code], weights[:, codes == code], shares) for code in np.unique(codes)], 1)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Networks are not known here: they are taken to have `_layers.LAYERS` layers of `_layers.UNITS` units.

    Args:
        config: Which circuits, found and read on how many examples.
        task: Gives the examples.
    """
    return _circuit.effort(config.layers, config.steps, config.examples, task)


def _at(step: int) -> str:
    """Return the name of the column of a size."""
    return f"surplus {step}"


def _size(surplus: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    total = weights @ surplus
    last = surplus.shape[1] - 1
    # Where holding all units costs nothing, the surplus of all is not above zero: there is no circuit.
    first = np.where(total[:, -1] > 0, (total >= 0).argmax(1), last)
    size: np.ndarray = np.where(weights.sum(1) > 0, shares[first], np.nan)
    return size
