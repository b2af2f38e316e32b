"""The states of a language model from which something is said: batch by batch, as many at once as memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whatelse.evidence import windows
from whatelse.evidence.batches import out_of_memory
from whatelse.evidence.windows import Trunk, Window
from whatelse.models.branching import Branches
from whatelse.models.model import Reads

if TYPE_CHECKING:
    from whatelse.evidence.cache import Evidence


def chunks(
    evidence: Evidence, model: Reads, asked: Sequence[Window], *, shared: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the states from which something is said, ``(M, width)``, what, and their numbers among all, ``(M,)`` each.

    As many at once as may have all their log-odds in memory.

    Args:
        evidence: Of the model; counts its passes.
        model: The same, as what reads.
        asked: What goes in, and what is said.
        shared: Whether what windows begin alike with is read once, where the model can: states are the same but for
            their last digits.
    """
    step = max(windows.ROWS, windows.SAID // (4 * model.vocabulary))
    for states, at, targets, numbers in _passes(evidence, model, asked, shared=shared):
        mine = states[at.to(states.device)]
        for rows in torch.split(torch.arange(len(numbers)), step):
            yield mine[rows.to(mine.device)], targets[rows], numbers[rows]


def _passes(
    evidence: Evidence, model: Reads, asked: Sequence[Window], *, shared: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield states of a batch, ``(S, width)``, and where something is said, what, and its number, ``(M,)`` each.

    Raises:
        OutOfMemoryError: Memory runs out with a single window.
        RuntimeError: Whatever else the model raised.
    """
    if shared and isinstance(model, Branches) and model.branches:
        trunks, asked = windows.trunks(asked, windows.TOKENS)
        for some in windows.bundles(trunks, windows.TOKENS):
            yield from _branched(evidence, model, some)
    for batch in windows.batches(asked, windows.TOKENS):
        yield _bodied(evidence, model, batch).flatten(0, 1), *windows.saying(batch)


def _branched(
    evidence: Evidence, model: Reads, some: Sequence[Trunk]
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield what `_passes` does of trunks; window by window where memory runs out.

    Raises:
        OutOfMemoryError: It runs out with a single window.
        RuntimeError: Whatever else the model raised.
    """
    assert isinstance(model, Branches)
    every, (bundle, places) = [one for trunk in some for one in trunk.windows], windows.bundled(some)
    try:
        begun, gone = model.branched(bundle)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        yield from _passes(evidence, model, every, shared=False)
        return
    evidence.passes.forward += len(every)
    yield torch.cat([begun.flatten(0, 1), gone.flatten(0, 1)]), *windows.saying(every, places)


def _bodied(evidence: Evidence, model: Reads, some: Sequence[Window]) -> Tensor:
    """Return the states of a batch; its halves are asked where memory runs out.

    Raises:
        OutOfMemoryError: It runs out with a single window.
        RuntimeError: Whatever else the model raised.
    """
    try:
        found = model.states(windows.padded(some))
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error) or len(some) == 1:
            raise
        evidence.say(note=f"memory ran out: {len(some)} texts at once were halved")
        width, half = len(some[0].inputs), len(some) // 2
        parts = [_bodied(evidence, model, part) for part in (some[:half], some[half:])]
        return torch.cat([torch.nn.functional.pad(one, (0, 0, 0, width - one.shape[1])) for one in parts])
    evidence.passes.forward += len(some)
    return found
