"""How texts lie before a language model: every token said once, in windows that fit, in batches that pad little.

Windows of a document are those of lm-eval's rolling log-likelihood: the first begins with the token that stands before
a text; each following one says the next tokens, and reaches back as far as fits. Those of a continuation lose the
beginning of their context where both are too long.

Source:
    Gao et al., lm-evaluation-harness, Zenodo 2023, doi:10.5281/zenodo.10256836: ``get_rolling_token_windows``,
    ``_encode_pair`` and ``_loglikelihood_tokens``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.models.branching import Bundle
from whatelse.models.model import Reads

# Tokens of a pass, padding included. Of a chunk, bytes of its log-odds, which stay in a cache, or as many tokens as a
# product of matrices needs to be fast.
TOKENS, SAID, ROWS = 4096, 8 * 2**20, 64
_TRUNK = 64  # windows of a trunk at most
_SPARED = 0.2  # of the tokens of windows that begin alike: less is not worth a second pass for what follows


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


@dataclass(frozen=True)
class Trunk:
    """Windows that begin alike, and go on each in its own way.

    Attributes:
        size: With how many tokens all begin.
        windows: Two or more.
    """

    size: int
    windows: tuple[Window, ...]

    @property
    def most(self) -> int:
        """Tokens of the longest."""
        return max(len(one.inputs) for one in self.windows)


def trunks(windows: Sequence[Window], most: int) -> tuple[list[Trunk], list[Window]]:
    """Return those windows that are worth reading together up to where they part, and the others.

    Of all ways to cut the windows, sorted, into trunks that fit in a batch, the one that spares most tokens is taken.

    Args:
        windows: None of which begins another one, as `merged` returns them.
        most: Tokens of a batch, the trunk counted for every window.
    """
    order = sorted(windows, key=lambda window: window.inputs)
    alike = [_common(one.inputs, two.inputs) for one, two in itertools.pairwise(order)]
    spared, begins = [0], [0]  # of the first windows, so many; where the last trunk of them begins
    for end, last in enumerate(order, 1):
        found, begin, size, longest = spared[-1], end - 1, len(last.inputs), len(last.inputs)
        for start in range(end - 2, max(-1, end - _TRUNK - 1), -1):
            size, longest = min(size, alike[start]), max(longest, len(order[start].inputs))
            if not size or (end - start + 1) * longest > most:
                break
            if spared[start] + (end - start - 1) * size > found:
                found, begin = spared[start] + (end - start - 1) * size, start
        spared.append(found)
        begins.append(begin)
    made, alone, end = list[Trunk](), list[Window](), len(order)
    while end:
        start = begins[end]
        some = order[start:end]
        size = min(alike[start : end - 1], default=0)
        if (len(some) - 1) * size > _SPARED * sum(len(one.inputs) for one in some):
            made.append(Trunk(size, tuple(some)))
        else:
            alone += some
        end = start
    return made[::-1], alone[::-1]


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    """Return with how many tokens two begin alike."""
    length = min(len(one), len(two))
    return next((at for at in range(length) if one[at] != two[at]), length)


def bundles(trunks: Sequence[Trunk], most: int) -> Iterator[list[Trunk]]:
    """Yield trunks that go through a body together: of about one length, so that little is padded.

    Args:
        trunks: All of them.
        most: Tokens of a batch, padding included, a trunk counted for every window: so much is remembered.
    """
    order = sorted(range(len(trunks)), key=lambda i: (-trunks[i].size, i))
    some: list[Trunk] = []
    count = deep = 0
    for one in (trunks[i] for i in order):
        deep, count = max(deep, one.most - one.size), count + len(one.windows)
        if some and count * (some[0].size + deep) > most:
            yield some
            some, deep, count = [], one.most - one.size, len(one.windows)
        some.append(one)
    if some:
        yield some


def bundled(some: Sequence[Trunk]) -> tuple[Bundle, list[list[int]]]:
    """Return trunks and branches as a body reads them, and where the state of every token of each window stands.

    Places are those among all states of the trunks, row by row, and then of the branches, likewise.

    Args:
        some: Of a batch.
    """
    wide, count = max(one.size for one in some), sum(len(one.windows) for one in some)
    deep = max(one.most - one.size for one in some)
    begun = torch.zeros(len(some), wide, dtype=torch.int64)
    gone = torch.zeros(count, deep, dtype=torch.int64)
    there, owners = torch.zeros(len(some), wide, dtype=torch.bool), list[int]()
    places: list[list[int]] = []
    for row, trunk in enumerate(some):
        begun[row, wide - trunk.size :] = torch.tensor(trunk.windows[0].inputs[: trunk.size])
        there[row, wide - trunk.size :] = True
        for window in trunk.windows:
            own = window.inputs[trunk.size :]
            gone[len(owners), : len(own)] = torch.tensor(own)
            after = len(some) * wide + len(owners) * deep
            places.append([*range((row + 1) * wide - trunk.size, (row + 1) * wide), *range(after, after + len(own))])
            owners.append(row)
    return Bundle(begun, there, gone, torch.tensor(owners)), places


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


def saying(some: Sequence[Window], places: Sequence[Sequence[int]] | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return where something is said, ``(M,)``, which token, and its number among all.

    Args:
        some: The batch.
        places: Where the state after every token of each window stands; in ``B T``, row by row, without them.
    """
    width = len(some[0].inputs) if places is None else 0
    where = [range(row * width, (row + 1) * width) for row in range(len(some))] if places is None else places
    every = [(at, one) for at, window in zip(where, some, strict=True) for one in window.said]
    found = [at[one.stop - len(one.targets) : one.stop] for at, one in every]
    numbers = [torch.arange(one.place, one.place + len(one.targets)) for _, one in every]
    targets = torch.tensor([token for _, one in every for token in one.targets])
    return torch.tensor([place for some in found for place in some]), targets, torch.cat(numbers)
