"""Texts that begin alike, read once up to where they part: what a model remembers of the trunk serves every branch.

A decoder looks back alone, so that keys and values of a trunk are the same whatever follows. That a body of
transformers takes them from a cache, of trunks of several lengths beside each other, is tried on a probe before it is
believed: some keep a part of what they saw alone, others round what they hand on by the largest number around.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from whatelse.modules.lent import quietly

_LEAST = 12  # tokens of a probe
_EXACT = 1e-4  # of the largest state; or a few of the last digits that its type of number has
_DIGITS = 4


class Bundle(NamedTuple):
    """Trunks, and what follows them.

    Attributes:
        trunks: ``(B, P)``, each to the right.
        there: Which of these are tokens, ``(B, P)`` bool.
        branches: ``(K, T)``, each to the left.
        owners: Which trunk each follows, ``(K,)``.
    """

    trunks: Tensor
    there: Tensor
    branches: Tensor
    owners: Tensor


@runtime_checkable
class Branches(Protocol):
    """What reads the trunk of texts that begin alike once."""

    @property
    def branches(self) -> bool:
        """Whether it does: tried, and the same as reading every text."""

    def branched(self, bundle: Bundle) -> tuple[Tensor, Tensor]:
        """Return the states after the tokens of trunks, ``(B, P, width)``, and of branches, ``(K, T, width)``.

        Args:
            bundle: Trunks, and what follows them.
        """


def states(body: nn.Module, bundle: Bundle, longest: int) -> tuple[Tensor, Tensor]:
    """Return the states after the tokens of the trunks, ``(B, P, width)``, and of the branches, ``(K, T, width)``.

    Args:
        body: Of transformers.
        bundle: Where the body computes.
        longest: How many tokens it takes at once, at most.
    """
    trunks, there, branches, owners = bundle
    sizes = there.sum(1)
    kept, known = _cache(body), inspect.signature(body.forward).parameters
    told: dict[str, Any] = {"cache" if "cache" in known else "past_key_values": kept, "use_cache": True}
    begun = _asked(body, trunks, there, (there.cumsum(1) - 1).clamp(min=0), told)
    kept.batch_select_indices(owners)
    after = sizes[owners][:, None] + torch.arange(branches.shape[1], device=branches.device)
    mask = torch.cat([there[owners], torch.ones_like(branches, dtype=torch.bool)], 1)
    return begun, _asked(body, branches, mask, after.clamp(max=longest - 1), told)  # what lies beyond is padding


@torch.no_grad()
def tried(body: nn.Module, vocabulary: int, longest: int, device: torch.device) -> bool:
    """Return whether what a body makes of trunks and branches is what it makes of whole texts.

    Args:
        body: Of transformers.
        vocabulary: How many tokens it knows.
        longest: How many it takes at once, at most.
        device: Where it computes.
    """
    if min(vocabulary, longest) < _LEAST:
        return False
    ids = torch.arange(_LEAST, device=device)
    texts = ([*range(0, 9), 3, 5], [*range(0, 9), 7], [*range(4, 7), 1, 2, 8])
    there = torch.tensor([[True] * 9, [False] * 6 + [True] * 3], device=device)
    trunks = torch.stack([ids[:9], torch.cat([ids[:6] * 0, ids[4:7]])])
    branches = torch.tensor([[3, 5, 0], [7, 0, 0], [1, 2, 8]], device=device)
    bundle = Bundle(trunks, there, branches, torch.tensor([0, 0, 1], device=device))
    try:
        with quietly():
            if not _keeps_all(_cache(body)):
                return False
            begun, gone = states(body, bundle, longest)
            for row, (text, owner, start) in enumerate(zip(texts, (0, 0, 1), (0, 0, 6), strict=True)):
                want = body(input_ids=torch.tensor([text], device=device), use_cache=False)[0][0]
                mine = torch.cat([begun[owner, start:], gone[row]])[: len(text)]
                if not _near(mine, want):
                    return False
    except Exception:  # noqa: BLE001 - whatever a model of a stranger raises: it is read in whole texts
        return False
    return True


def _keeps_all(cache: Any) -> bool:  # noqa: ANN401 - of transformers
    """Return whether every layer keeps all that it saw: no window, no state that is carried on."""
    return all(not sliding for sliding in cache.is_sliding) and not any(
        getattr(layer, "is_linear", False) for layer in cache.layers
    )


def _near(mine: Tensor, want: Tensor) -> bool:
    digits = torch.finfo(want.dtype).eps if want.is_floating_point() else 0.0
    far = (mine.double() - want.double()).abs().max()
    return bool(far <= max(_EXACT, _DIGITS * digits) * want.double().abs().max())


def _cache(body: nn.Module) -> Any:  # noqa: ANN401 - of transformers
    from transformers import DynamicCache  # noqa: PLC0415 - an extra, which made the body

    config: Any = body.config
    return DynamicCache(config=config)


def _asked(body: nn.Module, ids: Tensor, mask: Tensor, places: Tensor, told: dict[str, Any]) -> Tensor:
    """Return the states of a body, which is told where tokens stand; those that are not count them in the mask."""
    known = inspect.signature(body.forward).parameters
    where = {"position_ids": places} if "position_ids" in known else {}
    found: Tensor = body(input_ids=ids, attention_mask=mask.long(), **where, **told)[0]
    return found
