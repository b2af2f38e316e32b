"""What a torch module stores, for whoever keeps its answers and not the module."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from whatelse.errors import NotMeasurableError
from whatelse.modules import plain


@dataclass(frozen=True)
class Held:
    """How much a module stores, counted as of modules that are open.

    Attributes:
        sizes: Bytes of every tensor of its state.
        weights: Numbers that are not zero, of every parameter; empty where they cannot be read.
        why: Why not.
    """

    sizes: tuple[int, ...]
    weights: tuple[int, ...]
    why: str = ""

    def stored_bytes(self) -> tuple[int, ...]:
        """Return the bytes of every tensor."""
        return self.sizes

    def stored_weights(self) -> tuple[int, ...]:
        """Return how many numbers of every parameter are not zero.

        Raises:
            NotMeasurableError: They cannot be read.
        """
        if self.why:
            raise NotMeasurableError(self.why)
        return self.weights


def of(model: nn.Module) -> Held:
    """Return what a module stores; tensors that are shared count once.

    Args:
        model: Any module.

    Raises:
        NotMeasurableError: It has tensors without numbers.
    """
    weights = {id(p): p for p in model.parameters()}
    every = {id(t): t for t in model.state_dict(keep_vars=True).values() if isinstance(t, Tensor)} | weights
    sizes = tuple(map(plain.packed_size, every.values()))
    try:
        return Held(sizes, tuple(map(plain.nonzero, weights.values())))
    except NotMeasurableError as error:  # packed by a kernel that alone can read them
        return Held(sizes, (), str(error))
