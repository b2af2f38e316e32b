"""Multiply-accumulates of one example: the arithmetic of matrix products and convolutions, counted as they run.

For each operation that multiplies and sums the products of its shapes, whoever calls it: a layer, a function, an
exported program, a script, the products inside attention. Elementwise products with weights count where they are
summed over an axis along which the weights vary, or added to one another: that is a matrix product or a convolution,
written out. Biases, norms, gains, gates, nonlinearities and interpolation are not counted. The number is exact. Of an
ONNX file it is that of its graph, with the sizes that a pass shows.

Reading:
    Compare it with the baseline's: their ratio is the arithmetic saved on dense hardware. It is not time: see
    `latency`.

Cost:
    A pass forward of each of four examples, in which every operation is watched.

Limits:
    Arithmetic is that of the kernels that run: in a dense one a weight that is zero still costs its multiplication, and
    a quantized one costs the same as a float, so masks and bits save nothing here; a sparse one multiplies what it
    stores. An operation that may multiply and has no formula, such as one of a package of its own, makes the number not
    measurable, and so does arithmetic that differs between examples. An elementwise product with weights whose numbers
    are changed one by one before the sum, as by a nonlinearity, is not counted, and neither is a mean that centers what
    it was taken of. Formulas for more operations are added by ``torch.utils.flop_counter.register_flop_formula``.

Source:
    Sze et al., Efficient processing of deep neural networks, Proc. IEEE 2017, arXiv:1703.09039; formulas of
    ``torch.utils.flop_counter``, which counts two operations a multiply-accumulate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from whatelse.answer import Answer
from whatelse.behaviours.efficiency import _pass
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.layers.compressed import CompressedLayer
from whatelse.models.onnx_work import Works
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 5, "multiply-accumulates", "lower", {"opens"}, "layer"
WORST, BLIND = None, None
_Layer = nn.Conv2d | nn.Linear | CompressedLayer


@dataclass(frozen=True)
class Config:
    """The arithmetic has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``macs``: the multiply-accumulates of every operation that multiplies, for one example.

    Args:
        evidence: Gives the model and four test examples, which are passed once more.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The subject does not open, runs an operation whose arithmetic is not known, does another
            amount of it for another example, or none that can be seen.
    """
    del config, rng
    if isinstance(evidence.subject.stores, Works):
        return Answer({"macs": torch.tensor(list(evidence.subject.stores.multiplied()), dtype=torch.float64)})
    seen = _pass.look(evidence)
    name = evidence.subject.name
    if unknown := sorted(set().union(*(s.unknown for s in seen))):
        raise NotMeasurableError(f"needs operations whose arithmetic is known; {name} runs {', '.join(unknown)}")
    done = [sum(s.macs) for s in seen]
    if min(done) != max(done):
        raise NotMeasurableError(
            f"needs arithmetic that is the same for every example; {name} does {min(done)} to {max(done)}"
        )
    if not done[0] and not _all_own(evidence.model):
        raise NotMeasurableError(f"needs arithmetic that can be seen; {name} runs no matrix product and no convolution")
    return Answer({"macs": torch.tensor(seen[-1].macs or [0], dtype=torch.float64)})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the number of multiply-accumulates, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each operation counts, ``(draws, operations)``.
    """
    del config
    total: np.ndarray = weights @ answer["macs"].astype(np.float64)
    return total


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Not used.
        task: Gives the number of test examples.
    """
    del config
    return 2 * min(_pass.EXAMPLES, len(task.test))


def _all_own(model: nn.Module) -> bool:
    """Return whether every tensor lies in a layer of this toolkit, whose every operation is known: a tree has none."""
    holds = [m for m in model.modules() if [*m.parameters(recurse=False), *m.buffers(recurse=False)]]
    return bool(holds) and all(isinstance(m, CompressedLayer) for m in holds)
