"""Which channels of which layers must go together: Torch-Pruning's dependency graph, every group of it tried out.

A group couples layers that a removed channel runs through. Torch-Pruning infers groups from a trace, and guesses where
it does not know an operation. So none is believed: channels of each group are removed from a copy, and the copy must
answer as the dense model does with these channels set to zero, with its own weights and with others under which no
channel is silent. Groups that fail this, as those through zero-padded shortcuts, sizes written into the forward, folds
of channels into space or layers that we cannot cut, are left alone with a reason; what is chosen of the others is tried
once more together, on all inputs.

Source:
    Fang et al., DepGraph: Towards any structural pruning, CVPR 2023, arXiv:2301.12900.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from whatelse.errors import MissingExtraError, RecipeError
from whatelse.modules.calibration import batches
from whatelse.modules.decoder import Decoder
from whatelse.modules.exchange import CLOSE
from whatelse.modules.siblings import head_sizes, proposals
from whatelse.modules.surgery import Cut, Place, axes, mask, part_at, remove
from whatelse.modules.walk import branches, copied, is_computed

_Units = tuple[tuple[int, ...], ...]
_FEW, _MANY = 4, 256
# Why the last layer's channels stay: no layer that was left alone, as nobody asked for fewer classes.
OUTPUTS = "its channels are the outputs of the model"


@dataclass(frozen=True)
class Group:
    """Channels that can be removed, in units of one channel or of one attention head.

    Attributes:
        name: The layer whose output it starts from.
        block: Channels a unit.
        places: For every place that the group runs through, the indices of each unit there.
    """

    name: str
    block: int
    places: dict[Place, _Units]

    def __len__(self) -> int:
        """Return the number of units."""
        return len(next(iter(self.places.values())))

    def cut(self, units: Iterable[int]) -> dict[Place, list[int]]:
        """Return what the removal of some units takes away.

        Args:
            units: Which units go.
        """
        picks = list(units)
        return {place: sorted(i for u in picks for i in of[u]) for place, of in self.places.items()}


def groups(model: nn.Module, inputs: Tensor, who: str) -> tuple[list[Group], dict[str, str]]:
    """Return the groups that can be removed from, and the reason why each other one is left alone, by name.

    Args:
        model: In evaluation mode; not changed.
        inputs: Some inputs, ``(N, ...)``; as many are looked at as it takes to reach every parameter.
        who: Begins messages, such as ``prune.structured``.

    Raises:
        MissingExtraError: Torch-Pruning is not installed.
        RecipeError: The model returns no tensor, or Torch-Pruning cannot trace it.
    """
    found: list[Group] = []
    refused: dict[str, str] = {}
    if not isinstance(model(inputs[:2]), Tensor):
        raise RecipeError(f"{who}: this {type(model).__name__} does not return one tensor of logits")
    parts, unseen = _reaching(model, inputs)
    few = torch.cat(parts)
    sizes, trials = head_sizes(model, few), _trials(model, parts)
    if isinstance(model, Decoder):
        return _beside(model, trials, sizes)
    order = {name: i for i, (name, _) in enumerate(model.named_modules())}
    traced, failed = _traced(model, few, who)
    for root, items in sorted(traced.items(), key=lambda group: order[group[0]]):
        group, reason = _largest(model, trials, root, items, sizes)
        if group is not None and not reason:
            reason = _may_be_read(model, group, unseen)
        if group is None or reason:
            refused |= {name or "the only layer": reason for name in _makers(model, items)}
        else:
            found.append(group)
    return found, {**refused, **failed}


def _beside(model: Decoder, trials: list[_Trial], sizes: Mapping[int, list[int]]) -> tuple[list[Group], dict[str, str]]:
    """Return the groups of a language model, proposed by shapes, and why the other readers are left alone."""
    found: list[Group] = []
    refused: dict[str, str] = {}
    taken: set[Place] = set()
    for name, offered in proposals(model, sizes):
        for one in offered:
            group = Group(one.name, one.block, one.places)
            reason = "its channels go with those of another layer" if taken & set(one.places) else ""
            refused[name] = reason or _failure(trials, group)
            if not refused[name]:
                del refused[name]
                found.append(group)
                taken |= set(one.places)
                break
    return found, refused


def without(
    model: nn.Module, inputs: Tensor, chosen: Sequence[tuple[Group, Sequence[int]]], who: str
) -> tuple[nn.Module, dict[str, str]]:
    """Return a copy without the chosen units, and the groups of which none could go, with reasons.

    The copy answers all inputs as the model does with these units set to zero. Where it does not with all of them gone
    together, groups go one after the other, and each that breaks this is left whole.

    Args:
        model: Not changed.
        inputs: Inputs on which the copy is tried, ``(N, ...)``.
        chosen: Groups of `groups`, with the units that go.
        who: Begins messages.

    Raises:
        RecipeError: No group of those chosen can go.
    """
    # Where the way depends on the inputs, it may depend on all of a batch: small ones go more ways.
    trials = _trials(model, list(batches(model, inputs, _FEW if branches(model) else _MANY)))
    kept, undone = [pair for pair in chosen if pair[1]], {}
    if _differs(trials, _together(kept)):
        asked, kept = kept, []
        for pair in asked:
            reason = _differs(trials, _together([*kept, pair]))
            if reason:
                undone[pair[0].name] = reason
            else:
                kept.append(pair)
    if undone and not kept:
        names, reasons = ", ".join(undone), "; ".join(dict.fromkeys(undone.values()))
        raise RecipeError(
            f"{who}: removing channels of {names} together breaks the model ({reasons}); so does each alone"
        )
    return remove(model, _together(kept)), undone


def left_whole(refused: Mapping[str, str]) -> dict[str, str]:
    """Return of the reasons those for layers of which channels might have gone: all but the last layer's.

    Args:
        refused: Reasons by name, as `groups` and `without` return them.
    """
    return {name: reason for name, reason in refused.items() if reason != OUTPUTS}


def _together(chosen: Iterable[tuple[Group, Sequence[int]]]) -> Cut:
    cut: defaultdict[Place, list[int]] = defaultdict(list)
    for group, units in chosen:
        for place, gone in group.cut(units).items():
            cut[place] += gone
    return {place: gone for place, gone in cut.items() if gone}


_Items = list[tuple[Place, list[int], list[int]]]  # place, indices there, and the channel of the root of each
_Trial = tuple[nn.Module, list[Tensor], float]  # a model, batches of inputs, and how large a difference is rounding


@torch.enable_grad()  # type: ignore[untyped-decorator,unused-ignore]
def _reaching(model: nn.Module, inputs: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return a few batches that reach every parameter that any input reaches, and those parameters that none does.

    Nothing is unreached in a model whose way does not depend on its inputs: what no pass uses there, none ever will.
    """
    copy = copied(model).requires_grad_(requires_grad=True)
    unseen: dict[str, Tensor] = dict(copy.named_parameters())
    taken: list[Tensor] = []
    for number, part in enumerate(batches(model, inputs, _FEW)):
        said = copy(part)
        if said.requires_grad:
            said.sum().backward()
        if not taken or any(p.grad is not None for p in unseen.values()):
            taken.append(part)
        unseen = {name: p for name, p in unseen.items() if p.grad is None}
        if not unseen or (number == 0 and not branches(model)):
            return taken, {}
    return taken, unseen


