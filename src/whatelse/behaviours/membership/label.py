"""Area under the ROC curve of a membership attack that is told labels alone: whoever stays right is taken for a member.

Of each record the model is asked the label; then that of copies under Gaussian noise, whose standard deviation is a
quarter, a half, once and twice the spread of the inputs (of a table each column's own, in train), ``copies`` of each,
cut to the bounds where there are any; and of images that of the eight shifts by a pixel, edges continued. The score is
the mean of the shares that have the recorded label: of the record itself, of each noise, of the shifts. Of a linear
model noise leaves the share ``Phi(d / sigma)`` right, ``d`` being the distance to its border: the score stands for that
distance, in which members lie farther off. The noise is the same for every model. Members are the first ``examples`` of
train, non-members as many of test. The parts are operating points: the share of members found at 1 % and at 0.1 % false
alarms, and the balanced accuracy at the best threshold.

Reading:
    0.5: the attacker guesses; 1: members are told without error. Scores that are rounded, cut to the top class or made
    loud hide nothing from it: where `loss` falls and this does not, compression hid confidence, and protected nobody.
    It rises and falls with the gap between train and test: read it beside `generalization.gap`.

Cost:
    On twice ``examples`` records ``1 + 4 * copies`` passes forward, of images eight more.

Limits:
    A lower bound, as every attack is, and a weaker one than a search for the border of every record, which takes
    thousands of answers; one threshold for all records does not ask how hard each is. Noise far beyond what the model
    was trained on says nothing of it. Train and test must come from the same distribution. The share found at 1 % false
    alarms is refused below 1,000 non-members and at 0.1 % below 10,000; scores are few, so that records tie.

Source:
    Choquette-Choo, Tramer, Carlini & Papernot, Label-only membership inference attacks, ICML 2021, arXiv:2007.14321
    (noise and translations). Departures: several noises stand side by side where the source tunes one on a shadow
    model, and no shadow model learns from the answers: the threshold is on their mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.answer import Answer
from whatelse.behaviours.membership import _records
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Split, Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = 1, "AUC", "lower", {"predicts"}, "record", "operating point"
WORST, BLIND = 1.0, 0.5
_NOISES = (0.25, 0.5, 1.0, 2.0)
_SHIFTS = tuple((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across)
_SEED = 20_200_714
# Values of the inputs of one call: 8 MB in single precision.
_VALUES = 2_000_000


@dataclass(frozen=True)
class Config:
    """Settings of the attack by labels."""

    copies: int = param(4, "Noisy copies of a record at each of four noises.", low=1, high=1000)
    examples: int = param(1000, "Members, and as many others, from the first.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each record and whether it is a member.

    Args:
        evidence: Gives the labels that the model answers.
        config: How many copies and records.
        rng: Not used; the noise has a seed of its own, the same for every model.

    Raises:
        NotMeasurableError: The model answers no new inputs, inputs are token ids, or there is no train or test.
    """
    del rng
    evidence.subject.require("predicts")
    if evidence.task.vocabulary:
        raise NotMeasurableError(f"needs inputs that noise can move; task {evidence.task.name} is of tokens")
    train, test = evidence.split("train"), evidence.split("test")
    count = _count(config, evidence.task)
    spread = _spread(train, evidence.task)
    draw = evidence.draws(_SEED)
    scores = [_score(evidence, split, count, spread, config.copies, draw) for split in (train, test)]
    member = torch.arange(2 * count) < count
    rows = torch.cat([torch.arange(count), len(train) + torch.arange(count)])
    asked = 1 + config.copies * len(_NOISES) + (len(_SHIFTS) if evidence.task.modality == "images" else 0)
    told = f"lower bound: labels of {asked} copies of each record, without references"
    return replace(_records.scored(torch.cat(scores), member, told), rows=rows)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    del config
    return _records.area(answer, weights)


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the shares found at few false alarms and the balanced accuracy of every resample, ``(draws, 3)``.

    NaN where there are too few non-members for a false alarm rate.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    del config
    return _records.points(answer, weights)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward, at the most.

    Args:
        config: How many copies and records.
        task: Has the records.
    """
    shifts = len(_SHIFTS) if task.modality == "images" else 0
    return 2 * _count(config, task) * (1 + len(_NOISES) * config.copies + shifts)


def _count(config: Config, task: Task) -> int:
    return min(config.examples, len(task.train), len(task.test))


def _spread(train: Split, task: Task) -> Tensor:
    """Return the standard deviation of the inputs, of a table one a column, else one for all."""
    if task.modality == "table":
        return train.inputs.std(0, correction=0)
    return train.inputs.std(correction=0)


def _score(evidence: Evidence, split: Split, count: int, spread: Tensor, copies: int, draw: torch.Generator) -> Tensor:
    """Return the score of the first records of a split, in [0, 1], ``(count,)``."""
    inputs, labels = split.inputs[:count], split.observed[:count]
    size = max(1, _VALUES // max(1, inputs[0].numel()))
    found = []
    for x, y in zip(torch.split(inputs, size), torch.split(labels, size), strict=True):
        shares = [
            torch.stack([(evidence.answers(one).argmax(1) == y).double() for one in some]).mean(0)
            for some in _copies(evidence, x, spread, copies, draw)
        ]
        found.append(torch.stack(shares).mean(0))
    return torch.cat(found)


def _copies(
    evidence: Evidence, x: Tensor, spread: Tensor, copies: int, draw: torch.Generator
) -> Iterator[Iterator[Tensor]]:
    """Yield, one after the other: the records; their copies under each noise; of images, those that are shifted.

    Yields:
        Of each kind its copies, one after the other, of the shape of ``x``.
    """
    low, high = evidence.task.bounds or (-torch.inf, torch.inf)
    yield iter([x])
    for noise in _NOISES:
        yield (
            (x + noise * spread * torch.randn(x.shape, generator=draw, dtype=x.dtype)).clamp(low, high)
            for _ in range(copies)
        )
    if evidence.task.modality == "images":
        wide = functional.pad(x, (1, 1, 1, 1), "replicate")
        height, width = x.shape[2:]
        yield (wide[:, :, 1 + down : 1 + down + height, 1 + across : 1 + across + width] for down, across in _SHIFTS)
