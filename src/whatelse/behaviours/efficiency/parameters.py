"""Number of weights that are not zero.

One value a tensor, convolutions, linear layers, norms and biases alike; the weight of a quantized layer counts by its
nonzero codes, its scales do not count. Tensors that layers share count once. The number is exact.

Reading:
    Compare it with the baseline's: their ratio is the compression in weights. Zeros save neither bytes nor time by
    themselves: read it beside `bytes` and `latency`.

Cost:
    No passes: every tensor is counted once.

Limits:
    A zero by chance counts as pruned. What a weight costs is not asked: one of 4 bits counts as much as one of 32.

Source:
    Han et al., Learning both weights and connections for efficient neural networks, NeurIPS 2015, arXiv:1506.02626;
    to be reported beside bytes and operations: Blalock et al., MLSys 2020, arXiv:2003.03033.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.evidence import Evidence
from whatelse.layers._own import Own

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "parameters", "lower", {"opens"}, "layer"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """The number of parameters has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the number of nonzero weights of every tensor, ``(tensors,)``.

    Args:
        evidence: Gives the model.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The subject does not open.
    """
    del config, rng
    evidence.subject.require("opens")
    tensors = {id(t): t for part in evidence.model.modules() for t in _weights(part)}
    return torch.tensor([float(t.count_nonzero()) for t in tensors.values()])


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the number of nonzero weights, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(tensors,)``.
        counts: How often each tensor counts, ``(draws, tensors)``.
    """
    total: np.ndarray = counts @ values.astype(np.float64)
    return total


def _weights(part: nn.Module) -> list[Tensor]:
    return part.weights() if isinstance(part, Own) else list(part.parameters(recurse=False))
