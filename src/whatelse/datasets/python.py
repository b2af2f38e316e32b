"""A torch dataset of the user's own, from ``file.py:function`` or ``package.module:function``, which is run.

The function takes no arguments and returns a map-style dataset, or a mapping of the names of splits (``train``,
``select`` or ``validation``, ``test``, ``shifted``) to such, or a task of this toolkit. An example is a pair ``(x, y)``
or a mapping: its input stands under ``input`` (else ``inputs``, ``x``, ``image``, ``pixel_values``), its class under
``label`` (else ``label``, ``labels``, ``target``, ``targets``, ``y``); other plain values in it may make ``groups`` or
name the ``cluster``. Inputs are tensors, arrays, pictures of Pillow or lists of numbers; bytes (uint8) become numbers
in [0, 1]. Classes are whole numbers from 0 in the order of the model's outputs, or words.

One dataset is cut as the rows of a table are; ``split='test'`` says that none of it is train, and ``members`` names
another such function that gives what the model was trained on. Examples are asked for one by one, at first all of their
labels, in the order of the dataset: one that draws at random gives another task each time.

Source:
    The protocol of torch.utils.data.Dataset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse import named
from whatelse.datasets import _bounds, _column, _examples, _groups, _pictures, _tabular
from whatelse.errors import TaskError, in_short, nearest, shown
from whatelse.settings import param
from whatelse.tasks.task import SPLITS, Task

VERSION = 1
_CALLED = re.compile(r"(?:.*\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*")
_INPUTS = ("inputs", "input", "x", "image", "pixel_values")
_LABELS = ("label", "labels", "target", "targets", "y")
_PAIR = ("input", "label")
_SPLITS = {"": "", "train": "train", "select": "select", "validation": "select", "test": "test", "shifted": "shifted"}
_LIST = ", joined by commas."


@dataclass(frozen=True)
class Config:
    """Settings of a dataset of one's own."""

    path: str = param("", "file.py:function or package.module:function.")
    input: str = param("", "Where an example has its input; empty for the usual names.")
    label: str = param("", "Where an example has its class; empty for the usual names.", option="target")
    groups: str = param("", f"What in an example makes groups, {_groups.HELP}.")
    members: str = param("", "A function that gives what the model was trained on.")
    cluster: str = param("", "What in an example says whose it is, such as patient_id.")
    split: str = param("", "The split that verdicts are given on; test where no example is train.")
    classes: str = param("", "Names of the classes in the order of the model's outputs" + _LIST)
    bounds: str = param("", f"{_bounds.HELP}; empty where none are known.")
    test: float = param(0.3, "Share of examples held back for verdicts, of one dataset.", low=0.01, high=0.9)
    select: float = param(0.1, "Share of the others held back for choices.", low=0.01, high=0.9)
    calibration: int = param(256, "Examples of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of examples of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return a dataset of the user's own as a task.

    Args:
        config: Which function, and what its examples hold.

    Raises:
        TaskError: There is no such function, it fails, or its examples are none.
    """
    where = f"python, {config.path}"
    if not takes(config.path):
        raise TaskError(f"data python: path={config.path!r}; file.py:function or package.module:function is needed")
    made = _called(config.path, where)
    if isinstance(made, Task):
        return _limited(made, config, where)
    plan, parts = _arranged(_parts(made, where), config, where)
    if config.members:
        parts[_tabular.MEMBERS] = _whole(_parts(_called(config.members, where), where), where)
    sources = {name: _source(part, config, where) for name, part in parts.items()}
    known = _known([source.beside[_PAIR[1]] for source in sources.values()])
    plan = replace(plan, label=_PAIR[1])
    return _examples.task(config.path.rpartition(":")[2], sources, where, plan, known=known)


def takes(text: str) -> bool:
    """Return whether a text names a function.

    Args:
        text: What a user types.
    """
    return bool(_CALLED.fullmatch(text)) and not text.startswith("hf:")


def _called(text: str, where: str) -> object:
    """Return what a function of the user's own returns.

    Raises:
        TaskError: There is no such function, or it raises something.
    """
    place, _, name = text.rpartition(":")
    try:
        with named.found(text, f"data {where}", TaskError) as found:
            if not callable(found):
                raise TaskError(f"data {where}: {name!r} in {place} is a {type(found).__name__}; a function is needed")
            made: object = found()
    except TaskError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise TaskError(f"data {where}: {type(error).__name__}: {in_short(error)}") from error
    return made


def _limited(task: Task, config: Config, where: str) -> Task:
    given = [n for n in ("label", "groups", "members", "cluster", "classes", "bounds") if getattr(config, n)]
    if given:
        raise TaskError(f"data {where}: {given[0]}: the function returns a whole task, which says that itself")
    taken = set(SPLITS) - {"test"}
    if config.split in taken:
        allowed = ", ".join(name for name in task.splits if name not in taken)
        told = f"split={config.split!r}: models were trained on it, or choices are made on it; allowed: {allowed}"
        raise TaskError(f"data {where}: {told}")
    found = task.on(config.split) if config.split else task
    if not config.limit:
        return found
    return replace(found, splits={n: s.take(torch.arange(min(config.limit, len(s)))) for n, s in found.splits.items()})


def _parts(made: object, where: str) -> dict[str, Any]:
    """Return the datasets that a function gave, by their splits; one alone has no name.

    Raises:
        TaskError: It gave none.
    """
    found: dict[Any, Any] = dict(made) if isinstance(made, Mapping) else {"": made}
    for name, one in found.items():
        if name not in _SPLITS:
            raise TaskError(f"data {where}: a split {shown(name, 40)}; {nearest(str(name), [n for n in _SPLITS if n])}")
        try:
            count = len(one)
        except TypeError as error:
            raise TaskError(
                f"data {where}: got a {type(one).__name__} without a length; a map-style dataset, with __len__ and "
                "__getitem__, or a mapping of splits to such is needed"
            ) from error
        if not count:
            raise TaskError(f"data {where}: the dataset {name} is empty; examples are needed")
    return {_SPLITS[name]: one for name, one in found.items()}


def _whole(parts: dict[str, Any], where: str) -> Any:  # noqa: ANN401 - a dataset of the user's own
    for name in ("train", ""):
        if name in parts:
            return parts[name]
    raise TaskError(f"data {where}: members: no split train; there are {', '.join(parts)}")


def _arranged(parts: dict[str, Any], config: Config, where: str) -> tuple[_tabular.Plan, dict[str, Any]]:
    """Return what is done with the examples, and the dataset of each part of the data.

    Raises:
        TaskError: There is no such split.
    """
    plan = _tabular.Plan.of(config)
    if "" in parts:
        if config.split not in {"", "test"}:
            raise TaskError(f"data {where}: split={config.split!r}; it has no splits: say test, or leave it out")
        return plan, parts
    wanted = _SPLITS.get(config.split or "test", config.split)
    if wanted not in parts:
        raise TaskError(f"data {where}: split: no {wanted!r}; {nearest(wanted, parts)}")
    rest = {name: one for name, one in parts.items() if name not in {wanted, "test"}}
    if config.members:
        rest.pop("train", None)
    if "train" not in rest:
        return replace(plan, split="test"), {_tabular.WHOLE: parts[wanted], **rest}
    return replace(plan, split=""), {_tabular.WHOLE: rest.pop("train"), "test": parts[wanted], **rest}


def _source(dataset: Any, config: Config, where: str) -> _examples.Source:  # noqa: ANN401 - of the user's own
    """Return a dataset as a source; its labels and what else is plain are read once.

    Raises:
        TaskError: Examples have different parts.
    """
    get = partial(_got, dataset, where=where)
    beside: dict[str, list[str]] = {}
    for i in range(len(dataset)):
        row = {name: _plain(value) for name, value in _item(get(i), config, where).items() if name != _PAIR[0]}
        if i and row.keys() != beside.keys():
            raise TaskError(f"data {where}: example {i} has {', '.join(row)}; the first has {', '.join(beside)}")
        for name, value in row.items():
            beside.setdefault(name, []).append(value)
    columns = {name: _column.of(values) for name, values in beside.items()}
    return _examples.Source(
        lambda i: _input(_item(get(i), config, where)[_PAIR[0]], f"{where}: example {i}"),
        lambda i: f"example {i}",
        columns,
    )


def _got(dataset: Any, index: int, where: str) -> object:  # noqa: ANN401 - of the user's own
    try:
        found: object = dataset[index]
    except Exception as error:  # whatever the user's own code raises
        raise TaskError(f"data {where}: example {index}: {type(error).__name__}: {in_short(error)}") from error
    return found


def _item(example: object, config: Config, where: str) -> dict[str, Any]:
    """Return an example as a mapping with its input and its class under fixed names.

    Raises:
        TaskError: It is neither a pair nor a mapping with them.
    """
    if isinstance(example, Mapping):
        names = {"input": (config.input, _INPUTS), "label": (config.label, _LABELS)}
        found = {part: _named(example, asked, usual, part, where) for part, (asked, usual) in names.items()}
        return {part: example[name] for part, name in found.items()} | {
            str(name): value for name, value in example.items() if name not in found.values()
        }
    if isinstance(example, Sequence) and len(example) == len(_PAIR) and not isinstance(example, str):
        return dict(zip(_PAIR, example, strict=True))
    raise TaskError(f"data {where}: an example is a {type(example).__name__}; a pair (x, y) or a mapping is needed")


def _named(example: Mapping[Any, Any], asked: str, usual: Sequence[str], part: str, where: str) -> str:
    for name in [asked] if asked else usual:
        if name in example:
            return name
    known = ", ".join(map(str, example))
    raise TaskError(f"data {where}: {part}: no {asked or ' or '.join(usual)!r} in an example; it has {known}")


def _plain(value: object) -> str:
    """Return a value beside an input as a text; what is no single value makes no groups."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        value = value.item() if (value.numel() if isinstance(value, Tensor) else value.size) == 1 else ""
    if isinstance(value, float):
        return _column.text_of(value) if np.isfinite(value) else ""
    return str(value) if isinstance(value, str | int) else ""


def _input(value: object, where: str) -> Tensor:
    """Return an input as numbers.

    Raises:
        TaskError: It is none.
    """
    if _pictures.is_one(value):
        return _pictures.of(value, "rgb" if len(value.getbands()) > 1 else "gray", 0)  # type: ignore[attr-defined] # Pillow's
    try:
        found = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(f"data {where}: its input is a {type(value).__name__}; numbers are needed") from error
    if found.dtype == torch.uint8:
        return found.float() / 255
    numbers = found.detach().cpu()
    return numbers if numbers.dtype in {torch.int32, torch.int64} else numbers.float()


def _known(columns: Sequence[_column.Column]) -> tuple[str, ...]:
    """Return the classes that whole numbers from 0 name; nothing where labels are words."""
    given = {value for column in columns for value in column.given()}
    if not given or not all(value.isascii() and value.isdigit() for value in given):
        return ()
    most = max(map(int, given))
    return tuple(map(str, range(most + 1))) if most < 10 * len(given) + 100 else ()  # noqa: PLR2004 - else they are names
