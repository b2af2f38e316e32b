"""A model under audit, and what it lets one see: predicts, differentiates, opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from whatelse.errors import NotMeasurableError
from whatelse.layers.compressed import CompressedLayer
from whatelse.models.activations import entering, entrance
from whatelse.models.asked import BATCHED, LAID, Asked, asked, elsewhere
from whatelse.models.asked import floating as floating
from whatelse.models.surrogate import surrogate, unrounded
from whatelse.modules.lent import alike, quietly, rest, tried

CAPABILITIES = ("predicts", "differentiates", "opens")
# Sound gradients agree to 0.999; a kernel without any, in a branch of a tenth of the stream, to 0.99.
_SOUND = 0.99
_EQUAL = 1e-4  # of outputs, relative to the largest
_MIXED = 0.05  # likewise: beyond it a batch does more than round
_ROUNDED = 0.1  # likewise: what the few digits of bfloat16 leave of an answer, also where autocast takes them
_OWN = 0.9  # cosine of gradients in the model's own precision with those in double: few digits cost little of it


@dataclass(frozen=True, eq=False)
class Subject:
    """A live module under audit, its parameters frozen.

    Attributes:
        name: How messages call it.
        model: The module, in evaluation mode.
        key: What made it; results are found again by it.
        offers: The capabilities that it has, out of `CAPABILITIES`.
        straight_through: True where rounding in the model passes its gradient straight through, so that
            gradients are those of a surrogate and cannot agree with finite differences.
        remarks: How its answers were read where that is not plain; printed beside every verdict.
        entrance: Name of the embedding at which the gradients of texts begin; empty where inputs are no texts.
        surrogate: A module with equal outputs that has the gradients which the model's kernels drop; None where the
            model's own are sound, or no such module is known.
        alone: True where an answer depends on what else is in the batch, so that examples are asked one at a time.
        mixes: True where it does so no more than by rounding, as where a kernel of few bits takes its scale from the
            batch: examples are asked many at once, as whoever runs such a model does.
        channels_last: True where images may lie in memory with their channels last: it answers alike, and is faster.
        runs: The module as it was handed over, where `model` asks one inside it; None where they are the same.
    """

    name: str
    model: nn.Module
    key: str
    offers: frozenset[str]
    straight_through: bool = False
    remarks: tuple[str, ...] = ()
    entrance: str = ""
    surrogate: nn.Module | None = None
    alone: bool = False
    mixes: bool = False
    channels_last: bool = False
    runs: nn.Module | None = None

    @property
    def inside(self) -> nn.Module:
        """The module that was handed over, without what asks it and reads its answers: its layers, by their names."""
        return self.model.model if isinstance(self.model, Asked) else self.model

    @property
    def least(self) -> int:
        """Fewest examples that are asked at once."""
        return self.model.manner.least if isinstance(self.model, Asked) else 1

    def require(self, *needs: str) -> None:
        """Refuse a question that this subject cannot answer.

        Args:
            needs: Capabilities, out of `CAPABILITIES`.

        Raises:
            NotMeasurableError: The subject lacks one of them; the message names it.
        """
        for need in needs:
            if need not in self.offers:
                has = ", ".join(c for c in CAPABILITIES if c in self.offers)
                raise NotMeasurableError(f"needs a model that {need}; {self.name} only {has}")


def of(
    model: nn.Module,
    name: str,
    key: str,
    probe: Tensor,
    rng: torch.Generator,
    *,
    tokens: bool = False,
    classes: int = 0,
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

    Raises:
        TaskError: It takes no such inputs, or answers with something that holds no scores of so many classes.
    """
    rest(model)
    model, remarks, runs = _opened(model, name, probe, classes)
    alone, mixes, why = _alone(model, name, probe)
    own = [m for m in model.modules() if isinstance(m, CompressedLayer)]
    rounds, drops = any(m.straight_through for m in own), any(m.drops_gradients for m in own)
    few = probe[: 1 if alone else 4]
    way = entrance(model, few) if tokens else "" if probe.is_floating_point() else None
    sound = way is not None and not drops and (rounds or gradient_agreement(model, few, rng, enter=way) > _SOUND)
    stand_in, told = (None, "") if sound or way is None else _stand_in(model, name, probe, rng, way)
    slopes = sound or stand_in is not None
    return Subject(
        name,
        model,
        key,
        frozenset({"predicts", "opens"} | ({"differentiates"} if slopes else set())),
        straight_through=stand_in is not None or (sound and rounds),
        remarks=(*remarks, *why, told) if told else (*remarks, *why),
        entrance=way or "",
        surrogate=stand_in,
        alone=alone,
        mixes=mixes,
        channels_last=all(_channels_last(m, few, slopes=slopes) for m in (model, stand_in) if m is not None),
        runs=runs,
    )


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
def _alone(model: nn.Module, name: str, probe: Tensor) -> tuple[bool, bool, tuple[str, ...]]:
    """Say whether answers depend on the rest of the batch: beyond rounding, or by rounding; with a remark.

    A kernel that scales all its rows by the largest does so.
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
    if not (apart <= _EQUAL and sound > _SOUND):
        return None, ""
    told = f"kernels in {name} drop gradients: those of {found.layers} layers are taken straight through their rounding"
    return found.straight, f"{told}; its outputs on {len(probe)} examples are equal to {apart:.0e}"


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``log p_y - log (1 - p_y)`` of every example, ``(N,)``, stable at any scale of the logits.

    Args:
        logits: ``(N, classes)``.
        labels: The class ``y`` of every example, ``(N,)``.
    """
    mine = logits.gather(1, labels[:, None]).squeeze(1)
    rest = logits.scatter(1, labels[:, None], float("-inf"))
    return mine - rest.logsumexp(1)


