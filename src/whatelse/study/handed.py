"""Models and data that someone handed over: found again by what they hold, opened once in each process."""

from __future__ import annotations

import hashlib
import os
import secrets
import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from torch import nn

from whatelse import opening
from whatelse.auditing.ask import subject_of
from whatelse.errors import ArtifactError, ChangedError, Told
from whatelse.evidence.cache import Evidence
from whatelse.evidence.shadows import Keep
from whatelse.models import take
from whatelse.models.causal import Causal
from whatelse.models.model import Elsewhere, Model, Opens
from whatelse.models.preparation import PLAIN, Way, before, behind
from whatelse.models.subject import Subject
from whatelse.models.take import Given
from whatelse.study import sources
from whatelse.study.jobs import Handed
from whatelse.tasks.task import Task

K = TypeVar("K")
T = TypeVar("T")
HELD = 4  # models, and what was seen of them, that a process holds: a baseline and a few candidates
_CHUNK = 2**20
# What lives in this process alone: subjects and tasks that were handed over as objects, by key.
_lent: dict[tuple[str, str], Model] = {}
_tasks: dict[str, Task] = {}
_subjects: OrderedDict[tuple[str, str, str], Model] = OrderedDict()
_evidence: OrderedDict[tuple[str, str, str, str, int, str], Evidence] = OrderedDict()


@contextmanager
def lent(subjects: Iterable[Model], tasks: Iterable[Task]) -> Generator[None]:
    """Let jobs that run in this process find objects.

    Args:
        subjects: Models at rest.
        tasks: The data that they are asked.
    """
    _lent.update({(subject.key, subject.name): subject for subject in subjects})
    _tasks.update({task.key: task for task in tasks})
    try:
        yield
    finally:
        for table in (_lent, _tasks, _subjects, _evidence):
            table.clear()


def task(key: str) -> Task:
    """Return a task that lives in this process.

    Args:
        key: Its key.

    Raises:
        ChangedError: There is none.
    """
    if key not in _tasks:
        raise ChangedError("the data live in the process that was handed them; jobs on them run there: --on inline")
    return _tasks[key]


def evidence(
    of: Handed,
    name: str,
    task: Task,
    *,
    reference: Evidence | None = None,
    keep: Keep | None = None,
    again: int = 0,
    on: str = "test",
) -> Evidence:
    """Return what was observed of a model, held for the next question to it.

    Args:
        of: Where it is found.
        name: How messages call it.
        task: The examples.
        reference: Evidence of the baseline; None of the baseline itself.
        keep: Where observations outlive the process.
        again: 0, or the number of another measurement with other random numbers.
        on: The split that it is looked at on.

    Raises:
        ChangedError: It is not the model that the work was planned for.
    """
    base = "" if reference is None else reference.subject.key
    return _once(
        _evidence,
        (of.key, name, task.key, base, again, on),
        lambda: Evidence(_subject(of, name, task), task, reference=reference, keep=keep, again=again, on=on),
    )


def module(of: Handed, name: str, task: Task) -> nn.Module:
    """Return a model as the module that methods can treat.

    Args:
        of: Where it is found.
        name: How messages call it.
        task: The examples.

    Raises:
        ChangedError: It is not the model that the work was planned for.
        NotMeasurableError: It is no torch module.
    """
    found = _subject(of, name, task)
    if isinstance(found.source, Causal):
        return found.source.decoder()
    if not isinstance(found, Subject):
        raise found.lacking("opens")
    return found.inside


def _subject(of: Handed, name: str, task: Task) -> Model:
    if (of.key, name) in _lent:
        return _lent[of.key, name]
    for (key, _), subject in _lent.items():  # the baseline, measured again under another name
        if key == of.key:
            return subject
    if not of.text:
        raise ChangedError(f"{name} lives in the process that was handed it; jobs on it run there: --on inline")
    made = lambda: subject_of(_opened(of, name, task), name, of.key, task, of.way)  # noqa: E731 - once
    return _once(_subjects, (of.key, name, task.key), made)


def _opened(of: Handed, name: str, task: Task) -> Given:
    with warnings.catch_warnings():  # it was told where the models met
        warnings.simplefilter("ignore", Told)
        model = opened(of.text, name, task, of.way)
    same = model.is_still(of.key) if isinstance(model, Elsewhere) else key_of(of.text, task, model, of.way) == of.key
    if not same:
        raise ChangedError(f"{of.text} changed after the work was planned; run again to measure it as it is now")
    return model


def opened(text: str, name: str, task: Task, way: Way) -> Given:
    """Return the model that a text names, behind what is done to its inputs.

    Args:
        text: What opens it, as a user types it.
        name: How messages call it.
        task: The examples.
        way: How it is asked.

    Raises:
        ArtifactError: It cannot be opened.
        TaskError: It and the task, or its preparation, do not fit each other.
    """
    way.prepare.check(task, name, opening.own(text))
    return behind(opening.open_model(text, before(way.prepare, task)), way.prepare, name)


def is_folder(text: str) -> bool:
    """Return whether what a user typed for a model is a folder, which is known by its files.

    Args:
        text: What opens a model; empty for one that lives in this process.
    """
    return bool(text) and os.path.isdir(text)  # False also of a name that no file may have


def key_of(text: str, task: Task, model: Given | None = None, way: Way = PLAIN) -> str:
    """Return the key of a model: of a folder, the SHA-256 of its files; of anything else, of what the model holds.

    Of Python that is what its code does too (`sources`). What a module in memory does is not told by what it holds:
    each is its own, and is measured anew at every call. So is what answers from elsewhere, which may change unseen.

    Args:
        text: What opens it; empty for one that lives in this process.
        task: Gives the examples whose answers stand for a model that shows nothing that it holds.
        model: What was opened; not needed of a folder.
        way: How it is asked.

    Raises:
        ArtifactError: The folder cannot be read.
    """
    return f"{content_of(text, task, model)}{way.mark}{_called(task)}"


def _called(task: Task) -> str:
    """Return what tells apart the names and units of data whose numbers are the same: models may be asked by them.

    Outputs are put in the order of the names of classes, columns are picked by name and handed over in their units.
    """
    known = (task.class_names, task.features, task.units)
    return f"-{hashlib.sha256(repr(known).encode()).hexdigest()[:8]}" if any(known) else ""


def content_of(text: str, task: Task, model: Given | None) -> str:
    """Return the key of what a model holds, however it is asked and whatever data's outputs are called.

    Args:
        text: What opens it; empty for one that lives in this process.
        task: Gives the examples whose answers stand for a model that shows nothing that it holds.
        model: What was opened; not needed of a folder.

    Raises:
        ArtifactError: The folder cannot be read.
    """
    if is_folder(text):
        return _key_of_folder(Path(text))
    assert model is not None
    content = take.key_of(model, task)
    if isinstance(model, Elsewhere):
        return f"{content}-{secrets.token_hex(8)}"
    if not isinstance(model, (nn.Module, Opens)):
        return content
    if not text:
        return f"{content}-{secrets.token_hex(8)}"
    whole = model if isinstance(model, nn.Module) else model.module
    return f"{content}-{sources.code_of(whole, opening.parted(text)[0])}"


def _key_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    try:
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while part := file.read(_CHUNK):
                    digest.update(part)
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be read ({error.strerror})") from error
    return f"folder-{digest.hexdigest()[:16]}"


def _once(table: OrderedDict[K, T], key: K, make: Callable[[], T]) -> T:
    if key not in table:
        table[key] = make()
    table.move_to_end(key)
    while len(table) > HELD:
        table.popitem(last=False)
    return table[key]
