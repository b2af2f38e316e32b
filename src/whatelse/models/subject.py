"""A torch module under audit: how it is best asked, and whether its gradients are true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from whatelse.errors import NotMeasurableError
from whatelse.layers.compressed import CompressedLayer
from whatelse.models.activations import entering, entrance
from whatelse.models.asked import BATCHED, LAID, Asked, asked, elsewhere
from whatelse.models.asked import floating as floating
from whatelse.models.model import CAPABILITIES as CAPABILITIES
from whatelse.models.model import Model
from whatelse.models.placed import Placed
from whatelse.models.preparation import Prepared
from whatelse.models.slopes import gradient_agreement
from whatelse.models.slopes import log_odds as log_odds
from whatelse.models.slopes import precise as precise
from whatelse.models.surrogate import surrogate
from whatelse.modules.lent import alike, quietly, rest

# Sound gradients agree to 0.999; a kernel without any, in a branch of a tenth of the stream, to 0.99.
SOUND = 0.99
_EQUAL = 1e-4  # of outputs, relative to the largest
_MIXED = 0.05  # likewise: beyond it a batch does more than round


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject(Model):
    """A live module under audit, its parameters frozen: it predicts, opens, and differentiates unless that was refuted.

    Attributes:
        model: The module, in evaluation mode.
        straight_through: True where rounding in the model passes its gradient straight through, so that
            gradients are those of a surrogate and cannot agree with finite differences.
        entrance: Name of the embedding at which the gradients of texts begin; empty where inputs are no texts.
        surrogate: A module with equal outputs that has the gradients which the model's kernels drop; None where the
            model's own are sound, or no such module is known.
        runs: The module as it was handed over, where `model` asks one inside it; None where they are the same.
    """

    model: nn.Module = field(kw_only=False)
    straight_through: bool = False
    entrance: str = ""
    surrogate: nn.Module | None = None
    runs: nn.Module | None = None

    @property
    def source(self) -> Subject:
        """What is asked by way of the protocols: the subject itself."""
        return self

    @property
    def module(self) -> nn.Module:
        """The module that answers."""
        return self.model

    @property
    def inside(self) -> nn.Module:
        """The module that was handed over, without what asks it and reads its answers: its layers, by their names."""
        inner = self.model
        while isinstance(inner, (Asked, Placed, Prepared)):
            inner = inner.model
        return inner

    @property
    def elsewhere(self) -> bool:
        """Whether it computes on another device than this processor."""
        return any(isinstance(part, Placed) for part in self.model.modules())

    @property
    def slopes(self) -> nn.Module:
        """The module that gradients are taken of: the model, or where its kernels drop them its surrogate."""
        return self.surrogate or self.model

    @property
    def least(self) -> int:
        """Fewest examples that are asked at once."""
        return self.model.manner.least if isinstance(self.model, Asked) else 1

    @torch.no_grad()
    def scores(self, inputs: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``.

        Args:
            inputs: ``(N, ...)``.
        """
        found: Tensor = self.model(inputs)
        return found

    def gradient(self, inputs: Tensor, labels: Tensor, scale: float = 1.0) -> Tensor:
        """Return the gradient of the log-odds margin, ``(N, ...)``; of texts, of their embedding.

        Args:
            inputs: ``(N, ...)``.
            labels: The class whose margin is differentiated, ``(N,)``.
            scale: What class scores are divided by.
        """
        if self.entrance:
            with entering(self.slopes, self.entrance) as seen:
                logits = self.slopes(inputs)
                (slope,) = torch.autograd.grad(log_odds(logits / scale, labels).sum(), seen[0])
                return slope
        start = inputs.detach().requires_grad_()
        logits = self.slopes(start)
        (slope,) = torch.autograd.grad(log_odds(logits / scale, labels).sum(), start)
        return slope


