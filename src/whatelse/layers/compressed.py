"""What a layer of this toolkit says of itself, so that saving, counting and reporting never name a particular one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class CompressedLayer(nn.Module):
    """Base of every layer in this room; a saved model names it as ``file.Class``.

    Attributes:
        straight_through: True where rounding in it passes its gradient straight through, so that gradients are
            those of a surrogate.
        drops_gradients: True where no gradient reaches its input, in silence.
    """

    straight_through = False
    drops_gradients = False

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
        """Return the multiply-accumulates of one call that are no matrix product, which is counted as it runs.

        Args:
            inputs: What it was given.
            output: What it returned.
        """
        del inputs, output
        return 0

    def damage(self) -> str:
        """Return what is wrong with the tensors that it was filled with; nothing for most layers."""
        return ""

    def remark(self) -> str:
        """Return how it is really computed where a reader might think otherwise; else nothing."""
        return ""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw its own parameters anew, as torch's layers do: uniform in ``+-1/sqrt(fan_in)``, of a vector its length.

        Draws come from the generator of the process, which ``nets._initialize`` lends one of its own.
        """
        for parameter in self.parameters(recurse=False):
            fan_in = parameter[0].numel() if parameter.dim() > 1 else parameter.numel()
            bound = 1 / math.sqrt(max(1, fan_in))
            parameter.uniform_(-bound, bound)

    def plain(self) -> nn.Module | None:
        """Return the layer of torch that computes the same with its weights as floats; None where there is none."""
        return None

    def coded(self) -> CompressedLayer | None:
        """Return the linear layer as integers with scales and nothing else; None where it is no such thing."""
        return None

    def unfold(self) -> None:
        """Make anew what is derived from its tensors, once these are of another type."""

    def drawing(self) -> str:
        """Return what a person can read of it, such as a tree with a line a node; nothing for most layers."""
        return ""

    def exported(self, kind: str) -> nn.Module:
        """Return what stands for it when a model is exported; itself where a file of others holds all that it holds.

        Args:
            kind: ``onnx`` or ``pt2``.
        """
        del kind
        return self

    @classmethod
    def empty(cls, arguments: dict[str, Any]) -> CompressedLayer:
        """Return the layer built from its arguments, its tensors not filled.

        Args:
            arguments: What `arguments` returned.
        """
        with torch.device("meta"):
            return cls(**arguments)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a frozen linear layer with the given numbers.

    Args:
        weight: ``(out, in)``.
        bias: ``(out,)``, or none.
    """
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return made


def remarks(model: nn.Module) -> dict[str, str]:
    """Return the remarks of a model's layers, by name; layers that have none are left out.

    Args:
        model: Any module.
    """
    found = {name: part.remark() for name, part in model.named_modules() if isinstance(part, CompressedLayer)}
    return {name: text for name, text in found.items() if text}
