"""Whether the same heads and feed-forward blocks matter: rank correlation of the effects of leaving each out.

The effect of a part on a document is how far the model without it, its output at zero, moves from the whole model:
``sum_t KL(p_t || p_t without)`` over its first ``tokens`` tokens, or with ``by="loss"`` what the loss rises by; at the
temperature at which log-odds of the candidate spread as the baseline's do. Effects are averaged a token over
``examples`` documents, evenly apart, the same for both models; the score is the Spearman correlation over all parts,
ties at average ranks. The parts are the layers: the same over the parts of one layer.

Reading:
    1: the parts matter in the same order; 0: unrelated. Likelihood can stay while the order turns over. A note says how
    far the baseline agrees with itself on two halves of the documents, which is no ceiling here, as both models get the
    same ones, but says how much an order means; and which parts moved most.

Cost:
    A pass over the chosen tokens for every head and every block, in both models; the baseline's are made once for all
    candidates.

Limits:
    Both models need the same layers and heads and must cut the documents alike. Heads in another order are told by what
    they write, and matched; a rotated basis is not. A part at zero is no text that a model ever saw, so that effects
    are larger than those of a mean in its place. Parts that matter little have ranks of noise, and of few documents the
    order of means is biased, which makes the verdict *not trusted*.

Source:
    Michel et al., Are sixteen heads really better than one?, NeurIPS 2019, arXiv:1905.10650 (a head at zero, effects by
    loss); metrics of ablation: Zhang & Nanda, Towards best practices of activation patching in language models, ICLR
    2024, arXiv:2309.16042.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.behaviours.language import _parts
from whatelse.behaviours.mechanism import _order
from whatelse.errors import NotMeasurableError
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "Spearman",
    "higher",
    {"reads", "documents", "parts"},
    "test example",
    "layer",
)
WORST, BLIND = -1.0, 0.0
_TOLD = 3  # parts that a note names
_USUAL = 72  # parts of a model that nobody has seen yet: eight layers of eight heads and a block


@dataclass(frozen=True)
class Config:
    """Settings of the mechanism."""

    by: str = param(_parts.DIVERGENCE, "What an effect is counted by.", choices=(_parts.DIVERGENCE, _parts.LOSS))
    examples: int = param(32, "Documents, evenly apart, at most.", low=2)
    tokens: int = param(32, "Tokens of each, the first ones.", low=2)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the effect of every part on each document, before and after, and ``units``, how many tokens it has.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: How much is looked at.
        rng: Not used; documents lie evenly apart.

    Raises:
        NotMeasurableError: A model shows no parts, they are others, or nothing matters to the baseline.
    """
    del rng
    tokens.alike(candidate)
    asked = config.examples, config.tokens, config.by
    before, every = _parts.effects(baseline, *asked), _parts.parts(baseline)
    same = candidate is baseline
    after = before if same else _parts.effects(candidate, *asked)
    known, moved = ({part: part for part in every}, ()) if same else _parts.places(baseline, candidate)
    columns = {f"before {part}": before[str(part)] for part in every}
    columns |= {f"after {part}": after[str(known[part])] for part in every} | {"units": before["units"]}
    if not any(bool(before[str(part)].any()) for part in every):
        raise NotMeasurableError("needs parts that matter; leaving out any of the baseline's changes nothing")
    layers = tuple(dict.fromkeys(f"layer {part.layer}" for part in every))
    turned = [f"heads of layers {', '.join(map(str, moved))} stand in another order, and are matched"] if moved else []
    notes = (*turned, *_told(columns, [str(part) for part in every]))
    return Answer(columns, rows=before["rows"], parts=Parts(layers), notes=notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the rank correlation over all parts of every resample, ``(draws,)``; NaN if the baseline's are all equal.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    del config
    return _order.spearman(*_means(answer, weights, ""))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the rank correlation over the parts of each layer of every resample, ``(draws, layers)``.

    NaN where the baseline's effects are all equal.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    del config
    return np.stack([_order.spearman(*_means(answer, weights, f"{name} ")) for name in answer.parts.names], 1)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes, of one document: one for every part, of both models, of which nobody knows yet.

    Args:
        config: How much is looked at.
        task: Gives the documents.
    """
    return 2 * _USUAL * min(config.examples, len(task.test))


def _means(answer: Answer, weights: np.ndarray, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean effects a token of the parts of a layer, or of all, before and after, ``(draws, parts)``."""
    own = [name.removeprefix("before ") for name in answer.columns if name.startswith(f"before {layer}")]
    size = (weights @ answer["units"])[:, None]
    before, after = (
        weights @ answer.table(*(f"{when} {part}" for part in own)).astype(np.float64) / size
        for when in ("before", "after")
    )
    return before, after


def _told(columns: Mapping[str, Tensor], every: list[str]) -> tuple[str, ...]:
    """Return notes on the order of the baseline's own parts, and on those whose effect moved most."""
    size, notes = float(columns["units"].sum()), []
    if len(columns["units"]) > 1:
        halves = [
            np.array(
                [[float(columns[f"before {part}"][at::2].sum() / columns["units"][at::2].sum()) for part in every]]
            )
            for at in (0, 1)
        ]
        own = float(_order.spearman(*halves)[0])
        notes.append(f"on two halves of the documents the baseline's own order agrees by {own:.2f}")
    means = {part: [float(columns[f"{when} {part}"].sum()) / size for when in ("before", "after")] for part in every}
    most = sorted(every, key=lambda part: -abs(means[part][1] - means[part][0]))[:_TOLD]
    far = [f"{part}: {means[part][0]:.3g} → {means[part][1]:.3g}" for part in most if means[part][0] != means[part][1]]
    if far:
        notes.append(f"moved most, in nats a token: {'; '.join(far)}")
    return tuple(notes)
