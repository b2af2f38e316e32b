"""How texts lie before a language model: every token said once, in windows that fit, in batches that pad little.

Windows of a document are those of lm-eval's rolling log-likelihood: the first begins with the token that stands before
a text; each following one says the next tokens, and reaches back as far as fits. Those of a continuation lose the
beginning of their context where both are too long.

Source:
    Gao et al., lm-evaluation-harness, Zenodo 2023, doi:10.5281/zenodo.10256836: ``get_rolling_token_windows``,
    ``_encode_pair`` and ``_loglikelihood_tokens``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.models.model import Reads

# Tokens of a pass, padding included. Of a chunk, bytes of its log-odds, which stay in a cache, or as many tokens as a
# product of matrices needs to be fast.
TOKENS, SAID, ROWS = 4096, 8 * 2**20, 64


@dataclass(frozen=True)
class Said:
    """Tokens that are said one after the other within a window.

    Attributes:
        stop: After how many tokens of the window the last of them is said.
        targets: Which.
        place: The number of the first of them among all tokens that are said.
    """

    stop: int
    targets: tuple[int, ...]
    place: int


@dataclass(frozen=True)
class Window:
    """Tokens that go in, and those that are said after some of them.

    Attributes:
        inputs: What goes in, in order.
        said: What is said.
    """

    inputs: tuple[int, ...]
    said: tuple[Said, ...]


def rolling(tokens: Sequence[int], start: int, longest: int, place: int) -> Iterator[Window]:
    """Yield the windows of a document.

    Args:
        tokens: Of the document.
        start: The token that stands before it.
        longest: How many tokens go in at once, at most.
        place: The number of its first token among all.
    """
    done, whole = 0, [start, *tokens]  # token t of the document is the input at t + 1
    while done < len(tokens):
        end = min(done + longest, len(tokens))
        inputs = tuple(whole[max(0, end - longest) : end])
        yield Window(inputs, (Said(len(inputs), tuple(tokens[done:end]), place + done),))
        done = end


def continuation(context: Sequence[int], tokens: Sequence[int], longest: int, place: int) -> Window:
    """Return the window of a continuation; where it does not fit it loses its beginning.

    Args:
        context: Tokens before it, at least one.
        tokens: Its own.
        longest: How many tokens go in at once, at most.
        place: The number of its first token among all.
    """
    inputs = [*context, *tokens][-(longest + 1) :][:-1]
    said = tuple(tokens[-longest:])
    return Window(tuple(inputs), (Said(len(inputs), said, place + len(tokens) - len(said)),))


def merged(windows: Sequence[Window]) -> list[Window]:
    """Return windows of which none begins another one: what it says is said within that, as states look back alone.

    Choices of one token after the same question are one window.

    Args:
        windows: All of them.
    """
    found: list[Window] = []
    for one in sorted(windows, key=lambda window: window.inputs):  # what begins another stands right before it
        if found and one.inputs[: len(found[-1].inputs)] == found[-1].inputs:
            one = Window(one.inputs, found.pop().said + one.said)  # noqa: PLW2901 - with what it takes in
        found.append(one)
    return found


def cut_pair(model: Reads, context: str, text: str) -> tuple[list[int], list[int]]:
    """Return the tokens of a context and of what follows: those of both together, parted where the context's end.

    Spaces at the end of the context belong to what follows, as words are cut with the space before them. Of no context
    stands the token that begins a text.

    Args:
        model: Cuts.
        context: What stands before.
        text: What follows.
    """
    if not context:
        own = model.cut(text, whole=False)
        return (own[:1], own[1:]) if own[:1] == [model.start] else ([model.start], own)
    kept = context.rstrip()
    if not kept:
        kept, text = "", context + text
        own = model.cut(text, whole=False)
        return [model.start], own
    text = context[len(kept) :] + text
    before = model.cut(kept, whole=True)
    return before or [model.start], model.cut(kept + text, whole=True)[len(before) :]


def batches(windows: Sequence[Window], most: int) -> Iterator[list[Window]]:
    """Yield windows that go through a body together: of about one length, so that little is padded.

    Args:
        windows: All of them.
        most: Tokens of a batch, padding included; a longer window goes alone.
    """
    order = sorted(range(len(windows)), key=lambda i: (-len(windows[i].inputs), i))
    some: list[Window] = []
    for at in order:
        if some and (len(some) + 1) * len(some[0].inputs) > most:
            yield some
            some = []
        some.append(windows[at])
    if some:
        yield some


def padded(some: Sequence[Window]) -> Tensor:
    """Return the inputs of a batch, ``(B, T)``, zeros to the right of those that are shorter.

    Args:
        some: The longest first.
    """
    found = torch.zeros(len(some), len(some[0].inputs), dtype=torch.int64)
    for row, one in zip(found, some, strict=True):
        row[: len(one.inputs)] = torch.tensor(one.inputs)
    return found


def saying(some: Sequence[Window]) -> tuple[Tensor, Tensor, Tensor]:
    """Return where in a batch something is said, ``(M,)`` in ``B T``, which token, and its number among all.

    Args:
        some: The batch.
    """
    width = len(some[0].inputs)
    every = [(row * width + one.stop, one) for row, window in enumerate(some) for one in window.said]
    places = [torch.arange(stop - len(one.targets), stop) for stop, one in every]
    numbers = [torch.arange(one.place, one.place + len(one.targets)) for _, one in every]
    targets = torch.tensor([token for _, one in every for token in one.targets])
    return torch.cat(places), targets, torch.cat(numbers)
