"""Multiply-accumulates of one example: the arithmetic of the dense layers.

For each convolution and linear layer the size of its weight times the places at which it is applied; biases, norms and
nonlinearities are not counted. The number is exact.

Reading:
    Compare it with the baseline's: their ratio is the arithmetic saved on dense hardware. It is not time: see
    `latency`.

Cost:
    One pass forward of a single example, with a hook on every layer.

Limits:
    Arithmetic is that of dense kernels: a weight that is zero still costs its multiplication, and a quantized one costs
    the same as a float, so masks and bits save nothing here. Products inside attention, which are no layer of their
    own, are not counted.

Source:
    Sze et al., Efficient processing of deep neural networks, Proc. IEEE 2017, arXiv:1703.09039.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.evidence import Evidence
from whatelse.layers._own import Own
from whatelse.task import Task

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "multiply-accumulates", "lower", {"opens"}, "layer"
WORST, BLIND = None, None
_Layer = nn.Conv2d | nn.Linear | Own


@dataclass(frozen=True)
class Config:
    """The arithmetic has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the multiply-accumulates of every layer for one example, 0 for a layer never reached, ``(layers,)``.

    Args:
        evidence: Gives the model and one test example, which is passed once more.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The subject does not open.
    """
    del config, rng
    evidence.subject.require("opens")
    layers = [part for part in evidence.model.modules() if _computes(part)]
    done = torch.zeros(len(layers))
    hooks = [layer.register_forward_hook(_counter(done, i)) for i, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            evidence.model(evidence.split("test").inputs[:1])
    finally:
        for hook in hooks:
            hook.remove()
    evidence.passes.forward += 1
    return done


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the number of multiply-accumulates, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(layers,)``.
        counts: How often each layer counts, ``(draws, layers)``.
    """
    total: np.ndarray = counts @ values.astype(np.float64)
    return total


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Not used.
        task: Not used.
    """
    del config, task
    return 1


def _computes(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d | nn.Linear) or (isinstance(part, Own) and type(part).work is not Own.work)


def _counter(done: Tensor, place: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, _Layer)
        if isinstance(layer, Own):
            done[place] += layer.work(inputs[0], output)
            return
        done[place] += output.numel() // layer.weight.shape[0] * layer.weight.numel()

    return count
