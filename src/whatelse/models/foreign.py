"""What models of other runtimes have in common: files by which they are known, batches of a size that they fix."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from whatelse import limits
from whatelse.errors import ArtifactError, TaskError
from whatelse.models.readings import READINGS, column

_CHUNK = 2**20
# What a text may be given as beside its ids; of a task the id 0 is padding.
_IDS, _MASKS, _ZEROS = {"input_ids", "ids"}, {"attention_mask", "mask"}, {"token_type_ids", "segment_ids"}
_NAMED = ("logits", "probabilities", "output_probability", "scores", "probs")
_PAIR, _IMAGES = 2, 3


@dataclass(frozen=True)
class Output:
    """One of several things that a model answers with.

    Attributes:
        name: What the model calls it.
        rank: 0 for numbers; what is less apt to be scores has a higher one.
        kind: Its type, for messages.
        shape: Its shape, as far as it is declared.
    """

    name: str
    rank: int
    kind: str
    shape: Sequence[object] | None


def scores_of(given: Sequence[Output], classes: int, name: str) -> Output:
    """Return the output that holds scores: by its type, then by its name, then by its shape.

    Args:
        given: All that might.
        classes: How many classes the task has.
        name: How the message calls the model.

    Raises:
        TaskError: None can be told from the others.
    """
    best = [o for o in given if o.rank == min(other.rank for other in given)]
    named = [o for o in best if o.name.lower() in _NAMED]
    fits = [o for o in best if len(o.shape or ()) == _PAIR and list(o.shape or ())[1] == classes]
    for found in (best, named, fits):
        if len(found) == 1:
            return found[0]
    every = ", ".join(f"{o.name} {o.kind} {list(o.shape or ())}" for o in given) or "none of numbers"
    raise TaskError(f"{name} has the outputs {every}; one of scores is needed, of {classes} classes or named logits")


def of_text(called: str) -> str:
    """Return what an input of a text is, its ``inputs``, their ``mask`` or ``zeros``; empty where it is neither.

    Args:
        called: Its name.
    """
    kinds = {"inputs": _IDS, "mask": _MASKS, "zeros": _ZEROS}
    return next((what for what, names in kinds.items() if called.lower() in names), "")


def check(path: Path, takes: int = 0, beside: Sequence[Path] = ()) -> None:
    """Refuse what is no file, or would take more memory than is allowed.

    Args:
        path: Where it is.
        takes: Bytes that it makes of itself; 0 where that is what it holds.
        beside: Files that hold a part of it.

    Raises:
        ArtifactError: It is none.
    """
    try:
        size = limits.regular(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file") from error
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    held = size + sum(file.stat().st_size for file in beside)
    limits.check(takes or held, held, path.name, ArtifactError)


def key_of(kind: str, files: Sequence[Path]) -> str:
    """Return the SHA-256 of files, by their names and all that they hold.

    Args:
        kind: What it begins with.
        files: All that decide what the model answers.

    Raises:
        ArtifactError: One cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while part := file.read(_CHUNK):
                    digest.update(part)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{kind}-{digest.hexdigest()[:16]}"


def without_weights(text: str, weights: str) -> None:
    """Refuse weights beside a model that has its own.

    Args:
        text: The model.
        weights: What was given.

    Raises:
        ArtifactError: Some were.
    """
    if weights:
        raise ArtifactError(f"weights {weights}: {text} has its own weights; leave one of them out")


def in_batches(ask: Callable[[Tensor], Tensor], inputs: Tensor, most: int, name: str, *, fixed: bool) -> Tensor:
    """Return answers to any number of inputs, asked in batches.

    Args:
        ask: Answers a batch, a row for each example.
        inputs: ``(N, ...)``.
        most: Examples of a batch; 0 for all at once.
        name: How the message calls the model.
        fixed: True where every batch must be that large: its last example stands in for those that are not there.

    Raises:
        TaskError: It answers with another number of rows.
    """
    found = []
    for part in torch.split(inputs, most or max(1, len(inputs))):
        short = most - len(part) if fixed and most else 0
        asked = torch.cat([part, part[-1:].expand(short, *part.shape[1:])]) if short else part
        answer = ask(asked)
        if answer.dim() < 1 or len(answer) != len(asked):
            raise TaskError(
                f"{name} answers {len(asked)} examples in the shape {tuple(answer.shape)}; a row for each is needed"
            )
        found.append(answer[: len(part)])
    return torch.cat(found)


def one_each(labels: Tensor, classes: int, name: str) -> Tensor:
    """Return scores of a model that names classes alone: 1 for the class that it names, ``(N, classes)``.

    Args:
        labels: The class of every example, ``(N,)``.
        classes: How many there are.
        name: How the message calls the model.

    Raises:
        TaskError: It names another class.
    """
    wrong = ~((labels >= 0) & (labels < classes) & (labels == labels.floor() if labels.is_floating_point() else True))
    if bool(wrong.any()):
        got = labels[wrong][0].item()
        raise TaskError(f"{name} answers with class {got:g}; allowed are 0 to {classes - 1}, the classes of the task")
    return torch.nn.functional.one_hot(labels.long(), classes).float()


def read(made: str, found: Tensor) -> Tensor:
    """Return class scores of an answer of which it is known what it is; as it stands where it is not.

    Args:
        made: ``Softmax`` or ``Sigmoid``, by the operation that made it, ``logits``, or anything else.
        found: The answer, ``(N, ...)``.
    """
    single = column(found, len(found))
    if made == "Softmax":
        return READINGS["one probability" if single else "probabilities"](found)
    if made == "Sigmoid":
        return READINGS["one probability" if single else "each"](found)
    return READINGS["one score"](found) if made == "logits" and single else found


# What is said of answers that are read so, by what made them.
READ = {
    "Softmax": "logarithms of its probabilities were taken as class scores",
    "Sigmoid": "log-odds of its probabilities were taken as class scores",
}


def check_shape(name: str, wanted: Sequence[int | None], given: Sequence[int]) -> None:
    """Refuse inputs of another shape than a model declares.

    Args:
        name: How the message calls the model.
        wanted: Of one input, None where any size is allowed.
        given: Of one input of the task.

    Raises:
        TaskError: They do not fit.
    """
    if _fits(wanted, given):
        return
    takes = ", ".join("any" if size is None else f"{size}" for size in wanted)
    raise TaskError(f"{name} takes inputs of shape ({takes}); the data have {tuple(given)}{_mend(wanted, given)}")


def _fits(wanted: Sequence[int | None], given: Sequence[int]) -> bool:
    return len(wanted) == len(given) and all(w in {None, g} for w, g in zip(wanted, given, strict=True))


def _mend(wanted: Sequence[int | None], given: Sequence[int]) -> str:
    """Return what to declare of a model that takes the same images in another form; nothing where that is not known."""
    if len(given) != _IMAGES or len(wanted) != _IMAGES:
        return ""
    if _fits(wanted, [*given[1:], given[0]]):
        return "; its channels come last: say --layout MODEL=NHWC"
    if _fits(wanted, [given[-1], *given[:-1]]):
        return "; the data's channels come last: turn them, of arrays by layout='NHWC'"
    if wanted[0] in {None, given[0]} and None not in wanted:
        return f"; say --resize MODEL={wanted[1]}x{wanted[2]}"
    return ""
