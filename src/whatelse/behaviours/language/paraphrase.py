"""Accuracy on items whose questions are worded otherwise by rule: what a model answers when the same is asked.

Six rules, each by itself: words are contracted (*is not*, *isn't*) or written out, spelled as in American or British
English, small numbers of things become words, *so* stands before a question, the mark at its end is left out.
``asked[i, r]`` is 1 where rule ``r`` finds something in question ``i``, ``right[i, r]`` where the right choice is then
the likeliest. The number is ``sum right / sum asked``; the parts are the rules, and the questions as they were, each
counted as often as it was worded otherwise.

Reading:
    Compare the parts with *as they were*: a model that lost more there answered the wording, not the question. Every
    model gets the same questions.

Cost:
    A pass of the model's body over the choices of every item for each rule that finds something in it, and one for
    the questions as they were.

Limits:
    The rules are of English, find little in short questions, and leave the choices as they are. They are cautious and
    cheap; a person, or a large model, words things otherwise altogether.

Source:
    Ribeiro, Singh & Guestrin, Semantically equivalent adversarial rules for debugging NLP models, ACL 2018,
    doi:10.18653/v1/P18-1079; Ribeiro et al., Beyond accuracy: behavioral testing of NLP models with CheckList, ACL
    2020, arXiv:2005.04118.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.language import _choices
from whatelse.behaviours.language._wording import RULES, Rule
from whatelse.errors import NotMeasurableError
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence
from whatelse.tasks.language import Passage
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "accuracy",
    "higher",
    {"reads", "choices"},
    "test example",
    "wording",
)
WORST, BLIND = 0.0, None
_WAS = "as they were"


@dataclass(frozen=True)
class Config:
    """It has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``asked`` and ``right`` of every rule that finds something, and of the questions as they were.

    Args:
        evidence: Of the model.
        config: Not used.
        rng: Not used; rules draw nothing.

    Raises:
        NotMeasurableError: It does not read, examples are no items with choices, or no rule finds anything.
    """
    del config, rng
    language = _choices.asked(evidence, "choices")
    evidence.subject.require("reads")
    passages, targets = language.of(evidence.split("test").inputs), evidence.split("test").targets
    before = (evidence.predictions("test") == targets).double()
    columns, times = dict[str, torch.Tensor](), torch.zeros_like(before)
    for name, rule in RULES.items():
        made = [_worded(one, rule) for one in passages]
        rows = torch.tensor([i for i, (one, two) in enumerate(zip(made, passages, strict=True)) if one != two]).long()
        if not len(rows):
            continue
        asked, right = torch.zeros_like(before), torch.zeros_like(before)
        answers = tokens.weighed(evidence, [made[i] for i in rows.tolist()]).argmax(1)
        asked[rows], right[rows] = 1.0, (answers == targets[rows]).double()
        columns |= {f"asked {name}": asked, f"right {name}": right}
        times += asked
    if not columns:
        raise NotMeasurableError("needs questions in English that can be worded otherwise; no rule found anything")
    columns |= {f"asked {_WAS}": times, f"right {_WAS}": times * before}
    names = [name for name in (_WAS, *RULES) if f"asked {name}" in columns]
    return Answer(columns, parts=Parts(tuple(names)))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy over all questions that were worded otherwise of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each item stands in each resample, ``(draws, N)``.
    """
    del config
    rules = [name for name in answer.parts.names if name != _WAS]
    asked, right = (answer.table(*(f"{what} {name}" for name in rules)).sum(1) for what in ("asked", "right"))
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (weights @ right) / (weights @ asked)
    return found


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy of every wording of every resample, ``(draws, parts)``; NaN where none was asked.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each item stands in each resample, ``(draws, N)``.
    """
    del config
    right, asked = (answer.table(*(f"{what} {n}" for n in answer.parts.names)) for what in ("right", "asked"))
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (weights @ right) / (weights @ asked)
    return found


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes at most: one for every choice and rule.

    Args:
        config: Not used.
        task: Gives the items.
    """
    del config
    return len(RULES) * task.classes * len(task.test)


def _worded(passage: Passage, rule: Rule) -> Passage:
    """Return a passage whose question a rule has worded; an equal one where it found nothing."""
    return replace(passage, context=rule(passage.context), contexts=tuple(map(rule, passage.contexts)))
