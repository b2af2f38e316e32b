"""One pass of a model in which every operation is watched: what it multiplies, and with which weights.

What a model computes cannot be read from its layers: functions, exported programs, scripts and kernels have none. The
operations that PyTorch runs can be seen, whoever calls them, and so can the tensors that go in without coming from the
input: weights that no module lists.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whatelse.behaviours.efficiency import _formulas
from whatelse.behaviours.efficiency._products import Products
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.layers.compressed import CompressedLayer
from whatelse.modules import plain

EXAMPLES = 4  # Looked at one by one: enough to see that arithmetic depends on the example.
_LEARNED = re.compile(r"norm|embedding|prelu")  # what takes weights without multiplying and summing by them
# Tensors that an operation was given, each with where it comes from.
Given = list[tuple[Tensor, frozenset[int] | None]]


@dataclass
class Seen:
    """What one pass showed.

    Attributes:
        macs: Multiply-accumulates of every operation that multiplies, in order.
        unknown: Operations that may multiply and have no formula.
        unlisted: Weights that no parameter lists, by where they come from.
        hidden: Tensors that neither the model lists nor the pass made, by where they lie.
        packed: Weights inside packed objects, unpacked.
        unread: Packed objects that cannot be unpacked.
    """

    macs: list[int] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    unlisted: dict[frozenset[int], Tensor] = field(default_factory=dict)
    hidden: dict[int, Tensor] = field(default_factory=dict)
    packed: list[Tensor] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)


def look(evidence: Evidence) -> list[Seen]:
    """Return what a pass shows of each of a few test examples, asked one by one; by two where a model takes no single.

    Args:
        evidence: Gives the model and the examples.

    Raises:
        NotMeasurableError: The subject does not open, or a part of it is computed outside of PyTorch.
    """
    evidence.subject.require("opens")
    inputs = evidence.split("test").inputs
    try:
        found, width = [_watched(evidence, inputs[:1])], 1
    except NotMeasurableError:
        raise
    except Exception:  # a program that was exported for batches of two or more raises errors of many kinds
        if len(inputs) < 2:  # noqa: PLR2004 - there is no pair to try
            raise
        found, width = [_watched(evidence, inputs[:2])], 2
    for start in range(1, min(EXAMPLES, len(inputs) + 1 - width)):
        found.append(_watched(evidence, inputs[start : start + width]))
    if not all(_alike(seen, found[0]) for seen in found[1:]):
        raise NotMeasurableError(
            f"needs operations that can be watched; PyTorch does not show some of {evidence.subject.name}"
        )
    return found


def _alike(some: Seen, others: Seen) -> bool:
    """Return whether the tensors that come from nowhere are the same for two examples: constants, no answers."""
    mine, theirs = ([p for t in seen.hidden.values() for p in plain.parts(t)] for seen in (some, others))
    return all(any(plain.same(one, other) for other in theirs) for one in mine)  # a script optimizes itself meanwhile


def weights_of(evidence: Evidence) -> Seen:
    """Return what the last pass of those that are looked at shows, all its weights in reach.

    Args:
        evidence: Gives the model and the example.

    Raises:
        NotMeasurableError: The subject does not open, a part is computed outside of PyTorch, or weights are packed in
            objects that cannot be unpacked.
    """
    seen = look(evidence)[-1]  # at the first a layer may still make what it keeps
    if seen.unread:
        names = ", ".join(sorted(seen.unread))
        raise NotMeasurableError(
            f"needs weights that can be read; {evidence.subject.name} hands packed ones to {names}"
        )
    return seen


def _watched(evidence: Evidence, inputs: Tensor) -> Seen:
    compiler = "torch._dynamo"
    if compiler in sys.modules:
        return _watched_by(_Guarded(evidence.model), evidence, inputs)
    try:
        return _watched_by(_Watch(evidence.model), evidence, inputs)
    except Exception:  # what the compiler, brought by an operation of the model, says of code that it should not see
        if compiler not in sys.modules:
            raise
    return _watched_by(_Guarded(evidence.model), evidence, inputs)


@torch.no_grad()
def _watched_by(watch: _Watch, evidence: Evidence, inputs: Tensor) -> Seen:
    watch.made(inputs := inputs.clone())
    watch.products.start(inputs)
    evidence.passes.forward += len(inputs)
    own = [part for part in evidence.model.modules() if isinstance(part, CompressedLayer)]
    hooks = [part.register_forward_hook(watch.worked) for part in own]
    try:
        with watch:
            evidence.model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    watch.seen.macs += [product.done for product in watch.products.counted]
    asked = max(len(inputs), evidence.subject.least)  # fewer are asked several times over
    watch.seen.macs = [done // asked for done in watch.seen.macs]
    return watch.seen


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Counts what every operation multiplies, and follows where its tensors come from.

    A tensor comes from the input, or from what counts as parameters, or from neither: then it is made of the tensors
    whose places are kept with it. All are kept alive for the pass, so that no identity is used twice.
    """

    supports_higher_order_operators = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.seen = Seen()
        self.counted, self.listed = _listed(model)
        self.roots: dict[int, frozenset[int] | None] = {}
        self.products = Products()
        self.alive: list[Tensor] = []
        self.objects: list[list[Tensor]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, which takes seconds

    def made(self, tensor: Tensor, roots: frozenset[int] | None = None) -> None:
        self.roots[id(tensor)] = roots
        self.alive.append(tensor)

    def worked(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, CompressedLayer)
        if done := layer.work(inputs[0], output):
            self.seen.macs.append(done)

    def __torch_dispatch__(  # the signature is torch's
        self,
        func: Any,  # noqa: ANN401 - an operation of any kind
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            taken = inside(self, func, args)
            if taken is NotImplemented:
                self.seen.unknown.add(_formulas.name(func))
                return func(*args, **kwargs)
            return taken
        if func.namespace == "profiler":  # marks of time, no arithmetic
            return func(*args, **kwargs)
        if not _formulas.known(func, args) and func.namespace != "prim":
            with self:
                taken = func.decompose(*args, **kwargs)
            if taken is not NotImplemented:
                return taken
        out = func(*args, **kwargs)
        self._count(func, args, kwargs, out)
        return out

    def _count(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], out: object) -> None:
        leaves = tree_leaves((args, kwargs))
        name = _formulas.name(func)
        fresh = name == "aten::lift_fresh"  # a tensor that the code of the forward writes out
        given = [(t, None if fresh else self._roots(t)) for t in leaves if isinstance(t, Tensor)]
        for packed in (leaf for leaf in leaves if isinstance(leaf, torch.ScriptObject)):
            self._unpack(name, packed)
        done = _formulas.macs(func, args, kwargs, out)
        if done is None:
            self.seen.unknown.add(name)
        if not self.products.run(func, args, kwargs, out):
            self.seen.unknown.add(name)
        if done:
            self.seen.macs.append(done)
        if done or _LEARNED.search(name):
            # Of other operations that learn, buffers are statistics and tables of positions.
            learned = [done or (t.is_floating_point() and self.seen.hidden.keys() >= (r or set())) for t, r in given]
            self._weights([pair for pair, takes in zip(given, learned, strict=True) if takes])
        self._follow(given, out)

    def _follow(self, given: Given, out: object) -> None:
        known = [roots for _, roots in given if roots is not None]
        come = frozenset[int]().union(*known) if known and len(known) == len(given) else None
        if come is not None and frozenset() in known:  # made with the help of what counts already
            come = frozenset()
        mine = {id(t) for t, _ in given}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and id(tensor) not in mine:
                self.made(tensor, come)

    def _roots(self, tensor: Tensor) -> frozenset[int] | None:
        """Return where a tensor comes from: None the input, nothing the parameters, else the places of its makings."""
        if id(tensor) not in self.roots:
            if tensor.device.type == "meta":  # shapes alone, as where a layer makes a plan of itself
                return None
            places = plain.places(tensor)
            self.made(tensor, frozenset(places - self.counted))
            if places.isdisjoint(self.counted | self.listed) and tensor.numel() > 1:
                self.seen.hidden |= dict.fromkeys(places, tensor)
        return self.roots[id(tensor)]

    def _weights(self, given: Given) -> None:
        for tensor, come in given:
            if come and come not in self.seen.unlisted and tensor.numel() > 1:
                for part in come:  # scales of codes, say: what they make counts, they do not
                    self.seen.unlisted.pop(frozenset({part}), None)
                self.seen.unlisted[come] = tensor

    def _unpack(self, name: str, packed: Any) -> None:  # noqa: ANN401 - an object of torch's own
        try:
            found = list({frozenset(plain.places(t)): t for t in _unpacked(packed)}.values())
        except (AttributeError, RuntimeError, TypeError, NotImplementedError):
            self.seen.unread.add(name)
            return
        whole = [part for tensor in found for part in plain.parts(tensor.detach())]
        # Torch unpacks anew, and under another name, at every call.
        if not any(len(whole) == len(old) and all(map(plain.same, whole, old)) for old in self.objects):
            self.objects.append(whole)
            self.seen.packed += found


class _Guarded(_Watch):  # type: ignore[no-untyped-call] # torch's own
    """The same, hidden from the compiler, which some operations call although nobody compiles anything."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return True

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operation of any kind
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        return super().__torch_dispatch__(func, types, args, kwargs)


def inside(mode: TorchDispatchMode, func: HigherOrderOperator, args: tuple[Any, ...]) -> Any:  # noqa: ANN401 - as the operation
    """Run an operation that runs functions, watched: a condition takes one way, as it does without being watched.

    Args:
        mode: Watches.
        func: The operation; of one that is not known NotImplemented is returned.
        args: What it was given.
    """
    if _formulas.name(func) == "cond":
        asked, yes, no, operands = args
        with mode:
            return (yes if bool(asked) else no)(*operands)
    if _formulas.name(func) == "wrap_with_set_grad_enabled":
        with mode:
            return args[1](*args[2:])
    return NotImplemented


def _unpacked(packed: Any) -> list[Tensor]:  # noqa: ANN401 - an object of torch's own
    """Return the tensors in a packed object; those of recurrent layers hold packed ones again."""
    held = packed.unpack() if packed._has_method("unpack") else packed.__getstate__()[0]  # noqa: SLF001 - no other way
    found = []
    for part in tree_leaves(held):
        if isinstance(part, torch.ScriptObject):
            found += _unpacked(part)
        elif isinstance(part, Tensor):
            found.append(part)
    return found


def _listed(model: nn.Module) -> tuple[set[int], set[int]]:
    """Return where what counts as parameters lies, and where all other tensors of the modules do."""
    counted: list[Tensor] = []
    for part in model.modules():
        counted += [
            *part.parameters(recurse=False),
            *(part.buffers(recurse=False) if isinstance(part, CompressedLayer) else ()),
        ]
    return _places(counted), _places(list(model.buffers()))


def _places(tensors: list[Tensor]) -> set[int]:
    return {place for tensor in tensors for place in plain.places(tensor)}
