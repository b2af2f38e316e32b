"""What a participant of distributed training shares of one example: gradients of weights, and which it withholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from whatelse.answer import Doubt
from whatelse.errors import NotMeasurableError
from whatelse.evidence import loudness
from whatelse.evidence.cache import Evidence
from whatelse.layers.compressed import CompressedLayer
from whatelse.layers.quantized import Quantized
from whatelse.models import placed
from whatelse.models.subject import precise
from whatelse.models.surrogate import unrounded

_TRIED = 4  # examples on which double precision is held against the model's own

_SILENT = 0.05  # share of gradients that may be exactly zero


@dataclass(frozen=True, eq=False)
class Shared:
    """A model in double precision and the tensors whose gradients are shared.

    Double precision, so that rounding of the tiny gradients of a converged model does not pass for protection.

    Attributes:
        model: A copy of the module.
        tensors: Weights and biases by name; those of quantized layers are the dequantized ones, whose gradient passes
            straight through the rounding.
        masks: 1 where a weight is not zero and 0 where it is pruned, by name, for weights with zeros: a pruned one is
            not trained and its gradient not shared. Vectors (biases, norms) are shared whole, and so are quantized
            weights: one that rounds to zero is trained on, and cannot be told from one pruned before.
        louder: How many times louder than the baseline's the class scores are, by which they are divided: who sends the
            model to be trained may scale its scores, and would not let a factor in front of them hide the gradient.
    """

    model: nn.Module
    tensors: dict[str, Tensor]
    masks: dict[str, Tensor]
    louder: float = 1.0

    def gradient(self, *names: str) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
        """Return a function from a batch ``(B, ...)`` and its labels ``(B,)`` to the gradients of its mean loss.

        Withheld entries are zero. The loss is the cross-entropy.

        Args:
            names: Which tensors; all if none is named.
        """
        chosen = {name: self.tensors[name] for name in names or self.tensors}

        def loss(tensors: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
            with sdpa_kernel(SDPBackend.MATH):  # other kernels of attention cannot be differentiated twice
                logits = torch.func.functional_call(self.model, tensors, (inputs,))
            return functional.cross_entropy(logits / self.louder, labels)

        def gradient(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
            found = torch.func.grad(loss)(chosen, inputs, labels)
            return self._sent(found.items())

        return gradient

    @property
    def scripted(self) -> bool:
        """Whether some of it is a script, whose tensors cannot be exchanged for others."""
        return any(isinstance(part, torch.jit.ScriptModule) for part in self.model.modules())

    def slopes(self, inputs: Tensor, labels: Tensor, *names: str) -> dict[str, Tensor]:
        """Return the gradients of the mean loss of one batch, which can be differentiated again if the inputs can.

        Args:
            inputs: ``(B, ...)``.
            labels: ``(B,)``, or ``(B, classes)`` as probabilities.
            names: Which tensors; all if none is named.
        """
        own = dict(self.model.named_parameters())
        chosen = {name: own.get(name, self.tensors[name]).requires_grad_() for name in names or self.tensors}
        others = {name: t for name, t in chosen.items() if name not in own}
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            logits = torch.func.functional_call(self.model, others, (inputs,)) if others else self.model(inputs)
            loss = functional.cross_entropy(logits, labels)
            slopes = torch.autograd.grad(
                loss, list(chosen.values()), create_graph=inputs.requires_grad, materialize_grads=True
            )
        return self._sent(zip(chosen, slopes, strict=True))

    def _sent(self, found: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """Return gradients without what is withheld, where whoever receives them computes."""
        home = {name: placed.home(g) for name, g in found}
        return {name: g * self.masks[name] if name in self.masks else g for name, g in home.items()}

    def unrounded(self) -> Shared:
        """Return the same tensors in a model that leaves its activations as they are: for guesses of the gradient.

        Whoever knows the rounding leaves it out: as a function of the input it is stairs, and to go down along slopes
        that pass straight through it ends too early.
        """
        return Shared(unrounded(self.model), self.tensors, self.masks, self.louder)


def shared(evidence: Evidence, model: nn.Module | None = None, louder: float | None = None) -> Shared:
    """Return the model of some evidence with the tensors whose gradients it would share.

    Args:
        evidence: Of the model; it is copied, not changed.
        model: At another moment of its training, in place of the evidence's own.
        louder: How many times louder it is than the baseline then.

    Raises:
        NotMeasurableError: The subject does not open, does not compute in double precision, has no weights, or has some
            without a gradient.
    """
    evidence.subject.require("opens", "differentiates")
    if evidence.opened.surrogate is not None:  # its kernels' weights have none: to leave them out would pass for safe
        raise NotMeasurableError("needs weights that have gradients; those in kernels of few bits have none")
    model = precise(evidence.model if model is None else model, evidence.split("test").inputs[:_TRIED])
    if model is None:  # in its own precision, rounding would pass for protection
        raise NotMeasurableError(
            f"needs a copy of the model that computes in double precision; there is none of {evidence.subject.name}"
        )
    packed = next((type(p.data).__name__ for p in model.parameters() if type(p.data) is not Tensor), "")
    if packed:
        raise NotMeasurableError(f"needs weights that have gradients; those of type {packed} have none")
    tensors: dict[str, Tensor] = {}
    for prefix, part in model.named_modules():
        own = dict(part.named_parameters(recurse=False))
        if isinstance(part, Quantized):
            own = {"weight": part.weight} | ({} if part.bias is None else {"bias": part.bias})
        elif (
            isinstance(part, CompressedLayer) and part.weights() and not own
        ):  # to leave them out would pass for protection
            raise NotMeasurableError(f"needs weights that have gradients; those in {type(part).__name__} have none")
        tensors |= {f"{prefix}.{name}" if prefix else name: t.detach() for name, t in own.items()}
    if not tensors:
        raise NotMeasurableError(f"needs a model with weights; {evidence.subject.name} has none")
    pruned = {name: p != 0 for name, p in model.named_parameters() if p.dim() > 1 and bool((p == 0).any())}
    masks = {name: placed.home(kept.double()) for name, kept in pruned.items()}
    return Shared(model, tensors, masks, loudness.louder(evidence) if louder is None else louder)


def check_silent(norms: Tensor) -> tuple[Doubt, ...]:
    """Return a doubt where too many shared gradients are exactly zero: there is nothing to attack, nor to train on.

    Args:
        norms: Of the gradients, ``(batches,)``.
    """
    silent = int((norms == 0).sum())
    if silent <= _SILENT * len(norms):
        return ()
    told = f"no gradient: {silent} of {len(norms)} that are shared are exactly zero"
    return (Doubt(f"{told}: rounded or saturated scores only seem to protect", one_sided=True),)


def leaves(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers in order of declaration, by name; a quantized layer is one.

    Args:
        model: Any module.
    """
    rounding = {
        f"{name}.round_input".lstrip(".") for name, part in model.named_modules() if isinstance(part, Quantized)
    }
    return {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, Quantized) or not (list(part.children()) or name in rounding)
    }


def is_linear(part: nn.Module) -> bool:
    """Return whether a layer is a linear one, quantized or not.

    Args:
        part: A layer.
    """
    return isinstance(part, nn.Linear) or (isinstance(part, Quantized) and part.like == "Linear")


def tensor_names(layer: str) -> tuple[str, str]:
    """Return the names of a layer's weight and bias.

    Args:
        layer: Name of the layer; empty for the model itself.
    """
    prefix = f"{layer}." if layer else ""
    return f"{prefix}weight", f"{prefix}bias"
