"""The contract of data loaders."""

from __future__ import annotations

import re

import torch

from whatelse import items
from whatelse.errors import TaskError
from whatelse.tasks.task import Task
from whatelse.testing import written
from whatelse.testing.contract import Case

_SUFFIX = re.compile(r"\.[a-z0-9]+")


def its_parts_are_in_order(case: Case) -> None:
    """Demand the parts of a loader in the order of all others.

    Args:
        case: The loader.
    """
    written.in_order(case, "load", ("takes", "describe"), more=True)


def its_suffixes_can_be_opened(case: Case) -> None:
    """Demand endings such as ``.csv``, and with them a setting ``path`` and defaults for all others.

    Args:
        case: The loader.
    """
    item = items.loader(case.source.name)
    for suffix in item.suffixes:
        case.demand(isinstance(suffix, str) and _SUFFIX.fullmatch(suffix), f"SUFFIXES has {suffix!r}; write .csv")
        case.demand(items.loader_of(f"x{suffix}") is item, f"{suffix} files are opened by another loader")
    takes = item.configure({"path": f"x{item.suffixes[0]}"}) if item.suffixes else None
    case.demand(takes is None or not isinstance(takes.path, bool), "a loader with SUFFIXES has a setting path")


def it_loads_the_same_task_twice(case: Case) -> None:
    """Demand a task, the same each time, and no random number of the process.

    Args:
        case: The loader.
    """
    state = torch.get_rng_state()
    one, two = _loaded(case), _loaded(case)
    case.demand(one.key == two.key, "loaded twice it is another task; let one fixed seed decide what is random")
    written.alone(case, state)


def its_splits_hold_different_examples(case: Case) -> None:
    """Demand that no example of train is among those of test or select, where they lie in memory as one.

    Args:
        case: The loader.
    """
    task = _loaded(case)
    train = {row.tobytes() for row in task.train.inputs.flatten(1).numpy()}
    for name in ("select", "test"):
        rows = [row.tobytes() for row in task.split(name).inputs.flatten(1).numpy()]
        shared = sum(row in train for row in rows)
        case.demand(shared < max(1, len(rows)) / 2, f"{shared} of {len(rows)} examples of {name} are in train too")


CHECKS = (
    written.it_says_what_it_is_and_where_it_comes_from,
    written.its_settings_are_declared,
    its_parts_are_in_order,
    its_suffixes_can_be_opened,
    it_loads_the_same_task_twice,
    its_splits_hold_different_examples,
)


def _loaded(case: Case) -> Task:
    item = items.loader(case.source.name)
    try:
        task = item.load(item.configure(case.given))
    except TaskError as error:
        if case.given:
            raise
        case.skip(f"it needs settings, such as check(item, path=...): {error}")
    case.demand(isinstance(task, Task), f"load returned {type(task).__name__}; a Task is needed")
    return task
