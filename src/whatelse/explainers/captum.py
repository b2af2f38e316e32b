"""Attribution maps that cost passes of their own: integrated gradients, smoothgrad, Grad-CAM, occlusion.

Captum computes integrated gradients, Grad-CAM and occlusion; integrated gradients and occlusion ask the evidence for
gradients and answers, so that batches fit memory and passes are counted. Smoothgrad is written here, as Captum draws
its noise from the generator of the process, where two models could not share it; Captum's gradients are its oracle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import MissingExtraError, NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import louder, margin
from whatelse.models.subject import log_odds
from whatelse.tasks.task import Task

COPIES, NOISE = 8, 0.15
_SEED = 20_170_612
# Values of the inputs of one call: 8 MB in single precision.
_VALUES = 2_000_000


def start(evidence: Evidence) -> Tensor:
    """Return the input that says nothing, of the shape of one: zero, or the nearest value in bounds.

    Args:
        evidence: Gives shape and bounds.
    """
    zero = torch.zeros(evidence.task.shape)
    bounds = evidence.task.bounds
    return zero if bounds is None or evidence.task.vocabulary else zero.clamp(*bounds)


def integrated(evidence: Evidence, inputs: Tensor, labels: Tensor, steps: int) -> Tensor:
    """Return integrated gradients from `start` to each input, by Gauss-Legendre quadrature, of their shape.

    Args:
        evidence: Gives the gradients.
        inputs: ``(M, ...)``.
        labels: The class that is explained, ``(M,)``.
        steps: Gradients along the path.

    Raises:
        MissingExtraError: Captum is not installed.
        NotMeasurableError: The subject does not differentiate, or inputs are texts.
    """
    _no_texts(evidence, "integrated gradients")
    evidence.subject.require("differentiates")
    method = _library().IntegratedGradients(lambda x, y: margin(evidence, evidence.answers(x), y))

    def slopes(
        forward_fn: object, inputs: tuple[Tensor], target_ind: object, additional_forward_args: tuple[Tensor]
    ) -> tuple[Tensor]:
        del forward_fn, target_ind
        return (evidence.gradients(inputs[0].detach(), additional_forward_args[0]),)

    method.gradient_func = slopes
    origin = start(evidence)[None]

    def one(x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = method.attribute(x, origin, additional_forward_args=y, n_steps=steps)
        return found.detach()

    return _chunked(inputs, labels, one, _room(inputs, steps))


def smooth(evidence: Evidence, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient averaged over noisy copies of each input, of their shape.

    The standard deviation of the noise is a share of the input's own range. It is drawn for one example after another
    from one seed, so that every model sees the same.

    Args:
        evidence: Gives the gradients.
        inputs: ``(M, ...)``.
        labels: The class that is explained, ``(M,)``.

    Raises:
        NotMeasurableError: The subject does not differentiate, or inputs are texts.
    """
    _no_texts(evidence, "smoothgrad")
    rng = evidence.draws(_SEED)

    def one(x: Tensor, y: Tensor) -> Tensor:
        flat = x.flatten(1)
        wide = (NOISE * (flat.amax(1) - flat.amin(1))).view(-1, 1, *[1] * (x.dim() - 1))
        noise = torch.stack([torch.randn(COPIES, *x.shape[1:], generator=rng) for _ in x])
        noisy = (x[:, None] + wide * noise).flatten(0, 1)
        return evidence.gradients(noisy, y.repeat_interleave(COPIES)).view(noise.shape).mean(1)

    return _chunked(inputs, labels, one, _room(inputs, COPIES))


