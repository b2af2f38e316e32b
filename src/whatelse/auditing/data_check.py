"""What was understood of data, before any model is asked: classes, groups, duplicates, what can be decided at that n.

How many examples a verdict takes hangs on how often the two models differ, which nobody knows beforehand. What is said
here holds where just one of the two is right on `CHANGED` of the examples, and they are equally good on the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.special import ndtri

from whatelse import items
from whatelse.auditing.questions import Measurement, Questions, about
from whatelse.items import Behaviour
from whatelse.statistics import power
from whatelse.tasks.alike import Alike, alike
from whatelse.tasks.columns import ColumnSeen
from whatelse.tasks.language import FORMS
from whatelse.tasks.task import SPLITS, Split, Task

CHANGED = 0.05
_POWER = 0.9
_SHARES = ("accuracy", "rate", "share of examples", "difference of accuracies")
_CHANGED = {"differentiates", "opens", "inputs in bounds"}
_FIXED = "words are read once, in their sentences"
_TRAIN = ("record", "training example")


@dataclass(frozen=True)
class GroupSeen:
    """One group of one grouping.

    Attributes:
        grouping: Such as ``sex``.
        name: Such as ``Female``; ``missing`` where the value is missing.
        sizes: Examples by split.
    """

    grouping: str
    name: str
    sizes: dict[str, int]


@dataclass(frozen=True)
class Gate:
    """Whether a question can be decided with so many examples.

    Attributes:
        label: Of the question.
        margin: Changes within it count as none.
        unit: Of the margin.
        can: ``yes``, ``no``, ``not measurable`` or ``not foretold``.
        part: What decides: ``all examples``, or the class or group with the fewest.
        n: Examples, or persons, of that part; of a mean over classes those that would tell as much.
        needed: Examples that show it equivalent with power .9; None where it is not foretold.
        within: The smallest margin that n examples can show; None likewise.
        why: In words.
    """

    label: str
    margin: float
    unit: str
    can: str
    part: str = ""
    n: int = 0
    needed: int | None = None
    within: float | None = None
    why: str = ""


@dataclass(frozen=True)
class DataSeen:
    """What was understood of data.

    Attributes:
        task: Its name.
        key: Of its content.
        modality: ``table``, ``images``, ``tokens`` or ``words``; ``documents``, ``choices`` or ``pairs``.
        shape: Of one input.
        bounds: Of inputs; None where none are known.
        lowest: Smallest input of test.
        highest: Largest input of test.
        splits: Examples by split.
        classes: Of every class, by its name, the examples by split.
        groups: Every group of every grouping.
        sentences: Of words, how many different sentences test has; else 0.
        clusters: Persons, documents or sentences of test; None where rows stand alone.
        columns: As the loader understood them; of a table without such a loader, as inputs say.
        alike: Duplicates.
        changed: The share of examples that `gates` assume to differ.
        gates: What can be decided.
        hints: What should be looked at, each a sentence.
    """

    task: str
    key: str
    modality: str
    shape: tuple[int, ...]
    bounds: tuple[float, float] | None
    lowest: float
    highest: float
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    groups: tuple[GroupSeen, ...]
    sentences: int
    clusters: int | None
    columns: tuple[ColumnSeen, ...]
    alike: Alike
    changed: float
    gates: tuple[Gate, ...]
    hints: tuple[str, ...]


def look(task: Task, asked: Questions, columns: Sequence[ColumnSeen] = ()) -> DataSeen:
    """Return what was understood of data.

    Args:
        task: The data.
        asked: What an audit would ask.
        columns: As the loader understood them.
    """
    groups = _groups(task)
    found = alike(task)
    columns = tuple(columns) or _features(task)
    persons = task.test.clusters
    return DataSeen(
        task=task.name,
        key=task.key,
        modality=task.modality,
        shape=task.shape,
        bounds=task.bounds,
        lowest=float(task.test.inputs.min()),
        highest=float(task.test.inputs.max()),
        splits={name: len(task.splits[name]) for name in _order(task)},
        classes=_classes(task),
        groups=groups,
        sentences=len(torch.unique(task.test.inputs[:, 0])) if task.sentences else 0,
        clusters=None if persons is None else len(torch.unique(persons)),
        columns=columns,
        alike=found,
        changed=CHANGED,
        gates=tuple(_gate(m, task, groups) for m in about(asked, task.modality).measurements),
        hints=tuple(_hints(task, groups, found, columns)),
    )


def _order(task: Task) -> list[str]:
    return [*SPLITS, *sorted(set(task.splits) - set(SPLITS))]


def _classes(task: Task) -> dict[str, dict[str, int]]:
    if task.language is not None:  # where the right choice stands is no class
        return {}
    names = task.class_names or tuple(map(str, range(task.classes)))
    counts = {s: torch.bincount(task.splits[s].targets, minlength=task.classes).tolist() for s in _order(task)}
    return {name: {s: count[i] for s, count in counts.items()} for i, name in enumerate(names)}


def _groups(task: Task) -> tuple[GroupSeen, ...]:
    found = []
    for grouping in task.test.groups:
        codes = {s: task.splits[s].groups.get(grouping, torch.empty(0, dtype=torch.int64)) for s in _order(task)}
        names = task.group_names.get(grouping) or tuple(map(str, range(1 + int(task.test.groups[grouping].max()))))
        sizes = {s: torch.bincount(c[c >= 0].long(), minlength=len(names)).tolist() for s, c in codes.items()}
        for code, name in enumerate(names):
            found.append(GroupSeen(grouping, name, {s: size[code] for s, size in sizes.items()}))
        missing = {s: int((c < 0).sum()) for s, c in codes.items()}
        if any(missing.values()):
            found.append(GroupSeen(grouping, "missing", missing))
    return tuple(found)


def _features(task: Task) -> tuple[ColumnSeen, ...]:
    """Return the columns of a table as its inputs say, where there are names of them."""
    if task.modality != "table" or not task.features:
        return ()
    inputs = task.test.inputs.flatten(1)
    found = []
    for at, name in enumerate(task.features):
        count = len(torch.unique(inputs[:, at]))
        found.append(ColumnSeen(name, "numbers", "input", count, 0, "constant in test" if count < 2 else ""))  # noqa: PLR2004
    return tuple(found)


def _gate(m: Measurement, task: Task, groups: Sequence[GroupSeen]) -> Gate:
    behaviour = items.behaviour(m.item)
    fixed = task.sentences and m.margin and behaviour.needs & _CHANGED
    lacks = _FIXED if fixed else _lacks(behaviour, task)
    if lacks:
        return Gate(m.label, m.margin, behaviour.unit, "not measurable", why=lacks)
    if behaviour.unit not in _SHARES or behaviour.unit_of_analysis != "test example" or not m.margin:
        why = "an exact number" if not m.margin else "how far it varies is known once it is measured"
        return Gate(m.label, m.margin, behaviour.unit, "not foretold", why=why)
    limit = getattr(behaviour.configure(m.settings), "examples", 0) or len(task.test)
    part, n = _fewest(behaviour, task, groups, min(limit, len(task.test)))
    needed = power.equivalence_n(CHANGED, m.margin, _POWER)
    within = math.sqrt(CHANGED / n) * float(ndtri(0.95) + ndtri((1 + _POWER) / 2)) if n else None
    return Gate(m.label, m.margin, behaviour.unit, "yes" if n >= needed else "no", part, n, needed, within)


def _lacks(behaviour: Behaviour, task: Task) -> str:
    """Return what data would have to have for a question, and have not; empty where they have all."""
    wanting = {
        "groups": (bool(task.test.groups), "needs groups (--groups)"),
        "inputs in bounds": (task.bounds is not None, "needs the bounds of inputs (--bounds)"),
        "masks": (task.test.masks is not None, "needs masks of where the evidence lies"),
        "label noise": (_noisy(task.train), "needs labels of train that are known to be wrong"),
        "images": (task.modality == "images", "needs images"),
        "tables": (task.modality == "table", "needs a table"),
        "texts": (task.modality == "tokens", "needs texts"),
        "sentences": (bool(task.sentences), "needs sentences with a label a word"),
        **{form: (task.modality == form, f"needs {form}") for form in FORMS},
        "shifted split": ("shifted" in task.splits, "needs a split shifted"),
    }
    told = [why for need, (has, why) in wanting.items() if need in behaviour.needs and not has]
    if behaviour.unit_of_analysis in _TRAIN and not len(task.train):
        told.insert(0, "needs examples that the models were trained on (--members)")
    return next(iter(told), "")


def _noisy(split: Split) -> bool:
    return bool((split.targets != split.observed).any())


def _fewest(behaviour: Behaviour, task: Task, groups: Sequence[GroupSeen], n: int) -> tuple[str, int]:
    """Return the part of a question that has the fewest examples, or persons, and how many these are."""
    test = task.test
    if behaviour.part == "class":
        sizes = _sizes(test, {str(c): test.targets == c for c in range(task.classes)}, n)
        told = [size for size in sizes.values() if size]
        return "classes counted alike", int(len(told) ** 2 / sum(1 / size for size in told))
    if behaviour.part != "group":
        return "all examples", _persons(test, torch.arange(n))
    parts = {f"{g.grouping}: {g.name}": _inside(test, g, task) for g in groups}
    told_groups = {name: size for name, size in _sizes(test, parts, n).items() if size}
    if not told_groups:
        return "groups", 0
    name, size = min(told_groups.items(), key=lambda one: one[1])
    if behaviour.unit == "difference of accuracies":
        other = max(told_groups.values())
        return f"{name}, against the largest", int(size * other / (size + other))
    return name, size


def _inside(test: Split, group: GroupSeen, task: Task) -> torch.Tensor:
    codes = test.groups[group.grouping]
    names = task.group_names.get(group.grouping)
    missing = group.name == "missing" and (names is None or group.name not in names)
    return codes == (-1 if missing else names.index(group.name) if names else int(group.name))


def _sizes(test: Split, parts: Mapping[str, torch.Tensor], n: int) -> dict[str, int]:
    return {name: _persons(test, torch.nonzero(inside[:n]).flatten()) for name, inside in parts.items()}


def _persons(test: Split, rows: torch.Tensor) -> int:
    return len(rows) if test.clusters is None else len(torch.unique(test.clusters[rows]))


def _hints(task: Task, groups: Sequence[GroupSeen], found: Alike, columns: Sequence[ColumnSeen]) -> list[str]:
    told = [f"column {c.name!r}: {c.told}" for c in columns if c.told]
    told += [f"{count} examples of test stand in {name} too" for name, count in found.in_test.items() if count]
    if found.near:
        told.append(f"{found.near} of {found.looked} examples of test have a near-duplicate in {found.beside}")
    if found.conflicts:
        told.append(f"{found.conflicts} examples have equals with another label: nobody can be right on all of them")
    told += [f"no example of test is in {g.grouping}: {g.name}" for g in groups if not g.sizes["test"]]
    told += [f"{g.sizes['test']} examples of test lack {g.grouping}" for g in groups if g.name == "missing"]
    names = task.class_names or tuple(map(str, range(task.classes)))
    counts = torch.bincount(task.test.targets, minlength=task.classes).tolist()
    if task.language is None:
        told += [f"no example of test is of class {n}" for n, count in zip(names, counts, strict=True) if not count]
    if len(task.train):
        told.append(
            "train is taken for what the models were trained on; where it is not, say --split test, and --members"
        )
    return told
