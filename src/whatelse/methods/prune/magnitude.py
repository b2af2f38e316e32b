"""Zero the weights of smallest absolute value, ranked over all layers together or layer by layer.

Of all weights of convolutions and linear layers the share ``sparsity`` with the smallest ``|w|`` becomes
zero. Biases stay, and so do tied weights and the projections of ``nn.MultiheadAttention``. A zero weight is the
mask: every later training step keeps it at zero, and on disk it takes one bit. Weights that are zero already count.

``schedule="gradual"`` is Zhu & Gupta's: after round ``r`` of ``rounds`` the sparsity is
``s - s * (1 - r / rounds)**3``, and each round ends with ``epochs`` passes over train. Theirs prunes inside one
training run every few hundred steps; ours gives each round a run of its own. With ``schedule="one-shot"``
nothing is trained, so ``rounds``, ``epochs``, ``rate`` and ``batch`` say nothing.

``pattern="2:4"`` zeroes two of every four neighboring input channels of each output (for convolutions: at each
position of the kernel), which sparse tensor cores can skip. Layers whose input channels do not come in fours are
left alone.

Source:
    Han et al., Learning both weights and connections, NeurIPS 2015, arXiv:1506.02626; Zhu & Gupta, To prune, or
    not to prune, 2017, arXiv:1710.01878; Mishra et al., Accelerating sparse deep neural networks, 2021,
    arXiv:2104.08378.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.methods import _common as common
from whatelse.methods.prune._mask import cubic, keep, magnitudes, prunable, zero
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, fit, hard_labels

VERSION, KNOB, TAKES, LEAVES = 1, "sparsity", {"dense", "sparse"}, "sparse"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of magnitude pruning."""

    sparsity: float = param(0.5, "Share of weights to zero.", low=0.0, high=1.0)
    scope: str = param("global", "Rank all layers together, or each by itself.", choices=("global", "layer"))
    pattern: str = param("any", "Which weights may go; 2:4 is two of four inputs.", choices=("any", "2:4"))
    schedule: str = param("one-shot", "All at once, or in rounds with training.", choices=("one-shot", "gradual"))
    rounds: int = param(4, "Rounds of the gradual schedule.", low=1, high=1000)
    epochs: int = param(8, "Passes over train after each round of the gradual schedule.", low=0, high=10_000)
    rate: float = param(8e-3, "Peak learning rate of the one-cycle schedule of each round.", low=0.0, high=1.0)
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a pruned copy.

    Args:
        model: Any module with convolutions or linear layers.
        config: How much to prune, and how.
        task: Its train split, where the schedule is gradual.
        rng: Source of the order of the examples, where the schedule is gradual.

    Raises:
        RecipeError: There is nothing to prune, as after ``quantize.uniform``, or the settings contradict each other.
    """
    pruned = copied(model)
    found = prunable(pruned, "prune.magnitude", config.sparsity, config.pattern)
    if config.schedule == "one-shot":
        zero(found, keep(found, magnitudes(found), config.sparsity, config.scope, config.pattern))
        return pruned
    if config.pattern != "any":
        raise RecipeError("prune.magnitude: 2:4 has no gradual schedule; use schedule='one-shot', then train.finetune")
    schedule = Schedule(config.epochs, config.rate, config.batch)
    for sparsity in cubic(config.sparsity, config.rounds):
        zero(found, keep(found, magnitudes(found), sparsity, config.scope))
        fit(pruned, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return pruned


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Args:
        config: Whether, how often and how long it trains.
        task: Gives the number of train examples.
    """
    rounds = config.rounds if config.schedule == "gradual" else 0
    return 3 * rounds * config.epochs * len(task.train)


def looks(config: Config) -> bool:
    """Return whether the values of inputs decide anything of what it makes.

    Args:
        config: Not used.
    """
    del config
    return False
