"""A model under audit, and what it lets one see: predicts, differentiates, opens."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import NotMeasurableError, TaskError
from whatelse.hooks import entering, entrance
from whatelse.layers._own import Own
from whatelse.layers._straight import surrogate

CAPABILITIES = ("predicts", "differentiates", "opens")
# Sound gradients agree to 0.999; a kernel without any, in a branch of a tenth of the stream, to 0.99.
_SOUND = 0.99
_EQUAL = 1e-4  # of outputs, relative to the largest
_BATCHED = 2e-3  # likewise: more than kernels for other sizes round otherwise


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

    A module that answers with a tuple, a mapping or probabilities is wrapped, so that its answers are class scores.

    Args:
        model: Any classifier, ``(N, ...)`` to ``(N, classes)``.
        name: How messages call it.
        key: What made it.
        probe: Some inputs, ``(N, ...)``: what the model answers with, and, on four of them, whether gradients lie.
        rng: Source of the directions.
        tokens: True where inputs are token ids.
        classes: Number of classes that answers must have; 0 where it is not known.

    Raises:
        TaskError: It answers with something that holds no scores of so many classes.
    """
    model.eval()
    model.requires_grad_(requires_grad=False)
    model, remarks = _scoring(model, name, probe, classes)
    few = probe[:4]
    alone, told = _alone(model, name, probe)
    remarks = (*remarks, *told)
    own = [m for m in model.modules() if isinstance(m, Own)]
    rounds, drops = any(m.straight_through for m in own), any(m.drops_gradients for m in own)
    offers = {"predicts", "opens"}
    way = entrance(model, few) if tokens else "" if few.is_floating_point() else None
    if way is not None and not drops and (rounds or gradient_agreement(model, few, rng, enter=way) > _SOUND):
        return Subject(name, model, key, frozenset(offers | {"differentiates"}), rounds, remarks, way, alone=alone)
    stand_in, why = (None, "") if way is None else _stand_in(model, name, probe, rng, way)
    offers |= {"differentiates"} if stand_in is not None else set()
    remarks = (*remarks, why) if why else remarks
    return Subject(name, model, key, frozenset(offers), stand_in is not None, remarks, way or "", stand_in, alone)


@torch.no_grad()
def _alone(model: nn.Module, name: str, probe: Tensor) -> tuple[bool, tuple[str, ...]]:
    """Say whether answers depend on the rest of the batch, as where a kernel scales all its rows by the largest."""
    together = model(probe)
    apart = torch.cat([model(probe[i : i + 1]) for i in range(min(4, len(probe)))])
    off = float((together[: len(apart)] - apart).abs().max() / together.abs().max().clamp(min=1e-12))
    if not off > _BATCHED:
        return False, ()
    return True, (f"answers of {name} depend on the rest of the batch (by {off:.1g}): asked one example at a time",)


def _stand_in(
    model: nn.Module, name: str, probe: Tensor, rng: torch.Generator, enter: str
) -> tuple[nn.Module | None, str]:
    """Return a module proven to answer as the model does that has gradients, and a remark on it."""
    found = surrogate(model)
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


