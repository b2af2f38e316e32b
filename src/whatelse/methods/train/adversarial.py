"""Train the model further on attacked examples, so that small changes of an input do not change its answer.

Every batch ``x`` is first moved against the model as it stands: from a uniform start in the L-infinity ball of radius
``eps``, ``steps`` times ``x' <- clip(x' + step * eps * sign(grad_x' CE(y, f(x'))))`` into the ball and the bounds of
the task (PGD), the model in evaluation mode. Then one step of training is taken on
``clean * CE(y, f(x)) + (1 - clean) * CE(y, f(x'))``: Madry et al. have ``clean = 0``, Goodfellow et al. ``clean = 0.5``
with a single step. ``eps = 0`` is plain further training. With ``fresh`` the weights are first drawn anew, which makes
a robust teacher of the same architecture. Weights that are exactly zero stay zero.

Where we depart from Madry et al.: Adam with a one-cycle schedule as everywhere here, in place of SGD with steps; the
step is a share of ``eps``, so that the attack reaches the border of the ball at every radius.

Source:
    Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, arXiv:1706.06083;
    Goodfellow, Shlens, Szegedy, Explaining and harnessing adversarial examples, ICLR 2015, arXiv:1412.6572.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods import _common as common
from whatelse.methods.train._fresh import drawn_anew
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.adversary import Ball, attackable, pgd
from whatelse.training.loop import Schedule, descend

VERSION, KNOB, TAKES, LEAVES = 1, "eps", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings of adversarial training."""

    eps: float = param(0.1, "Radius of the L-infinity ball, in units of the input.", low=0.0, high=1.0)
    step: float = param(0.25, "Length of a step of the attack as a share of eps.", low=0.0, high=2.0)
    steps: int = param(7, "Gradient steps of the attack.", low=1, high=1000)
    clean: float = param(0.0, "Weight of the plain loss; the rest is that of the attacked examples.", low=0.0, high=1.0)
    fresh: bool = param(False, "Draw the weights anew first, in place of training further.")
    epochs: int = common.epochs(8)
    rate: float = common.rate()
    batch: int = common.batch()
    decay: float = param(0.0, "Decoupled weight decay.", low=0.0, high=10.0)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy trained on attacked examples; weights that are exactly zero stay zero.

    Args:
        model: Any module with trainable parameters.
        config: How strong the attack is, and how the training goes.
        task: Its train split, with the labels as they were recorded, and its bounds.
        rng: Source of the starts of the attack, of the order of the examples and of fresh weights.

    Raises:
        RecipeError: The model has no trainable parameters, or the inputs are whole numbers or out of bounds.
    """
    if not list(model.parameters()):
        raise RecipeError("train.adversarial: the model has no trainable parameters; train before quantize.uniform")
    inputs, labels = task.train.inputs, task.train.observed
    attackable(model, inputs, task.limits(), "train.adversarial")
    tuned = drawn_anew(model, "train.adversarial", rng) if config.fresh else copied(model)
    ball = Ball(config.eps, config.step, config.steps, task.limits())

    def objective(batch: Tensor) -> Tensor:
        x, y = inputs[batch], labels[batch]
        moved = pgd(tuned, x, lambda logits: functional.cross_entropy(logits, y, reduction="sum"), ball, rng)
        loss = (1 - config.clean) * functional.cross_entropy(tuned(moved), y)
        if config.clean:
            loss = loss + config.clean * functional.cross_entropy(tuned(x), y)
        return loss

    descend(tuned, objective, len(inputs), Schedule(config.epochs, config.rate, config.batch, config.decay), rng)
    return tuned


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Args:
        config: How long it trains, and how long the attack is.
        task: Gives the number of train examples.
    """
    each = 2 * config.steps + 3 + 3 * (config.clean > 0)
    return each * config.epochs * len(task.train)
