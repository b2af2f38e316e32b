"""The behaviors that ``train.preserve`` can hold: what is measured of each, and what stands for it in the loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from whatelse.methods.distill._features import in_batches, remembered
from whatelse.methods.distill._soft import divergence
from whatelse.tasks.task import Split
from whatelse.training.adversary import Ball, pgd


@dataclass(frozen=True)
class Seen:
    """What was asked of the model in training, and what the original says of the same examples.

    Attributes:
        x: Inputs, ``(B, ...)``; gradients begin here where attributions are held.
        labels: As recorded, ``(B,)``.
        logits: Of the model in training, ``(B, classes)``.
        told: Logits of the original, ``(B, classes)``.
        map: Attribution map of the original, ``(B, features)``; without features where none are held.
        rows: Which examples these are: of train in training, of those held back where they are measured.
    """

    x: Tensor
    labels: Tensor
    logits: Tensor
    told: Tensor
    map: Tensor
    rows: Tensor


class Pair:
    """The model in training beside the original, and the examples that both are asked.

    Attributes:
        original: As it was given, in evaluation mode.
        tuned: Its compressed copy, in training.
        rng: Source of the starts of attacks and of who is asked when.
    """

    def __init__(
        self, original: nn.Module, tuned: nn.Module, train: Split, rng: torch.Generator, *, maps: bool
    ) -> None:
        self.original, self.tuned, self.rng = original, tuned, rng
        self._inputs, self._labels, self._maps = train.inputs, train.observed, maps
        self._told = remembered(in_batches(original, self._see), train.inputs)

    def seen(self, picks: Tensor, rows: Tensor) -> Seen:
        """Ask both models some examples of train.

        Args:
            picks: Which, ``(B,)``.
            rows: What a term calls them, ``(B,)``.
        """
        x, logits = self._asked(self.tuned, self._inputs[picks])
        told = self._told(picks)
        return Seen(x, self._labels[picks], logits, told["logits"], told["map"], rows)

    def _see(self, inputs: Tensor) -> dict[str, Tensor]:
        x, logits = self._asked(self.original, inputs)
        maps = logits.new_zeros(len(x), 0)
        if self._maps:
            maps = gradient_times_input(x, logits, logits.argmax(1), keep=False)
        return {"logits": logits.detach(), "map": maps.detach()}

    def _asked(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs, where gradients begin if there are maps, and the logits of a model."""
        if not self._maps:
            return inputs, model(inputs)
        x = inputs.detach().requires_grad_()
        # Only the plain kernel of attention can be differentiated twice on a CPU.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            return x, model(x)


class Term(ABC):
    """A behavior that is held, as one constraint or as several.

    Attributes:
        names: Of its constraints.
        budget: What each of them may be at most.
        most: What their multipliers become at most.
    """

    most = math.inf

    def __init__(self, names: tuple[str, ...], budget: float, held: int) -> None:
        self.names, self.budget, self.column = names, budget, torch.zeros(held)

    @abstractmethod
    def measured(self, seen: Seen) -> Tensor:
        """Return what is measured of every example, ``(B,)``.

        Args:
            seen: Examples held back, the model in evaluation mode.
        """

    @abstractmethod
    def penalty(self, seen: Seen) -> Tensor:
        """Return what stands for the constraints in the loss, ``(constraints,)``, in nats or in the unit itself.

        Args:
            seen: A batch in training.
        """

    def look(self, seen: Seen) -> None:
        """Measure some of the examples held back anew; of the others the last measurement stands.

        Args:
            seen: These examples, the model in evaluation mode.
        """
        self.column[seen.rows] = self.measured(seen).detach().to(self.column.dtype)

    def values(self) -> Tensor:
        """Return the constrained values over all examples held back, ``(constraints,)``."""
        return self.column.mean()[None]


class Labels(Term):
    """Share of examples of which the model says another class than the original; Hinton's loss stands for it."""

    def __init__(self, budget: float, held: int, temperature: float) -> None:
        super().__init__(("labels",), budget, held)
        self.temperature = temperature

    def measured(self, seen: Seen) -> Tensor:
        """Return 1 where the class changed, ``(B,)``."""
        return (seen.logits.argmax(1) != seen.told.argmax(1)).float()

    def penalty(self, seen: Seen) -> Tensor:
        """Return ``T^2 * KL(p_original^T || p^T)``, ``(1,)``."""
        return divergence(seen.logits, seen.told, self.temperature)[None]


class Attribution(Term):
    """One minus the cosine of the maps of gradient times input of both models, which stands for itself."""

    def __init__(self, budget: float, held: int) -> None:
        super().__init__(("attribution",), budget, held)

    def measured(self, seen: Seen) -> Tensor:
        """Return one minus the cosine of every example, ``(B,)``."""
        mine = gradient_times_input(seen.x, seen.logits, seen.told.argmax(1), keep=torch.is_grad_enabled())
        return 1 - functional.cosine_similarity(mine, seen.map, dim=1)

    def penalty(self, seen: Seen) -> Tensor:
        """Return its mean, ``(1,)``, which can be differentiated by the weights."""
        return self.measured(seen).mean()[None]


