"""Gradients of each example's or each batch's own loss: can be differentiated again, and are quick on a CPU."""

from __future__ import annotations

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
) -> dict[str, Tensor] | None:
    """Return the gradients, or None where a layer does not see every example, or is not called at all."""
    entered: list[tuple[str, Tensor]] = []
    left: list[Tensor] = []
    hooks = [hook for name, part in layers.items() for hook in _watch(name, part, entered, left)]
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            logits = shared.model(inputs if inputs.requires_grad else inputs.detach().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    if any(len(x) != len(inputs) for _, x in entered):
        return None
    loss = functional.cross_entropy(logits / shared.louder, labels, reduction="sum") / batch
    slopes = torch.autograd.grad(loss, left, create_graph=inputs.requires_grad, materialize_grads=True)
    found: dict[str, Tensor] = {}
    for (name, x), slope in zip(entered, slopes, strict=True):
        columns, rows = (_together(part, batch) for part in _places(layers[name], x, slope))
        both = (rows @ columns.transpose(1, 2), rows.sum(2))
        for tensor, gradient in zip(_gradients.tensor_names(name), both, strict=True):
            if tensor in shared.tensors:
                flat = placed.home(gradient.flatten(1))
                flat = flat * shared.masks[tensor].flatten() if tensor in shared.masks else flat
                found[tensor] = found[tensor] + flat if tensor in found else flat
    if len(found) < len(wanted):  # a weight is read without a call of its layer
        return None
    return found if inputs.requires_grad else {name: g.detach() for name, g in found.items()}


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
