"""Peak memory of one forward pass: weights, and the largest total of activations alive at once.

Every tensor that the pass makes is followed from its making to its release; views and tensors worked on in place are
counted once. Two values: the bytes of the model's tensors as they lie in memory (packed layers hold their codes and
the dequantized weight), and the peak of what the pass adds for a batch, its inputs included. The number is exact for
this batch.

Reading:
    Compare it with the baseline's. Where the second value is far above the first, activations decide and a smaller
    batch helps more than smaller weights.

Cost:
    One pass forward of one batch, in which every operation is watched.

Limits:
    Scratch space inside a kernel and what the allocator holds in reserve are not seen: the process takes more than
    this. It speaks for this batch; fused or compiled kernels may keep fewer activations.

Source:
    Sze et al., Efficient processing of deep neural networks, Proc. IEEE 2017, arXiv:1703.09039; what is counted is
    what PyTorch's own memory tracker counts, its storages.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whatelse.evidence import Evidence
from whatelse.settings import param
from whatelse.task import Task

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "bytes", "lower", {"opens"}, "layer"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of peak memory."""

    batch: int = param(64, "Examples in the batch; no more than test has.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the bytes of the model's tensors and the peak of what a pass adds to them, ``(2,)``.

    Args:
        evidence: Gives the model and the test examples, of which one batch is passed once more.
        config: Size of the batch.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The subject does not open.
    """
    del rng
    evidence.subject.require("opens")
    inputs = evidence.split("test").inputs[: config.batch].clone()
    with torch.no_grad(), _Alive() as alive:
        alive.follow(inputs)
        evidence.model(inputs)
    evidence.passes.forward += len(inputs)
    return torch.tensor([float(_held(evidence.model)), float(alive.peak)])


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return weights and activations together, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(2,)``.
        counts: How often each of them counts, ``(draws, 2)``.
    """
    total: np.ndarray = counts @ values.astype(np.float64)
    return total


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Size of the batch.
        task: Gives the number of test examples.
    """
    return min(config.batch, len(task.test))


def _held(model: nn.Module) -> int:
    storages = {t.untyped_storage().data_ptr(): t for t in [*model.parameters(), *model.buffers()]}
    return sum(t.untyped_storage().nbytes() for t in storages.values())


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Follows every storage that is made while it is on: ``now`` bytes alive, ``peak`` the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.now, self.peak = 0, 0
        self.sizes: dict[weakref.ref[Any], int] = {}

    def follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        mark = weakref.ref(storage, self._release)
        if mark not in self.sizes:
            self.sizes[mark] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)

    def _release(self, mark: weakref.ref[Any]) -> None:
        self.now -= self.sizes.pop(mark)

    def __torch_dispatch__(  # the signature is torch's
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            if isinstance(made, Tensor) and id(made.untyped_storage()) not in given:
                self.follow(made)
        return out
