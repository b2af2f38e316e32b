"""Examples that are fetched one by one, such as images: each is read once, into the place where it stays.

What they will take is held against the limit before the second one is read. Many or large ones lie in a file
(`whatelse.mapped`) and take no memory to speak of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse import limits, mapped
from whatelse.datasets import _bounds, _groups, _table, _tabular
from whatelse.datasets._column import Column
from whatelse.errors import TaskError
from whatelse.tasks.task import Split, Task


@dataclass(frozen=True, eq=False)
class Source:
    """One part of the data.

    Attributes:
        fetch: From the place of an example to its input.
        called: From the place of an example to how messages call it.
        beside: What stands beside the inputs, the label among it, each ``(N,)``.
        held: Bytes that its files have on disk.
    """

    fetch: Callable[[int], Tensor]
    called: Callable[[int], str]
    beside: Mapping[str, Column]
    held: int = 0


def task(
    name: str,
    sources: Mapping[str, Source],
    where: str,
    plan: _tabular.Plan,
    *,
    known: Sequence[str] = (),
    bounds: tuple[float, float] | None = None,
    by_class: bool = False,
) -> Task:
    """Return examples as a task.

    Args:
        name: Of the task.
        sources: As `_tabular.task` takes files, and ``select`` where it is given.
        where: How messages call the data.
        plan: What stands beside the inputs, and what becomes of the examples.
        known: Names of the classes where the labels do not say them all.
        bounds: Of inputs where none are declared.
        by_class: Whether the class is a grouping too.

    Raises:
        TaskError: A value makes no sense, or an example is of another shape than the first.
    """
    files = {each: source.beside for each, source in sources.items()}
    called = dict.fromkeys(files, where)
    _tabular.check(files, called, plan)
    places = _tabular.clusters(files, plan, called)
    rows = _tabular.rows(plan, files, places.get(_tabular.WHOLE), where)
    train = files[rows["train"][0]]
    classes = (
        tuple(_tabular.listed(plan.classes))
        or plan.named
        or tuple(known)
        or _table.classes(train[plan.label], plan.label, where)
    )
    _tabular.check_classes(classes, plan, where)
    asked = _groups.parse(plan.groups, list(files[_tabular.WHOLE]), where)
    learned = train if plan.split or _tabular.MEMBERS in files else _table.take(train, rows["train"][1])
    how = _groups.learn(asked, learned, list(files.values()), (), where)
    shape = _shape(sources, rows, where)
    splits: dict[str, Split] = {}
    for split, (each, picks) in rows.items():
        targets = _table.labels(files[each], plan.label, classes, where, given=bool(plan.classes or plan.named))[picks]
        groups = {g: _groups.codes(files[each], parts, how)[0][picks] for g, parts in asked.items()}
        groups |= {"class": targets} if by_class else {}
        inputs = _stacked(sources[each], picks.tolist(), shape, where)
        owners = places[each][picks] if each in places else None
        splits[split] = Split(inputs, targets, targets, groups, clusters=owners)
    splits["calibration"] = splits["train"].take(torch.arange(min(plan.calibration, len(splits["train"]))))
    told = _bounds.read(plan.bounds, where) or bounds
    _bounds.check(told, splits, where)
    names = {g: _groups.codes(_table.take(train, torch.arange(0)), parts, how)[1] for g, parts in asked.items()}
    names |= {"class": classes} if by_class else {}
    return Task(name, len(classes), told, splits, names, class_names=classes)


def _shape(sources: Mapping[str, Source], rows: Mapping[str, tuple[str, Tensor]], where: str) -> Tensor:
    """Return the first example, without numbers, after what all of them will take was held against the limit."""
    each, picks = next((each, picks) for each, picks in rows.values() if len(picks))
    first = sources[each].fetch(int(picks[0]))
    count = sum(len(picks) for _, picks in rows.values())
    held = sum(source.held for source in sources.values())
    size = " by ".join(map(str, first.shape))
    asked, what = first.element_size() * first.numel() * count, f"data {where}: {count} examples of {size}"
    if mapped.is_large(asked):
        limits.check(first.element_size() * first.numel(), held, what, TaskError)
        mapped.check(asked, what, TaskError)
    return first.new_empty(0, *first.shape)


def _stacked(source: Source, picks: Sequence[int], like: Tensor, where: str) -> Tensor:
    """Return examples in one tensor.

    Raises:
        TaskError: One is of another shape.
    """
    found = mapped.empty((len(picks), *like.shape[1:]), like.dtype, f"data {where}", TaskError)
    for at, pick in enumerate(picks):
        one = source.fetch(pick)
        if one.shape != like.shape[1:]:
            shapes = f"{tuple(one.shape)}, others are {tuple(like.shape[1:])}"
            raise TaskError(f"data {where}: {source.called(pick)} is of shape {shapes}; one shape is needed")
        found[at] = one
    return found
