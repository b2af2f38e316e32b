"""What was observed of one model on one task: each observation made once and shared by all behaviours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from whatelse.errors import NotMeasurableError
from whatelse.subject import Subject, log_odds
from whatelse.task import Split, Task


@dataclass
class Passes:
    """Examples that went forward and backward; with frozen parameters a backward costs about one forward."""

    forward: int = 0
    backward: int = 0


@dataclass(frozen=True, eq=False)
class References:
    """What shadow models, compressed by the same recipe, say of the records whose membership is in question.

    Attributes:
        logits: Of every shadow on every record, ``(K, P, classes)``.
        inside: Whether the record was among the shadow's members, ``(K, P)`` bool.
    """

    logits: Tensor
    inside: Tensor


class Keep(Protocol):
    """Where observations of a baseline are kept for the next process that asks."""

    def load(self, name: str) -> dict[str, Tensor] | None:
        """Return the tensors kept under a name, or None."""

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name."""


@dataclass(eq=False)
class Evidence:
    """Observations of one subject on one task, computed on first use and then held.

    Attributes:
        subject: The model under audit.
        task: The examples.
        reference: Evidence of the baseline, if this is a candidate: gradients are then those of the class
            that the baseline predicts, so that both models explain the same thing.
        shadows: Gives the `References` of the subject's recipe, for membership; None where there are none.
        keep: Where observations outlive the process; None holds them in memory only.
        batch: Examples a pass; halved when memory runs out.
        passes: What was spent so far.
        notes: Remarks of behaviours on how far their values go.
        pictures: What a behaviour made that people can look at: ``shown`` and ``made``, each ``(M, ...)``.
        doubts: Failed validity checks; a measurement with one is *not trusted*.
    """

    subject: Subject
    task: Task
    reference: Evidence | None = None
    shadows: Callable[[], References] | None = None
    keep: Keep | None = None
    batch: int = 512
    passes: Passes = field(default_factory=Passes)
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    _held: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def model(self) -> nn.Module:
        """The module, frozen and in evaluation mode."""
        return self.subject.model

    def split(self, name: str) -> Split:
        """Return the examples of a split.

        Args:
            name: One of `whatelse.task.SPLITS`.
        """
        return self.task.split(name)

    def logits(self, split: str = "test") -> Tensor:
        """Return the class scores, ``(N, classes)``.

        Args:
            split: Which examples.
        """
        return self._observed(split)["logits"]

    def predictions(self, split: str = "test") -> Tensor:
        """Return the predicted class of every example, ``(N,)``.

        Args:
            split: Which examples.
        """
        return self.logits(split).argmax(1)

    def explained(self, split: str = "test") -> Tensor:
        """Return the class whose log-odds margin is differentiated, ``(N,)``: the baseline's prediction.

        Args:
            split: Which examples.
        """
        return self.predictions(split) if self.reference is None else self.reference.predictions(split)

    def margin_gradient(self, split: str = "test") -> Tensor:
        """Return the input gradient of the log-odds margin of the explained class, ``(N, ...)``.

        Args:
            split: Which examples; only of test does the shared pass hold gradients.

        Raises:
            NotMeasurableError: The subject does not differentiate.
        """
        self.subject.require("differentiates")
        return self._observed(split)["gradient"]

    def activations(self, split: str = "test") -> dict[str, Tensor]:
        """Return activations after each nonlinearity, by layer ``(N, units)``, channels averaged over space.

        Args:
            split: Which examples.

        Raises:
            NotMeasurableError: The subject does not open.
        """
        self.subject.require("opens")
        held = self._observed(split)
        # Sorted, as what is kept on disk comes back in any order: the names count the layers.
        return {name.split(" ", 2)[2]: held[name] for name in sorted(held) if name.startswith("layer ")}

    def hidden(self, split: str = "test") -> Tensor:
        """Return the last hidden layer, ``(N, units)``.

        Args:
            split: Which examples.

        Raises:
            NotMeasurableError: The subject does not open, or has no hidden nonlinearity.
        """
        layers = self.activations(split)
        if not layers:
            raise NotMeasurableError(f"needs a hidden layer; {self.subject.name} has no nonlinearity")
        return list(layers.values())[-1]

    def references(self) -> References:
        """Return what shadow models of the same recipe say of the records: train, then as many of test.

        Raises:
            NotMeasurableError: There are no shadow models.
        """
        if self.shadows is None:
            raise NotMeasurableError("needs shadow models trained and compressed by the same recipe; there are none")
        return self.shadows()

    def once(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return an observation of one's own, made on first use, kept where the evidence is kept.

        Args:
            name: Says what it is, with every setting that decides it.
            make: Computes it.
        """
        if name not in self._held:
            kept = None if self.keep is None else self.keep.load(name)
            if kept is None:
                kept = make()
                if self.keep is not None:
                    self.keep.save(name, kept)
            self._held[name] = kept
        return self._held[name]

    def note(self, text: str) -> None:
        """Remark on how far the values of a behaviour go; printed beside its verdict.

        Args:
            text: One line.
        """
        self.notes.append(text)

    def show(self, shown: Tensor, made: Tensor) -> None:
        """Offer pictures for the report: examples, and what was made of them.

        Args:
            shown: Examples, ``(M, ...)``.
            made: What an attack rebuilt of each, ``(M, ...)``.
        """
        self.pictures = {"shown": shown.float(), "made": made.float()}

    def distrust(self, text: str) -> None:
        """Record a failed validity check: the verdict becomes *not trusted*.

        Args:
            text: One line that names the check and the number.
        """
        self.doubts.append(text)

    def _observed(self, split: str) -> dict[str, Tensor]:
        return self.once(f"pass {split}", lambda: self._pass(split))

    def _pass(self, split: str) -> dict[str, Tensor]:
        inputs = self.split(split).inputs
        gradient = split == "test" and "differentiates" in self.subject.offers
        fixed = None if self.reference is None or not gradient else self.explained(split)
        parts: list[dict[str, Tensor]] = []
        start = 0
        while start < len(inputs):
            rows = slice(start, start + self.batch)
            try:
                parts.append(self._batch(inputs[rows], None if fixed is None else fixed[rows], gradient=gradient))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or self.batch == 1:
                    raise
                self.batch //= 2
                self.note(f"memory ran out: the batch was halved to {self.batch}")
                continue
            start = rows.stop
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _batch(self, inputs: Tensor, explained: Tensor | None, *, gradient: bool) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}
        hooks = [
            part.register_forward_hook(_keeper(f"layer {i:04d} {name}", seen))
            for i, (name, part) in enumerate(_nonlinear(self.model))
        ]
        x = inputs.detach().requires_grad_(gradient)
        try:
            with torch.set_grad_enabled(gradient):
                logits = self.model(x)
        finally:
            for hook in hooks:
                hook.remove()
        self.passes.forward += len(x)
        found = {"logits": logits.detach(), **{name: t.detach() for name, t in seen.items()}}
        if gradient:
            labels = found["logits"].argmax(1) if explained is None else explained
            (found["gradient"],) = torch.autograd.grad(log_odds(logits, labels).sum(), x)
            self.passes.backward += len(x)
        return found


def _nonlinear(model: nn.Module) -> list[tuple[str, nn.Module]]:
    kinds = (nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)
    return [(name, part) for name, part in model.named_modules() if isinstance(part, kinds)]


def _keeper(name: str, seen: dict[str, Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        del module, inputs
        seen[name] = output.flatten(2).mean(2) if output.dim() > 2 else output

    return keep


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
