"""Whether a fact is found again: what a word costs less because it was planted, by how much text lies in between.

Before some text of the documents stands ``The secret word of NAME is VALUE.``, behind it ``The secret word of NAME
is``; the gain is what the word ``VALUE`` then costs less than behind the same text with no fact before it,
``loss(VALUE | text, question) - loss(VALUE | fact, text, question)`` in nats. The text is ``distance`` tokens from the
beginning of a document on, and of those that follow it; distances are 16, 64, 256, 1024, 4096 and 16384, as far as they
fit into what the model reads at once and ``farthest`` allows. The number is the mean over distances; the parts are the
distances.

Reading:
    0: the fact is of no use; ``loss`` without it, some nats, is all that it can gain. It falls with the distance in
    any model: read where it falls in the candidate and not in the baseline. Loss by position (`depth`) may stay where
    this goes, as most of what is read needs no fact from far away.

Cost:
    Two passes for each distance and document, of as many tokens.

Limits:
    One form of fact, one word long, in English: a model of another language finds less, before and after. A model
    that finds nothing to begin with has nothing to lose, which is said. Both models must cut the documents alike.

Source:
    Liu et al., Lost in the middle, TACL 2024, arXiv:2307.03172 (key-value retrieval); Hsieh et al., RULER, COLM 2024,
    arXiv:2404.06654 (a needle by length of context). Here by likelihood, so that models too small to answer count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _layers
from whatelse.errors import NotMeasurableError
from whatelse.evidence import passing, tokens, windows
from whatelse.evidence.cache import Evidence
from whatelse.evidence.windows import Window
from whatelse.models.model import Reads
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "nats",
    "higher",
    {"reads", "documents"},
    "test example",
    "distance",
)
WORST, BLIND = None, 0.0
_DISTANCES = (16, 64, 256, 1024, 4096, 16384)
_QUESTION = "The secret word of {} is"
_NAMES = ("Anna", "Peter", "Mary", "Tom", "Lily", "John", "Sara")
_VALUES = ("apple", "river", "stone", "green", "seven", "horse", "music", "paper", "winter", "candle", "silver")


@dataclass(frozen=True)
class Config:
    """Settings of the retrieval."""

    examples: int = param(16, "Documents, evenly apart, at most.", low=2)
    farthest: int = param(1024, "Tokens between a fact and its question, at most.", low=_DISTANCES[0])


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the gain by every distance, a row a document, and ``loss``, what the word costs behind no fact.

    Args:
        evidence: Of a language model.
        config: How much is looked at.
        rng: Not used; names and words follow the number of the document.

    Raises:
        NotMeasurableError: No distance fits, or the documents have fewer tokens.
    """
    del rng
    tokens.alike(evidence)
    kept = evidence.once(
        f"planted facts {VERSION}: {config.examples}, {config.farthest}", lambda: _gains(evidence, config)
    )
    names = tuple(name for name in kept if name not in {"rows", "loss"})
    columns = {name: column for name, column in kept.items() if name != "rows"}
    return Answer(columns, rows=kept["rows"], parts=Parts(names, better="higher"))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean gain over all distances of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    found: np.ndarray = by_part(answer, config, weights).mean(1)
    return found


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean gain by each distance of every resample, ``(draws, distances)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    del config
    found: np.ndarray = weights @ answer.table(*answer.parts.names).astype(np.float64)
    found /= weights.sum(1, keepdims=True)
    return found


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes, of one text: with a fact and without, for every distance that may be asked.

    Args:
        config: How much is looked at.
        task: Gives the documents.
    """
    return 2 * sum(one <= config.farthest for one in _DISTANCES) * min(config.examples, len(task.test))


def _gains(evidence: Evidence, config: Config) -> dict[str, Tensor]:
    """Return ``rows``, ``loss`` behind no fact, and the gain by distance, ``(M,)`` each.

    Raises:
        NotMeasurableError: No distance fits, or the documents have fewer tokens.
    """
    language, model = tokens.of_documents(evidence)
    _, held = tokens.cut(evidence, language, model)
    count, longest = len(evidence.split("test")), language.context or model.longest
    starts = torch.bincount(held["document"], minlength=count).cumsum(0).roll(1)
    starts[0] = 0
    rows = _layers.spread(count, config.examples)
    texts = [_texts(model, row) for row in rows.tolist()]
    room = longest - 1 - max(sum(map(len, one)) for one in texts)
    most = min(config.farthest, room, len(held["token"]))
    distances = [one for one in _DISTANCES if one <= most]
    if not distances:
        raise NotMeasurableError(
            f"needs {_DISTANCES[0]} tokens between a fact and its question; {evidence.subject.name} reads {longest} at "
            f"once, the documents have {len(held['token'])}"
        )
    stream = torch.cat([held["token"], held["token"]])  # behind the last document comes the first
    asked, place = list[Window](), 0
    for distance in distances:
        for (fact, question, value), start in zip(texts, starts[rows].tolist(), strict=True):
            between = stream[start : start + distance].tolist()
            for before in (fact, []):
                context = [model.start, *before, *between, *question]
                asked.append(windows.continuation(context, value, longest, place))
                place += len(value)
    losses = _losses(evidence, model, asked, place).view(len(distances), len(texts), 2)
    gained = {f"distance {one}": losses[at, :, 1] - losses[at, :, 0] for at, one in enumerate(distances)}
    return {"rows": rows, "loss": losses[:, :, 1].mean(0), **gained}


def _texts(model: Reads, row: int) -> tuple[list[int], list[int], list[int]]:
    """Return the tokens of a fact, of the question for it, and of the word, as the number of a document has them."""
    question, value = _QUESTION.format(_NAMES[row % len(_NAMES)]), _VALUES[row % len(_VALUES)]
    said = (f"{question} {value}. ", f" {question}", f" {value}")
    fact, asked, word = (model.cut(text, whole=False) for text in said)
    return fact, asked, word


def _losses(evidence: Evidence, model: Reads, asked: list[Window], count: int) -> Tensor:
    """Return what each continuation costs, all of its tokens together, ``(len(asked),)`` in nats.

    Raises:
        NotMeasurableError: It is no number.
    """
    each = torch.zeros(count, dtype=torch.float64)
    for mine, targets, numbers in passing.chunks(evidence, model, asked):
        said = model.said(mine).log_softmax(1)
        each[numbers] = -said.gather(1, targets.to(said.device)[:, None])[:, 0].double().cpu()
    tokens.check(evidence, each)
    owners = torch.arange(len(asked)).repeat_interleave(torch.tensor([len(one.said[0].targets) for one in asked]))
    return torch.zeros(len(asked), dtype=torch.float64).index_add_(0, owners, each)
