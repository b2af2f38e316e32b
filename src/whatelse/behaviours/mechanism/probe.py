"""Whether a linear probe still reads the class, or a group, off the hidden layers: what moved, and what was lost.

A probe is a ridge regression of one-hot labels on the activations of train, ``W = (X'X + p v I)^-1 X'Y``, and answers
with the largest score (``p`` the setting ``penalty``, ``v`` the mean diagonal of ``X'X``). The number is its accuracy
on the candidate's test activations. Score *moved*: the probe is fitted on the baseline and frozen. Score *lost*: it
is fitted anew on the candidate. ``of`` names what is read: ``class`` (the true class) or a grouping of the task. The
parts are the baseline's layers, each beside the candidate's of like depth; the number is that of the last.

With ``selectivity`` the accuracy of a control probe on the same examples is taken off. Its labels are the test labels
in a fixed random order; it is fitted on the test activations of the same model as the probe, and read where the probe
is read. Hewitt & Liang give every word type a random label; an image has no type that recurs, so here every example
is its own type, and the control is what a probe of this width can memorize.

Reading:
    A fall of *moved* alone: the information is there, in another place. A fall of *lost* too: it is gone. A rise for
    a grouping says that the candidate writes more of it into its layers.

Cost:
    The shared passes over train and test, forward only; a system of equations of units by units a layer. The frozen
    probe is made once for all candidates.

Limits:
    *moved* needs the baseline's basis: the same number of layers and units; another training of the same network has
    the widths without the basis and falls by that alone; *lost* does not, and the needs are those of *moved*. A probe
    shows that something can be read, not that the model uses it. With rare groups compare with the note: the share of
    the most frequent label. Without recurring types the control falls to chance where test examples are many more than
    units.

Source:
    Alain & Bengio, Understanding intermediate layers using linear classifier probes, 2016, arXiv:1610.01644;
    selectivity: Hewitt & Liang, Designing and interpreting probes with control tasks, EMNLP 2019, arXiv:1909.03368.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _layers, _linear
from whatelse.errors import NotMeasurableError, nearest
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "accuracy",
    "higher",
    {"predicts", "opens", "same units"},
    "test example",
    "layer",
)
WORST, BLIND = 0.0, None
_SEED = 1909  # the control labels are the same for every model


@dataclass(frozen=True)
class Config:
    """Settings of the probes."""

    score: str = param(
        "moved", "The baseline's probe, frozen, or one fitted anew on the candidate.", choices=("moved", "lost")
    )
    of: str = param("class", "What is read: class, or the name of a grouping of the task.")
    selectivity: bool = param(False, "Whether the accuracy of a control probe on random labels is taken off.")
    penalty: float = param(1e-3, "Ridge penalty, in units of the mean variance of a unit.", low=1e-9, high=1e3)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return each layer's hit on each test example, less the control's if asked, and whether it ``counts``.

    Each is ``(N,)``; an example whose group is missing does not count. A note tells of the most frequent label.

    Args:
        baseline: Evidence of the model before compression; holds the frozen probe.
        candidate: Evidence of the compressed model.
        config: Which probe, of what.
        rng: Not used; the control labels have a fixed seed.

    Raises:
        NotMeasurableError: A model does not open or has no hidden layer, the task has no such grouping or no two
            groups, or a frozen probe does not fit the candidate.
    """
    del rng
    names = list(_layers.layers(baseline))
    labels = {split: _labels(baseline, split, config.of) for split in ("train", "test")}
    if config.score == "moved":
        _layers.same_basis(baseline, candidate)
    owner = baseline if config.score == "moved" else candidate
    read = [after for _, after in _layers.pairs(baseline, candidate)]

    def hits(split: str, asked: Tensor, goal: Tensor) -> Tensor:
        kind = "probe" if split == "train" else "control probe"
        key = f"{kind} {VERSION} of={config.of} penalty={config.penalty} layers={len(names)}"
        layers = [after for _, after in _layers.pairs(baseline, owner, split)]
        fitted = owner.once(key, lambda: _fit(layers, asked, config.penalty))
        return torch.stack([_answers(fitted, i, layer) == goal for i, layer in enumerate(read)], 1).float()

    found, known = hits("train", labels["train"], labels["test"]), labels["test"] >= 0
    if config.selectivity:
        random = _shuffled(labels["test"])
        found -= hits("test", random, random)
    often = labels["test"][known].bincount().max() / known.sum()
    return Answer(
        {_hit(name): found[:, at] for at, name in enumerate(names)} | {"counts": known.float()},
        parts=Parts(tuple(names)),
        notes=(f"always answering the most frequent {config.of} scores {float(often):.1%}",),
        ends={"worst": -1.0, "blind": 0.0} if config.selectivity else {"blind": float(often)},
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the probe's accuracy in the last hidden layer of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    last: np.ndarray = _accuracy(answer, answer.parts.names[-1:], weights)[:, 0]
    return last


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the probe's accuracy in every layer of every resample, ``(draws, layers)``; NaN where nothing counts.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    return _accuracy(answer, answer.parts.names, weights)


def _hit(layer: str) -> str:
    """Return the name of the column of a layer."""
    return f"hit in {layer}"


def _accuracy(answer: Answer, layers: Sequence[str], weights: np.ndarray) -> np.ndarray:
    hits, known = answer.table(*(_hit(name) for name in layers)), answer.table("counts") > 0.5
    size = weights @ known
    each: np.ndarray = np.where(size > 0, weights @ (hits * known) / np.where(size > 0, size, 1), np.nan)
    return each


def _labels(evidence: Evidence, split: str, of: str) -> Tensor:
    examples = evidence.split(split)
    if of == "class":
        return examples.targets
    if of not in examples.groups:
        hint = nearest(of, examples.groups) if examples.groups else f"task {evidence.task.name} has none"
        raise NotMeasurableError(f"needs the grouping {of!r}; {hint}")
    codes = examples.groups[of]
    if len(torch.unique(codes[codes >= 0])) < 2:
        raise NotMeasurableError(f"needs two groups or more of {of} in {split}")
    return codes


def _fit(layers: Sequence[Tensor], labels: Tensor, penalty: float) -> dict[str, Tensor]:
    known = labels >= 0
    goal = functional.one_hot(labels[known]).float()
    found: dict[str, Tensor] = {}
    for i, layer in enumerate(layers):
        fitted = _linear.ridge(layer if bool(known.all()) else layer[known], goal, penalty)
        found |= {f"{i} {name}": tensor for name, tensor in fitted.items()}
    return found


def _answers(fitted: dict[str, Tensor], number: int, layer: Tensor) -> Tensor:
    mine = {name: fitted[f"{number} {name}"] for name in ("weight", "start", "end")}
    return torch.cat([_linear.predict(mine, layer[rows]).argmax(1) for rows in _layers.chunks(len(layer))])


def _shuffled(labels: Tensor) -> Tensor:
    """Return the labels in another order; those that are missing stay where they are."""
    known = torch.nonzero(labels >= 0).flatten()
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(_SEED))
    return labels.scatter(0, known, labels[known[order]])
