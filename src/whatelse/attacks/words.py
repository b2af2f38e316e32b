"""Which word an adversary may put in the place of another: a slip of the keyboard, or a synonym from a file.

A slip is made inside a word of four letters or more, its first and last character left alone: two inner letters that
stand side by side change places, one is dropped, one of a to z is added, or one is struck on the key to its left, to
its right, above or below. What the slip makes of a word is what the task's vocabulary makes of it: another word that
it knows, or the id of every unknown word.

Source:
    Pruthi, Dhingra & Lipton, Combating adversarial misspellings with robust word recognition, ACL 2019,
    arXiv:1905.11268; keys as in the authors' code, which lays the rows of letters out in columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.tasks.task import Task

KINDS = ("characters", "synonyms")
_UNKNOWN, _FIRST = 1, 2
_LETTERS = 4
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NONE = -1


@dataclass(frozen=True, eq=False)
class Words:
    """The words that may take the place of another, in texts of a fixed number of tokens.

    Attributes:
        others: For each id those that may replace it, then -1, ``(vocabulary, most)`` int64.
        length: Tokens of a text.
    """

    others: Tensor
    length: int

    @property
    def count(self) -> int:
        """Number of replacements in a text, were all of its words the one that has most."""
        return self.length * self.others.shape[1]

    @property
    def digest(self) -> str:
        """What the replacements are, so that points are found again only for the same."""
        return hashlib.sha256(self.others.numpy().tobytes()).hexdigest()[:16]

    def open(self, points: Tensor, clean: Tensor) -> Tensor:
        """Return which replacements each text may still take: those of words not replaced so far.

        Args:
            points: Texts as they are now, ``(P, tokens)``.
            clean: As they were, ``(P, tokens)``.
        """
        free = (self.others >= 0)[clean.long()] & (points == clean)[:, :, None]
        return free.flatten(1)

    def made(self, points: Tensor, moves: Tensor) -> Tensor:
        """Return each text with one word replaced, ``(P, tokens)``.

        Args:
            points: Texts, ``(P, tokens)``.
            moves: Which replacement each text takes, ``(P,)``.
        """
        most = self.others.shape[1]
        place = moves.div(most, rounding_mode="floor")[:, None]
        others = self.others[points.gather(1, place).long().squeeze(1), moves % most]
        return points.scatter(1, place, others[:, None].to(points.dtype))


def read(task: Task, examples: int, kind: str, synonyms: str, split: str = "test") -> Words:
    """Return the replacements in the first texts.

    Args:
        task: Gives texts and words.
        examples: How many texts.
        kind: One of `KINDS`.
        synonyms: Path of the file of synonyms.
        split: Of which split the texts are.

    Raises:
        NotMeasurableError: The task has no texts, does not say its words, or there is no file of synonyms for them.
    """
    if task.modality != "tokens":
        raise NotMeasurableError(f"needs texts; task {task.name} is of {task.modality}")
    if not task.words:
        raise NotMeasurableError(f"needs the word of every id; task {task.name} has no words")
    ids = {word: i for i, word in enumerate(task.words) if i >= _FIRST and word}
    found = _synonyms(synonyms, ids, task.name) if kind == "synonyms" else {}
    present = {int(i) for i in task.split(split).inputs[:examples].flatten().tolist() if i >= _FIRST}
    others = {i: sorted(found.get(i, ()) if kind == "synonyms" else _slips(task.words[i], ids) - {i}) for i in present}
    most = max((len(row) for row in others.values()), default=0)
    table = torch.full((task.vocabulary, most), _NONE)
    for i, row in others.items():
        table[i, : len(row)] = torch.tensor(row).long()
    return Words(table, task.shape[0])


def misspelled(word: str) -> set[str]:
    """Return everything that one slip makes of a word; nothing where it has fewer than four letters.

    Args:
        word: As the task spells it.
    """
    if sum(c.isalpha() for c in word) < _LETTERS:
        return set()
    inner = [i for i in range(1, len(word) - 1) if word[i].isalpha()]
    found = {word[:i] + word[i + 1 :] for i in inner}
    found |= {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner if i + 1 in inner}
    found |= {word[:i] + key + word[i + 1 :] for i in inner for key in _beside(word[i].lower())}
    found |= {word[:i] + letter + word[i:] for i in range(1, len(word)) for letter in ascii_lowercase}
    return found - {word}


def _beside(letter: str) -> Iterable[str]:
    """Return the letters on the keys to the left, to the right, above and below."""
    row = next((i for i, keys in enumerate(_KEYS) if letter in keys), _NONE)
    if row == _NONE:
        return ()
    column = _KEYS[row].index(letter)
    places = ((row, column - 1), (row, column + 1), (row - 1, column), (row + 1, column))
    return [_KEYS[r][c] for r, c in places if 0 <= r < len(_KEYS) and 0 <= c < len(_KEYS[r])]


def _slips(word: str, ids: Mapping[str, int]) -> set[int]:
    return {ids.get(slip, _UNKNOWN) for slip in misspelled(word)}


def _synonyms(path: str, ids: Mapping[str, int], name: str) -> dict[int, set[int]]:
    """Return for each id those of its synonyms that the task knows.

    Raises:
        NotMeasurableError: There is no file, or no two words of one of its groups are among the task's.
    """
    if not path:
        raise NotMeasurableError(
            "needs a file of synonyms: set synonyms to the path of a UTF-8 text file, one group of words with the "
            "same meaning a line, separated by commas"
        )
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotMeasurableError(f"synonyms: cannot read {path}: {getattr(error, 'strerror', error)}") from error
    found: dict[int, set[int]] = {}
    for line in lines:
        group = {ids[word.strip()] for word in line.split(",") if word.strip() in ids}
        for i in group if len(group) > 1 else ():
            found.setdefault(i, set()).update(group - {i})
    if not found:
        raise NotMeasurableError(f"synonyms: no two words of a line of {path} are among the words of task {name}")
    return found
