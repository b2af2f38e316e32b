"""Texts as ids of their words: small letters, parted at spaces; the commonest words of train have an id each.

A model with a tokenizer of its own does not see these ids: it reads what was written, which the task keeps beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

PADDING, UNKNOWN, FIRST = 0, 1, 2
# Of tables: ids, and words of a text; longer ones lose their end as ids, and none of what is kept beside them.
SIZE, LENGTH = 10_000, 128


def parted(text: str) -> list[str]:
    """Return the words of a text.

    Args:
        text: As it was written.
    """
    return text.lower().split()


def vocabulary(texts: Sequence[Sequence[str]], size: int) -> dict[str, int]:
    """Return the id of every known word, the commonest first, equal ones by their letters.

    Args:
        texts: Words of the texts of train.
        size: Number of ids, padding and the unknown word included.
    """
    counts = Counter(word for words in texts for word in words)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: i for i, word in enumerate(ranked[: size - FIRST], FIRST)}


def ids(texts: Sequence[Sequence[str]], known: Mapping[str, int], length: int) -> Tensor:
    """Return texts as ids, ``(N, length)`` float32, padded at their end.

    Args:
        texts: Their words.
        known: As `vocabulary` returns it.
        length: Words of a text.
    """
    rows = np.full((len(texts), length), PADDING, dtype=np.float32)
    for row, words in zip(rows, texts, strict=True):
        found = [known.get(word, UNKNOWN) for word in words[:length]]
        row[: len(found)] = found
    return torch.from_numpy(rows)


def words(known: Mapping[str, int], size: int) -> tuple[str, ...]:
    """Return what each id stands for.

    Args:
        known: As `vocabulary` returns it.
        size: Number of ids.
    """
    return ("", "(unknown)", *known, *[""] * (size - FIRST - len(known)))
