"""How far the tree distilled from a model depends on the sample: agreement of trees distilled on bootstraps of train.

``B`` samples of train are drawn with replacement, the same for every model, and a tree is distilled on each as in
`tree`. The value of test example ``n`` is the share of the ``B (B - 1) / 2`` pairs of trees that give it the same
class, ``sum_k c_nk (c_nk - 1) / (B (B - 1))`` with ``c_nk`` the trees that say class ``k``; a column is that of the
trees cut back to a depth, from 2 to ``depth``. The mean at ``depth`` is summarised, and every depth is a part. How far
the trees use the same inputs is noted: the mean over pairs of the Jaccard index of the sets of inputs they split on.

Reading:
    1 means that every sample gives the same answers: what the tree says of the model can be relied on. A low value
    means that the drawn tree is one of many that would have stood for the model as well, however accurate it is.

Cost:
    One forward pass of each train example, shared with every behaviour; no backward pass. ``B`` fits of a tree,
    to at most 16 million input values each.

Limits:
    Trees may agree in their answers and ask quite different questions: the noted index of inputs says so, and it is
    low wherever inputs stand for one another, as neighboring pixels do. Agreement falls with depth and with the
    number of classes, so compare at the same depth only. A model that says one class everywhere is stable.

Source:
    Turney, Bias and the quantification of stability, Machine Learning 20, 1995; trees: Liu, Wang &
    Matwin, ICDM workshops 2018, arXiv:1812.10924.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch.nn import functional

from whatelse.answer import Answer
from whatelse.behaviours import _scale
from whatelse.behaviours.transparency import _distilled
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = 2, "agreement", "higher", {"predicts"}, "test example", "depth"
WORST, BLIND = 0.0, None

# Where the samples of train begin: the same for every model.
_SEED = 0


@dataclass(frozen=True)
class Config:
    """Settings of the stability of the distilled tree."""

    depth: int = param(5, "Largest depth of a tree, in splits.", low=1, high=30)
    bootstraps: int = param(5, "Samples of train, and trees.", low=2, high=100)
    kind: str = param("regression", "What the trees are, and what they are fitted to.", choices=_distilled.KINDS[:2])


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the share of pairs of trees that agree on each test example at each depth: ``depth 2`` and so on.

    Args:
        evidence: Gives the logits on train.
        config: Depth, number of samples, and kind.
        rng: Not used; the samples are the same for every model.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    del rng
    asked = _distilled.columns(evidence.task)
    x, unseen = asked.train, asked.test
    logits = _distilled.centered(evidence.logits("train")[asked.rows])
    fitted = (logits if config.kind == "regression" else logits.argmax(1)).numpy()
    draw, depths = evidence.draws(_SEED), _distilled.depths(config.depth)
    votes = torch.zeros(len(unseen), len(depths), evidence.task.classes)
    used = []
    for _ in range(config.bootstraps):
        picks = torch.randint(len(x), (len(x),), generator=draw).numpy()
        tree = _distilled.grow(x[picks], fitted[picks], config.depth)
        votes += functional.one_hot(torch.from_numpy(tree.says(unseen, depths)), evidence.task.classes)
        used.append(set(tree.inner.feature[tree.inner.feature >= 0].tolist()))
    # To ten per cent, so that the seeds of a study have one note and not each their own.
    shared = f"two trees share about {round(_shared(used), 1):.0%} of the inputs they split on (Jaccard index)"
    flat = _scale.of_constant(evidence, 1.0)
    agreement = (votes * (votes - 1)).sum(2) / (config.bootstraps * (config.bootstraps - 1))
    return Answer(
        _distilled.by_depth(agreement, config.depth),
        parts=_distilled.parts(config.depth),
        notes=(*_distilled.remarks(evidence, len(x)), shared, *flat.notes),
        doubts=flat.doubts,
        ends=flat.ends,
    )


def _shared(used: list[set[int]]) -> float:
    return float(np.mean([len(a & b) / len(a | b) if a | b else 1.0 for a, b in combinations(used, 2)]))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean agreement at the largest depth on every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Which depth.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = weights @ answer[_distilled.column(config.depth)] / weights.sum(1)
    return mean


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean agreement at every depth on every resample, ``(draws, depths)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    depths = [_distilled.column(int(depth)) for depth in answer.parts.names]
    means: np.ndarray = weights @ answer.table(*depths) / weights.sum(1)[:, None]
    return means
