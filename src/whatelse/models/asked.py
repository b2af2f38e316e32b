"""A model asked as its owner would ask it: how inputs are handed over, and where in its answer scores are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import NotMeasurableError, TaskError, in_short
from whatelse.models.readings import READINGS, column, other_classes, reading
from whatelse.modules.lent import alike, quietly

# Of outputs, relative to the largest: beyond what kernels for other sizes, or in another order of memory, round.
BATCHED, LAID = 2e-3, 1e-4
_PAIR = 2
Path = tuple[object, ...]


@dataclass(frozen=True)
class Manner:
    """How a model is asked.

    Attributes:
        kind: What inputs are converted to: ``""`` as they are, ``floating`` the model's own floating type, ``ids``
            whole numbers.
        copies: True where the model works on its inputs in place.
        plain: True where inputs must lie in memory in the order of their dimensions.
        least: Fewest examples that are asked at once; fewer are asked several times over.
        most: Most examples that are asked at once; 0 for any number.
    """

    kind: str = ""
    copies: bool = False
    plain: bool = False
    least: int = 1
    most: int = 0

    def hand(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return inputs as the model is to get them.

        Args:
            model: Whose floating type is asked for every time, as a copy may have another.
            x: ``(N, ...)``.

        Raises:
            NotMeasurableError: They are no whole numbers, which the model needs.
        """
        if self.kind == "floating":
            x = x.to(floating(model) or x.dtype)
        elif self.kind == "ids":
            if x.is_floating_point() and not torch.equal(x, x.round()):
                raise NotMeasurableError("needs inputs that can lie between two values; the model looks its inputs up")
            x = x.long()
        if 0 < len(x) < self.least:
            x = x.repeat(self.least, *[1] * (x.dim() - 1))
        x = x.contiguous() if self.plain else x
        return x.clone() if self.copies else x


class Asked(nn.Module):
    """A model whose inputs are handed over in a manner of its own, or whose answers are read as class scores.

    Attributes:
        model: The module that answers.
        manner: How it is asked.
        path: Where in its answer the scores are.
        read: How what is found there becomes scores, of `READINGS`.
    """

    def __init__(self, model: nn.Module, manner: Manner, path: Path, read: str) -> None:
        super().__init__()
        self.training = False  # its own mark alone: the model has its mode already
        self.model, self.manner, self.path, self.read = model, manner, path, read

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``, in the precision of the inputs, at least single.

        Args:
            x: ``(N, ...)``.
        """
        scores = torch.cat([self._scores(part) for part in torch.split(x, self.manner.most or max(1, len(x)))])
        return scores.to(x.dtype) if x.dtype in {torch.float32, torch.float64} else scores

    @torch.no_grad()
    def coarse(self, x: Tensor) -> bool:
        """Return whether the answers themselves are of half precision, so that they move in steps.

        Args:
            x: ``(N, ...)``.
        """
        few = x[: self.manner.most or len(x)]
        return _at(self.model(self.manner.hand(self.model, few)), self.path).dtype in {torch.float16, torch.bfloat16}

    def _scores(self, x: Tensor) -> Tensor:
        return READINGS[self.read](_dense(_at(self.model(self.manner.hand(self.model, x)), self.path)))[: len(x)]


def floating(model: nn.Module) -> torch.dtype | None:
    """Return the type of a model's first floating-point parameter, else of its first such buffer; None without any.

    Args:
        model: Any module.
    """
    tensors = (t for several in (model.parameters(), model.buffers()) for t in several)
    return next((t.dtype for t in tensors if t.is_floating_point()), None)


@torch.no_grad()
def asked(model: nn.Module, name: str, probe: Tensor, classes: int) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a module that takes inputs as the task has them and answers with class scores, and remarks on it.

    It is the model itself where that does so. Else it is wrapped; everything that the wrapper does was tried on the
    probe, and is remarked upon.

    Args:
        model: Any classifier, at rest.
        name: How messages call it.
        probe: Some inputs, ``(N, ...)``.
        classes: Number of classes that answers must have; 0 where it is not known.

    Raises:
        TaskError: It takes no such inputs, or answers with something that holds no scores of so many classes.
    """
    batch = probe if len(probe) > 1 else probe.repeat(_PAIR, *[1] * (probe.dim() - 1))
    manner, batch, answer, remarks = _taken(model, name, batch)
    path, found = _found(answer, name, len(batch), classes)
    read, told = reading(found, name, lambda: _traced(model, manner, batch, path))
    if path or not isinstance(answer, Tensor):
        kind = type(answer).__name__
        remarks.append(f"{name} answers with {_article(kind)} {kind}: its class scores were taken")
    elif found.dim() > _PAIR:
        remarks.append(f"{name} answers with a tensor of shape (N, {', '.join(map(str, found.shape[1:]))}): flattened")
    made = Asked(model, manner, path, read)
    manner, more = _lone(made, name, batch, READINGS[read](found))
    made.manner = dataclasses.replace(manner, plain=not _any_order(made, batch[:4]))
    remarks += [*told, *more]
    plain = found is answer and found.dim() == 2 and found.dtype == torch.float32 and not read
    return (model if plain and made.manner == Manner() else made), tuple(remarks)