class Scoring(nn.Module):
    """A classifier whose answers are read as class scores: out of a tuple or a mapping, or as log-probabilities.

    Attributes:
        model: The module that answers.
        read: Takes its answer, returns scores ``(N, classes)``.
    """

    def __init__(self, model: nn.Module, read: Callable[[object], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``.

        Args:
            x: ``(N, ...)``.
        """
        return self.read(self.model(x))


def _scoring(model: nn.Module, name: str, probe: Tensor, classes: int) -> tuple[nn.Module, tuple[str, ...]]:
    with torch.no_grad():
        answer = model(probe)
    scores = _found(answer, name, classes)
    remarks = []
    if scores is not answer:
        remarks.append(f"{name} answers with a {type(answer).__name__}: its class scores were taken")
    normal, sharp = _normalized(scores)
    if normal:
        remarks.append(f"{name} answers with probabilities: their logarithms were taken as class scores")
    if sharp:
        remarks.append(f"{name} answers with 0 and 1 alone, taken as class scores: its confidences mean nothing")
    if scores is answer and not normal:
        return model, tuple(remarks)
    tiny = torch.finfo(scores.dtype).tiny

    def read(answer: object) -> Tensor:
        found = _found(answer, name, classes)
        return found.clamp(min=tiny).log() if normal else found

    return Scoring(model, read), tuple(remarks)


def _found(answer: object, name: str, classes: int) -> Tensor:
    """Return the class scores in an answer: the tensor itself, ``logits`` of a mapping, the one matrix that fits.

    Raises:
        TaskError: There is none, or more than one.
    """
    held: list[object] = [answer]
    if isinstance(answer, Mapping):
        held = [answer["logits"]] if "logits" in answer else list(answer.values())
    elif isinstance(answer, (tuple, list)):
        held = list(answer)
    matrices = [h for h in held if isinstance(h, Tensor) and h.dim() == 2 and h.is_floating_point()]
    fit = [m for m in matrices if not classes or m.shape[1] == classes]
    if len(fit) == 1 and fit[0].shape[1] > 1:
        return fit[0]
    kind = f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
    need = f"(N, {classes})" if classes else "(N, classes), two classes or more"
    raise TaskError(
        f"{name} answers with {kind}, which holds {len(fit)} matrices that could be class scores; one of {need} is "
        "needed, alone, in a tuple, or as 'logits' of a mapping"
    )


def _normalized(scores: Tensor) -> tuple[bool, bool]:
    """Say whether rows are distributions over classes; and whether they are of 0 and 1 alone: decisions, or by hand."""
    inside = bool(((scores >= 0) & (scores <= 1)).all())
    near = 1e-4 if scores.dtype in {torch.float32, torch.float64} else 2e-2
    whole = inside and bool((scores.float().sum(1) - 1).abs().max() < near)
    sharp = bool(((scores == 0) | (scores == 1)).all())
    return whole and not sharp, whole and sharp


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
    precision where it cannot compute in that. A gradient that is missing counts as -1.

    Args:
        model: Any classifier with frozen parameters.
        inputs: ``(N, ...)``.
        rng: Source of the directions.
        step: Length of the step on either side, in units of the input.
        enter: Name of the embedding whose gradients count, where inputs are token ids.
    """
    model, inputs, step = _precise(model, inputs, step)
    ask: Callable[[Tensor], Tensor] = model
    if enter:
        ids = inputs
        with torch.no_grad(), entering(model, enter) as seen_there:
            model(ids)
        inputs = seen_there[0]

        def ask(vectors: Tensor) -> Tensor:
            with entering(model, enter, vectors):
                scores: Tensor = model(ids)
                return scores

    start = inputs.detach().requires_grad_()
    logits = ask(start)
    labels = logits.argmax(1)
    if not logits.requires_grad:
        return -1.0
    with warnings.catch_warnings():  # torch warns of kernels without a gradient, which is what is looked for here
        warnings.filterwarnings("ignore", message=".*autograd kernel was not registered")
        (slope,) = torch.autograd.grad(log_odds(logits, labels).sum(), start, allow_unused=True)
    if slope is None:
        return -1.0
    told, seen = [], []
    with torch.no_grad():
        for _ in range(4):
            way = torch.randn(inputs.shape, generator=rng, dtype=torch.float64).to(inputs.dtype)
            ahead, behind = (log_odds(ask(start + s * step * way), labels) for s in (1, -1))
            told.append((slope * way).flatten(1).sum(1))
            seen.append((ahead - behind) / (2 * step))
    a, b = torch.cat(told), torch.cat(seen)
    if not bool(b.any()):
        return 1.0 if not bool(a.any()) else -1.0
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _precise(model: nn.Module, inputs: Tensor, step: float) -> tuple[nn.Module, Tensor, float]:
    """Return model, inputs and step in double precision if the model can compute in it, else as it can."""
    wide = deepcopy(model).double()
    try:
        with torch.no_grad():
            wide(inputs.double())
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):  # kernels of few bits take their own types
        return model, inputs, 1000 * step
    return wide, inputs.double(), step
