"""Matrix products that are written as elementwise products and sums, found as a pass runs.

A product of something of the input and weights is remembered. Where it, or a copy or a view of it, is summed over an
axis along which the weights vary, or is added to another such product, it was a part of a matrix product or of a
convolution, and each of its numbers was a multiplication. A scale alone, as of a norm or of a gain of every channel,
is neither: its weights are the same wherever it is pooled, and what it is added to is a bias or a residual.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map

_CONSTANT, _WEIGHT, _INPUT = range(3)  # what a tensor is made of, at the most
_MULTIPLIES = frozenset({"mul", "div", "lerp", "addcmul", "addcdiv"})
_ONTO = frozenset({"addcmul", "addcdiv"})  # these add their product to their first argument
_ADDS = frozenset({"add", "sub", "rsub"})
_AXES = re.compile(
    r"sum|mean|nansum|_?cumsum|_sparse_sum|index_add|scatter_add|scatter_reduce|index_reduce"
)  # as second argument
_SPACE = re.compile(r"(?:avg_pool|linear)([123])d|upsample_bi(?:linear|cubic)(2)d")  # over the last axes
_WHOLE = re.compile(
    r"(trace|col2im|bincount|segment_reduce|put|_index_put_impl|embedding_bag\w*)$"
)  # over what cannot be said
# What moves numbers, and changes none or all of them alike.
_COPIES = re.compile(
    r"clone|copy|neg|conj|real|cat|stack|index|index_select|gather|take|roll|flip|.*pad(_?\w*)|repeat|im2col|where"
    r"|masked_fill|masked_scatter|masked_select|tril|triu|index_copy|scatter|\w+_scatter|_to_copy|nan_to_num|sort"
    r"|index_put|\w+_copy|_unsafe_\w+|_reshape_alias|contiguous|lift_fresh|upsample_nearest\w*|pixel_(un)?shuffle"
    r"|channel_shuffle|_to_sparse|_to_dense|reshape|broadcast_in_dim|transpose|convert_element_type|dropout|native_dropout|as_strided"
)
_BLEND = 0.6180339887


@dataclass(eq=False)
class _Product:
    """An elementwise product of something of the input and weights.

    Attributes:
        done: Its multiplications.
        spread: Whether the input was repeated for it, as in a matrix product.
        origin: Where that of the input lay before it was sliced, moved or changed number by number.
    """

    done: int
    spread: bool
    origin: frozenset[int]


@dataclass(frozen=True)
class _Held:
    """The products in a tensor.

    Attributes:
        products: Those that were added, or laid side by side.
        mixed: Whether they were multiplied with something else of the input, as by a gate or by the keys of attention.
        marks: For every number which weight it was multiplied by; None where that is not known.
    """

    products: frozenset[_Product]
    mixed: bool = False
    marks: Tensor | None = None


_NONE = _Held(frozenset())


@dataclass
class Products:
    """Follows the products of a pass; the tensors that it is shown must live as long as it does.

    Attributes:
        kinds: What lies at a place is made of.
        origins: Places from which what lies at a place was moved or changed number by number.
        sizes: How many numbers there are at an origin.
        held: Products in what lies at a place.
        marks: Those of single tensors, which views of one place have each of their own.
        pieces: Single numbers taken out of weights.
        counted: Products known to be parts of matrix products.
        means: Products that were counted because of a mean, by the mean.
        last: The last mark given.
    """

    kinds: dict[int, int] = field(default_factory=dict)
    origins: dict[int, frozenset[int]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    held: dict[int, _Held] = field(default_factory=dict)
    marks: dict[int, Tensor | None] = field(default_factory=dict)
    pieces: set[int] = field(default_factory=set)
    counted: dict[_Product, None] = field(default_factory=dict)
    means: dict[int, frozenset[_Product]] = field(default_factory=dict)
    last: int = 0

    def start(self, inputs: Tensor) -> None:
        """Take the input.

        Args:
            inputs: Of any shape.
        """
        where = _place(inputs)
        self.kinds[where], self.origins[where], self.sizes[where] = _INPUT, frozenset({where}), inputs.numel()

    def run(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], out: object) -> bool:
        """Follow an operation, and return whether it can be said what it does with products.

        Args:
            func: The operation.
            args: What it was given.
            kwargs: What it was given by name.
            out: What it returned.
        """
        given, made, called = _tensors((args, kwargs)), _tensors(out), _called(func)
        kinds, held, moves = [self._kind(t) for t in given], _NONE, _moves(func)
        if called.startswith("_foreach_") and {_WEIGHT, _INPUT} <= set(kinds):
            return False
        if _INPUT in kinds and made:
            held, settled = self._result(func, args, kwargs, made)
            fresh = [p for p in settled if p not in self.counted]
            self.counted |= dict.fromkeys(fresh)
            self._center(called, given, made[0], fresh, moves=moves)
        self._follow(given, made, moves=moves, each=torch.Tag.pointwise in func.tags)
        self._hold(held, given, made)
        return True

    def _center(self, called: str, given: list[Tensor], out: Tensor, settled: list[_Product], *, moves: bool) -> None:
        """Take back what a mean summed where the same is centered by it: that is a norm, not a product with weights."""
        if called in _ADDS:
            mine = {p for t in given for p in self._of(t).products}
            back = {p for t in given for p in self.means.get(id(t), ())} & mine
            self.counted = {p: None for p in self.counted if p not in back}
        elif moves:
            self.means[id(out)] = self.means.get(id(given[0]), frozenset())
        elif called == "mean":
            self.means[id(out)] = frozenset(p for p in settled if not p.spread)

    def _result(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], made: list[Tensor]
    ) -> tuple[_Held, frozenset[_Product]]:
        """Return the products in what an operation returned, and those that it sums."""
        given, called = _tensors((args, kwargs)), _called(func)
        if called in _MULTIPLIES:
            return self._multiplied(called, given, made[0])
        if called in _ADDS:
            return _added([self._of(t) for t in given], made[0])
        if not any(self._of(t).products for t in given):
            return _NONE, frozenset()
        over = _over(called, args, kwargs)
        if over is not None:
            return self._summed(func, args, kwargs, over)
        if _moves(func):
            holds = [self._of(t) for t in given]
            products, mixed = frozenset[_Product]().union(*(h.products for h in holds)), any(h.mixed for h in holds)
            return _Held(products, mixed, self._replayed(func, args, kwargs)), frozenset()
        return _NONE, frozenset()

    def _multiplied(self, called: str, given: list[Tensor], out: Tensor) -> tuple[_Held, frozenset[_Product]]:
        base, factors = (given[:1], given[1:]) if called in _ONTO else ([], given)
        moving = [t for t in factors if self._kind(t) == _INPUT]
        weights = [t for t in factors if self._kind(t) == _WEIGHT and (t.numel() > 1 or id(t) in self.pieces)]
        if not moving or not weights:
            # Scaled as a whole, or gated by something else of the input.
            holds = [self._of(t) for t in moving]
            products = frozenset[_Product]().union(*(h.products for h in holds))
            marks = _blended([h.marks for h in holds if h.products], out)
            held = _Held(products, len(moving) > 1 or any(h.mixed for h in holds), marks)
        else:
            held = self._product(moving, weights, out)
        return _added([self._of(base[0]), held], out) if base else (held, frozenset())

    def _product(self, moving: list[Tensor], weights: list[Tensor], out: Tensor) -> _Held:
        origin = frozenset[int]().union(*(self.origins.get(_place(t), frozenset()) for t in moving))
        fed = max(t.numel() for t in moving)
        spread = out.numel() > min(fed, sum(self.sizes.get(where, fed) for where in origin) or fed)
        spread |= any(p.spread and p not in self.counted for t in moving for p in self._of(t).products)
        product = _Product(out.numel(), spread, origin)
        return _Held(frozenset({product}), marks=self._marked(weights[-1], out))

    def _marked(self, weight: Tensor, out: Tensor) -> Tensor | None:
        """Return for every number of a product which weight made it; repeated weights are one."""
        try:
            reach = 1 + sum((n - 1) * s for n, s in zip(weight.shape, weight.stride(), strict=True))
            marks = torch.arange(self.last, self.last + reach, dtype=torch.float64)
            self.last += reach
            return marks.as_strided(weight.shape, weight.stride()).expand(out.shape)
        except RuntimeError:  # of a layout without strides
            return None

    def _summed(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], over: Sequence[int]
    ) -> tuple[_Held, frozenset[_Product]]:
        settled, left = frozenset[_Product](), frozenset[_Product]()
        holds = [h for h in map(self._of, _tensors((args, kwargs))) if h.products]
        for held in holds:
            varies = not held.mixed and _vary(held.marks, over)
            here = frozenset(p for p in held.products if p.spread or varies)
            settled |= here
            left |= frozenset() if held.mixed else held.products - here  # a mean of what was mixed is a statistic
        return _Held(left, marks=self._replayed(func, args, kwargs) if left else None), settled

    def _replayed(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - one or several
        """Do to the marks what an operation does to the numbers."""

        def shown(leaf: object) -> object:
            if not isinstance(leaf, Tensor) or not (leaf.is_floating_point() or leaf.is_complex()):
                return leaf
            marks = self._of(leaf).marks
            if self._of(leaf).products and marks is None:
                raise ValueError
            return torch.full(leaf.shape, -1.0, dtype=torch.float64) if marks is None else marks

        if func._schema.is_mutable:  # noqa: SLF001 - no other way to ask; it would write into the marks
            return None
        try:
            args, kwargs = tree_map(shown, (args, {**kwargs, **({"dtype": None} if "dtype" in kwargs else {})}))
            if _called(func) in {"view", "_unsafe_view"}:
                return args[0].reshape(args[1])
            return func(*args, **kwargs)
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            return None

    def _of(self, tensor: Tensor) -> _Held:
        held = self.held.get(_place(tensor), _NONE)
        marks = self.marks.get(id(tensor))
        return _Held(held.products, held.mixed, marks if marks is not None and marks.shape == tensor.shape else None)

    def _kind(self, tensor: Tensor) -> int:
        return self.kinds.get(_place(tensor), _WEIGHT)  # what the pass has not made

    def _follow(self, given: list[Tensor], made: list[Tensor], *, moves: bool, each: bool) -> None:
        kind = max((self._kind(t) for t in given), default=_CONSTANT)
        come = [self.origins.get(_place(t), frozenset()) for t in given] if moves or each else []
        for tensor in made:
            where = _place(tensor)
            self.kinds[where] = kind
            if kind == _INPUT:
                mine = frozenset[int]().union(*come)
                self.sizes[where] = tensor.numel() if where not in self.sizes else self.sizes[where]
                self.origins[where] = mine or frozenset({where})
            elif moves and tensor.numel() == 1 and any(t.numel() > 1 for t in given):
                self.pieces.add(id(tensor))

    def _hold(self, held: _Held, given: list[Tensor], made: list[Tensor]) -> None:
        marks = _tensors(held.marks)
        old = {_place(t) for t in given}
        for number, tensor in enumerate(made):
            where = _place(tensor)
            before = self.held.get(where, _NONE)
            part = where in old and tensor.numel() * tensor.element_size() < _bytes(tensor)
            if part and before.products:  # the rest of the place is as it was
                self.held[where] = _Held(held.products | before.products, held.mixed or before.mixed)
            else:
                self.held[where] = held
            self.marks[id(tensor)] = marks[number] if number < len(marks) else None


def _added(holds: list[_Held], out: Tensor) -> tuple[_Held, frozenset[_Product]]:
    holding = [h for h in holds if h.products]
    products = frozenset[_Product]().union(*(h.products for h in holding))
    mixed = any(h.mixed for h in holding)
    settled = _meeting(*holding) if len(holding) > 1 else frozenset[_Product]()
    return _Held(products, mixed, _blended([h.marks for h in holding], out)), settled


def _meeting(*holds: _Held) -> frozenset[_Product]:
    """Return the products that an addition sums: of one input, or of one that was repeated for both."""
    found = set[_Product]()
    first, *rest = holds
    for other in rest:
        apart = first.marks is None or other.marks is None or not _equal(first.marks, other.marks)
        for one in first.products:
            for two in other.products:
                if one is two:
                    found |= {one} if apart else set()
                elif (one.spread and two.spread) or one.origin & two.origin:
                    found |= {one, two}
    return frozenset(found)


def _equal(one: Tensor, other: Tensor) -> bool:
    try:
        return bool((one == other).all())
    except RuntimeError:  # shapes that do not meet
        return False


def _blended(marks: list[Tensor | None], out: Tensor) -> Tensor | None:
    """Return marks that differ wherever one of several differ."""
    known = [m for m in marks if m is not None]
    if not known or len(known) < len(marks):
        return None
    made, share = known[0], _BLEND
    for other in known[1:]:
        made, share = share * made + (1 - share) * other, share * _BLEND + 0.2
    try:
        return made.expand(out.shape)
    except RuntimeError:  # of a layout that knows no repetition
        return None


def _vary(marks: Tensor | None, over: Sequence[int]) -> bool:
    if marks is None or marks.layout != torch.strided:
        return True
    axes = tuple(over) or tuple(range(marks.dim()))
    return bool((marks.amax(axes) != marks.amin(axes)).any()) if axes and marks.numel() else False


def _over(called: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[int] | None:
    """Return the axes that an operation sums over, none for all; None where it sums over none."""
    space = _SPACE.search(called)
    if space:
        return range(-int(space[1] or space[2]), 0)
    if _AXES.fullmatch(called):
        axes = args[1] if len(args) > 1 else kwargs.get("dim")
        return [axes] if isinstance(axes, int) else [a for a in axes or () if isinstance(a, int)]
    if _WHOLE.search(called):
        kept = "put" in called and not (kwargs.get("accumulate") or (len(args) > 3 and args[3]))  # noqa: PLR2004
        return None if kept else ()
    return None


def _moves(func: OpOverload) -> bool:
    return func.is_view or bool(_COPIES.fullmatch(_called(func)))


def _called(func: OpOverload) -> str:
    """Return the name of an operation, the same where it writes into what it was given."""
    called: str = func.name()  # type: ignore[no-untyped-call] # torch's own
    return called.partition("::")[2].partition(".")[0].rstrip("_")


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the one name that views share
    except (NotImplementedError, RuntimeError):  # sparse and opaque ones share nothing
        return id(tensor)


def _bytes(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage().nbytes())
    except (NotImplementedError, RuntimeError):
        return 0
