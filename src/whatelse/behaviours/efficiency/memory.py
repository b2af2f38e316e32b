"""Peak memory of one forward pass: weights, and the largest total of activations alive at once.

Every tensor that the pass makes is followed from its making to its release; views and tensors worked on in place are
counted once. Two values: the bytes of the model's tensors as they lie in memory (packed layers hold their codes and
the dequantized weight; tensors that no layer lists, such as constants of a script, are found by a pass), and the peak
of what the pass adds for a batch, its inputs included. The number is exact for this batch.

Reading:
    Compare it with the baseline's. Where the second value is far above the first, activations decide and a smaller
    batch helps more than smaller weights.

Cost:
    One pass forward of one batch, in which every operation is watched, and one of each of four examples.

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
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whatelse.answer import Answer
from whatelse.behaviours.efficiency import _formulas, _pass
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.modules import plain
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 2, "bytes", "lower", {"opens"}, "layer"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of peak memory."""

    batch: int = param(64, "Examples in the batch; no more than test has.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``bytes``, in two rows: those of the model's tensors, and the peak of what a pass adds to them.

    Args:
        evidence: Gives the model and the test examples, of which one batch is passed once more.
        config: Size of the batch.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The subject does not open, or it holds or makes tensors whose memory cannot be seen.
    """
    del rng
    evidence.subject.require("opens")
    held = _held(evidence)
    inputs = evidence.split("test").inputs[: config.batch].clone()
    with torch.no_grad(), _Alive() as alive:
        alive.follow(inputs)
        evidence.model(inputs)
    evidence.passes.forward += len(inputs)
    return Answer({"bytes": torch.tensor([held, alive.peak], dtype=torch.float64)})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return weights and activations together, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each of them counts, ``(draws, 2)``.
    """
    del config
    total: np.ndarray = weights @ answer["bytes"].astype(np.float64)
    return total


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Size of the batch.
        task: Gives the number of test examples.
    """
    return min(config.batch, len(task.test)) + 2 * min(_pass.EXAMPLES, len(task.test))


def _held(evidence: Evidence) -> int:
    seen, model = _pass.weights_of(evidence), evidence.model
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers(), *seen.hidden.values(), *seen.packed)}
    parts = [part for tensor in tensors.values() for part in plain.parts(tensor)]
    storages = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in parts}
    return sum(storages.values())


def _storages(tensor: Tensor) -> list[torch.UntypedStorage]:
    """Return where a tensor lies.

    Raises:
        NotMeasurableError: Nobody can see it.
    """
    if tensor.is_mkldnn or tensor.is_nested:
        raise NotMeasurableError(
            f"needs tensors whose memory can be seen; the pass makes one of layout {tensor.layout}"
        )
    parts = [tensor] if tensor.is_quantized else plain.parts(tensor)
    return [part.untyped_storage() for part in parts]


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Follows every storage that is made while it is on: ``now`` bytes alive, ``peak`` the most there were."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.now, self.peak = 0, 0
        self.sizes: dict[weakref.ref[Any], int] = {}

    def follow(self, tensor: Tensor) -> None:
        for storage in _storages(tensor):
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
        if isinstance(func, HigherOrderOperator):
            taken = _pass.inside(self, func, args)
            if taken is NotImplemented:
                raise NotMeasurableError(f"needs operations that can be watched; the pass runs {_formulas.name(func)}")
            return taken
        taken = [s for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) for s in _storages(t)]
        given = {id(storage) for storage in taken}
        out = func(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            if isinstance(made, Tensor) and not all(id(s) in given for s in _storages(made)):
                self.follow(made)
        return out
