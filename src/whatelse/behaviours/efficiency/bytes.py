"""Bytes of the saved model: what its tensors take on disk.

One value a stored tensor: sparse ones as a bit mask and their nonzero values where that is smaller, quantized ones as
packed codes with their scales. The file adds names and shapes, about a hundred bytes a tensor. The number is exact.

Reading:
    Compare it with the baseline's: their ratio is the compression in storage. It says nothing of speed or of memory in
    use.

Cost:
    The tensors are packed once, which takes time and memory of the order of the model's size. A pass forward of each of
    four examples, where the model cannot be saved in this package's format.

Limits:
    It is the size in this package's own format; other formats store zeros and codes otherwise. Of a model that cannot
    be saved in it, such as an exported program, a script or one of another package's layers, it is that of the tensors
    that it holds, each as it lies, such as codes and scales, zeros as a mask where that is smaller; a note says so.
    Of a model in a file of another format it is that of the arrays in the file, as they are stored there.
    Entropy coding, which would save more, is not applied.

Source:
    Han, Mao & Dally, Deep compression, ICLR 2016, arXiv:1510.00149: size is what is stored, indices included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.answer import Answer
from whatelse.behaviours.efficiency import _pass
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.layers.compressed import CompressedLayer
from whatelse.modules import codec, plain
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 3, "bytes", "lower", {"opens"}, "layer"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """The size on disk has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``bytes``: those of every stored tensor.

    Args:
        evidence: Gives the model.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The subject does not open, or it holds tensors that cannot be found and read.
    """
    del config, rng
    if (stores := evidence.subject.stores) is not None:
        return Answer({"bytes": torch.tensor(list(stores.stored_bytes()), dtype=torch.float64)})
    evidence.subject.require("opens")
    notes: tuple[str, ...] = ()
    try:
        found = [plain.size(t) for t in codec.encode(evidence.inside)[0].values()]
    except Exception as error:  # models of others are of every kind, and so is what describing them raises
        seen = _pass.weights_of(evidence)
        held = {id(t): t for t in (*_held(evidence.inside), *seen.hidden.values(), *seen.packed)}
        found = [plain.packed_size(t) for t in held.values()]
        notes = (
            f"bytes of {evidence.subject.name} are those of the tensors that it holds, as they lie, since this package "
            f"cannot save it: {str(error).partition(';')[0][:120]}",
        )
    if not found:
        raise NotMeasurableError(f"needs tensors that can be found; {evidence.subject.name} shows none")
    return Answer({"bytes": torch.tensor(found, dtype=torch.float64)}, notes=notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the number of bytes, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each tensor counts, ``(draws, tensors)``.
    """
    del config
    total: np.ndarray = weights @ answer["bytes"].astype(np.float64)
    return total


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Not used.
        task: Gives the number of test examples.
    """
    del config
    return 2 * min(_pass.EXAMPLES, len(task.test))


def _held(model: nn.Module) -> list[Tensor]:
    """Return parameters and buffers, those left out that layers of this toolkit derive from others."""
    found: list[Tensor] = [*model.parameters()]
    for part in model.modules():
        kept = (
            part.state_dict(keep_vars=True)
            if isinstance(part, CompressedLayer)
            else dict(part.named_buffers(recurse=False))
        )
        found += [t for t in kept.values() if isinstance(t, Tensor)]
    return found