def _taken(model: nn.Module, name: str, batch: Tensor) -> tuple[Manner, Tensor, object, list[str]]:
    """Return how a model takes inputs, those that it took, its answer, and remarks.

    Raises:
        TaskError: It takes them in no way.
    """
    first: Exception | None = None
    for size in (len(batch), 1):  # a program exported for one example takes one alone
        for kind, told in _kinds(model, batch):
            manner, part = Manner(kind), batch[:size]
            given = manner.hand(model, part).clone()
            try:
                with quietly():
                    answer = model(given)
            except Exception as error:  # whatever a stranger's forward raises
                first = first or error
                continue
            remarks = [f"{name} {told}"] if told else []
            copies = given._version > 0  # noqa: SLF001 - how torch counts what was written to a tensor
            if copies:
                remarks.append(f"{name} changes its inputs in place: it is handed copies")
            if size == 1:
                remarks.append(f"{name} takes no more than one example at a time, and is asked so")
            return Manner(kind, copies, most=size % len(batch)), part, answer, remarks
    assert first is not None
    shape = tuple(batch.shape[1:])
    hint = "; it takes channels last: say --layout NHWC" if _takes_last(model, batch) else ""
    raise TaskError(f"{name} cannot take inputs of shape {shape}: {in_short(first)}{hint}") from first


def _takes_last(model: nn.Module, batch: Tensor) -> bool:
    """Return whether a model answers images whose channels come last."""
    if batch.dim() != 4:
        return False
    try:
        with quietly():
            model(batch.permute(0, 2, 3, 1).contiguous())
    except Exception:  # whatever a stranger's forward raises
        return False
    return True


def _kinds(model: nn.Module, batch: Tensor) -> Iterator[tuple[str, str]]:
    """Yield the types in which inputs can be handed over, with a remark on each: as they are, first."""
    yield "", ""
    own = floating(model)
    if own is not None and own != batch.dtype:
        yield "floating", f"is asked with inputs converted to its own type, {str(own).removeprefix('torch.')}"
    if batch.is_floating_point() and torch.equal(batch, batch.round()):
        yield "ids", "is asked with inputs converted to whole numbers, as it looks them up"


def _lone(made: Asked, name: str, batch: Tensor, together: Tensor) -> tuple[Manner, list[str]]:
    """Return the manner in which a single example is answered as it is among others, and a remark on it."""
    if len(batch) == 1 or _same_alone(made, batch, together):
        return made.manner, []
    twice = dataclasses.replace(made.manner, least=_PAIR)
    if _same_alone(Asked(made.model, twice, made.path, made.read), batch, together):
        return twice, [f"{name} answers a single example otherwise than one of several: such a one is asked twice over"]
    return made.manner, []


def _same_alone(made: Asked, batch: Tensor, together: Tensor) -> bool:
    try:
        with quietly():
            alone = made(batch[:1])
    except Exception:  # a batch of one has lost a dimension on the way
        return False
    return alone.shape == together[:1].shape and bool(
        (alone - together[:1]).abs().max() <= BATCHED * together.abs().max().clamp(min=1e-12)
    )


def _any_order(made: Asked, batch: Tensor) -> bool:
    """Return whether a model answers alike however its inputs lie in memory: layers that ``view`` them do not."""
    try:
        with quietly():
            return alike(made(batch), made(elsewhere(batch)), LAID)
    except Exception:  # a view of a tensor that lies otherwise
        return False


