"""Gradients of each example's or each batch's own loss: can be differentiated again, and are quick on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.hooks import RemovableHandle

from whatelse.behaviours.leakage import _gradients
from whatelse.behaviours.leakage._gradients import Shared
from whatelse.errors import NotMeasurableError, in_short
from whatelse.layers.quantized import Quantized, options_of
from whatelse.models import placed

_Layer = nn.Conv2d | nn.Linear | Quantized


class Outer(NamedTuple):
    """The gradient of a matrix of weights that one example, or one place, has: all entries of an outer product.

    Attributes:
        rows: Slopes of the outputs, ``(B, units)``.
        columns: The inputs, ``(B, entries a unit)``.
        mask: 1 where an entry is shared, ``(units, entries a unit)``; None where all are.
    """

    rows: Tensor
    columns: Tensor
    mask: Tensor | None

    def dense(self) -> Tensor:
        """Return the entries, ``(B, units * entries a unit)``."""
        whole = self.rows[:, :, None] * self.columns[:, None]
        return (whole if self.mask is None else whole * self.mask).flatten(1)

    def dot(self, other: Tensor) -> Tensor:
        """Return the inner product with entries that are zero where the mask is, ``(B,)``; none of its own is made.

        Args:
            other: ``(B, units * entries a unit)``.
        """
        seen = other.view(len(other), self.rows.shape[1], -1) @ self.columns[:, :, None]
        found: Tensor = torch.linalg.vecdot(seen.squeeze(2), self.rows)
        return found

    def square(self) -> Tensor:
        """Return the squared length, ``(B,)``."""
        rows, columns = self.rows.square(), self.columns.square()
        shared = columns.sum(1, keepdim=True) if self.mask is None else columns @ self.mask.T
        return (rows * shared).sum(1)


def gradients(shared: Shared, inputs: Tensor, labels: Tensor, *names: str, batch: int = 1) -> dict[str, Tensor]:
    """Return the gradient of each batch's mean loss by tensor, ``(M / batch, entries)``; withheld entries are zero.

    With ``z = W x + b`` the gradient of W is that of z times x, summed over places: one pass over all gives
    all batches their own, which vmap needs about three times the time for. Models with other layers than convolutions
    and linear ones that hold weights go through vmap.

    Args:
        shared: The model.
        inputs: ``(M, ...)``, M a multiple of ``batch``.
        labels: ``(M,)``, or ``(M, classes)`` as probabilities.
        names: Which tensors; all if none is named.
        batch: How many consecutive examples share one gradient.

    Raises:
        NotMeasurableError: No gradient of the weights can be had.
    """
    found = factored(shared, inputs, labels, *names, batch=batch)
    return {name: _dense(g) for name, g in found.items()}


def factored(
    shared: Shared, inputs: Tensor, labels: Tensor, *names: str, batch: int = 1
) -> dict[str, Tensor] | dict[str, Tensor | Outer]:
    """Return what `gradients` does, outer products as such: their entries are many, and most of the time.

    Args:
        shared: The model.
        inputs: As of `gradients`.
        labels: As of `gradients`.
        names: As of `gradients`.
        batch: As of `gradients`.

    Raises:
        NotMeasurableError: As of `gradients`.
    """
    wanted = set(names or shared.tensors)
    parts = _gradients.leaves(shared.model)
    layers = {n: p for n, p in parts.items() if isinstance(p, _Layer) and wanted & {*_gradients.tensor_names(n)}}
    known = {t for name in layers for t in _gradients.tensor_names(name)}
    if wanted <= known and not any(_odd(part) for part in layers.values()):
        mine = _by_layer(shared, layers, wanted, inputs, labels, batch)
        if mine is not None:
            return mine
    parted = [x.reshape(-1, batch, *x.shape[1:]) for x in (inputs, labels)]
    found = _together_or_in_turn(shared, parted, names)
    return {name: g.reshape(len(g), -1) for name, g in found.items()}


def _together_or_in_turn(shared: Shared, parted: list[Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the gradients of all batches by vmap, or one after the other of a model that vmap cannot run.

    Raises:
        NotMeasurableError: They cannot be had in turn either.
    """
    if not shared.scripted:  # a script does not see that its tensors were exchanged
        try:
            return torch.func.vmap(shared.gradient(*names))(*parted)
        except Exception:  # a choice that depends on data, or an operation without a rule for batches
            pass
    try:
        each = [shared.slopes(x, y, *names) for x, y in zip(*parted, strict=True)]
    except RuntimeError as error:
        raise NotMeasurableError(f"needs gradients of its weights: {in_short(error)}") from error
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def _by_layer(
    shared: Shared, layers: dict[str, _Layer], wanted: set[str], inputs: Tensor, labels: Tensor, batch: int
) -> dict[str, Tensor | Outer] | None:
    """Return the gradients, or None where a layer does not see every example, or is not called at all."""
    entered: list[tuple[str, Tensor]] = []
    left: list[Tensor] = []
    hooks = [hook for name, part in layers.items() for hook in _watch(name, part, entered, left)]
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _twice(layers.values()):
            logits = shared.model(inputs if inputs.requires_grad else inputs.detach().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    if any(len(x) != len(inputs) for _, x in entered):
        return None
    loss = functional.cross_entropy(logits / shared.louder, labels, reduction="sum") / batch
    slopes = torch.autograd.grad(loss, left, create_graph=inputs.requires_grad, materialize_grads=True)
    found: dict[str, Tensor | Outer] = {}
    for (name, x), slope in zip(entered, slopes if inputs.requires_grad else map(Tensor.detach, slopes), strict=True):
        x = x if inputs.requires_grad else x.detach()
        columns, rows = (placed.home(_together(part, batch)) for part in _places(layers[name], x, slope))
        for tensor, gradient in zip(_gradients.tensor_names(name), _of_layer(rows, columns), strict=True):
            if tensor in shared.tensors:
                mine = _masked(gradient, shared.masks.get(tensor))
                found[tensor] = _dense(found[tensor]) + _dense(mine) if tensor in found else mine
    return found if len(found) >= len(wanted) else None  # a weight is read without a call of its layer


class _Convolution(torch.autograd.Function):
    """A convolution with frozen weights, its slope written as the transposed one.

    Of its own slope torch also works out that of the weights when it is differentiated again, whether or not anybody
    asks: a seventh of the time of an inversion.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, part: nn.Conv2d) -> Tensor:  # noqa: ANN401 - torch's own
        ctx.part, ctx.sides = part, x.shape[2:]
        return functional.conv2d(x, part.weight, part.bias, part.stride, part.padding, part.dilation)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own
        part, pairs = ctx.part, zip(ctx.sides, slope.shape[2:], strict=True)
        reach = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(part.dilation, part.kernel_size, part.padding, strict=True)]
        left = [
            side - (there - 1) * step - far for (side, there), step, far in zip(pairs, part.stride, reach, strict=True)
        ]
        back = functional.conv_transpose2d(
            slope, part.weight, None, part.stride, part.padding, left, part.groups, part.dilation
        )
        return back, None


@contextmanager
def _twice(layers: Iterable[_Layer]) -> Generator[None]:
    """Let plain convolutions be differentiated twice at the cost of what is asked of them."""
    plain = [part for part in layers if type(part) is nn.Conv2d and not _odd(part) and not part.weight.requires_grad]
    for part in plain:
        vars(part)["_conv_forward"] = _convolving(part)
    try:
        yield
    finally:
        for part in plain:
            del vars(part)["_conv_forward"]


def _convolving(part: nn.Conv2d) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        del weight, bias
        found: Tensor = _Convolution.apply(x, part)  # type: ignore[no-untyped-call] # torch's own
        return found

    return forward


def _of_layer(rows: Tensor, columns: Tensor) -> tuple[Tensor | Outer, Tensor]:
    if columns.shape[2] == 1:
        return Outer(rows.squeeze(2), columns.squeeze(2), None), rows.squeeze(2)
    return (rows @ columns.transpose(1, 2)).flatten(1), rows.sum(2)


def _masked(gradient: Tensor | Outer, mask: Tensor | None) -> Tensor | Outer:
    if mask is None:
        return gradient
    return gradient._replace(mask=mask.flatten(1)) if isinstance(gradient, Outer) else gradient * mask.flatten()


def _dense(gradient: Tensor | Outer) -> Tensor:
    return gradient.dense() if isinstance(gradient, Outer) else gradient


def _together(places: Tensor, batch: int) -> Tensor:
    """Return the places of all examples of a batch side by side, ``(M / batch, entries, batch * places)``."""
    return places.view(-1, batch, *places.shape[1:]).transpose(1, 2).flatten(2) if batch > 1 else places


def _watch(
    name: str, part: _Layer, entered: list[tuple[str, Tensor]], left: list[Tensor]
) -> tuple[RemovableHandle, RemovableHandle]:
    def before(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        entered.append((name, given[0]))

    def rounded(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        del given
        entered.append((name, output))

    def after(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del given
        left.append(output)
        return output.clone()  # What follows may work in place.

    entering = (
        part.round_input.register_forward_hook(rounded)
        if isinstance(part, Quantized)
        else part.register_forward_pre_hook(before)
    )
    return entering, part.register_forward_hook(after)


def _places(part: _Layer, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the weights see at each place ``(M, entries a unit, places)``, and slopes ``(M, units, places)``."""
    if isinstance(part, nn.Linear) or (isinstance(part, Quantized) and part.like == "Linear"):
        return x.reshape(len(x), -1, x.shape[-1]).mT, slope.reshape(len(slope), -1, slope.shape[-1]).mT
    o = part.options if isinstance(part, Quantized) else options_of(part)
    return functional.unfold(x, part.weight.shape[2:], o.dilation, o.padding, o.stride), slope.flatten(2)


def _odd(part: _Layer) -> bool:
    """Return whether a layer is of a kind that only vmap takes: grouped, or padded with other than zeros."""
    if isinstance(part, nn.Conv2d):
        return part.groups > 1 or part.padding_mode != "zeros" or isinstance(part.padding, str)
    return isinstance(part, Quantized) and part.options.groups > 1
