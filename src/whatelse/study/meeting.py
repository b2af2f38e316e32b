"""Before models are held against each other: who they are, and whether they can be compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from whatelse import items, opening
from whatelse.auditing import preflight
from whatelse.auditing.ask import generator
from whatelse.auditing.questions import DATA
from whatelse.auditing.roles import Role
from whatelse.errors import StudyError, Told
from whatelse.findings.checks import Check
from whatelse.models import take
from whatelse.models.model import Model as Audited
from whatelse.models.preparation import PLAIN, Way, behind
from whatelse.models.take import Given
from whatelse.modules.lent import check_filled
from whatelse.store.folder import key
from whatelse.store.protocol import Store
from whatelse.study import handed
from whatelse.study.jobs import Data, Handed
from whatelse.tasks.task import Task

Model = Given | str


@dataclass
class Meeting:
    """Models under audit by name, the baseline first, and what the checklist says of each pair.

    Attributes:
        task: The examples.
        data: The same, as jobs carry them.
        models: Where each model is found.
        checks: Of each model what was compared with the baseline.
        remarks: Of each model how it is measured where a reader might think otherwise.
        offers: Of each model what it offers.
        baseline: Gives the baseline as it is asked, opened where it was not yet.
        lend: Lets jobs that run in this process find the models as they are asked.
    """

    task: Task
    data: Data
    baseline: Callable[[], Audited]
    lend: Callable[[], None]
    models: dict[str, Handed] = field(default_factory=dict)
    checks: dict[str, list[Check]] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    offers: dict[str, list[str]] = field(default_factory=dict)

    def told(self) -> tuple[str, ...]:
        """Return what whoever waits for the work should know before it starts: a line for every remark on a model."""
        return tuple(f"{name}: {remark}" for name, remarks in self.remarks.items() for remark in remarks)


def meet(
    models: Mapping[str, Model],
    task: Task | str,
    memory: str,
    store: Store,
    lent: ExitStack,
    *,
    force: bool,
    inline: bool,
    ways: Mapping[str, Way] | None = None,
) -> Meeting:
    """Return the models after the checklist of every pair; what a former call found of the same is found again.

    Args:
        models: By name, the baseline first: modules, or what opens them.
        task: The examples, or what opens them.
        memory: What opening a file may take; empty for the usual.
        store: Where the checklist is kept.
        lent: Ends what is lent to jobs of this process.
        force: True lets models pass that should not be compared, and states why they should not.
        inline: True where jobs run in this process.
        ways: How models are asked, by name; the others as suits them.

    Raises:
        StudyError: An object would have to leave this process.
        TaskError: A model cannot be compared with the baseline.
        ArtifactError: A model cannot be opened.
    """
    found, data = _task(task, memory)
    objects = [name for name, model in models.items() if not isinstance(model, str)]
    if not inline and (objects or not data.door):
        which = f"{objects[0]!r} is an object" if objects else "the data are an object"
        raise StudyError(
            f"{which} in this process, and jobs would run in others; leave on out, or give a folder, file.py:function "
            "or a data loader as text"
        )
    guests = _Guests(found, lent, ways or {})

    def lend() -> None:
        lent.enter_context(handed.lent(guests.subjects(models), [found]))

    met = Meeting(found, data, lambda: guests.subject(Role.BASELINE)[0], lend)
    for name, model in models.items():  # all of them first: where one is not there, nothing is written
        met.models[name] = guests.origin(name, model)
    made = {name: _compare(met, name, guests, store, force=force) for name in models}
    for name, (kept, record) in made.items():  # once all can be compared: where one cannot, nothing is written
        _note(met, name, record)
        if not store.has("effects", kept):
            store.save_record("effects", kept, record)
    if inline:
        lend()
    return met


class _Guests:
    """Models that are opened where they are needed, and given back at the end."""

    def __init__(self, task: Task, lent: ExitStack, ways: Mapping[str, Way]) -> None:
        self.task, self._lent, self._ways = task, lent, ways
        self._given: dict[str, Given] = {}
        self._texts: dict[str, str] = {}
        self._told: dict[str, list[str]] = {}
        self._origins: dict[str, Handed] = {}
        self._subjects: dict[str, tuple[Audited, list[str], bool]] = {}

    def origin(self, name: str, model: Model) -> Handed:
        """Return where a model is found; a folder is not opened for it."""
        text = model if isinstance(model, str) else ""
        self._texts[name], way = text, self._way(name)
        if isinstance(model, nn.Module):
            check_filled(model, name)
        if not isinstance(model, str):
            way.prepare.check(self.task, name)
            self._given[name] = behind(model, way.prepare, name)
        key = handed.key_of(text, self.task, None if handed.is_folder(text) else self._model(name), way)
        self._origins[name] = Handed(text, key, way)
        return self._origins[name]

    def subject(self, name: str) -> tuple[Audited, list[str], bool]:
        """Return a model as it is asked, remarks on it, and whether it was handed over in training mode for ever."""
        if name not in self._subjects:
            key, way, rng = self._origins[name].key, self._way(name), generator("probe", self.task.key)
            guest = self._lent.enter_context(take.lent(self._model(name), name, key, self.task, rng, way))
            told = [*way.told, *self._told.get(name, []), *guest.remarks]
            self._subjects[name] = guest.model, told, guest.training
        return self._subjects[name]

    def subjects(self, names: Iterable[str]) -> list[Audited]:
        """Return models as they are asked."""
        return [self.subject(name)[0] for name in names]

    def _way(self, name: str) -> Way:
        return self._ways.get(name, PLAIN)

    def _model(self, name: str) -> Given:
        if name not in self._given:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always", Told)
                self._given[name] = handed.opened(self._texts[name], name, self.task, self._way(name))
            self._told[name] = [str(one.message) for one in heard if issubclass(one.category, Told)]
            for one in heard:  # what others warn of is theirs
                if not issubclass(one.category, Told):
                    warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return self._given[name]


def _task(task: Task | str, memory: str) -> tuple[Task, Data]:
    if isinstance(task, Task):
        return task, Data(DATA, "", (), task.key, task.names)
    name, given = opening.data_call(task)
    found = opening.load_task(task, max_memory=memory or None)
    return found, Data(DATA, name, items.loader(name).changed(given), found.key, found.names, memory)


def _compare(met: Meeting, name: str, guests: _Guests, store: Store, *, force: bool) -> tuple[str, Mapping[str, Any]]:
    """Return the checklist of a model and the baseline, and the key that it is found by."""
    base = met.models[Role.BASELINE]
    # By name too: remarks call a model by it, and a candidate may hold the very same as the baseline.
    kept = key("preflight", 6, {"force": force, "name": name}, base.key, met.models[name].key, met.data.key, seed=0)
    if store.has("effects", kept):
        return kept, store.load_record("effects", kept)
    checks, told = _checked(name, guests, force=force)
    offers = sorted(guests.subject(name)[0].offers)
    return kept, {"checks": [asdict(check) for check in checks], "remarks": told, "offers": offers}


def _note(met: Meeting, name: str, record: Mapping[str, Any]) -> None:
    checks = [Check(**check) for check in record["checks"]]
    met.remarks[name], met.offers[name] = [*record["remarks"]], record["offers"]
    if name != Role.BASELINE:
        met.checks[name] = checks
        stated = (c for c in checks if c.outcome != "same")
        met.remarks[name] += [f"{c.name}: baseline {c.baseline}; this model {c.candidate}" for c in stated]


def _checked(name: str, guests: _Guests, *, force: bool) -> tuple[list[Check], list[str]]:
    mine, told, training = guests.subject(name)
    if name == Role.BASELINE:
        return [], told
    base, _, trained = guests.subject(Role.BASELINE)
    modes = {Role.BASELINE: trained, name: training}
    return preflight.compare(base, mine, guests.task, training=modes, force=force), told
