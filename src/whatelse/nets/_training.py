"""The one training loop: Adam with a one-cycle schedule, on hard labels or any loss of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        epochs: Passes over the data.
        rate: Peak learning rate of the one-cycle schedule (Smith & Topin 2017, arXiv:1708.07120).
        batch: Examples a step.
        decay: Decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101).
    """

    epochs: int
    rate: float
    batch: int
    decay: float = 0.0


def fit(model: nn.Module, inputs: Tensor, loss: Loss, schedule: Schedule, rng: torch.Generator) -> None:
    """Train a module in place.

    Weights of convolutions and linear layers that are exactly zero at the start stay zero: this is how the
    mask of a pruned model survives every later training step (Han et al. 2015, arXiv:1506.02626).

    Args:
        model: The module; all its parameters are trained.
        inputs: ``(N, ...)``.
        loss: Takes logits ``(B, classes)`` and the indices of the batch ``(B,)``, returns a scalar.
        schedule: How long and how hard.
        rng: Source of the order of the examples.
    """
    if schedule.epochs == 0:
        return
    model.train()
    model.requires_grad_(requires_grad=True)
    masks = [(p, (p != 0).to(p.dtype)) for p in model.parameters() if p.dim() > 1 and bool((p == 0).any())]
    steps = schedule.epochs * math.ceil(len(inputs) / schedule.batch)
    adam = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=schedule.decay, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, schedule.rate, total_steps=steps)
    for _ in range(schedule.epochs):
        for batch in torch.split(torch.randperm(len(inputs), generator=rng), schedule.batch):
            adam.zero_grad(set_to_none=True)
            loss(model(inputs[batch]), batch).backward()  # type: ignore[no-untyped-call] # torch's own
            adam.step()
            cycle.step()
            for parameter, mask in masks:
                parameter.data.mul_(mask)
    model.eval()
    model.requires_grad_(requires_grad=False)


def hard_labels(labels: Tensor) -> Loss:
    """Return the cross-entropy with hard labels.

    Args:
        labels: Class of every example, ``(N,)``.
    """

    def loss(logits: Tensor, batch: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels[batch])

    return loss
