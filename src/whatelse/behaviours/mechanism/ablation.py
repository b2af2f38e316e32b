"""Whether the same units matter: rank correlation of the effects of ablating each unit, between the two models.

The effect of a unit is how far the log-odds margin of an example falls when the unit (a channel, all over the image;
a feature, at every token) is held at its mean over test. Margin is that of the class which the baseline predicts,
in both models. Effects are averaged over a fixed set of ``examples`` test examples, evenly apart, one number for each
of the same units of both models; the score is the Spearman correlation over all units, ties at average ranks. The
parts are the layers: the same correlation over the units of one layer. Of a transformer built as this toolkit's, the
attention heads of each block are units too, and a part of their own.

Reading:
    1: the units matter in the same order; 0: unrelated. The mean over examples has noise of its own, which the
    interval shows; read the number beside the twin's. Accuracy can stay while the order turns over: the same answers
    by other units.

Cost:
    A forward pass for each unit (or head) and example in both models, by default at most 16 units and 128 examples
    for each layer; a note says how many. The baseline's are made once for all candidates.

Limits:
    Needs the baseline's basis: the same layers and widths. A model trained anew has the widths without the basis and
    scores about 0 by that alone, and so does the same function with its units in another order. The ranks of units
    that matter little are noise. Heads of other transformers, such as of ``nn.MultiheadAttention``, are not told
    apart. A candidate in which no unit has an effect scores 0.

Source:
    Morcos et al., On the importance of single directions for generalization, ICLR 2018, arXiv:1803.06959; mean
    ablation and its metric: Zhang & Nanda, Towards best practices of activation patching in language models, ICLR
    2024, arXiv:2309.16042.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _ablate, _heads, _layers, _order
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    4,
    "Spearman",
    "higher",
    {"predicts", "opens", "same units"},
    "test example",
    "layer",
)
WORST, BLIND = -1.0, 0.0


@dataclass(frozen=True)
class Config:
    """Settings of the ablation."""

    examples: int = param(128, "Test examples, evenly apart, at the most.", low=2, high=1_000_000)
    units: int = param(16, "Units of each layer, evenly apart, at the most.", low=2, high=65_536)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the effect of each unit on each example, the baseline's and then the candidate's, ``(examples,)`` each.

    A note tells of the passes.

    Args:
        baseline: Evidence of the model before compression; holds its own effects.
        candidate: Evidence of the compressed model.
        config: How many examples and units.
        rng: Not used; examples and units lie evenly apart.

    Raises:
        NotMeasurableError: A model does not open or has no hidden layer, or the widths differ.
    """
    del rng
    _layers.same_basis(baseline, candidate)
    rows = _layers.spread(len(baseline.split("test")), config.examples)
    inputs, labels = baseline.split("test").inputs[rows], baseline.predictions("test")[rows]
    key = f"ablation {VERSION} examples={config.examples} units={config.units}"
    kept = baseline.once(key, lambda: _effects(baseline, inputs, labels, config.units))
    before = dict(sorted(kept.items()))  # from disk it comes in any order
    after = before if candidate is baseline else _effects(candidate, inputs, labels, config.units)
    if [len(e.T) for e in before.values()] != [len(e.T) for e in after.values()]:
        raise NotMeasurableError(f"needs the baseline's basis; {candidate.subject.name} has other attention heads")
    # Layers correspond by place: a wrapper may have named them anew.
    parts = tuple(name.split(" ", 1)[1] for name in before)
    columns: dict[str, Tensor] = {}
    for when, effects in (("before", before), ("after", after)):
        for part, each in zip(parts, effects.values(), strict=True):
            columns |= {_unit(when, part, at): effect.float() for at, effect in enumerate(each.T)}
    count = len(columns) // 2
    spent = f"{count} units of {len(before)} layers held in turn on {len(rows)} examples"
    told = f"{spent}: {(count + len(before)) * len(rows):,} forward passes a model"
    return Answer(columns, rows=rows, parts=Parts(parts), notes=(told,))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the rank correlation over all units of every resample, ``(draws,)``; NaN if the baseline's are all equal.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, examples)``.
    """
    del config
    return _order.spearman(*_means(answer, weights))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the rank correlation over the units of each layer of every resample, ``(draws, layers)``.

    NaN where the baseline's effects are all equal.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, examples)``.
    """
    del config
    before, after = _means(answer, weights)
    layer = np.concatenate([[i] * len(_units(answer, "before", part)) for i, part in enumerate(answer.parts.names)])
    return np.stack([_order.spearman(before[:, layer == i], after[:, layer == i]) for i in np.unique(layer)], 1)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Those of both models. Networks are not known here: they are taken to have `_layers.LAYERS` layers, as wide as asked
    for up to `_layers.UNITS`, and no attention heads.

    Args:
        config: How many examples and units.
        task: Gives the number of test examples.
    """
    rows = min(config.examples, len(task.test))
    return 2 * rows * _layers.LAYERS * (min(config.units, _layers.UNITS) + 1)


def _effects(evidence: Evidence, inputs: Tensor, labels: Tensor, most: int) -> dict[str, Tensor]:
    """Return the effects of the units of every layer, then of the heads, each ``(examples, units)``, in order."""
    mean = _ablate.means(evidence, "test")
    found: dict[str, Tensor] = {}
    for name in mean:
        units = [(name, unit) for unit in _layers.spread(len(mean[name]), most).tolist()]
        found[f"{len(found):04d} {name}"] = _ablate.effects(evidence, inputs, labels, units, mean)
    for layer in _heads.heads(evidence, inputs):
        found[f"{len(found):04d} {layer.name} heads"] = _heads.effects(evidence, inputs, labels, layer)
    return found


def _unit(when: str, part: str, at: int) -> str:
    """Return the name of the column of a unit: ``before`` or ``after``, of which layer, at which place."""
    return f"{when} {part}[{at}]"


def _units(answer: Answer, when: str, part: str) -> list[str]:
    """Return the columns of the units of a layer, in order."""
    return list(itertools.takewhile(answer.columns.__contains__, (_unit(when, part, at) for at in itertools.count())))


def _means(answer: Answer, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = [[c for part in answer.parts.names for c in _units(answer, when, part)] for when in ("before", "after")]
    before, after = (answer.table(*columns).astype(np.float64) for columns in sides)
    size = weights.sum(1)[:, None]
    return weights @ before / size, weights @ after / size