@torch.no_grad()
def _trials(model: nn.Module, parts: list[Tensor]) -> list[_Trial]:
    """Return the model, and a copy with other weights, so that units which are silent in the model speak.

    Whether a removal is right does not depend on the weights; whether a wrong one shows does. So weights are drawn
    anew, biases are small, and batch norms take the mean and variance of the batch.
    """
    moved, rng = copied(model), torch.Generator().manual_seed(0)
    for name, p in moved.named_parameters():
        if p.is_floating_point() and p.numel():
            noise, size = torch.randn(p.shape, generator=rng), float(p.double().square().mean().sqrt()) or 0.1
            if p.dim() > 1:
                p.copy_(size * noise)
            else:
                p.copy_(0.1 * noise if "bias" in name else p + 0.2 * size * noise)
    for part in moved.modules():
        if isinstance(part, _BatchNorm):
            part.train()
    trials = []
    for one, given in ((model, parts), (moved, parts[:1])):
        size = max(float(one(x).abs().max()) for x in given)
        if one is model or math.isfinite(size):
            # Rounding of float32 through a deep network stays near 1e-5 of the outputs' size; a wrong channel does not.
            trials.append((one, given, max(CLOSE, 8 * _epsilon(one)) * size))
    return trials


def _epsilon(model: nn.Module) -> float:
    return max((torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()), default=0.0)


