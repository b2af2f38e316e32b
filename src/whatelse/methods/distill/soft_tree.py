"""Replace the model by a tree of soft decisions trained on its soft predictions.

Inner node ``i`` turns right with probability ``p_i(x) = sigmoid(beta (x . w_i + b_i))``, ``beta`` a learned inverse
temperature; ``P^i(x)`` is the probability of reaching a node, ``Q^l = softmax(phi^l)`` the distribution at a leaf,
``T = softmax(z / temperature)`` the teacher's. Minimized is the mean over examples of
``- sum_l P^l(x) sum_k T_k log Q^l_k`` plus, so that both subtrees are used,

    ``- balance * sum_i 2**-depth_i (log a_i + log(1 - a_i)) / 2``,  ``a_i = sum_x P^i(x) p_i(x) / sum_x P^i(x)``.

The paper prints the loss as ``-log sum_l P^l sum_k T_k log Q^l_k``, the logarithm of a negative number; we take it
as above. Both sums of ``a_i`` are running means with a window of ``2**depth_i`` batches (the paper asks for a window
that grows so, and gives no constants); gradients pass through the newest batch. Every inner node counts once, those
above the leaves as well. Trained by our Adam and one-cycle schedule. A filter on every
pixel at every node is not read at a glance: how deep the tree is says little about how well it explains.

Source:
    Frosst & Hinton, Distilling a neural network into a soft decision tree, 2017, arXiv:1711.09784.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.layers.soft_tree import SoftTree
from whatelse.methods import _common as common
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training import soft_tree
from whatelse.training.loop import Schedule, answers

VERSION, KNOB, TAKES, LEAVES = 1, "depth", {"dense", "sparse", "packed"}, "tree"


@dataclass(frozen=True)
class Config:
    """Settings of the soft tree."""

    depth: int = param(5, "Depth of the tree, in decisions; it is full.", low=1, high=12)
    prediction: str = param("mixture", "All leaves by their weight, or the likeliest.", choices=("mixture", "path"))
    target: str = param("soft", "What it is trained on: the teacher, or labels.", choices=("soft", "labels"))
    temperature: float = param(1.0, "Softens the teacher's predictions; 1 leaves them.", low=0.1, high=1000.0)
    balance: float = param(0.3, "Weight of the penalty on one-sided decisions.", low=0.0, high=1000.0)
    epochs: int = common.epochs(30)
    rate: float = param(0.02, "Peak learning rate of the one-cycle schedule.", low=0.0, high=1.0)
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a trained soft tree.

    Args:
        model: The teacher, any module.
        config: Depth of the tree, and how it is taught.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the first filters and of the order of the examples.
    """
    x = task.train.inputs.flatten(1)
    made = SoftTree(x.shape[1], task.classes, config.depth, mixture=config.prediction == "mixture")
    schedule = Schedule(config.epochs, config.rate, config.batch)
    soft_tree.teach(made, x, _targets(model, config, task), config.balance, schedule, rng)
    return made


@torch.no_grad()
def _targets(model: nn.Module, config: Config, task: Task) -> Tensor:
    if config.target == "labels":
        return functional.one_hot(task.train.observed, task.classes).float()
    taught = answers(model, task.train.inputs) / config.temperature
    return taught.softmax(1).float()  # the precision of the filters
