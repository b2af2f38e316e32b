"""A data set of the Hugging Face hub, ``hf:owner/name``, or a folder that its library reads, ``hf:./folder``.

It is fetched by their library ``datasets``, which keeps a copy; without a network, a copy must be there. Code that a
data set brings is never run: their library has stopped to. ``hf:owner/name:config`` names one of several
configurations. A column of images gives images, as a folder of them does; else the columns are a table, as a file of
them is; and lists of words with lists of tags are sentences (`sentences`). Classes that the data set names keep their
names and order.

Verdicts are given on the split ``split`` (by default test, else validation), choices are made on validation where there
is one, and ``members`` names the split that the model was trained on (by default train). A data set of one split is cut
as a table is; ``split='test'`` then says that no row is train.

Source:
    Lhoest et al., Datasets: a community library for natural language processing, EMNLP 2021, arXiv:2109.02846.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from whatelse import hub
from whatelse.datasets import _bounds, _examples, _groups, _pictures, _read, _sentences, _tabular
from whatelse.datasets._column import Column
from whatelse.errors import MissingExtraError, TaskError, in_short, nearest
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION = 1
_START = "hf:"
_CHOICES = ("validation", "dev", "val")
_PART = 16_384
_LISTS = ("List", "LargeList", "Sequence")  # what their versions call a column of lists
_LIST = ", joined by commas."


@dataclass(frozen=True)
class Config:
    """Settings of a data set of the hub."""

    path: str = param("", "hf:owner/name, hf:owner/name:config or hf:./folder.")
    label: str = param("label", "The column that holds the class.", option="target")
    groups: str = param("", f"Columns that make groups, {_groups.HELP}.")
    leave_out: str = param("", "Columns that the model does not see" + _LIST)
    categories: str = param("", "Columns of numbers that are codes of categories" + _LIST)
    members: str = param("", "The split that the model was trained on; empty for train.")
    cluster: str = param("", "The column that says whose rows these are, such as patient_id; it is no input.")
    split: str = param("", "The split that verdicts are given on; empty for test, else validation.")
    classes: str = param("", "Names of the classes in the order of the model's outputs" + _LIST)
    bounds: str = param("", f"{_bounds.HELP}; empty for 0,1 of images, and none of tables.")
    text: str = param("", "The column of texts that are the inputs; empty where columns are.")
    scale: str = param(_tabular.AUTO, _tabular.SCALE, choices=_tabular.SCALES)
    size: int = param(32, "Height and width of images in pixels, 0 as they are.", low=0, high=4096)
    color: str = param("rgb", "What a pixel is.", choices=tuple(_pictures.MODES))
    test: float = param(0.3, "Share of rows held back for verdicts, of one split.", low=0.01, high=0.9)
    select: float = param(0.1, "Share of the other rows held back for choices.", low=0.01, high=0.9)
    calibration: int = param(256, "Rows of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of rows of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return a data set of the hub as a task.

    Args:
        config: Which, and what its columns are.

    Raises:
        TaskError: It cannot be reached, is not there, or a value makes no sense.
        MissingExtraError: Their library is not installed.
    """
    where = f"hub, {config.path}"
    if not config.path.removeprefix(_START).strip():
        raise TaskError(f"data hub: path={config.path!r}; hf:owner/name is needed")
    plan, parts = _arranged(_fetched(config.path, where), config, where)
    first, name = parts[_tabular.WHOLE], config.path.removeprefix(_START).rstrip("/").rpartition("/")[2]
    lists = {column: kind for column, kind in first.features.items() if type(kind).__name__ in _LISTS}
    if config.label in lists or (config.label not in first.features and lists.keys() & set(_sentences.WORDS)):
        return _spoken(name, parts, plan, lists, where)
    if config.label not in first.features:
        known = nearest(config.label, first.features)
        raise TaskError(f"data {where}: label: no column {config.label!r}; {known} (--target)")
    names = tuple(getattr(first.features[config.label], "names", None) or ())
    plan = replace(plan, named=names)
    pictures = [name for name, kind in first.features.items() if type(kind).__name__ == "Image"]
    if pictures:
        sources = {each: _pictured(part, pictures[0], names, config, where) for each, part in parts.items()}
        return _examples.task(name, sources, where, plan, bounds=(0.0, 1.0), by_class=not config.groups)
    files = {each: _columns(part, names, plan, where) for each, part in parts.items()}
    return _tabular.task(name, files, dict.fromkeys(files, where), plan)