def _traced(model: nn.Module, example: Tensor, who: str) -> tuple[dict[str, _Items], dict[str, str]]:
    """Return what Torch-Pruning takes for groups, by their first layer, and why it fails at others.

    Raises:
        MissingExtraError: Torch-Pruning is not installed.
        RecipeError: It cannot trace the model.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_pruning  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{who} needs Torch-Pruning: pip install 'whatelse[structured]'") from error
    copy = copied(model).requires_grad_(requires_grad=True)
    with warnings.catch_warnings(), torch.enable_grad():  # type: ignore[no-untyped-call,unused-ignore]
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph()
        try:
            graph.build_dependency(copy, example, forward_fn=lambda m, x: m(x), verbose=False)
        except Exception as error:  # whatever a trace of any model may raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise RecipeError(f"{who}: Torch-Pruning cannot trace this {type(model).__name__}: {reason}") from error
        return _each(copy, graph)


def _each(copy: nn.Module, graph: Any) -> tuple[dict[str, _Items], dict[str, str]]:  # noqa: ANN401 - Torch-Pruning's own
    names: dict[int, str] = {id(part): name for name, part in copy.named_modules()}
    found: dict[str, _Items] = {}
    failed: dict[str, str] = {}
    seen: set[int] = set()
    for part in [part for part in graph.module2node if isinstance(part, nn.Linear | _ConvNd)]:
        if id(part) in seen:
            continue
        try:
            pruner = graph.get_pruner_of_module(part)
            units = list(range(pruner.get_out_channels(part)))
            group = graph.get_pruning_group(part, pruner.prune_out_channels, units)
            name, items = _plain(copy, graph, group)
        except Exception as error:  # noqa: BLE001 - one group that it cannot make is no reason to make none
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            failed[names[id(part)]] = f"Torch-Pruning cannot follow its channels ({reason})"
            continue
        outs = [entry.dep for entry in group if graph.is_out_channel_pruning_fn(entry.dep.handler)]
        seen.update(id(dep.target.module) for dep in outs)
        found[name] = items
    return found, failed


def _plain(copy: nn.Module, graph: Any, group: Any) -> tuple[str, _Items]:  # noqa: ANN401 - Torch-Pruning's own
    names: dict[int, str] = {id(part): name for name, part in copy.named_modules()}
    loose = {id(p): name for name, p in copy.named_parameters()}
    items: _Items = []
    for entry in group:
        target = entry.dep.target.module
        if id(target) in loose:
            place = (loose[id(target)], "loose")
        elif id(target) in names:
            place = (names[id(target)], "out" if graph.is_out_channel_pruning_fn(entry.dep.handler) else "in")
        else:
            continue  # an operation without tensors of its own
        items.append((place, list(entry.idxs), list(entry.root_idxs)))
    return items[0][0][0], items


def _untouchable(model: nn.Module, items: _Items) -> str:
    """Return why a group must be left alone whatever a trial says; nothing where there is no such reason."""
    owners = Counter(id(p) for part in model.modules() for p in part.parameters(recurse=False))
    for (name, side), indices, roots in items:
        part = part_at(model, name)
        tensors = axes(part, side)
        if is_computed(part):
            return f"{name} computes its weight anew at every pass"
        if not tensors and not _is_passive(part):
            return f"{name} is a {type(part).__name__} that cannot be cut"
        if None in roots:
            return f"{name} repeats its channels"
        cut = [(part_at(model, f"{name}.{t}".strip(".")), dim) for t, dim in tensors.items()]
        if any(owners[id(tensor)] > 1 for tensor, _ in cut):
            return f"{name} shares its weight with another layer"
        if any(max(indices, default=0) >= tensor.shape[dim] for tensor, dim in cut):
            return f"its channels were traced past the end of {name}"
    return ""


def _is_passive(part: nn.Module | Tensor) -> bool:
    """Say whether channels pass through a part that holds nothing of its own for any of them."""
    return isinstance(part, nn.Module) and all(t.numel() < 2 for t in (*part.parameters(), *part.buffers()))


def _makers(model: nn.Module, items: _Items) -> list[str]:
    """Return the layers that make the channels of a group, the first of them first."""
    outs = [name for (name, side), _, _ in items if side == "out"]
    return [name for name in dict.fromkeys(outs) if isinstance(part_at(model, name), nn.Linear | _ConvNd)]


def _may_be_read(model: nn.Module, group: Group, unseen: Mapping[str, Tensor]) -> str:
    """Return why an unreached parameter forbids to cut a group: it may read channels of this number."""
    cut = [
        (part_at(model, f"{n}.{t}".strip(".")), d)
        for n, s in group.places
        for t, d in axes(part_at(model, n), s).items()
    ]
    sizes = {tensor.shape[dim] for tensor, dim in cut}
    for name, parameter in unseen.items():
        if sizes & set(parameter.shape):
            return f"{name}, which no input reached, may read its channels"
    return ""


def _largest(
    model: nn.Module, trials: list[_Trial], root: str, items: _Items, sizes: Mapping[int, list[int]]
) -> tuple[Group | None, str]:
    """Return the group in units as small as can be removed, or none and the reason."""
    reason, count = _untouchable(model, items), len(items[0][1])
    for block in () if reason else (1, *(size for size in sizes.get(count, ()) if 1 < size < count)):
        group = Group(root, block, _places(items, count, block))
        reason = _failure(trials, group)
        if not reason:
            return group, ""
    return None, reason


def _places(items: _Items, count: int, block: int) -> dict[Place, _Units]:
    places: dict[Place, _Units] = {}
    for place, indices, roots in items:
        units: list[list[int]] = [[] for _ in range(count // block)]
        for index, root in zip(indices, roots, strict=True):
            units[root // block].append(index)
        places[place] = tuple(tuple(sorted(unit)) for unit in units)
    return places


def _failure(trials: list[_Trial], group: Group) -> str:
    """Remove one unit, then every second one, and return how the copy goes wrong; nothing where it does not."""
    if len(group) < 2:
        return "it has a single channel"
    for units in ([0], range(1, len(group), 2)):
        reason = _differs(trials, group.cut(units))
        if reason:
            return reason
    return ""


@torch.no_grad()
def _differs(trials: list[_Trial], cut: Cut) -> str:
    for dense, parts, close in trials:
        try:
            masked, small = mask(dense, cut), remove(dense, cut)
            pairs = [(masked(x), small(x)) for x in parts]
        except Exception as error:  # noqa: BLE001 - whatever a forward raises of sizes that it does not expect
            return f"its forward fails without them: {' '.join(str(error).split())[:120]}"
        if any(one.shape != other.shape for one, other in pairs):
            return OUTPUTS
        if not all(torch.allclose(one, other, rtol=0, atol=close, equal_nan=True) for one, other in pairs):
            return "its answers are not those with these channels set to zero"
    return ""