def occluded(evidence: Evidence, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the margin falls when a patch, a column or a token is hidden, of the shape of the inputs.

    Patches are an eighth of the image a side, of all channels, beside each other, and hidden by `start`; columns of a
    table by their mean in train, tokens by padding. Of images one channel is returned, ``(M, 1, height, width)``.

    Args:
        evidence: Gives the answers; nothing else is asked of the model.
        inputs: ``(M, ...)``.
        labels: The class that is explained, ``(M,)``.

    Raises:
        MissingExtraError: Captum is not installed.
    """
    method = _library().Occlusion(lambda x, y: margin(evidence, evidence.answers(x), y))
    task = evidence.task
    window = (task.shape[0], *patch(task)) if task.modality == "images" else tuple(1 for _ in task.shape)
    blank = hidden(evidence)

    def one(x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = method.attribute(x, window, window, blank[None], additional_forward_args=y)
        return found[:, :1] if task.modality == "images" else found

    return _chunked(inputs, labels, one, _room(inputs, 4))


def hidden(evidence: Evidence) -> Tensor:
    """Return what stands where a part of an input is hidden, of the shape of one: `start`; of tables the mean in train.

    Args:
        evidence: Gives shape, bounds and the mean.
    """
    return evidence.split("train").inputs.mean(0) if evidence.task.modality == "table" else start(evidence)


def patch(task: Task) -> tuple[int, int]:
    """Return the sides of what is hidden of an image at once, in pixels; at its far borders less may be left.

    Args:
        task: Of images.
    """
    height, width = (max(1, side // 8) for side in task.shape[1:])
    return height, width


def patches(task: Task) -> int:
    """Return how many parts of an input can be hidden: patches of images, columns, tokens.

    Args:
        task: Gives the shape of an input.
    """
    if task.modality != "images":
        return math.prod(task.shape)
    return math.prod(-(-side // long) for side, long in zip(task.shape[1:], patch(task), strict=True))


def grad_cam(evidence: Evidence, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return Grad-CAM at the last convolution, upsampled to the input, ``(M, 1, height, width)``, none negative.

    Args:
        evidence: Its model, and that of its reference if it has one, are convolutional nets of the same topology.
        inputs: ``(M, channels, height, width)``.
        labels: The class that is explained, ``(M,)``.

    Raises:
        MissingExtraError: Captum is not installed.
        NotMeasurableError: The subject does not differentiate, inputs are no images, there is no convolution with
            more than one position, or the baseline's convolutions are others.
    """
    evidence.subject.require("differentiates", "opens")
    layer, shape = _last_convolution(evidence)
    if evidence.reference is not None:
        theirs = _last_convolution(evidence.reference)[1]
        if theirs != shape:
            raise NotMeasurableError(
                f"grad-cam needs the convolutions of the baseline: {evidence.subject.name} has {_said(shape)}, "
                f"{evidence.reference.subject.name} has {_said(theirs)}"
            )
    library = _library()
    method = library.LayerGradCam(_Margin(evidence), layer)

    def one(x: Tensor, y: Tensor) -> Tensor:
        x = x.detach().clone().requires_grad_()
        found = method.attribute(x, additional_forward_args=y, relu_attributions=True).detach()
        evidence.passes.forward += len(x)
        evidence.passes.backward += len(x)
        return functional.interpolate(found, x.shape[2:], mode="bilinear", align_corners=False)

    return _chunked(inputs, labels, one, evidence.batch)


class _Margin(nn.Module):
    """The log-odds margin of a class as a module of its own, as Captum asks for one."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__()
        self.times = louder(evidence)  # asked before Captum sets its hooks
        self.model = evidence.slopes

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the margin, ``(N,)``."""
        return log_odds(self.model(x) / self.times, labels)


Convolutions = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def _last_convolution(evidence: Evidence) -> tuple[nn.Module, Convolutions]:
    """Return the last convolution with a spatial output, and of all of them kernel and output, in order of the pass.

    Raises:
        NotMeasurableError: There is none.
    """
    seen: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = []

    def look(part: nn.Module, given: object, output: object) -> None:
        del given
        weight = getattr(part, "weight", None)  # our own layers have one too
        if isinstance(output, Tensor) and output.dim() == 4 and isinstance(weight, Tensor) and weight.dim() == 4:
            seen.append((part, tuple(weight.shape[2:]), tuple(output.shape[2:])))

    if evidence.task.modality == "images":
        hooks = [part.register_forward_hook(look) for part in evidence.slopes.modules()]
        try:
            with torch.no_grad():
                evidence.slopes(evidence.split("test").inputs[:1])
            evidence.passes.forward += 1
        finally:
            for hook in hooks:
                hook.remove()
    spatial = [part for part, _, size in seen if max(size) > 1]
    if not spatial:
        name = evidence.subject.name
        raise NotMeasurableError(f"grad-cam needs a convolution with more than one position; {name} has none")
    return spatial[-1], tuple((kernel, size) for _, kernel, size in seen)


def _said(shape: Convolutions) -> str:
    return ", ".join(f"{k[0]}x{k[1]} at {s[0]}x{s[1]}" for k, s in shape)


def _no_texts(evidence: Evidence, kind: str) -> None:
    if evidence.task.vocabulary:
        raise NotMeasurableError(f"{kind} needs inputs that can be scaled; tokens cannot: take gradient or occlusion")


def _chunked(inputs: Tensor, labels: Tensor, one: Callable[[Tensor, Tensor], Tensor], size: int) -> Tensor:
    """Return what is made of all inputs, ``size`` examples at a time, each written into its place at once."""
    found = inputs.new_empty(0)
    for i in range(0, len(inputs), size):
        part = one(inputs[i : i + size], labels[i : i + size])
        if i == 0:
            found = inputs.new_empty(len(inputs), *part.shape[1:])
        found[i : i + size] = part
    return found


def _room(inputs: Tensor, copies: int) -> int:
    return max(1, _VALUES // (copies * max(1, inputs[0].numel())))


def _library() -> ModuleType:
    try:
        return import_module("captum.attr")
    except ModuleNotFoundError as error:
        raise MissingExtraError("this attribution map needs Captum: pip install 'whatelse[attribution]'") from error