def _spoken(name: str, parts: Mapping[str, Any], plan: _tabular.Plan, lists: Mapping[str, Any], where: str) -> Task:
    """Return sentences with a label a word, classes by the names that the data set gives them."""
    first = parts[_tabular.WHOLE]
    plan = replace(plan, label=plan.label if plan.label in first.features else "")
    label = _sentences.named(first.column_names, plan, where).label
    named = tuple(getattr(getattr(lists.get(label), "feature", None), "names", None) or ())
    files = {each: part.to_list() for each, part in parts.items()}
    return _sentences.task(name, files, dict.fromkeys(files, where), replace(plan, named=named))


def takes(text: str) -> bool:
    """Return whether a text names a data set of the hub.

    Args:
        text: What a user types.
    """
    return text.startswith(_START)


def _fetched(path: str, where: str) -> dict[str, Any]:
    """Return the splits of a data set, by name.

    Raises:
        TaskError: It cannot be reached, or is not there.
        MissingExtraError: Their library is not installed.
    """
    try:
        import datasets  # noqa: PLC0415 - an extra, imported where it is needed
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"data {where} needs datasets: pip install 'whatelse[data]'") from error
    place, _, config = path.removeprefix(_START).partition(":")
    datasets.disable_progress_bars()
    try:
        with nullcontext() if os.path.isdir(place) else hub.reached():
            return dict(datasets.load_dataset(place, config or None))
    except Exception as error:  # no network, no such set, a damaged copy: errors of many kinds
        raise TaskError(
            f"data {where}: cannot be reached, or is not there ({in_short(error, 160)}); fetch it where there is a "
            "network, or give its files, such as --data test.parquet"
        ) from error


def _arranged(found: dict[str, Any], config: Config, where: str) -> tuple[_tabular.Plan, dict[str, Any]]:
    """Return what is done with the rows, and the split of each part of the data.

    Raises:
        TaskError: There is no such split.
    """
    plan = _tabular.Plan.of(config)
    if len(found) == 1 and config.split in {"", "test", *found} and not config.members:
        return replace(plan, split="test" if config.split else ""), {_tabular.WHOLE: next(iter(found.values()))}
    wanted = config.split or next((name for name in ("test", *_CHOICES) if name in found), "test")
    for setting, name in (("split", wanted), ("members", config.members or wanted)):
        if name not in found:
            raise TaskError(f"data {where}: {setting}: no split {name!r}; {nearest(name, found)}")
    parts = {"test": found[wanted]}
    chosen = next((name for name in _CHOICES if name in found and name != wanted), "")
    if chosen:
        parts["select"] = found[chosen]
    members = config.members or "train"
    if members not in found or members == wanted:
        return replace(plan, split="test"), {_tabular.WHOLE: parts.pop("test"), **parts}
    return replace(plan, split=""), {_tabular.WHOLE: found[members], **parts}


def _batches(part: Any) -> Iterator[Any]:  # noqa: ANN401 - a Dataset
    for table in part.with_format("arrow").iter(_PART):
        yield from table.to_batches()


def _columns(part: Any, names: tuple[str, ...], plan: _tabular.Plan, where: str) -> dict[str, Column]:  # noqa: ANN401
    """Return a split as columns, classes by their names."""
    kept = [name for name in part.column_names if name not in plan.skipped()]
    found = _read.arrow(_batches(part.select_columns(kept)), kept, where, plan.texts())
    label = found[plan.label]
    if names:
        found[plan.label] = Column(label.index, tuple(_name(value, names) for value in label.values))
    return {name: found.get(name, _read.nothing(len(part))) for name in part.column_names}


def _name(value: str, names: tuple[str, ...]) -> str:
    return names[int(value)] if value.isdigit() and int(value) < len(names) else ""


def _pictured(
    part: Any,  # noqa: ANN401
    column: str,
    names: tuple[str, ...],
    config: Config,
    where: str,  # noqa: ANN401
) -> _examples.Source:
    """Return a split with images as a source."""
    import datasets  # noqa: PLC0415 - it is there: it made the split

    raw = part.cast_column(column, datasets.Image(decode=False)).select_columns([column])
    rest = part.select_columns([name for name in part.column_names if name != column])
    plan = _tabular.Plan.of(config)

    def fetch(i: int) -> Any:  # noqa: ANN401 - a tensor
        held = raw[i][column]
        return _pictures.pixels(held["bytes"] or held["path"], f"{where}: row {i + 1}", config.color, config.size)

    return _examples.Source(fetch, lambda i: f"row {i + 1}", _columns(rest, names, plan, where))
