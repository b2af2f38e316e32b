"""What models write after the beginnings of texts, and how far two texts agree."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models.model import Writes, Written
from whatelse.tasks.language import PAIRS

_END = re.compile(r"\s")
_CUT = -1  # in place of a character: the text was not ended, but cut off


def prompts(evidence: Evidence, most: int, examples: int) -> tuple[Tensor, list[str]]:
    """Return which test examples are gone on with, ``(M,)``, and the text that each model is given of them.

    Of a document its first characters, up to the end of a word; of an item its question. Left out is what is too short
    to have a rest.

    Args:
        evidence: Of the baseline.
        most: Characters of a document.
        examples: The first so many are looked at.

    Raises:
        NotMeasurableError: There is nothing to go on with.
    """
    language = evidence.task.language
    if language is None or language.form == PAIRS:
        raise NotMeasurableError(
            f"needs documents or questions; task {evidence.task.name} is of {evidence.task.modality}"
        )
    found = {}
    for row, passage in enumerate(language.of(evidence.split("test").inputs[:examples])):
        text = passage.context
        if not text and len(passage.continuations) == 1:
            space = _END.search(passage.continuations[0], most)
            text = "" if space is None else passage.continuations[0][: space.start()]
        if text.strip():
            found[row] = text
    if not found:
        raise NotMeasurableError(f"needs texts of more than {most} characters; the first {examples} have fewer")
    return torch.tensor(list(found)), list(found.values())


def written(evidence: Evidence, prompts: Sequence[str], tokens: int, at_once: int) -> list[Written]:
    """Return what a model writes after each prompt.

    Args:
        evidence: Of the model.
        prompts: Texts.
        tokens: Tokens at most.
        at_once: Prompts that go in one batch.

    Raises:
        NotMeasurableError: It does not write.
    """
    model = evidence.subject.source
    if not isinstance(model, Writes):
        raise evidence.subject.lacking("writes")

    def make() -> dict[str, Tensor]:
        made = model.write(prompts, tokens, at_once)
        evidence.passes.forward += sum(one.tokens for one in made)
        letters = [[ord(letter) for letter in one.text] + ([] if one.ended else [_CUT]) for one in made]
        flat = torch.tensor([code for one in letters for code in one], dtype=torch.int64)
        return {
            "letters": flat,
            "lengths": torch.tensor([len(one) for one in letters]),
            "tokens": torch.tensor([one.tokens for one in made]),
        }

    name = (
        f"written after {len(prompts)} prompts, {max(map(len, prompts))} characters: {tokens} tokens, {at_once} at once"
    )
    held = evidence.once(name, make)
    parts = [part.tolist() for part in torch.split(held["letters"], held["lengths"].tolist())]
    letters = ["".join(chr(code) for code in part if code != _CUT) for part in parts]
    counts = held["tokens"].tolist()
    return [Written(*one) for one in zip(letters, [p[-1:] != [_CUT] for p in parts], counts, strict=True)]


def common(one: Written, two: Written) -> float:
    """Return how long the common beginning of two texts is, as a share of the longer; 1 where neither contradicts.

    Args:
        one: What a model wrote.
        two: What another wrote.
    """
    pairs = zip(one.text, two.text, strict=False)
    same = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one.text), len(two.text)))
    short, long = sorted((one, two), key=lambda text: len(text.text))
    if same == len(short.text) and (not short.ended or (len(short.text) == len(long.text) and one.ended == two.ended)):
        return 1.0
    return same / max(1, len(long.text))