def gradient_agreement(
    model: nn.Module, inputs: Tensor, rng: torch.Generator, step: float = 1e-5, *, enter: str = ""
) -> float:
    """Return the correlation of input gradients with central finite differences, in [-1, 1].

    Four random directions an example are compared for the log-odds margin of the predicted class: in double
    precision, with a step so short that few kinks lie in it; or with a thousand times the step in the model's own
    precision where it does not compute the same in that. A gradient that is missing counts as -1, as does one that in
    the model's own precision points elsewhere than in double.

    Args:
        model: Any classifier with frozen parameters.
        inputs: ``(N, ...)``.
        rng: Source of the directions.
        step: Length of the step on either side, in units of the input.
        enter: Name of the embedding whose gradients count, where inputs are token ids.
    """
    own = _slope(model, inputs, enter)
    if own is None:
        return -1.0
    wide = precise(model, inputs)
    if wide is None:
        return _agreement(model, inputs, own, 1000 * step, rng, enter)
    if isinstance(wide, Asked) and wide.coarse(inputs.double()):  # as under autocast, which no copy leaves
        step *= 1000
    found = _slope(wide, inputs.double(), enter)
    if found is None or _cosine(own.slope, found.slope) < _OWN:
        return -1.0
    return _agreement(wide, inputs.double(), found, step, rng, enter)


def precise(model: nn.Module, inputs: Tensor) -> nn.Module | None:
    """Return a copy that computes in double precision what the model does in its own; None where there is none such.

    Where activations are rounded, the last digits decide the step on which one comes to lie: both are compared without.

    Args:
        model: Any classifier that answers with class scores.
        inputs: Some that it is tried on, ``(N, ...)``.
    """

    def ask(asked: nn.Module) -> Tensor:
        found: Tensor = unrounded(asked)(inputs.to(floating(asked) or inputs.dtype))
        return found

    return tried(model, nn.Module.double, ask, _ROUNDED)


class _Slope(NamedTuple):
    """Where gradients begin, the class whose margin is differentiated, and the gradient."""

    start: Tensor
    labels: Tensor
    slope: Tensor


def _asking(model: nn.Module, inputs: Tensor, enter: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return a function from where gradients begin to class scores, and what stands there."""
    if not enter:
        return model, inputs
    with torch.no_grad(), entering(model, enter) as seen_there:
        model(inputs)

    def ask(vectors: Tensor) -> Tensor:
        with entering(model, enter, vectors):
            scores: Tensor = model(inputs)
            return scores

    return ask, seen_there[0]


def _slope(model: nn.Module, inputs: Tensor, enter: str) -> _Slope | None:
    """Return the gradient of the log-odds margin of the predicted class; None where there is none."""
    try:
        with quietly():  # torch warns of kernels without a gradient, which is what is looked for here
            ask, start = _asking(model, inputs, enter)
            start = start.detach().clone().requires_grad_()
            logits = ask(start)
            labels = logits.argmax(1)
            (slope,) = torch.autograd.grad(log_odds(logits, labels).sum(), start, allow_unused=True)
    except RuntimeError:  # nothing on the way requires a gradient, or a kernel says that it has none
        return None
    return None if slope is None else _Slope(start.detach(), labels, slope)


@torch.no_grad()
def _agreement(model: nn.Module, inputs: Tensor, found: _Slope, step: float, rng: torch.Generator, enter: str) -> float:
    ask, _ = _asking(model, inputs, enter)
    told, seen = [], []
    for _ in range(4):
        way = torch.randn(found.start.shape, generator=rng, dtype=torch.float64).to(found.start.dtype)
        ahead, behind = (log_odds(ask(found.start + s * step * way), found.labels) for s in (1, -1))
        told.append((found.slope * way).flatten(1).sum(1))
        seen.append((ahead - behind) / (2 * step))
    a, b = torch.cat(told), torch.cat(seen)
    if not bool(b.any()):
        return 1.0 if not bool(a.any()) else -1.0
    return _cosine(a, b)


def _cosine(one: Tensor, two: Tensor) -> float:
    one, two = one.double().flatten(), two.double().flatten()
    return 1.0 if torch.equal(one, two) else float(torch.nn.functional.cosine_similarity(one, two, dim=0))
