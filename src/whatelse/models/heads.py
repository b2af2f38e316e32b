"""The parts of a decoder that can be left out: the heads of attention and the feed-forward block of every layer.

A head is a slice of what goes into the projection behind attention: zeros in its place are the model with that head cut
out, whatever the projection is stored as. Which projection that is goes by the names that architectures of transformers
have; a model of other names has no parts that are told apart.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whatelse.modules.lent import quietly

FEED_FORWARD = -1
_ATTENTION, _OUT = ("attn", "attention"), {"o_proj", "out_proj", "c_proj", "dense", "wo"}
_BLOCKS = {"mlp", "feed_forward", "ffn", "moe", "block_sparse_moe"}


@dataclass(frozen=True, order=True)
class Part:
    """A head of attention, or a feed-forward block.

    Attributes:
        layer: Of which layer, from 0.
        head: Which head of it, from 0; `FEED_FORWARD` for the block.
    """

    layer: int
    head: int

    def __str__(self) -> str:
        """Return how messages call it."""
        return f"layer {self.layer} {'feed-forward' if self.head == FEED_FORWARD else f'head {self.head}'}"


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a decoder.

    Attributes:
        out: The projection behind attention.
        heads: How many heads go into it.
        block: The feed-forward block.
    """

    out: nn.Module
    heads: int
    block: nn.Module


def layers(model: nn.Module) -> tuple[Layer, ...]:
    """Return the layers of a decoder; none where they cannot be told apart.

    Args:
        model: Of transformers.
    """
    config: Any = model.config
    told = config.get_text_config()
    heads = int(getattr(told, "num_attention_heads", 0) or 0)
    size = int(getattr(told, "head_dim", 0) or 0) or int(told.hidden_size) // max(1, heads)
    found = [_layer(one, heads, size) for one in stack(model)] if heads else []
    whole = [one for one in found if one is not None]
    return tuple(whole) if len(whole) == len(found) else ()


def stack(model: nn.Module) -> tuple[nn.Module, ...]:
    """Return the blocks of a decoder, in order; none where it has no list of as many as its configuration says.

    Args:
        model: Of transformers.
    """
    config: Any = model.config
    count = int(getattr(config.get_text_config(), "num_hidden_layers", 0) or 0)
    stacks = (part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == count)
    return tuple(next(stacks, ())) if count else ()


@contextmanager
def grafted(mine: nn.Module, other: nn.Module) -> Generator[None]:
    """Let a block compute what that of another model computes, for a while.

    Args:
        mine: The block.
        other: That of the other model.

    Yields:
        Nothing; the block is itself again at the end.
    """
    if mine is other:
        yield
        return
    vars(mine)["forward"] = other
    try:
        yield
    finally:
        del vars(mine)["forward"]


@torch.no_grad()
def attention(model: nn.Module, body: nn.Module, tokens: Tensor) -> tuple[Tensor, ...]:
    """Return where every head looks, ``(B, heads, T, T)`` a layer, rows adding up to 1; nothing where a model hides it.

    Kernels of attention never hold it, so that the plain way is taken for a while.

    Args:
        model: Of transformers.
        body: What makes its states.
        tokens: ``(B, T)``.
    """
    config: Any = model.config
    usual, switch = config._attn_implementation, getattr(model, "set_attn_implementation", None)  # noqa: SLF001 - transformers has no other name for it
    if switch is None:
        return ()
    with quietly():
        switch("eager")
        try:
            found = body(input_ids=tokens, use_cache=False, output_attentions=True).attentions
        finally:
            switch(usual)
    return tuple(one for one in found or () if isinstance(one, Tensor))


def _layer(block: nn.Module, heads: int, size: int) -> Layer | None:
    """Return what a layer is made of; None where that does not go by known names, or has other heads than it says."""
    outs, blocks = [], []
    for name, part in block.named_modules():
        parent, _, own = name.rpartition(".")
        if own in _OUT and any(word in parent.lower() for word in _ATTENTION):
            outs.append(part)
        if own.lower() in _BLOCKS and "." not in name:
            blocks.append(part)
    if len(outs) != 1 or len(blocks) != 1 or _width(outs[0]) not in {heads * size, None}:
        return None
    return Layer(outs[0], heads, blocks[0])


def parts(found: Sequence[Layer]) -> tuple[Part, ...]:
    """Return the parts of all layers: the heads of each, then its feed-forward block.

    Args:
        found: What `layers` returned.
    """
    return tuple(Part(at, head) for at, one in enumerate(found) for head in (*range(one.heads), FEED_FORWARD))


def _width(out: nn.Module) -> int | None:
    """Return how many numbers go into a projection; None where it does not say."""
    weight = getattr(out, "weight", None)
    if hasattr(out, "nf") and isinstance(weight, Tensor):  # as GPT-2 has it, its weight turned around
        return int(weight.shape[0])
    told = getattr(out, "in_features", None)
    return int(told) if isinstance(told, int) else None


@contextmanager
def left_out(found: Sequence[Layer], part: Part) -> Generator[None]:
    """Leave a part out: nothing is added by it.

    Args:
        found: What `layers` returned.
        part: One of `parts`.

    Yields:
        Nothing; the part is back at the end.
    """
    layer = found[part.layer]
    if part.head == FEED_FORWARD:
        hook = layer.block.register_forward_hook(_nothing)
    else:
        hook = layer.out.register_forward_pre_hook(
            lambda _, given: (_only(given[0], layer.heads, part.head), *given[1:])
        )
    try:
        yield
    finally:
        hook.remove()


def _nothing(module: nn.Module, given: object, made: Any) -> Any:  # noqa: ANN401 - a tensor, or a tuple with one first
    del module, given
    return torch.zeros_like(made) if isinstance(made, Tensor) else (torch.zeros_like(made[0]), *made[1:])


def _only(mixed: Tensor, heads: int, without: int) -> Tensor:
    """Return what goes into a projection with a head of it at zero, ``(..., heads * width)``."""
    found = mixed.clone()
    torch.unflatten(found, -1, (heads, -1))[..., without, :] = 0
    return found


@torch.no_grad()
def written(found: Sequence[Layer], at: int, mixed: Tensor) -> Tensor:
    """Return what every head of a layer adds to the state of each token, ``(heads, N, width)``.

    Args:
        found: What `layers` returned.
        at: Which layer.
        mixed: What went into its projection, ``(N, heads * width of a head)``.
    """
    layer = found[at]
    nothing, parted = layer.out(torch.zeros_like(mixed)), torch.unflatten(mixed, -1, (layer.heads, -1))
    own = torch.eye(layer.heads, dtype=mixed.dtype, device=mixed.device)
    return torch.stack([layer.out((parted * own[head][:, None]).flatten(-2)) - nothing for head in range(layer.heads)])


@contextmanager
def mixing(found: Sequence[Layer]) -> Generator[list[Tensor]]:
    """Collect what goes into the projection behind attention, of every layer in order.

    Args:
        found: What `layers` returned.

    Yields:
        One tensor a layer, ``(B, T, heads * width of a head)``, once the model was called.
    """
    seen: list[Tensor] = []
    hooks = [one.out.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach())) for one in found]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