def elsewhere(x: Tensor) -> Tensor:
    """Return inputs in another order of memory: of images channels last, else the examples.

    Args:
        x: ``(N, ...)``.
    """
    if x.dim() == 4:
        return channels_last(x)
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def channels_last(x: Tensor) -> Tensor:
    """Return images with their channels last in memory.

    Of a single channel both orders are the same bytes, and torch takes them for the usual one but where the strides say
    otherwise.

    Args:
        x: ``(N, channels, height, width)``.
    """
    if x.shape[1] == 1:
        return x.contiguous().squeeze(1).unsqueeze(3).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def _traced(model: nn.Module, manner: Manner, batch: Tensor, path: Path) -> Tensor | None:
    """Return scores with the graph that made them; None where there is none."""
    # Where inputs are looked up no gradient begins at them, and none at weights at rest.
    resting = [p for p in model.parameters() if p.is_leaf and p.is_floating_point() and not p.requires_grad]
    given = batch.detach().clone()
    try:
        with torch.enable_grad(), quietly():
            for parameter in resting:
                parameter.requires_grad_()
            given = given.requires_grad_() if given.is_floating_point() else given
            return _dense(_at(model(manner.hand(model, given)), path))
    except Exception:  # what is changed in place raises, and weights of a kind that has no gradient
        return None
    finally:
        for parameter in resting:
            parameter.requires_grad = False


def _parts(answer: object) -> Mapping[object, object]:
    """Return what an answer holds, by key: entries of a mapping, fields of a record, places of a tuple."""
    if isinstance(answer, Mapping):
        return answer
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        return {f.name: getattr(answer, f.name) for f in dataclasses.fields(answer)}
    if isinstance(answer, (tuple, list)):
        names = getattr(answer, "_fields", range(len(answer)))
        return dict(zip(names, answer, strict=True))
    logits = getattr(answer, "logits", None)
    return {} if logits is None else {"logits": logits}


def _at(answer: object, path: Path) -> Tensor:
    for key in path:
        answer = _parts(answer)[key]
    assert isinstance(answer, Tensor)
    return answer


def _leaves(answer: object, path: Path = (), depth: int = 4) -> Iterator[tuple[Path, Tensor]]:
    if isinstance(answer, Tensor):
        yield path, answer
    elif depth:
        for key, part in _parts(answer).items():
            yield from _leaves(part, (*path, key), depth - 1)


def _dense(found: Tensor) -> Tensor:
    """Return an ordinary tensor: of quantized ones what they stand for."""
    if found.is_quantized:
        return found.dequantize()
    return found.to_dense() if found.layout != torch.strided else found


def _found(answer: object, name: str, count: int, classes: int) -> tuple[Path, Tensor]:
    """Return the class scores in an answer and where they are: what is called ``logits``, or the one that fits.

    Raises:
        TaskError: There is none, or more than one.
    """
    leaves = [(path, dense) for path, t in _leaves(answer) if (dense := _dense(t)).is_floating_point()]
    called = [(path, t) for path, t in leaves if path and path[-1] == "logits"]
    most = 0
    for fits in (_matrix(count, classes), _column(count, classes)):
        for held in (called, leaves):
            fit = [(path, t) for path, t in held if fits(t)]
            if len(fit) == 1:
                return fit[0]
            most = max(most, len(fit))
    widths = {t.shape[1] for _, t in called or leaves if t.dim() == _PAIR and len(t) == count and t.shape[1] > 1}
    if classes and len(widths) == 1 and not most:
        raise TaskError(f"{name} answers with {other_classes(widths.pop(), classes)}")
    kind = f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
    kind = kind if isinstance(answer, Tensor) else f"{_article(kind)} {kind}"
    need = f"(N, {classes})" if classes else "(N, classes), two classes or more"
    raise TaskError(
        f"{name} answers with {kind}, which holds {most} matrices that could be class scores; one of {need} is needed, "
        "alone, in a tuple, or as 'logits' of a mapping"
    )


def _matrix(count: int, classes: int) -> Callable[[Tensor], bool]:
    def fits(t: Tensor) -> bool:
        if t.dim() < 2 or t.shape[0] != count or sum(size > 1 for size in t.shape[1:]) > 1:
            return False
        width = t[0].numel()
        return width == classes > 1 if classes else t.dim() == 2 and width > 1

    return fits


def _column(count: int, classes: int) -> Callable[[Tensor], bool]:
    def fits(t: Tensor) -> bool:
        return classes == 2 and t.numel() == count and column(t, count)

    return fits


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"
