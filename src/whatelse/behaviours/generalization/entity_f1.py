"""F1 of whole named entities: found is one with the right first word, last word and type.

Tags are ``O``, ``B-PER``, ``I-PER`` and so on (``E-`` and ``S-`` too). An entity begins at ``B-`` or ``S-``, and at
another tag that follows ``O``, ``E-``, ``S-`` or another type; it ends before ``O`` and before the next one. With ``t``
true entities of test, ``s`` said ones and ``f`` said ones that are true, ``F1 = 2 f / (t + s)``, over all types
together. The parts are the F1 of the types.

Reading:
    What tables about named entities print, where accuracy over words is flattered by all the words outside of any. A
    change of one word can lose an entity, and make a wrong one beside. Words are judged, sentences are resampled whole.

Cost:
    None of its own: it reads the shared pass over test.

Limits:
    An entity that is found but for a word counts as lost and as wrong. A type without a true entity in test is no part,
    which a note says; what is said of it in vain still lowers the whole.

Source:
    Tjong Kim Sang and De Meulder, Introduction to the CoNLL-2003 shared task, CoNLL 2003, arXiv:cs/0306050; entities as
    ``get_entities`` of seqeval (Nakayama, 2018) makes them by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.errors import NotMeasurableError, cut
from whatelse.evidence.cache import Evidence
from whatelse.statistics import cells

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "F1",
    "higher",
    {"predicts", "sentences"},
    "test example",
    "type",
)
WORST, BLIND = 0.0, None
_OUTSIDE = "O"
_BEGINS, _ENDS, _MARKS = ("B", "S"), ("E", "S"), ("B", "I", "E", "S")


@dataclass(frozen=True)
class Config:
    """The F1 of entities has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return for each word the type of the entity that begins there, ``true`` and ``said``, and if it is ``found``.

    Types are numbers, -1 where none begins; those of test have the first ones.

    Args:
        evidence: Gives the predictions and the words.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: Examples are no words of sentences, classes no tags of entities, or test has no entity.
    """
    del config, rng
    names = evidence.task.class_names
    marks, kinds, types = _tags(names, evidence)
    split = evidence.split("test")
    order, opening = _reading(split.inputs)
    tags = [t[order] for t in (split.targets, evidence.predictions("test"))]
    (true, until), (said, end) = (_entities(marks[t], kinds[t], opening) for t in tags)
    here = [kind for kind in range(len(types)) if (true == kind).any()]
    if not here:
        raise NotMeasurableError(f"needs an entity; every word of test has the tag {_OUTSIDE}")
    absent = [kind for kind in range(len(types)) if kind not in here]
    places = here + absent
    place = np.array([places.index(kind) for kind in range(len(types))] + [-1])
    found = (true == said) & (until == end) & (true >= 0)
    columns = {"true": place[true], "said": place[said], "found": found}
    back = np.argsort(order.numpy())
    held = {name: torch.from_numpy(np.asarray(column, np.float32)[back]) for name, column in columns.items()}
    notes = (f"test has no entity of type {', '.join(types[kind] for kind in absent)}",) if absent else ()
    return Answer(held, parts=Parts(tuple(types[kind] for kind in here)), notes=notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the F1 of all entities in every resample, ``(draws,)``; NaN where a resample has none.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each word stands in each resample, ``(draws, N)``.
    """
    del config
    either = (answer["true"] >= 0).astype(np.float64) + (answer["said"] >= 0)
    f1: np.ndarray = cells.ratio(2 * (weights @ answer["found"]), weights @ either)
    return f1


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the F1 of every type that test has in every resample, ``(draws, types)``; NaN where one has no entity.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each word stands in each resample, ``(draws, N)``.
    """
    del config
    true, said = answer["true"], answer["said"]
    count, _ = cells.occurring(true)
    said = np.where(said < count, said, -1)
    of_true, found = cells.sums(true, count, weights, np.ones(len(true)), answer["found"])
    (of_said,) = cells.sums(said, count, weights, np.ones(len(said)))
    return cells.ratio(2 * found, of_true + of_said)


def _tags(names: Sequence[str], evidence: Evidence) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the mark of every class, the number of its type, -1 outside, and the names of the types.

    Raises:
        NotMeasurableError: Examples are no words of sentences, or classes no tags of entities.
    """
    if not evidence.task.sentences:
        raise NotMeasurableError(f"needs sentences with a label a word; task {evidence.task.name} has none")
    inside = [name.partition("-") for name in names if name != _OUTSIDE]
    if not inside or any(mark not in _MARKS or not kind for mark, _, kind in inside):
        told = cut(", ".join(names), 80) or "numbers without names"
        raise NotMeasurableError(f"needs tags such as B-PER, I-PER and O; the classes here are {told}")
    types = list(dict.fromkeys(kind for _, _, kind in inside))
    marks = np.array([name.partition("-")[0] for name in names])
    return marks, np.array([-1 if n == _OUTSIDE else types.index(n.partition("-")[2]) for n in names]), types


def _reading(inputs: Tensor) -> tuple[Tensor, np.ndarray]:
    """Return the order in which words are read, ``(N,)``, and where in it a sentence begins.

    A sentence that stands several times is read as often.
    """
    sentence, place = inputs.long().unbind(1)
    width = int(place.max()) + 1
    _, word, counts = torch.unique(sentence * width + place, return_inverse=True, return_counts=True)
    again = torch.empty_like(word)
    again[torch.argsort(word, stable=True)] = torch.arange(len(word)) - (counts.cumsum(0) - counts).repeat_interleave(
        counts
    )
    order = torch.from_numpy(np.lexsort((place.numpy(), again.numpy(), sentence.numpy())))
    rows = torch.stack([sentence, again, place], 1)[order]
    follows = (rows[1:] - rows[:-1] == torch.tensor([0, 0, 1])).all(1).numpy()
    return order, np.append(True, ~follows)


def _entities(marks: np.ndarray, kinds: np.ndarray, opening: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the type of the entity that begins at each word, -1 where none does, and the word before which it ends."""
    before = np.where(opening, _OUTSIDE, np.roll(marks, 1))
    other = np.where(opening, -1, np.roll(kinds, 1)) != kinds
    inside = marks != _OUTSIDE
    begins = inside & (np.isin(marks, _BEGINS) | np.isin(before, (_OUTSIDE, *_ENDS)) | other)
    count = len(marks)
    stops = np.where(begins | ~inside | opening, np.arange(count), count)
    after = np.append(np.minimum.accumulate(stops[::-1])[::-1][1:], count)
    return np.where(begins, kinds, -1), after
