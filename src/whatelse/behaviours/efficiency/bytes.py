"""Bytes of the saved model: what its tensors take on disk.

One value a stored tensor: sparse ones as a bit mask and their nonzero values where that is smaller, quantized ones as
packed codes with their scales. The file adds names and shapes, about a hundred bytes a tensor. The number is exact.

Reading:
    Compare it with the baseline's: their ratio is the compression in storage. It says nothing of speed or of memory in
    use.

Cost:
    No passes: the tensors are packed once, which takes time and memory of the order of the model's size.

Limits:
    It is the size in this package's own format; other formats store zeros and codes otherwise. A model with a layer
    that cannot be saved is not measurable. Entropy coding, which would save more, is not applied.

Source:
    Han, Mao & Dally, Deep compression, ICLR 2016, arXiv:1510.00149: size is what is stored, indices included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import ArtifactError, NotMeasurableError
from whatelse.evidence import Evidence
from whatelse.nets import _artifact

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "bytes", "lower", {"opens"}, "layer"


@dataclass(frozen=True)
class Config:
    """The size on disk has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the bytes of every stored tensor, ``(tensors,)``.

    Args:
        evidence: Gives the model.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The subject does not open, or holds a layer that cannot be saved.
    """
    del config, rng
    evidence.subject.require("opens")
    try:
        tensors, _ = _artifact.encode(evidence.inside)
    except ArtifactError as error:
        raise NotMeasurableError(f"needs a model that can be saved; {error}") from error
    return torch.tensor([float(t.numel() * t.element_size()) for t in tensors.values()])


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the number of bytes, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(tensors,)``.
        counts: How often each tensor counts, ``(draws, tensors)``.
    """
    total: np.ndarray = counts @ values.astype(np.float64)
    return total
