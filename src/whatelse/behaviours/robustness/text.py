"""Share of texts that are classified correctly and stay so whichever few of their words are misspelled or replaced.

*characters*: in at most ``edits`` words of four letters or more one slip is made, the first and last letter left
alone: two inner letters change places, one is dropped, one is added, or one is struck on a key beside its own. The
model reads what its vocabulary makes of the slip, another word that it knows or the unknown word. *synonyms*: at most
``edits`` words are replaced by one that stands in the same line of the file ``synonyms`` and that the vocabulary knows.

Without ``edits`` that number of 1, 2 and 3 is taken at which nearest to half of the texts of *select* stand that the
baseline gets right.

All single replacements are tried, and for each further one all that can follow the three worst so far. The value of
``e`` edits is 1 if the model is right on the text and on the worst text found with 1 to ``e`` edits for it and for the
baseline. The candidate's texts are tried on the baseline as well, and what the baseline loses by them is credited to
the candidate: with the values right ``c`` of the candidate under all texts, ``o`` of the baseline under its own and
``p`` under all, the summary is the mean of ``c + o - p`` at the most edits, the breakdown that at 0, 1, ... edits.

Reading:
    The unit of the budget is a word, not a distance. Compare it with the part *0 words*: the difference is what the
    edits take. With one word the search is exhaustive and the share exact; with more it is an upper bound.

Cost:
    Forward passes alone, on each of ``examples`` texts of either model: as many as the text has replacements for the
    first edit, three times as many for each further one, and two for each edit. The baseline's texts are kept.

Limits:
    It takes token ids for whole words. Most slips make an unknown word: a model that never saw one in training is
    harmed by what it has not learned. Words that are unknown already stay as they are. Synonyms are those of the
    file, whether or not they fit the sentence; another file under the same path is not noticed by a study.

Source:
    Pruthi, Dhingra & Lipton, Combating adversarial misspellings with robust word recognition, ACL 2019,
    arXiv:1905.11268 (slips, search); Alzantot et al., Generating natural language adversarial examples, EMNLP 2018,
    arXiv:1804.07998 and Jin et al., Is BERT really robust?, AAAI 2020, arXiv:1907.11932 (synonyms). Departures: three
    beams in place of one, each word edited once; synonyms from a file in place of word vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.attacks import beam, checks, radius
from whatelse.attacks import words as _words
from whatelse.attacks.remarks import Remarks, noted
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "accuracy",
    "higher",
    {"predicts", "texts"},
    "test example",
    "edit",
)
WORST, BLIND = 0.0, None
# Of the kept texts; raised when the same settings would give others.
_KEPT = 1
# The candidate on the texts found for both models; the baseline on its own, and on those of both.
_COLUMNS = ("pooled", "baseline own", "baseline pooled")
# Words changed that are tried where none are given: more are hardly a slip, and cost too much.
_LADDER = radius.Ladder((1.0, 2.0, 3.0), ("1 word", "2 words", "3 words"), 0)


@dataclass(frozen=True)
class Config:
    """Settings of the accuracy on edited texts."""

    kind: str = param("characters", "Slips inside words, or words of the same meaning.", choices=_words.KINDS)
    edits: int | None = param(None, "Most words changed.", low=1, high=10, kind=int)
    examples: int = param(300, "Test examples attacked, from the first.", low=1)
    synonyms: str = param("", "Path of a UTF-8 text file, one group of synonyms a line, separated by commas.")


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return where either model is right after 0 to so many edits, 1 or 0: a column for each of these numbers.

    First the candidate on the texts found for both models, then the baseline on its own, then the baseline on those
    of both.

    Args:
        baseline: Evidence of the model before compression; its adversarial texts are kept there.
        candidate: Evidence of the model under attack.
        config: Kind and number of edits.
        rng: Not used; nothing is drawn.

    Raises:
        NotMeasurableError: The task has no texts, does not say its words, or there is no file of synonyms for them.
    """
    del rng
    words = _words.read(candidate.task, config.examples, config.kind, config.synonyms)
    chosen = _chosen(baseline, config)
    edits = round(chosen.radius)
    (theirs, beaten), (mine, hits) = (_texts(evidence, words, config, edits) for evidence in (baseline, candidate))
    labels = candidate.split("test").targets[: mine.shape[1]]
    right, sound = (e.predictions("test")[: len(labels)] == labels for e in (candidate, baseline))
    pooled = _left(right, hits | _tried(candidate, theirs, labels))
    kept, shared = _left(sound, beaten), _left(sound, beaten | _tried(baseline, mine, labels))
    remarks = Remarks(chosen.notes) + checks.check_repeats(candidate, len(labels))
    remarks += _noted(candidate, words, _left(right, hits), pooled)
    names = tuple(f"{many} word" if many == 1 else f"{many} words" for many in range(edits + 1))
    fells = not bool((pooled[:, -1] == pooled[:, 0]).all())
    values = torch.cat([pooled, kept, shared], 1).T.contiguous()
    return Answer(
        dict(zip((_column(of, name) for of in _COLUMNS for name in names), values, strict=True)),
        parts=Parts(names),
        notes=remarks.notes,
        doubts=remarks.doubts,
        ends={} if fells else {"blind": float(pooled[:, 0].mean())},  # an attack that fells nobody
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of texts that withstand every edit, the baseline's loss credited, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    share: np.ndarray = by_part(answer, config, weights)[:, -1]
    return share


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return that share for 0, 1, ... edits in every resample, ``(draws, edits + 1)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    pooled, own, shared = (answer.table(*(_column(of, name) for name in answer.parts.names)) for of in _COLUMNS)
    share: np.ndarray = weights @ (pooled + own - shared) / weights.sum(1, keepdims=True)
    return share


def effort(config: Config, task: Task) -> int:
    """Return how many passes the attacks on a model and on the baseline cost at most.

    Args:
        config: Kind and number of edits.
        task: Its texts decide how many replacements there are; none where the question cannot be asked of it.
    """
    try:
        words = _words.read(task, config.examples, config.kind, config.synonyms)
    except NotMeasurableError:
        return 0
    texts = task.test.inputs[: config.examples]
    edits = len(_LADDER.steps) if config.edits is None else config.edits
    moves = _moves(words, texts)
    choice = _choice(task, config) if config.edits is None else 0
    return 2 * (beam.tries(moves, edits) + 2 * edits * len(texts)) + checks.REPEATS + choice


def _column(of: str, part: str) -> str:
    return f"{of}, {part}"


def _moves(words: _words.Words, texts: Tensor) -> int:
    return int((words.others >= 0).sum(1)[texts.long()].sum())


def _choice(task: Task, config: Config) -> int:
    """Return how many passes `_chosen` costs at most."""
    texts = task.split("select").inputs[: radius.EXAMPLES]
    moves = _moves(_words.read(task, radius.EXAMPLES, config.kind, config.synonyms, "select"), texts)
    return sum(beam.tries(moves, round(edits)) + 2 * len(texts) for edits in _LADDER.steps) + len(texts)


def _chosen(baseline: Evidence, config: Config) -> radius.Chosen:
    """Return the number of words changed: that given, or one at which the baseline keeps half of what it gets right."""
    if config.edits is not None:
        return radius.Chosen(config.edits)
    words = _words.read(baseline.task, radius.EXAMPLES, config.kind, config.synonyms, "select")
    select = baseline.split("select")

    def withstands(edits: float, rows: Tensor) -> Tensor:
        size, stands = beam.rows(select.inputs[rows], words.count), []
        for some in torch.split(rows, size):
            x, y = select.inputs[some], select.targets[some]
            found = _edited(baseline, x, y, words, round(edits))
            stands.append(~_tried(baseline, found[-1:], y)[0])
        return torch.cat(stands)

    what = f"kind={config.kind} words={words.digest}"
    return radius.choose(baseline, ("edits", what), _LADDER, withstands)


def _texts(evidence: Evidence, words: _words.Words, config: Config, edits: int) -> tuple[Tensor, Tensor]:
    """Return the worst text found with each number of edits, ``(edits, M, tokens)``, and whether it fools the model."""
    test = evidence.split("test")
    inputs, labels = test.inputs[: config.examples], test.targets[: config.examples]

    def make() -> dict[str, Tensor]:
        size = beam.rows(inputs, words.count)
        parts = zip(torch.split(inputs, size), torch.split(labels, size), strict=True)
        found = torch.cat([_edited(evidence, x, y, words, edits) for x, y in parts], 1)
        return {"texts": found, "fooled": _tried(evidence, found, labels)}

    told = f"kind={config.kind} edits={edits} examples={config.examples} words={words.digest}"
    kept = evidence.once(f"text attack {_KEPT} {told}", make)
    return kept["texts"], kept["fooled"]


def _edited(evidence: Evidence, clean: Tensor, labels: Tensor, words: _words.Words, edits: int) -> Tensor:
    beams, found = clean[:, None], []
    for _ in range(edits):
        beams, _ = beam.widen(evidence, beams, clean, labels, words)
        found.append(beams[:, 0])
    return torch.stack(found)


def _tried(evidence: Evidence, found: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([beam.wrong(evidence, texts, labels) for texts in found])


def _left(right: Tensor, fooled: Tensor) -> Tensor:
    """Return whether each text withstood 0, 1, ... edits, ``(M, edits + 1)``."""
    return (right & ~torch.cat([~right[None], fooled]).cummax(0).values).T.float()


def _noted(evidence: Evidence, words: _words.Words, own: Tensor, pooled: Tensor) -> Remarks:
    test = evidence.split("test").inputs[: len(own)]
    may = int(((words.others >= 0).any(1)[test.long()]).sum())
    told = int((test != 0).sum())
    shares = f"unattacked {float(own[:, 0].mean()):.3f}; its own texts {float(own[:, -1].mean()):.3f}"
    return noted(f"{shares}; those of both models {float(pooled[:, -1].mean()):.3f}; {may} of {told} words may change")
