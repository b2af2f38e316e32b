"""What a language model gains by context: its loss on tokens with much text before them less that on those with little.

``mean_t loss[t] over before[t] >= deep`` less ``mean_t loss[t] over before[t] < shallow``, in nats, over the tokens
``t`` of test; ``before[t]`` is how many tokens of its document stand before it in its window. Both are means over all
such tokens together. The parts are the mean losses by how many stand before: fewer than 16, 64, 256, 1024, 4096, 16384,
and more.

Reading:
    Below 0: context helps, and the more so the lower. A rise, with the loss of shallow tokens where it was, is a model
    that makes less of what it read: compression of attention or of its cache does that while averages over short texts
    stay. The parts say from where on.

Cost:
    None of its own: it reads the pass that `likelihood` needs.

Limits:
    Documents must be longer than ``deep``, and no context reaches farther than a model reads at once. What stands at
    the beginning of documents is of another kind than what follows, alike for both models: read the change. Whether a
    fact is found again is another question (`retrieval`). Both models must cut the documents alike.

Source:
    Olsson et al., In-context learning and induction heads, 2022, arXiv:2209.11895 (the loss of a late token less that
    of an early one); loss by position: Kaplan et al., Scaling laws for neural language models, 2020, arXiv:2001.08361.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.errors import NotMeasurableError, SettingError
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "nats a token",
    "lower",
    {"reads", "documents"},
    "test example",
    "tokens before",
)
WORST, BLIND = None, 0.0
_EDGES = (0, 16, 64, 256, 1024, 4096, 16384)


@dataclass(frozen=True)
class Config:
    """Settings of the depth."""

    shallow: int = param(16, "Tokens with fewer before them have little context.", low=1)
    deep: int = param(64, "Tokens with as many before them, or more, have much.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return sums of losses and numbers of tokens of every document, by how many tokens stand before.

    Args:
        evidence: Gives the loss of every token.
        config: What is little and what is much.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: No document is long enough, or both models cut them otherwise.
        SettingError: What is little is more than what is much.
    """
    del rng
    if config.shallow > config.deep:
        raise SettingError(f"shallow={config.shallow}, deep={config.deep}; deep is as much as shallow or more")
    tokens.alike(evidence)
    said, before = tokens.documents(evidence), tokens.before(evidence)
    if not bool((before >= config.deep).any()):
        raise NotMeasurableError(
            f"needs tokens with {config.deep} before them; the most that any has here is {int(before.max())}"
        )
    chosen = {"shallow": before < config.shallow, "deep": before >= config.deep}
    edges = [edge for edge in _EDGES if edge <= int(before.max())]
    names = [f"{low} to {high - 1}" for low, high in zip(edges, edges[1:], strict=False)] + [f"from {edges[-1]}"]
    ends = [*edges[1:], int(before.max()) + 1]
    chosen |= {name: (before >= low) & (before < high) for name, low, high in zip(names, edges, ends, strict=True)}
    columns: dict[str, Tensor] = {}
    for name, mine in chosen.items():
        rows = said["document"][mine]
        for what, each in (("loss", said["loss"][mine]), ("tokens", torch.ones(len(rows), dtype=torch.float64))):
            zeros = torch.zeros(len(evidence.split("test")), dtype=torch.float64)
            columns[f"{what} {name}"] = zeros.index_add_(0, rows, each)
    return Answer(columns, parts=Parts(tuple(names), better="lower"))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the loss with much context less that with little of every resample, ``(draws,)``.

    NaN of a resample without a document that is long enough.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, N)``.
    """
    del config
    found: np.ndarray = _mean(answer, "deep", weights) - _mean(answer, "shallow", weights)
    return found


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean loss by how many tokens stand before of every resample, ``(draws, parts)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, N)``.
    """
    del config
    return np.stack([_mean(answer, name, weights) for name in answer.parts.names], 1)


def _mean(answer: Answer, name: str, weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (weights @ answer[f"loss {name}"]) / (weights @ answer[f"tokens {name}"])
    return found
