"""One network that holds all members of a space: each is a part of it, and all train the same weights.

A member is the network without some of its blocks and units, cut as ``prune.depth`` and ``prune.widths`` cut them. Its
weights are those of the network where it has them, so that a step of one member is a step of all that share them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from whatelse import recipe
from whatelse.errors import RecipeError
from whatelse.modules import importance
from whatelse.modules.calibration import batches
from whatelse.modules.dependency import Group, groups
from whatelse.modules.skip import skip
from whatelse.modules.surgery import Place, axes, part_at, remove
from whatelse.modules.walk import copied
from whatelse.searching.space import DEPTH, WIDTH, Configuration, Space
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, descend, hard_labels

_WHO = "search: supernet"
_CUTS = ("prune.depth", "prune.widths")


@dataclass(frozen=True)
class _Bed:
    """The network without some blocks, and its groups with the order in which their units go, the worst first."""

    model: nn.Module
    groups: Mapping[str, Group]
    order: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Member:
    """One part of the network.

    Attributes:
        model: Its architecture; what weights it has does not count.
        kept: For every parameter that is cut, along which dimensions, and which indices stay.
    """

    model: nn.Module
    kept: Mapping[str, Sequence[tuple[int, Tensor]]]


class Supernet:
    """A network that holds all members of a space.

    Args:
        space: Of its axes those of kind ``width`` and ``depth`` say which part of the network a member is.
        model: The network, with the weights that it begins with; not changed.
        task: Train is trained on; calibration shows what can be cut.
    """

    def __init__(self, space: Space, model: nn.Module, task: Task) -> None:
        self.space, self.task, self.net = space, task, copied(model)
        self._model = model
        self._plain = Space(space.axes)
        self._beds: dict[tuple[str, ...], _Bed] = {}

    def known(self) -> list[bool]:
        """Return of every axis whether members can differ in it: of widths only where the group can be cut."""
        found = self._bed(()).groups if any(axis.kind == WIDTH for axis in self.space.axes) else {}
        return [axis.kind != WIDTH or axis.name in found for axis in self.space.axes]

    def member(self, chosen: Configuration) -> Member:
        """Return the part of the network that a configuration stands for.

        Args:
            chosen: The number of an option for every axis.

        Raises:
            RecipeError: A block cannot be taken out, or without it a group of units is another one.
        """
        told = self.space.told(chosen)
        gone = tuple(name for name, _ in told[DEPTH])
        shares = {name: float(option) for name, option in told[WIDTH]}
        bed = self._bed(gone)
        cut: defaultdict[Place, list[int]] = defaultdict(list)
        for name, share in shares.items():
            if name not in bed.groups:
                raise RecipeError(f"{_WHO}: without {', '.join(gone) or 'any block'} there is no group {name!r}")
            group = bed.groups[name]
            left = len(group) - max(1, round(share * len(group)))
            for place, picks in group.cut(bed.order[name][:left]).items():
                cut[place] += picks
        kept: defaultdict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        for (name, side), picks in cut.items():
            for tensor, dim in axes(part_at(bed.model, name), side).items():
                path = f"{name}.{tensor}".strip(".")
                stays = torch.ones(part_at(bed.model, path).shape[dim], dtype=torch.bool)
                stays[picks] = False
                kept[path].append((dim, stays.nonzero().flatten()))
        return Member(remove(bed.model, cut), kept)

    def train(
        self, members: Sequence[Configuration], epochs: int, rate: float, batch: int, sampled: int, rng: torch.Generator
    ) -> None:
        """Train the shared weights: each step goes by the mean loss of a few members, drawn anew.

        Args:
            members: Whom steps are drawn from.
            epochs: Passes over train.
            rate: Peak learning rate.
            batch: Examples a step.
            sampled: Members a step.
            rng: Source of who is drawn and of the order of the examples.
        """
        inputs, loss = self.task.train.inputs, hard_labels(self.task.train.observed)

        def objective(examples: Tensor) -> Tensor:
            drawn = torch.randint(len(members), (sampled,), generator=rng).tolist()
            losses = [loss(self._answers(self.member(members[at]), inputs[examples]), examples) for at in drawn]
            return torch.stack(losses).mean()

        descend(self.net, objective, len(inputs), Schedule(epochs, rate, batch), rng)

    def _answers(self, member: Member, x: Tensor) -> Tensor:
        logits: Tensor = functional_call(member.model.train(), self._weights(member), (x,))
        return logits

    def _weights(self, member: Member) -> dict[str, Tensor]:
        """Return the weights of a member, as parts of those of the network through which gradients go."""
        found = {}
        for name, _ in member.model.named_parameters():
            weight: Tensor = self.net.get_parameter(name)
            for dim, stays in member.kept.get(name, ()):
                weight = weight.index_select(dim, stays)
            found[name] = weight
        return found

    @torch.no_grad()
    def inherited(self, chosen: Configuration, rng: torch.Generator) -> nn.Module:
        """Return a configuration as a network of its own, with the weights that it inherits.

        Batch norms count anew, on calibration data. What the configuration does to single layers is done to what they
        inherit.

        Args:
            chosen: The number of an option for every axis.
            rng: Source of what methods draw.

        Raises:
            RecipeError: The configuration cannot be made.
        """
        member = self.member(chosen)
        small = member.model
        small.load_state_dict(self._weights(member), strict=False)
        _counted_anew(small, self.task.calibration.inputs)
        small.eval().requires_grad_(requires_grad=False)
        for step in self._plain.recipe(chosen):
            if step.name not in _CUTS:
                small = recipe.apply(step, small, self.task, rng)
        return small

    def _bed(self, gone: tuple[str, ...]) -> _Bed:
        """Return the network without some blocks.

        Raises:
            RecipeError: One cannot be taken out.
        """
        if gone not in self._beds:
            inputs = self.task.calibration.inputs
            model = skip(self._model, gone, inputs, _WHO)
            found = groups(model, inputs, _WHO)[0] if any(a.kind == WIDTH for a in self.space.axes) else []
            scores = importance.scores(model, found, "magnitude", self.task.calibration)
            order = {g.name: s.argsort(stable=True).tolist() for g, s in zip(found, scores, strict=True)}
            self._beds[gone] = _Bed(model, {group.name: group for group in found}, order)
        return self._beds[gone]


def _counted_anew(model: nn.Module, inputs: Tensor) -> None:
    """Let batch norms count mean and variance of what reaches them, each batch alike."""
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    parts = list(batches(model.eval(), inputs))
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for part in parts:
        model(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