class Groups(Term):
    """For every group the share of right answers that became wrong, above that of everybody; its loss stands for it.

    Departure: the loss of everybody is not taken away from that of the group, as in the paper, since with multipliers
    above one others would then be made worse on purpose.
    """

    def __init__(self, budget: float, members: dict[str, Tensor], held: Tensor) -> None:
        super().__init__(tuple(f"groups, {name}" for name in members), budget, len(held))
        self.inside = torch.stack([inside[held] for inside in members.values()]).float()
        self.members = torch.stack(list(members.values()))

    def measured(self, seen: Seen) -> Tensor:
        """Return 1 where the original was right and the model is not, ``(B,)``."""
        return harmed(seen.told, seen.logits, seen.labels)

    def penalty(self, seen: Seen) -> Tensor:
        """Return what every group adds to the cross-entropy, ``(groups,)``: its examples are weighed up."""
        loss = functional.cross_entropy(seen.logits, seen.labels, reduction="none")
        return (self.members[:, seen.rows] * loss).mean(1)

    def values(self) -> Tensor:
        """Return the excess of every group, ``(groups,)``."""
        return self.inside @ self.column / self.inside.sum(1) - self.column.mean()


class Robustness(Term):
    """Share of examples wrong at the point to which PGD leads the model, and right there by the original.

    Hinton's loss at these points stands for it.
    """

    def __init__(self, budget: float, held: int, pair: Pair, ball: Ball, temperature: float) -> None:
        super().__init__(("robustness",), budget, held)
        self.pair, self.ball, self.temperature = pair, ball, temperature

    def measured(self, seen: Seen) -> Tensor:
        """Return 1 for every example harmed at its point, ``(B,)``."""
        moved, told = self._moved(seen)
        return harmed(told, self.pair.tuned(moved), seen.labels)

    def penalty(self, seen: Seen) -> Tensor:
        """Return ``T^2 * KL(p_original^T || p^T)`` at the points, ``(1,)``."""
        moved, told = self._moved(seen)
        return divergence(self.pair.tuned(moved), told, self.temperature)[None]

    def _moved(self, seen: Seen) -> tuple[Tensor, Tensor]:
        def loss(logits: Tensor) -> Tensor:
            return functional.cross_entropy(logits, seen.labels, reduction="sum")

        moved = pgd(self.pair.tuned, seen.x.detach(), loss, self.ball, self.pair.rng)
        with torch.no_grad():
            return moved, self.pair.original(moved)


class Membership(Term):
    """What the training adds to the area under the ROC curve of the loss, members against examples held back.

    Measured beside the original's area on the same examples, to which all of them are members: that it is not a half is
    chance, and common to both. The loss by which members fell below examples held back stands for it; no gradient comes
    from those held back, which would fit them (Nasr et al.). At a multiplier of 1 it cancels the cross-entropy: members
    are not learned any further. Beyond, their loss would be climbed, and that of the others would climb with it.
    """

    most = 1.0

    def __init__(self, budget: float, held: int, pair: Pair, members: Tensor) -> None:
        super().__init__(("membership",), budget, held)
        self.pair, self.members = pair, members
        self.outside, self.inside = torch.zeros(2, held), torch.zeros(2, len(members))

    def measured(self, seen: Seen) -> Tensor:
        """Return the log-odds of the label, by the model and by the original, ``(2, B)``."""
        return torch.stack([log_odds(logits, seen.labels) for logits in (seen.logits, seen.told)])

    def look(self, seen: Seen) -> None:
        """Measure some of the examples held back anew, and as many members."""
        self.outside[:, seen.rows] = self.measured(seen).detach().to(self.outside.dtype)
        rows = seen.rows[seen.rows < len(self.members)]
        if len(rows):
            self.inside[:, rows] = (
                self.measured(self.pair.seen(self.members[rows], rows)).detach().to(self.inside.dtype)
            )

    def penalty(self, seen: Seen) -> Tensor:
        """Return by how much the loss fell more on the batch than on the examples held back, ``(1,)``, at least 0."""
        gained = functional.softplus(-self.measured(seen)).mean(1)
        others = functional.softplus(-self.outside).mean(1)
        return functional.relu((others[0] - others[1]) - (gained[0] - gained[1]))[None]

    def values(self) -> Tensor:
        """Return the area minus that of the original, ``(1,)``."""
        now, before = (area(*pair) for pair in zip(self.inside, self.outside, strict=True))
        return (now - before)[None]


def harmed(before: Tensor, after: Tensor, labels: Tensor) -> Tensor:
    """Return 1 where logits before were right and those after are not, ``(B,)``.

    Args:
        before: ``(B, classes)``.
        after: ``(B, classes)``.
        labels: ``(B,)``.
    """
    return ((before.argmax(1) == labels) & (after.argmax(1) != labels)).float()


def log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """Return ``log p_c - log (1 - p_c)``, the margin of a class over all others, ``(B,)``.

    Args:
        logits: ``(B, classes)``.
        classes: ``c``, ``(B,)``.
    """
    picked = classes[:, None]
    others = logits.scatter(1, picked, -torch.inf).logsumexp(1)
    return logits.gather(1, picked)[:, 0] - others


def gradient_times_input(x: Tensor, logits: Tensor, classes: Tensor, *, keep: bool) -> Tensor:
    """Return the map of the log-odds of a class, ``(B, features)``.

    Args:
        x: ``(B, ...)``, of which ``logits`` were computed with gradients on.
        logits: ``(B, classes)``.
        classes: ``(B,)``.
        keep: Whether the map can be differentiated by the weights.
    """
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(log_odds(logits, classes).sum(), x, create_graph=keep, retain_graph=True)
        return (slope * x).flatten(1)


def area(inside: Tensor, outside: Tensor) -> Tensor:
    """Return the chance that a score inside is above one outside, ties half: the area under the ROC curve.

    Args:
        inside: ``(M,)``.
        outside: ``(N,)``.
    """
    ordered = outside.sort().values
    below, upto = (torch.searchsorted(ordered, inside.contiguous(), right=right) for right in (False, True))
    return (below + upto).double().mean().float() / (2 * len(outside))
