"""Time of a forward pass of one batch as a ratio to the baseline's, the two measured in turn.

Each turn times baseline and then candidate, so that a neighbour on the machine slows both; one turn before the first
warms up and is dropped. The median over turns is summarised. One turn stands for a moment, not for an example. The
passes of both models are counted as the candidate's.

Reading:
    Below 1 the candidate is faster. Its interval is over turns: one that holds 1 says that no difference was seen on
    this machine.

Cost:
    ``2 * (turns + 1)`` passes forward of one batch, half of them by the baseline; nothing is shared, as kept answers
    take no time.

Limits:
    It speaks for this machine, this number of threads, this batch and dense kernels only: zeros and fake quantization
    save no time here though special kernels may. Wall time does not repeat exactly.

Source:
    Blalock et al., What is the state of neural network pruning?, MLSys 2020, arXiv:2003.03033: speed is measured,
    not derived from counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "x baseline", "lower", {"predicts"}, "turn"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of the latency."""

    batch: int = param(64, "Examples in the batch; no more than test has.", low=1)
    turns: int = param(15, "Times that each model is measured.", low=1, high=10_000)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``ratio``: the candidate's time as a multiple of the baseline's in each turn.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Batch and number of turns.
        rng: Not used; what varies is the clock.
    """
    del rng
    inputs = baseline.split("test").inputs[: config.batch]
    ratios = []
    for _ in range(1 + config.turns):
        before, after = (_timed(seen.runs, inputs) for seen in (baseline, candidate))
        ratios.append(after / max(before, 1e-9))
    candidate.passes.forward += 2 * len(ratios) * len(inputs)
    return Answer({"ratio": torch.tensor(ratios[1:])})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the median ratio of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each turn stands in each resample, ``(draws, turns)``.
    """
    del config
    ratios = answer["ratio"]
    order = np.argsort(ratios)
    upto = weights[:, order].cumsum(1)
    half = upto[:, -1:] / 2
    low, high = (upto >= half).argmax(1), (upto > half).argmax(1)
    median: np.ndarray = (ratios[order][low] + ratios[order][high]) / 2
    return median


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Those of both models.

    Args:
        config: Batch and number of turns.
        task: Gives the number of test examples.
    """
    return 2 * (config.turns + 1) * min(config.batch, len(task.test))


def _seconds() -> float:
    return time.perf_counter()


@torch.no_grad()
def _timed(model: Callable[[Tensor], object], inputs: Tensor) -> float:
    start = _seconds()
    model(inputs)
    return _seconds() - start
