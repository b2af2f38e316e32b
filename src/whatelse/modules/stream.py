"""Inputs of a language model that pass it one block at a time: what enters the block in hand is kept, and nothing else.

Methods that treat layers one after the other, each with what comes out of those treated before, would pass the whole
model once for every layer. Here the blocks before are done with: what came out of them is kept, and only the block in
hand is passed, without the other blocks and the head. The model itself hands the block whatever else it takes, such as
masks and rotations: the other blocks stand in their place and hand on what they are given. That what enters each
block is then what enters it in a whole pass, bit by bit, is tried on a few inputs; a model of which it is not true is
passed whole.

Source:
    Frantar et al., GPTQ, ICLR 2023, arXiv:2210.17323, section 4 (blocks in turn, each with the inputs that come out of
    those already quantized).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from whatelse.modules import calibration
from whatelse.modules.decoder import Decoder
from whatelse.modules.shelf import shelf
from whatelse.modules.skip import blocks
from whatelse.modules.walk import Layer

_FEW = 4  # inputs that it is tried on


class Stream:
    """Inputs on their way through a model.

    Args:
        model: In evaluation mode; its layers may be changed and replaced between two calls, block after block.
        inputs: ``(N, ...)``.
    """

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        self._model, self._inputs = model, inputs
        self._names = blocks(model) if isinstance(model, Decoder) else []
        if self._names and not self._passes(inputs[:_FEW].chunk(2)):
            self._names = []
        self._parts = list(calibration.batches(model, inputs)) if self._names else []
        self._at = 0
        self._states: Tensor | None = None

    def groups(self, layers: Mapping[str, Layer]) -> list[dict[str, Layer]]:
        """Return layers by the block in which they are, those outside of all first; all of them where it has none.

        Args:
            layers: Some layers of the model, by name.
        """
        found: dict[int, dict[str, Layer]] = {}
        for name, layer in layers.items():
            found.setdefault(-1 if (at := self._block({name: layer})) is None else at, {})[name] = layer
        return [found[at] for at in sorted(found)]

    @torch.no_grad()
    def watch(
        self, model: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor, see: Callable[[str, Tensor], None]
    ) -> None:
        """Show what enters layers, as `calibration.watch` does; the blocks before them are not treated any more.

        Args:
            model: The model, as it now is.
            layers: The layers to watch, by name.
            inputs: Those that it was made for.
            see: Called with a layer's name and one batch of its inputs.
        """
        at = self._block(layers)
        if at is None or at < self._at or model is not self._model or inputs is not self._inputs:
            calibration.watch(model, layers, inputs, see)
            return
        while self._at < at:
            self._leave()
        with calibration.hooked(model, calibration.watching(layers, see)):
            for part, rows in self._batches():
                _pass(self._model, self._names, at, part, self._entering(rows))

    def _block(self, layers: Mapping[str, nn.Module]) -> int | None:
        """Return the block in which all of some layers are; None where there is none."""
        found = {at for name in layers for at, one in enumerate(self._names) if name.startswith(f"{one}.")}
        inside = all(any(name.startswith(f"{one}.") for one in self._names) for name in layers)
        return found.pop() if inside and len(found) == 1 else None

    def _batches(self) -> Generator[tuple[Tensor, slice]]:
        start = 0
        for part in self._parts:
            yield part, slice(start, start + len(part))
            start += len(part)

    def _entering(self, rows: slice) -> Tensor | None:
        return None if self._at == 0 or self._states is None else self._states[rows]

    def _leave(self) -> None:
        """Let all inputs through the block in hand; what comes out takes the place of what went in."""
        for part, rows in self._batches():
            left = _pass(self._model, self._names, self._at, part, self._entering(rows))
            if self._states is None:
                self._states = shelf((len(self._inputs), *left.shape[1:]), left.dtype)
            self._states[rows] = left
        self._at += 1

    @torch.no_grad()
    def _passes(self, parts: Sequence[Tensor]) -> bool:
        """Say whether what enters each block in turn is what enters it in whole passes.

        Several parts go through a block before the next one is asked: what blocks tell each other besides would be that
        of another part.
        """
        whole = [_entered(self._model, self._names, part) for part in parts]
        if any(len(one) != len(self._names) for one in whole):
            return False
        states: list[Tensor | None] = [None] * len(parts)
        try:
            for at in range(len(self._names) - 1):
                told = zip(parts, states, strict=True)
                states = [_pass(self._model, self._names, at, part, state) for part, state in told]
                if not all(_equal(one[at + 1], state) for one, state in zip(whole, states, strict=True)):
                    return False
        except Exception:  # noqa: BLE001 - whatever a model raises whose blocks are asked otherwise than it asks them
            return False
        return True


def _equal(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and torch.equal(one, other)


def _entered(model: nn.Module, names: Sequence[str], inputs: Tensor) -> list[Tensor]:
    """Return what enters each block in a whole pass, call by call."""
    found: list[Tensor] = []
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, args, kwargs: found.append(_first(args, kwargs)), with_kwargs=True
        )
        for name in names
    ]
    with calibration.hooked(model, handles):
        _body(model)(input_ids=inputs.long(), use_cache=False)
    return found


def _pass(model: nn.Module, names: Sequence[str], at: int, inputs: Tensor, states: Tensor | None) -> Tensor:
    """Return what comes out of a block; the others hand on what they are given, and the head is not asked.

    Args:
        model: A `Decoder`.
        names: Of its blocks.
        at: Which block.
        inputs: Of the model, ``(n, ...)``.
        states: What enters the block; None where that is what the model makes of the inputs.

    Raises:
        RuntimeError: The model does not call the block, or what it returns does not begin with states.
    """
    found: list[Tensor] = []

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - as torch has it
        if states is None:
            return None
        if args:
            return (states, *args[1:]), kwargs
        name = next(iter(kwargs))
        return args, {**kwargs, name: states}

    def leave(_: nn.Module, __: object, output: Any) -> None:  # noqa: ANN401 - a tensor, or a tuple with one first
        found.append(output if isinstance(output, Tensor) else output[0])

    block, lm = model.get_submodule(names[at]), _body(model)
    handles = [block.register_forward_pre_hook(enter, with_kwargs=True), block.register_forward_hook(leave)]
    others = [model.get_submodule(name) for name in names if name != names[at]]
    with calibration.hooked(model, handles), _handing_on(others):
        lm(input_ids=inputs.long(), use_cache=False)
    if len(found) != 1:
        raise RuntimeError(f"{names[at]} was called {len(found)} times")
    return found[0]


def _body(model: nn.Module) -> nn.Module:
    """Return what makes states of tokens; the whole where it is not apart from its head."""
    assert isinstance(model, Decoder)
    lm: Any = model.lm
    body: nn.Module | None = lm._modules.get(lm.base_model_prefix)
    return model.lm if body is None else body


@contextmanager
def _handing_on(others: list[nn.Module]) -> Generator[None]:
    """Let blocks return what they are given, for a while."""
    for block in others:
        vars(block)["forward"] = _first_alone
    try:
        yield
    finally:
        for block in others:
            del vars(block)["forward"]


def _first_alone(*args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - whatever a block is given
    return _first(args, kwargs)


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    found: Tensor = (*args, *kwargs.values())[0]
    return found
