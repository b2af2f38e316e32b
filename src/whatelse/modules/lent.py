"""A model that belongs to someone else, lent: what is done to it is tried, compared, and has a way back."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from io import StringIO
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from whatelse.errors import NotMeasurableError, in_short
from whatelse.modules.programs import exported

# Warns of what torchao registers, whenever transformers imports it; torch's handlers hold the stream itself.
_REGISTRY = logging.getLogger("torch.utils._pytree")


class Guest(NamedTuple):
    """A model at rest: frozen, and in evaluation mode as far as it has one.

    Attributes:
        model: A copy, or the module itself where no copy stands on its own.
        remarks: What could not be done as usual.
        fixed: True where its mode could not be set.
    """

    model: nn.Module
    remarks: tuple[str, ...]
    fixed: bool


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy.

    A weight that is computed anew at every pass, as by a mask or a norm, is kept from the last one as a result with a
    gradient, which torch refuses to copy; the copy gets its value.

    Args:
        model: Any module.

    Raises:
        NotMeasurableError: It holds what cannot be copied.
    """
    held = [tensor for part in model.modules() for tensor in vars(part).values() if isinstance(tensor, Tensor)]
    try:
        # With gradients a copy of a script is a result of the original's tensors, and would pass them on.
        with torch.no_grad(), quietly():
            return deepcopy(model, {id(t): t.detach().clone() for t in held if not t.is_leaf})
    except Exception as error:  # whatever an attribute of a stranger's module raises
        raise NotMeasurableError(f"needs a copy of the model, which cannot be made: {in_short(error)}") from error


def skeleton(model: nn.Module) -> nn.Module:
    """Return a copy of the modules that shares all tensors, to be traced: some forwards keep what they are handed.

    Args:
        model: Any module.

    Raises:
        NotMeasurableError: It holds what cannot be copied.
    """
    held = [tensor for part in model.modules() for tensor in _tensors(part)]
    try:
        return deepcopy(model, {id(t): t for t in held})
    except Exception as error:  # whatever an attribute of a stranger's module raises
        raise NotMeasurableError(f"needs a copy of the model, which cannot be made: {in_short(error)}") from error


def _tensors(part: nn.Module) -> list[Tensor]:
    own = chain(part._parameters.values(), part._buffers.values(), vars(part).values())  # noqa: SLF001 - shared ones too
    return [t for t in own if isinstance(t, Tensor)]


def check_filled(model: nn.Module, name: str) -> None:
    """Refuse a model that has tensors without numbers: lazy layers before their first pass, or the meta device.

    Args:
        model: Any module.
        name: How the message calls it.

    Raises:
        NotMeasurableError: It has.
    """
    several = chain(model.named_parameters(), model.named_buffers())
    hollow = [called for called, tensor in several if is_lazy(tensor) or tensor.is_meta]
    if hollow:
        more = f" and {len(hollow) - 1} more" if len(hollow) > 1 else ""
        raise NotMeasurableError(
            f"{name} has parameters without numbers: {hollow[0]}{more}; load its weights, or pass a batch through its "
            "lazy layers, before it is handed over"
        )


def rest(model: nn.Module) -> str:
    """Freeze a model in place and set it into evaluation mode; return why its mode cannot be set, or nothing.

    Args:
        model: Changed in place, as far as it lets itself be.
    """
    why = ""
    try:
        model.eval()
    except Exception as error:  # whatever a stranger's module raises
        why = in_short(error)
    if exported(model):  # a copy of it lets eval() pass, which changes marks and no answer
        why = "it was written out when it was exported"
    if in_training(model):
        why = why or "eval() does not change it"
        if isinstance(model, fx.GraphModule):  # exported: its marks say nothing of what its graph does
            for part in model.modules():
                _set_mode(part, training=False)
    for parameter in model.parameters():
        if parameter.is_leaf:
            parameter.requires_grad_(False)  # noqa: FBT003 - a tensor has no name for it
    return why


def in_training(model: nn.Module) -> bool:
    """Return whether a module stands in training mode; one that has no mode does not.

    Args:
        model: Any module.
    """
    return bool(getattr(model, "training", False))  # a frozen script has none


