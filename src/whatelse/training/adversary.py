"""Projected gradient ascent inside an L-infinity ball, as training on attacked examples needs it.

Source:
    Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, arXiv:1706.06083.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError


@dataclass(frozen=True)
class Ball:
    """Where the points may lie, and how they are sought.

    Attributes:
        eps: Largest change of any one feature, in units of the input.
        step: Length of a step as a share of ``eps``.
        steps: Gradient steps.
        bounds: Smallest and largest value of an input.
    """

    eps: float
    step: float
    steps: int
    bounds: tuple[float, float]


def pgd(model: nn.Module, inputs: Tensor, loss: Callable[[Tensor], Tensor], ball: Ball, rng: torch.Generator) -> Tensor:
    """Return points of the ball around each input at which the loss is large, of the shape of ``inputs``.

    From a uniform start, ``x <- clip(x + step * eps * sign(grad_x loss))`` into the ball and the bounds. The model
    is in evaluation mode meanwhile, so that batch statistics do not move, and no gradient reaches its weights.

    Args:
        model: Under attack; its modes are as before afterwards.
        inputs: ``(B, ...)``, inside the bounds.
        loss: Takes logits ``(B, classes)``, returns a scalar: a sum over examples, which do not then disturb another.
        ball: Where to look.
        rng: Source of the start.
    """
    if ball.eps == 0:
        return inputs
    low = (inputs - ball.eps).clamp(min=ball.bounds[0])
    high = (inputs + ball.eps).clamp(max=ball.bounds[1])
    noise = 2 * torch.rand(inputs.shape, generator=rng, dtype=inputs.dtype) - 1
    x = (inputs + ball.eps * noise).clamp(low, high)
    with evaluating(model), torch.enable_grad():
        for _ in range(ball.steps):
            x.requires_grad_()
            (slope,) = torch.autograd.grad(loss(model(x)), x)
            x = (x.detach() + ball.step * ball.eps * slope.nan_to_num().sign()).clamp(low, high)
    return x.detach()


def attackable(model: nn.Module, inputs: Tensor, bounds: tuple[float, float], where: str) -> None:
    """Refuse a model or inputs that no gradient leads away from, or inputs outside the bounds.

    Args:
        model: To be attacked.
        inputs: ``(N, ...)``.
        bounds: Smallest and largest value of an input.
        where: Name of the method, for the message.

    Raises:
        RecipeError: The inputs are whole numbers, such as tokens, or leave the bounds; or the model has no gradient.
    """
    differentiable(model, inputs, where)
    if bool((inputs < bounds[0]).any()) or bool((inputs > bounds[1]).any()):
        found = f"{float(inputs.min()):.3g} to {float(inputs.max()):.3g}"
        raise RecipeError(f"{where}: train inputs lie in {found}, outside the bounds {bounds[0]} to {bounds[1]}")


def differentiable(model: nn.Module, inputs: Tensor, where: str) -> None:
    """Refuse inputs that are no real numbers, or a model without a gradient by them.

    Args:
        model: To be differentiated.
        inputs: ``(N, ...)``.
        where: Name of the method, for the message.

    Raises:
        RecipeError: The inputs are whole numbers, such as tokens; or the model has no gradient.
    """
    if not inputs.is_floating_point():
        raise RecipeError(f"{where}: the inputs are {inputs.dtype}, which no gradient moves; it takes real numbers")
    with evaluating(model), torch.enable_grad():
        x = inputs[:2].clone().requires_grad_()
        said = model(x).sum()
        slope = torch.autograd.grad(said, x, allow_unused=True)[0] if said.requires_grad else None
    if slope is None:
        raise RecipeError(
            f"{where}: the model has no gradient by its inputs, as one that looks tokens up; nothing to follow"
        )


@contextmanager
def evaluating(model: nn.Module) -> Generator[None, None, None]:
    """Keep a model in evaluation mode; its modes are as before afterwards.

    Args:
        model: Any module.

    Yields:
        Nothing.
    """
    before = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training
