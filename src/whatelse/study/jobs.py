"""What is to be done, whole: a worker needs a job and a store, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whatelse.auditing.questions import Measurement
from whatelse.engines import Resources
from whatelse.models.preparation import Way
from whatelse.recipe import Step

Given = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Link:
    """One model of a chain: what it begins with (``step`` is None) or what a step made of the model before."""

    step: Step | None
    key: str

    def drawn_by(self, device: str) -> str:
        """Return what its random numbers are made of: its key, the same wherever it is trained.

        Args:
            device: Where that is.
        """
        return self.key.removesuffix(Way(device=device).mark)


Chain = tuple[Link, ...]


@dataclass(frozen=True)
class Cell:
    """One behaviour of one model on one task: the unit of work that is found again by its key."""

    key: str
    label: str
    item: str
    given: Given


@dataclass(frozen=True)
class Net:
    """The network that a chain starts from: an item of ``nets`` with those settings that differ from their default.

    Attributes:
        item: Which.
        given: These settings.
        device: Where it is trained, and what is made of it computes; empty for the CPU.
    """

    item: str
    given: Given
    device: str = ""


@dataclass(frozen=True)
class Made:
    """A model that a recipe makes of an untrained network, or of a model that someone handed over.

    Attributes:
        net: The network, or where the model is found.
        chain: How it is made of that.
    """

    net: Net | Handed
    chain: Chain

    @property
    def key(self) -> str:
        """What it is found again by."""
        return self.chain[-1].key

    @property
    def device(self) -> str:
        """Where it is trained, and computes."""
        return self.net.way.device if isinstance(self.net, Handed) else self.net.device


@dataclass(frozen=True)
class Handed:
    """A model that someone made and handed over.

    Attributes:
        text: What opens it, as a user types it; empty for one that lives in this process.
        key: Of its content, and of the way in which it is asked.
        way: How it is asked.
    """

    text: str
    key: str
    way: Way = Way()


@dataclass(frozen=True)
class Data:
    """How a worker opens a task, and what it must find: data may change on disk after the work was planned.

    Attributes:
        task: Name of the task, for messages.
        door: Item of ``datasets``; empty where the task lives in this process.
        given: Its settings that differ from their default.
        key: Key of the task that was planned for.
        names: Key of what its groups and columns are called; empty where no measurement depends on it.
        memory: What opening it may take, as a user types it; empty for the usual.
    """

    task: str
    door: str
    given: Given
    key: str
    names: str = ""
    memory: str = ""


@dataclass(frozen=True)
class Job:
    """Everything about one model on one task, done together so that its observations are shared.

    Attributes:
        name: How progress and messages call it.
        data: Where a worker finds the task.
        origin: Where it finds the model, or how it makes it.
        subject: Name of the candidate, of the control, or ``baseline``.
        seed: The seed of the study.
        again: 0; of the control that is measured once more, what its random numbers are told apart by.
        before: Where it finds the model that it is compared with; its own for a baseline.
        shadow: Number of the shadow whose members it is trained on; None for a model under audit.
        shadows: Keys of what the shadow models of the same recipe say: logits and, where kept, sensitivities.
        base_shadows: Keys of what the shadow models of the baseline say.
        cells: What to measure; those of a shadow job have an empty item: its logits, and its sensitivities where a
            measurement needs them.
        needs: Names of the jobs that must have ended before.
        resources: What it needs while it runs.
        on: The split that it is measured on: a search looks at select.
        scores: Key under which class scores of that split are kept, ``(N, classes)``; empty where they are not.
    """

    name: str
    data: Data
    origin: Made | Handed
    subject: str
    seed: int
    again: int
    before: Made | Handed
    shadow: int | None
    shadows: tuple[str, ...]
    base_shadows: tuple[str, ...]
    cells: tuple[Cell, ...]
    needs: tuple[str, ...]
    resources: Resources = Resources()
    on: str = "test"
    scores: str = ""

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.data.task

    @property
    def chain(self) -> Chain:
        """How the model is made; nothing for one that was handed over."""
        return self.origin.chain if isinstance(self.origin, Made) else ()

    @property
    def baseline(self) -> str:
        """Key of the model that it is compared with."""
        return self.before.key

    def called(self, cell: Cell) -> str:
        """Return how messages call one of its cells; where it has just one, it goes by that already.

        Args:
            cell: One of its cells.
        """
        return self.name if self.name.endswith(f" · {cell.label}") else f"{self.name} · {cell.label}"

    def kept(self) -> list[tuple[str, str]]:
        """Return kind and key of everything that it leaves in a store."""
        models = [("models", link.key) for link in self.chain if link.step is not None]
        scores = [("values", self.scores)] if self.scores else []
        return [*models, *scores, *(("values", cell.key) for cell in self.cells)]


@dataclass(frozen=True)
class Effects:
    """One measurement on one task: all its effects, computed together from finished cells.

    Attributes:
        name: How progress and messages call it.
        key: Under which the effects are kept.
        label: Of the measurement.
        task: Name of the task.
        item: The behaviour.
        given: Its settings that differ from their default.
        cells: Keys by subject, one a seed.
        pairs: Which subject is held against which other; ``zero`` for the values themselves.
        draws: Resamples an interval.
        resampled_by: What decides which resamples are drawn: the same for all measurements of a task.
        drawn_by: What decides what else is drawn.
        needs: Names of the jobs that must have ended before.
        resources: What it needs while it runs.
        redraws: Whether effects are also told under seeds that are drawn again.
    """

    name: str
    key: str
    label: str
    task: str
    item: str
    given: Given
    cells: tuple[tuple[str, tuple[str, ...]], ...]
    pairs: tuple[tuple[str, str], ...]
    draws: int
    resampled_by: tuple[str, ...]
    drawn_by: tuple[str, ...]
    needs: tuple[str, ...]
    resources: Resources = Resources()
    redraws: bool = False

    def kept(self) -> list[tuple[str, str]]:
        """Return kind and key of everything that it leaves in a store."""
        return [("effects", self.key)]


@dataclass(frozen=True)
class Watch:
    """One costly measurement of models that are there, ended for each candidate once its verdict is clear.

    Attributes:
        name: How progress and messages call it.
        key: Under which the effects are kept.
        label: Of the measurement.
        task: Name of the task.
        measurement: What is measured.
        data: Where a worker finds the task.
        models: Where it finds the models, by name, the baseline first, which was handed over.
        pairs: Which candidate is held against which control.
        family: How many primary questions are asked together.
        seed: Decides the order of the examples, and what behaviours draw.
        needs: Names of the jobs that must have ended before.
        resources: What it needs while it runs.
        on: The split that it is measured on.
    """

    name: str
    key: str
    label: str
    task: str
    measurement: Measurement
    data: Data
    models: tuple[tuple[str, Made | Handed], ...]
    pairs: tuple[tuple[str, str], ...]
    family: int
    seed: int
    needs: tuple[str, ...] = ()
    resources: Resources = Resources()
    on: str = "test"

    def kept(self) -> list[tuple[str, str]]:
        """Return kind and key of everything that it leaves in a store."""
        return [("effects", self.key)]


@dataclass(frozen=True)
class Analysis:
    """Effects of several measurements that share their resamples.

    Attributes:
        name: How progress and messages call it.
        effects: All resampled alike.
        needs: Names of the jobs that must have ended before.
        resources: What it needs while it runs.
    """

    name: str
    effects: tuple[Effects, ...]
    needs: tuple[str, ...]
    resources: Resources = Resources()


Work = Job | Effects | Watch | Analysis


def together(effects: Sequence[Effects]) -> Analysis:
    """Return effects as one work.

    Args:
        effects: All resampled alike.
    """
    first = effects[0]
    more = f" and {len(effects) - 1} more" if len(effects) > 1 else ""
    needs = tuple(dict.fromkeys(need for one in effects for need in one.needs))
    return Analysis(first.name + more, tuple(effects), needs)


@dataclass(frozen=True)
class Plan:
    """All work, every job after those that it needs."""

    jobs: tuple[Job, ...]
    effects: tuple[Effects | Watch, ...]
