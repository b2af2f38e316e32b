"""What a layer of this toolkit says of itself, so that saving, counting and reporting never name a particular one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Own(nn.Module):
    """Base of every layer in this room; a saved model names it as ``file.Class``.

    Attributes:
        straight_through: True where rounding in it passes its gradient straight through, so that gradients are
            those of a surrogate.
    """

    straight_through = False

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments, JSON-ready, that build the layer anew; its tensors are stored beside them.

        Raises:
            NotImplementedError: A layer does not say how it is built.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it is built")

    def weights(self) -> list[Tensor]:
        """Return the tensors that count as its parameters."""
        return list(self.parameters(recurse=False))

    def work(self, inputs: Tensor, output: Tensor) -> int:
        """Return the multiply-accumulates of one call, those of layers inside it left out.

        Args:
            inputs: What it was given.
            output: What it returned.
        """
        del inputs, output
        return 0

    def remark(self) -> str:
        """Return how it is really computed where a reader might think otherwise; else nothing."""
        return ""

    @classmethod
    def empty(cls, arguments: dict[str, Any]) -> Own:
        """Return the layer built from its arguments, its tensors not filled.

        Args:
            arguments: What `arguments` returned.
        """
        with torch.device("meta"):
            return cls(**arguments)
