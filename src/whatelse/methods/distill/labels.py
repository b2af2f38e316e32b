"""Train the compressed model to keep the labels of the model that it was made of, by a loss of three parts.

``L_1 = CE(y, p_student)``, ``L_2 = T^2 * KL(p_teacher^T || p_student^T)``, ``L_3 = ||z_teacher - z_student||_2^2``
(logit pairing; squares summed over classes), each averaged over examples. ``weights="learned"``:
``sum_i L_i / (2 * s_i^2) + log s_i`` with the ``s_i`` trained beside the student (homoscedastic uncertainty; the
parameter is ``log s_i^2``), from their best values for the untaught student, ``s_i^2 = L_i``. ``weights="fixed"``:
``(1 - mix) * L_1 + mix * L_2 + pairing * L_3``; ``mix`` and ``pairing`` say nothing otherwise.

The student is what the recipe ``student`` makes of the model, so that any compression can be followed by this training;
empty, it is the model's architecture narrowed by ``width`` with random weights, and the parts are the same. Without
them (``mix=0, pairing=0``, fixed) the training is ``train.finetune``: the comparison that says what they add.

This is our reading of the paper from its abstract and from what is known of it: its text was not at hand and
there is no code of the authors'. The three parts and the uncertainty weighting are recalled; how the logits are paired
(the sum of squares, not the mean) is our choice, as are where the ``s_i`` start (from 1 they cannot reach in a short
training what the logits of a heavily pruned model ask for), Adam and the one-cycle schedule. A part that falls to zero
can draw its weight up without end, slowly, as every weight learned by uncertainty can.

Source:
    Joseph et al., Going beyond classification accuracy metrics in model compression, 2020, arXiv:2012.01604; weights:
    Kendall, Gal & Cipolla, Multi-task learning using uncertainty to weigh losses, CVPR 2018, arXiv:1705.07115;
    logit pairing: Kannan, Kurakin & Goodfellow, Adversarial logit pairing, 2018, arXiv:1803.06373.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.methods import _common as common
from whatelse.methods.distill._features import in_batches, reader, remembered
from whatelse.methods.distill._soft import divergence
from whatelse.methods.distill._student import student
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, descend

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, "dense"
_FEW, _LEAST = 256, 0.01  # examples that decide where the s_i start, and the smallest s_i^2 there


@dataclass(frozen=True)
class Config:
    """Settings of label-preserving training."""

    width: float = param(0.5, "Width of the student as a share of the teacher's, without a recipe.", low=0.01, high=1.0)
    student: str = param(
        "prune.magnitude(sparsity=0.8)", "Recipe that makes the student; empty for a narrower one.", recipe="result"
    )
    temperature: float = common.temperature()
    mix: float = param(0.9, "Fixed weight of the teacher's predictions; the labels have the rest.", low=0.0, high=1.0)
    epochs: int = common.epochs(30)
    rate: float = common.rate()
    batch: int = common.batch()
    weights: str = param("learned", "How the three parts are weighed.", choices=("learned", "fixed"))
    pairing: float = param(0.01, "Fixed weight of the squared distance of the logits.", low=0.0, high=1e3)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a trained student.

    Args:
        model: The reference; any classifier.
        config: What the student is and how it is taught.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the student's weights, where they are random, and of the order of the examples.

    Raises:
        RecipeError: The student cannot be made or trained.
    """
    inputs, labels = task.train.inputs, task.train.observed
    taught_one = student(model, config.width, config.student, task, rng).eval()
    told = remembered(in_batches(model, reader(model, [])), inputs)
    few = torch.arange(min(_FEW, len(inputs)))
    with torch.no_grad():
        start = _parts(taught_one(inputs[few]), told(few)[""], labels[few], config.temperature)
    spread = nn.Parameter(start.clamp(min=_LEAST).log())  # log s_i^2

    def objective(batch: Tensor) -> Tensor:
        parts = _parts(taught_one(inputs[batch]), told(batch)[""], labels[batch], config.temperature)
        return _learned(parts, spread) if config.weights == "learned" else _fixed(parts, config)

    beside = [spread] if config.weights == "learned" else []
    schedule = Schedule(config.epochs, config.rate, config.batch)
    descend(taught_one, objective, len(inputs), schedule, rng, beside=beside)
    return taught_one


def _parts(logits: Tensor, taught: Tensor, labels: Tensor, temperature: float) -> Tensor:
    hard = functional.cross_entropy(logits, labels)
    pairing = (taught - logits).square().sum(1).mean()
    return torch.stack([hard, divergence(logits, taught, temperature), pairing])


def _learned(parts: Tensor, spread: Tensor) -> Tensor:
    return (parts * (-spread).exp() + spread).sum() / 2


def _fixed(parts: Tensor, config: Config) -> Tensor:
    return (1 - config.mix) * parts[0] + config.mix * parts[1] + config.pairing * parts[2]