@contextmanager
def quietly() -> Generator[None]:
    """Keep to itself what is printed and warned of where something is only tried: traced graphs print their errors."""
    before, _REGISTRY.disabled = _REGISTRY.disabled, True
    try:
        with redirect_stderr(StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        _REGISTRY.disabled = before


@contextmanager
def resting(model: nn.Module, name: str, probe: Tensor) -> Generator[Guest]:
    """Lend a model at rest: a copy; or itself, set back at the end as it was, where no copy stands on its own.

    A copy does not stand on its own where a function that it holds still calls the parts of the original.

    Args:
        model: Any module; its modes, buffers and which of its tensors require gradients are the same afterwards.
        name: How remarks call it.
        probe: Some inputs, ``(N, ...)``, to see whether the copy reaches back.

    Yields:
        The model, with remarks.

    Raises:
        NotMeasurableError: It has tensors without numbers.
    """
    check_filled(model, name)
    try:
        own, why = copied(model), ""
        told = rest(own)
        if _reaches(own, model, probe):
            why = "a copy of it would still call its parts"
    except NotMeasurableError as error:
        why = str(error)
    if not why:
        yield Guest(own, _mode(name, told), bool(told))
        return
    back = _way_back(model)
    try:
        told = rest(model)
        itself = f"{name} is measured itself and set back at the end, not a copy: {why}"
        yield Guest(model, (*_mode(name, told), itself), bool(told))
    finally:
        back()


def tried(
    model: nn.Module, change: Callable[[nn.Module], object], ask: Callable[[nn.Module], Tensor], close: float
) -> nn.Module | None:
    """Return a copy that was changed and answers as the model does; None where that cannot be had.

    Args:
        model: Left as it is.
        change: Works in place on the copy.
        ask: Returns the answers of a module, in the precision in which it is to be compared.
        close: How far answers may lie apart, relative to the largest.
    """
    try:
        with torch.no_grad(), quietly():
            made = copied(model)
            change(made)
            return made if alike(ask(model), ask(made), close) else None
    except Exception:  # whatever a module, or a kernel of few bits, raises at the change
        return None


def alike(one: Tensor, two: Tensor, close: float) -> bool:
    """Return whether two answers are equal up to rounding; what is not a number must be so in both.

    Args:
        one: Any shape.
        two: The same shape.
        close: How far they may lie apart, relative to the largest entry of the first that is finite.
    """
    if one.shape != two.shape:
        return False
    largest = float(one.abs().nan_to_num(0, 0, 0).max()) if one.numel() else 0.0
    return torch.allclose(two.double(), one.double(), rtol=0, atol=close * max(largest, 1e-12), equal_nan=True)


def _mode(name: str, why: str) -> tuple[str, ...]:
    return (f"{name} has a fixed mode, and is measured in it: {why}",) if why else ()


def _set_mode(part: nn.Module, *, training: bool) -> None:
    if in_training(part) != training:
        part.training = training


def _reaches(own: nn.Module, model: nn.Module, probe: Tensor) -> bool:
    """Return whether a part of the original is called when its copy is asked."""
    called: list[nn.Module] = []
    hooks = []
    try:
        for part in model.modules():
            if not isinstance(part, torch.jit.ScriptModule):  # takes no hooks, and holds no functions of Python
                hooks.append(part.register_forward_pre_hook(lambda module, _: called.append(module)))
        with torch.no_grad(), quietly():
            own(probe[:1].clone())
    except Exception:  # whether it can be asked so at all is seen later, and said
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return bool(called)


def _way_back(model: nn.Module) -> Callable[[], None]:
    """Return what sets modes, gradients and buffers of a module back to what they are now."""
    modes = [(part, in_training(part)) for part in model.modules()]
    wanted = [(p, p.requires_grad) for p in model.parameters() if p.is_leaf]
    held = [(b, b.detach().clone()) for b in model.buffers()]

    def back() -> None:
        for part, training in modes:
            _set_mode(part, training=training)
        for parameter, wants in wanted:
            parameter.requires_grad_(wants)
        with torch.no_grad():
            for buffer, then in held:
                if not torch.equal(buffer, then):
                    buffer.copy_(then)

    return back
