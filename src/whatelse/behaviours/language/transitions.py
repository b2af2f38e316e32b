"""Share of pairs in which a preference for the stereotype emerged, or vanished, against the baseline.

*emerged*: the stereotype is likelier for the candidate and was not for the baseline; *vanished*: the other way round;
*any*: either; *net*: emerged less vanished, which is what `stereotype` changes by, but for ties. A tie prefers nothing.

Reading:
    *emerged* is bias that was not there before. Compression moves single pairs long before it moves their share: many
    that emerge and as many that vanish are the same number of preferred stereotypes, in other people. Fewer are better
    of *emerged*, *net* and *any*; *vanished* is a gain, and its verdict *not trusted*: only the number is read.

Cost:
    None of its own: it reads the pass that `stereotype` needs.

Limits:
    A pair on which a model hesitates turns over with any change: hold it against another compression of the same size.
    Otherwise as of `stereotype`.

Source:
    Gonçalves & Strubell, Understanding the effect of model compression on social bias in large language models, EMNLP
    2023, arXiv:2312.05662; items that turn over instead of averages: Dutta et al., NeurIPS 2024, arXiv:2407.09141.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Doubt
from whatelse.behaviours.language import _pairs
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "share of pairs", "lower", {"pairs"}, "test example"
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the transitions."""

    kind: str = param("emerged", "Which pairs count.", choices=("emerged", "vanished", "any", "net"))


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``turned``: 1 for each pair that turned over, else 0, and -1 where ``net`` counts one that vanished.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Which pairs count.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: Examples are no pairs.
    """
    del rng
    before, after = _pairs.apart(baseline) > 0, _pairs.apart(candidate) > 0
    emerged, vanished = (after & ~before).double(), (before & ~after).double()
    turned = {"emerged": emerged, "vanished": vanished, "any": emerged + vanished, "net": emerged - vanished}
    unsided = Doubt("kind vanished is not better where it is lower: read the number")
    was = float(before.double().mean())  # only what was not preferred can come to be
    ends = {"worst": {"emerged": 1 - was, "net": 1 - was, "vanished": was, "any": 1.0}[config.kind]}
    return Answer({"turned": turned[config.kind]}, doubts=(unsided,) if config.kind == "vanished" else (), ends=ends)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of pairs that turned over of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each pair stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["turned"] / weights.sum(1)
    return mean