def of(
    model: nn.Module,
    name: str,
    key: str,
    probe: Tensor,
    rng: torch.Generator,
    *,
    tokens: bool = False,
    classes: int = 0,
    device: str = "",
) -> Subject:
    """Return the subject of a module, with the capabilities that it really has.

    A module whose input gradient disagrees with finite differences of its log-odds margin is one that only
    predicts: kernels that drop gradients in silence would pass for robust. So is one that holds a layer known to
    drop them, as beside a residual path those of a weak layer are hardly missed. Else a module that holds a layer
    known to pass gradients straight through its rounding is kept. Of texts, gradients are those of the embedding.

    Where kernels that are known drop gradients, a surrogate gives them: kept only if it answers the probe as the model
    does and the rest of the model passes the check of finite differences.

    A module that takes inputs of another type, or answers otherwise than with class scores, is wrapped by `asked`.
    Whatever only serves the measuring (another order of memory, double precision, a copy) is tried first and left out
    where anything differs.

    Args:
        model: Any classifier, ``(N, ...)`` to ``(N, classes)``; it is frozen and set into evaluation mode in place.
        name: How messages call it.
        key: What made it.
        probe: Some inputs, ``(N, ...)``: what the model answers with, and, on four of them, whether gradients lie.
        rng: Source of the directions.
        tokens: True where inputs are token ids.
        classes: Number of classes that answers must have; 0 where it is not known.
        device: Where it computes; empty for where it is.

    Raises:
        TaskError: It takes no such inputs, or answers with something that holds no scores of so many classes.
    """
    rest(model)
    model, remarks, runs = _opened(model, name, probe, classes)
    if device:
        model, runs = _there(model, device), None if runs is None else _there(runs, device)
    alone, mixes, why = by_batch(model, name, probe)
    own = [m for m in model.modules() if isinstance(m, CompressedLayer)]
    rounds, drops = any(m.straight_through for m in own), any(m.drops_gradients for m in own)
    few = probe[: 1 if alone else 4]
    way = entrance(model, few) if tokens else "" if probe.is_floating_point() else None
    sound = way is not None and not drops and (rounds or gradient_agreement(model, few, rng, enter=way) > SOUND)
    stand_in, told = (None, "") if sound or way is None else _stand_in(model, name, probe, rng, way)
    slopes = sound or stand_in is not None
    return Subject(
        name,
        model,
        key,
        without=frozenset() if slopes else frozenset({"differentiates"}),
        straight_through=stand_in is not None or (sound and rounds),
        remarks=(*remarks, *why, told) if told else (*remarks, *why),
        entrance=way or "",
        surrogate=stand_in,
        alone=alone,
        mixes=mixes,
        channels_last=all(_channels_last(m, few, slopes=slopes) for m in (model, stand_in) if m is not None),
        runs=runs,
    )


def _there(model: nn.Module, device: str) -> nn.Module:
    """Return a model that computes on a device: what asks it and reads its answers stays here."""
    if not isinstance(model, Asked):
        return Placed(model, device)
    model.model = Placed(model.model, device)
    return model


def _opened(
    model: nn.Module, name: str, probe: Tensor, classes: int
) -> tuple[nn.Module, tuple[str, ...], nn.Module | None]:
    """Return what is asked, remarks, and what is run in its place by its owner.

    Of a module that only says how another one runs, compiled or in parallel, that one is asked: its layers can be
    watched, and a function compiled before they were is not.
    """
    whole, told = asked(model, name, probe, classes)
    parts = dict(model.named_children())
    inner = parts.get("module") if isinstance(model, nn.DataParallel) else parts.get("_orig_mod")
    if inner is None:
        return whole, told, None
    rest(inner)
    within, more = asked(inner, name, probe, classes)
    with torch.no_grad():
        if not alike(whole(probe[:4]), within(probe[:4]), _EQUAL):
            return whole, told, None
    kind = type(model).__name__
    return within, (*more, f"{name} is a {kind}: asked is the module inside it, which answers alike"), whole


@torch.no_grad()
def _channels_last(model: nn.Module, few: Tensor, *, slopes: bool) -> bool:
    """Return whether a model answers alike, and has the same gradients, where images lie with their channels last."""
    if few.dim() != 4 or (isinstance(model, Asked) and model.manner.plain):
        return False

    def slope(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(model(x).logsumexp(1).sum(), x)
        return found

    try:
        with quietly():
            return alike(model(few), model(elsewhere(few)), LAID) and (
                not slopes or alike(slope(few.contiguous()), slope(elsewhere(few)), LAID)
            )
    except Exception:  # a view of a tensor that lies otherwise, on the way back
        return False


@torch.no_grad()
def by_batch(model: Callable[[Tensor], Tensor], name: str, probe: Tensor) -> tuple[bool, bool, tuple[str, ...]]:
    """Say whether answers depend on the rest of the batch: beyond rounding, or by rounding; with a remark.

    A kernel that scales all its rows by the largest does so.

    Args:
        model: From inputs to class scores.
        name: How messages call it.
        probe: Some inputs, ``(N, ...)``.
    """
    together, apart = model(probe), torch.cat([model(probe[i : i + 1]) for i in range(min(4, len(probe)))])
    off = float((together[: len(apart)] - apart).abs().max() / together.abs().max().clamp(min=1e-12))
    if not off > BATCHED:
        return False, False, ()
    told = f"answers of {name} depend on the rest of the batch (by {off:.1g})"
    if off > _MIXED:
        return True, False, (f"{told}: asked one example at a time",)
    return False, True, (f"{told}, as its rounding does: asked in batches as large as may be",)


def _stand_in(
    model: nn.Module, name: str, probe: Tensor, rng: torch.Generator, enter: str
) -> tuple[nn.Module | None, str]:
    """Return a module proven to answer as the model does that has gradients, and a remark on it."""
    try:
        found = surrogate(model)
    except NotMeasurableError:  # no copy can be made
        return None, ""
    if found is None:
        return None, ""
    with torch.no_grad():
        own, theirs = model(probe), found.straight(probe)
    apart = float((own - theirs).abs().max() / own.abs().max().clamp(min=1e-12))
    sound = gradient_agreement(found.smooth, probe[:4], rng, enter=enter)
    if not (apart <= _EQUAL and sound > SOUND):
        return None, ""
    told = f"kernels in {name} drop gradients: those of {found.layers} layers are taken straight through their rounding"
    return found.straight, f"{told}; its outputs on {len(probe)} examples are equal to {apart:.0e}"
