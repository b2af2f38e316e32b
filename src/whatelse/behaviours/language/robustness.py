"""Accuracy on items whose questions have slips of the keyboard: what a model still answers when people mistype.

Of every question a word of four letters or more is misspelled with the probability of a severity, .1, .2 or .4: two
inner letters change places, one is dropped, one is added, or one is struck on a key beside it, each slip of a word as
likely as any other. ``correct[i, s]`` is 1 where the right choice is the likeliest then, mean over ``draws``. The
number is the mean over items and severities; the parts are the severities, and 0, the questions as they are.

Reading:
    A drop larger than that of `generalization.accuracy` is robustness lost, not accuracy lost: compare the parts.
    Every model gets the same slips.

Cost:
    A pass of the model's body over the choices of every item for each severity and draw, and one for none.

Limits:
    Slips are one kind of noise; other spellings, cases and templates are others. Choices stay as they are. Words are
    parted by white space, so that languages without it get none, nor do questions of short words.

Source:
    Pruthi, Dhingra & Lipton, Combating adversarial misspellings with robust word recognition, ACL 2019,
    arXiv:1905.11268 (which slips, of which words); under compression: Liebenwein et al., Lost in pruning, MLSys 2021,
    arXiv:2103.03014 (accuracy under noise falls before accuracy does).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.attacks import words
from whatelse.behaviours.language import _choices
from whatelse.errors import NotMeasurableError
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.language import Passage
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "accuracy",
    "higher",
    {"reads", "choices"},
    "test example",
    "share of words misspelled",
)
WORST, BLIND = 0.0, None
_SHARES = (0.1, 0.2, 0.4)
_SPACE = re.compile(r"(\s+)")


@dataclass(frozen=True)
class Config:
    """Settings of the robustness."""

    draws: int = param(2, "How often the slips of a question are drawn.", low=1)
    seed: int = param(0, "Decides the slips.", low=0)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``correct`` at every severity: the share of draws in which an item is answered rightly, in [0, 1].

    Args:
        evidence: Of the model.
        config: How slips are drawn.
        rng: Not used; slips hang on the question and the seed alone.

    Raises:
        NotMeasurableError: It does not read, examples are no items with choices, or no question can be misspelled.
    """
    del rng
    language = _choices.asked(evidence, "choices")
    evidence.subject.require("reads")
    passages, targets = language.of(evidence.split("test").inputs), evidence.split("test").targets
    columns = {"0": (evidence.predictions("test") == targets).double()}
    changed = 0
    for share in _SHARES:
        right = torch.zeros(len(passages), dtype=torch.float64)
        for draw in range(config.draws):
            made = [_misspelled(one, share, _draws(evidence, one, share, draw, config.seed)) for one in passages]
            changed += sum(one is not two for one, two in zip(made, passages, strict=True))
            right += (tokens.weighed(evidence, made).argmax(1) == targets) / config.draws
        columns[f"{share:g}"] = right
    if not changed:
        raise NotMeasurableError("needs questions with words of four letters or more; nothing could be misspelled")
    return Answer(columns, parts=Parts(tuple(columns)))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean accuracy over the severities of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each item stands in each resample, ``(draws, N)``.
    """
    del config
    each = answer.table(*(f"{share:g}" for share in _SHARES)).mean(1)
    found: np.ndarray = weights @ each / weights.sum(1)
    return found


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy at every severity, and at none, of every resample, ``(draws, parts)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each item stands in each resample, ``(draws, N)``.
    """
    del config
    found: np.ndarray = weights @ answer.table(*answer.parts.names) / weights.sum(1)[:, None]
    return found


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes: one for every choice, severity and draw.

    Args:
        config: How often slips are drawn.
        task: Gives the items.
    """
    return len(_SHARES) * config.draws * task.classes * len(task.test)


def _draws(evidence: Evidence, passage: Passage, share: float, draw: int, seed: int) -> torch.Generator:
    """Return the source of the slips of a question: another for every question, whatever stands beside it."""
    told = f"{passage.context} {passage.contexts} {share} {draw}".encode()
    return evidence.draws(seed + int(hashlib.sha256(told).hexdigest()[:12], 16))


def _misspelled(passage: Passage, share: float, rng: torch.Generator) -> Passage:
    """Return a passage with slips in its question; itself where there are none."""
    contexts = tuple(_slipped(text, share, rng) for text in passage.contexts)
    context = _slipped(passage.context, share, rng)
    return (
        passage
        if (context, contexts) == (passage.context, passage.contexts)
        else replace(passage, context=context, contexts=contexts)
    )


def _slipped(text: str, share: float, rng: torch.Generator) -> str:
    parts = _SPACE.split(text)
    chance: Tensor = torch.rand(len(parts), generator=rng)
    for at, word in enumerate(parts):
        slips = sorted(words.misspelled(word)) if chance[at] < share else []
        if slips:
            parts[at] = slips[int(torch.randint(len(slips), (1,), generator=rng))]
    return "".join(parts)
