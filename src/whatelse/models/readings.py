"""What the numbers in a model's answer are: scores, probabilities of one class or of each by itself, or one number."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from whatelse.errors import TaskError

_SUMS = 1e-4  # how far probabilities of single precision are from 1 together
_HALF = 2e-2  # likewise of half precision
# Nodes of autograd, by how their names begin: what only arranges, scales, sums or rectifies numbers, what makes scores
# out of features, and what makes probabilities of each class by itself.
_PLAIN = {
    *("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Slice", "Select", "ToCopy", "Cat", "Stack"),
    *("Permute", "Transpose", "T", "Clone", "Alias", "Expand", "Index", "Split", "Unbind", "AsStrided", "Repeat"),
    *("Add", "Sub", "Mul", "Div", "Neg", "Mean", "Sum", "Cumsum", "NativeBatchNorm", "NativeLayerNorm", "Prelu"),
    *("Relu", "LeakyRelu", "Gelu", "Silu", "Elu", "Softplus", "torch::autograd::AccumulateGrad"),
}
_LAYERS = {"Addmm", "Mm", "Bmm", "Baddbmm", "Addbmm", "Linear", "Convolution", "MkldnnConvolution", "Mv", "Addmv"}
_SIGMOIDS, _SOFTMAX = {"Sigmoid", "Hardsigmoid"}, {"Softmax", "LogSoftmax"}


def wide(found: Tensor) -> Tensor:
    """Return numbers in single precision at the least: logarithms and sums of half ones are not to be trusted.

    Args:
        found: Any shape.
    """
    return found if found.dtype in {torch.float32, torch.float64} else found.float()


def _scores(found: Tensor) -> Tensor:
    return wide(found).flatten(1)


# Of single precision, also of double: a copy in double is to say the same.
_TINY, _GAP = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).eps / 2


def _log(found: Tensor) -> Tensor:
    return _scores(found).clamp(min=_TINY).log()


def _each(found: Tensor) -> Tensor:
    """Return ``log p_c - log (1 - p_c)``, whose softmax is the probability of a class given that just one is true."""
    return torch.logit(_scores(found).clamp(_TINY, 1 - _GAP))


def _one_score(found: Tensor) -> Tensor:
    """Return 0 and the score: their softmax is the sigmoid of it."""
    score = wide(found).reshape(-1, 1)
    return torch.cat([torch.zeros_like(score), score], 1)


def _one_probability(found: Tensor) -> Tensor:
    return _log(_one_decision(found))


def _one_decision(found: Tensor) -> Tensor:
    p = wide(found).reshape(-1, 1)
    return torch.cat([1 - p, p], 1)


# How what stands in an answer becomes class scores ``(N, classes)``.
READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "": _scores,
    "probabilities": _log,
    "each": _each,
    "one score": _one_score,
    "one probability": _one_probability,
    "one decision": _one_decision,
}


def other_classes(given: int, classes: int) -> str:
    """Return what is said of a model that has other classes than the data, and what is to be done.

    Args:
        given: Classes of the model.
        classes: Those of the data.
    """
    if given < classes:
        labels = f"label {given} is" if given + 1 == classes else f"labels {given} to {classes - 1} are"
        mend = f"{labels} none of its classes: leave those rows out, or give the model that has all classes"
    else:
        mend = "name all classes of the model, in the order of its outputs (--classes), where the data lack some"
    return f"scores of {given} classes; the data have {classes}: {mend}"


def column(found: Tensor, count: int) -> bool:
    """Return whether an answer holds one number an example.

    Args:
        found: Any shape.
        count: Number of examples.
    """
    return found.dim() in {1, 2} and found.shape[0] == count and found.numel() == count


def reading(found: Tensor, name: str, graph: Callable[[], Tensor | None]) -> tuple[str, tuple[str, ...]]:
    """Return how numbers become class scores, of `READINGS`, and a remark where that is not plain.

    Whether numbers between 0 and 1 are probabilities is told by their sums, else by the graph that made them: scores
    that just happen to lie there would be given confidences that the model never had.

    Args:
        found: What stands in the answer, ``(N, classes)``, or one number an example.
        name: How remarks call the model.
        graph: Returns the same with its graph, or None.

    Raises:
        TaskError: They lie between 0 and 1, and what they are cannot be told.
    """
    single = column(found, len(found))
    numbers = wide(found)
    inside, sharp = bool(((numbers >= 0) & (numbers <= 1)).all()), bool(((numbers == 0) | (numbers == 1)).all())
    if single:
        return _of_one(name, graph, inside=inside, sharp=sharp)
    near = _SUMS if found.dtype in {torch.float32, torch.float64} else _HALF
    whole = inside and bool((_scores(found).sum(1) - 1).abs().max() < near)
    if sharp:
        return "", (f"{name} answers with 0 and 1 alone, taken as class scores: its confidences mean nothing",)
    if whole:
        return "probabilities", (f"{name} answers with probabilities: their logarithms were taken as class scores",)
    if not inside:
        return "", ()
    made = _made_by(graph(), name)
    if made == "softmax":
        return "probabilities", (f"{name} answers with rounded probabilities: their logarithms were taken",)
    if made == "layers":
        told = (
            f"all scores of {name} lie between 0 and 1, as probabilities do, but a layer makes them: taken as they are"
        )
        return "", (told,)
    told = "answers with a probability of each class by itself: their log-odds were taken as class scores"
    return "each", (f"{name} {told}, so that confidences are those of one class given that just one is true",)


def _of_one(name: str, graph: Callable[[], Tensor | None], *, inside: bool, sharp: bool) -> tuple[str, tuple[str, ...]]:
    if sharp:
        return "one decision", (f"{name} answers with 0 or 1 alone: its confidences mean nothing",)
    if not inside or _made_by(graph(), name) == "layers":
        return "one score", (f"{name} answers with one score an example: taken as the log-odds of class 1",)
    return "one probability", (f"{name} answers with one probability an example: taken as that of class 1",)


def _made_by(scores: Tensor | None, name: str) -> str:
    """Return whether ``sigmoids``, a ``softmax`` or ``layers`` made the scores.

    Raises:
        TaskError: Neither can be seen.
    """
    start = None if scores is None else scores.grad_fn
    kinds = [] if start is None else list(_back(start))
    for made, those in (("sigmoids", _SIGMOIDS), ("softmax", _SOFTMAX)):
        if those & {*kinds}:
            return made
    other = next((kind for kind in kinds if kind not in _PLAIN | _LAYERS), "")
    if not other and _LAYERS & {*kinds}:
        return "layers"
    raise TaskError(
        f"all scores of {name} lie between 0 and 1, but those of an example do not sum to 1, and what makes them "
        f"({other or 'no layer'}) does not tell scores from probabilities; let it answer with scores before a sigmoid"
    )


def _back(start: torch.autograd.graph.Node) -> Iterator[str]:
    """Yield the kinds of the nodes behind a result, the last first, up to the layers that made its numbers."""
    ahead, seen = [start], set()
    while ahead:
        node = ahead.pop(0)
        if node in seen:
            continue
        seen.add(node)
        kind = node.name().split("Backward")[0]
        yield kind
        if kind not in _LAYERS:
            ahead += [before for before, _ in node.next_functions if before is not None]
