"""Items as typed records, each resolved once: what else would be read from modules by reflection is read here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from whatelse import registry, settings
from whatelse.errors import ItemError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from whatelse.answer import Answer
    from whatelse.evidence.cache import Evidence
    from whatelse.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Item:
    """What every item has.

    Attributes:
        name: Dotted name, such as ``fairness.gap``.
        version: Raised when the same settings would give another number.
        config: Its settings, a frozen dataclass.
    """

    name: str
    version: int
    config: type[Any]

    @property
    def where(self) -> str:
        """How messages call it."""
        return self.name

    def configure(self, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - each item has its own Config
        """Return checked settings.

        Args:
            given: Settings by name; those left out stand at their default.

        Raises:
            SettingError: A name is unknown, or a value has the wrong type or lies outside its range.
        """
        return settings.build(self.config, given, self.where)

    def changed(self, given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        """Return the settings that differ from their default, checked, in order of declaration.

        Args:
            given: Settings by name.

        Raises:
            SettingError: As in `configure`.
        """
        return tuple(settings.changed(self.configure(given)).items())


@dataclass(frozen=True, eq=False)
class Behaviour(Item):
    """A question about a model, with one value per example.

    Attributes:
        unit: Of its number.
        better: ``higher`` or ``lower``.
        needs: Capabilities and data that it asks for.
        unit_of_analysis: What a row stands for, such as ``test example``.
        worst: The value at which nothing is left to lose; None where there is no such end.
        blind: The value of a model of which the instrument sees nothing; None where it has none.
        range: The least and the largest value of one example; None where it has no bounds.
        part: What one of its parts is, such as ``group``; empty where it has none.
        mean_of_parts: Whether its number is the plain mean of its parts.
        pair: Whether it is a question about two models.
        answer: From evidence of the baseline and of the model, settings and a generator to an `Answer`.
        summarise: From an answer, settings and weights ``(draws, N)`` to one number for each resample, ``(draws,)``.
        by_part: The same for every part, ``(draws, parts)``; None where it has none.
        outcomes: From an answer and settings to whose outcome each part is the mean of, ``(N, 1 + 2 J)``; or None.
        effort: From settings and a task to the passes that one model costs beyond the shared ones; or None.
    """

    unit: str
    better: Literal["higher", "lower"]
    needs: frozenset[str]
    unit_of_analysis: str
    worst: float | None
    blind: float | None
    range: tuple[float, float] | None
    part: str
    mean_of_parts: bool
    pair: bool
    answer: Callable[[Evidence, Evidence, Any, torch.Generator], Answer]
    summarise: Callable[[Answer, Any, np.ndarray], np.ndarray]
    by_part: Callable[[Answer, Any, np.ndarray], np.ndarray] | None
    outcomes: Callable[[Answer, Any], np.ndarray] | None
    effort: Callable[[Any, Task], int] | None


@dataclass(frozen=True, eq=False)
class Method(Item):
    """A way to make a smaller copy of a model.

    Attributes:
        knob: The setting that sets its strength; empty where there is none.
        takes: States of a model that it takes, of `whatelse.recipe.STATES`.
        leaves: The state that it leaves; empty where it leaves the one it found.
        compress: From a model, settings, a task and a generator to a new model.
        effort: From settings and a task to its forward-equivalents; None where settings say it.
    """

    knob: str
    takes: frozenset[str]
    leaves: str
    compress: Callable[[nn.Module, Any, Task, torch.Generator], nn.Module]
    effort: Callable[[Any, Task], int] | None


@dataclass(frozen=True, eq=False)
class Net(Item):
    """A small network.

    Attributes:
        build: From settings, the shape of one input, a number of classes and a generator to an untrained network.
    """

    build: Callable[[Any, tuple[int, ...], int, torch.Generator], nn.Module]

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"nets.{self.name}"


@dataclass(frozen=True, eq=False)
class Loader(Item):
    """A source of data.

    Attributes:
        suffixes: Endings of files that it opens by themselves, by its setting ``path``; empty where there are none.
        load: From settings to a task.
    """

    suffixes: tuple[str, ...]
    load: Callable[[Any], Task]

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"data {self.name}"


@dataclass(frozen=True, eq=False)
class Control:
    """A model that candidates are held against.

    Attributes:
        name: Of its file, such as ``weight_decay``.
        role: Its part, a word of `whatelse.auditing.roles.Role`.
        after: Whose recipe it continues: ``baseline``, or ``candidate`` of every candidate that asks for it.
        whole_seed: How far the seeds of all its steps lie from that of the study.
        own_seed: How far those of its own steps do.
        again: What its random numbers are told apart by where it is the baseline measured once more; else 0.
        recipe: ``study`` where the study gives one, ``candidate`` where it is the candidate's.
        named: How findings call it, with ``{candidate}`` for the candidate that it is of.
        shadows: Whose shadow models serve it: ``baseline``, ``candidate``, its ``own``, or nobody's.
        held: What it is held against itself: ``baseline``, ``candidate``, or nothing.
        also: Whether candidates are held against it in every primary question.
        handed: Whether an audit is given one by its owner.
    """

    name: str
    role: str
    after: Literal["baseline", "candidate"]
    whole_seed: int
    own_seed: int
    again: int
    recipe: Literal["study", "candidate"]
    named: str
    shadows: Literal["", "baseline", "candidate", "own"]
    held: Literal["", "baseline", "candidate"]
    also: bool
    handed: bool


@cache
def behaviour(name: str) -> Behaviour:
    """Return a behaviour.

    Args:
        name: Its dotted name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    read = _Reader("behaviours", name)
    compare, measure = read.get("compare"), read.get("measure")
    if (compare is None) == (measure is None):
        raise ItemError(f"behaviour {name}: one of measure(evidence, config, rng) and compare(...) is needed")

    def alone(baseline: Evidence, candidate: Evidence, config: object, rng: torch.Generator) -> Answer:
        del baseline
        found: Answer = measure(candidate, config, rng)
        return found

    if "values" in read.need("summarise").__code__.co_varnames[:1]:
        return _former(read, compare, measure)  # until every behaviour returns an Answer
    return Behaviour(
        **read.common(),
        unit=read.need("UNIT"),
        better=read.need("BETTER"),
        needs=frozenset(read.need("NEEDS")),
        unit_of_analysis=read.need("UNIT_OF_ANALYSIS"),
        worst=read.need("WORST"),
        blind=read.need("BLIND"),
        range=read.get("RANGE"),
        part=read.get("PARTS", ""),
        mean_of_parts=read.get("NUMBER") == "mean of parts",
        pair=compare is not None,
        answer=compare or alone,
        summarise=read.need("summarise"),
        by_part=read.get("by_part"),
        outcomes=read.get("outcomes"),
        effort=read.get("effort"),
    )


@cache
def method(name: str) -> Method:
    """Return a method.

    Args:
        name: Its dotted name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    read = _Reader("methods", name)
    return Method(
        **read.common(),
        knob=read.need("KNOB"),
        takes=frozenset(read.need("TAKES")),
        leaves=read.need("LEAVES"),
        compress=read.need("compress"),
        effort=read.get("effort"),
    )


@cache
def net(name: str) -> Net:
    """Return a small network.

    Args:
        name: Its name.

    Raises:
        UnknownItemError: There is none of that name.
        ItemError: The file lacks a part.
    """
    read = _Reader("nets", name)
    return Net(**read.common(), build=read.need("build"))


@cache
def loader(name: str) -> Loader:
    """Return a source of data.

    Args:
        name: Its name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    read = _Reader("datasets", name)
    return Loader(**read.common(), suffixes=read.get("SUFFIXES", ()), load=read.need("load"))


def _former(read: Any, compare: Any, measure: Any) -> Behaviour:  # noqa: ANN401
    """Return a behaviour that still answers with values."""
    import torch  # noqa: PLC0415

    from whatelse.answer import Answer, Doubt, Parts, Shown  # noqa: PLC0415

    def answer(baseline: Any, candidate: Any, config: Any, rng: Any) -> Answer:  # noqa: ANN401
        values = compare(baseline, candidate, config, rng) if compare else measure(candidate, config, rng)
        values = torch.as_tensor(values)
        columns = {"value": values} if values.dim() == 1 else {str(i): values[:, i] for i in range(values.shape[1])}
        shown = [Shown("rebuilt", dict(candidate.pictures))] if candidate.pictures else []
        shown += [Shown("tree", dict(candidate.tree))] if candidate.tree else []
        return Answer(
            columns,
            rows=candidate.rows,
            parts=Parts(tuple(candidate.parts), **candidate.parts_read),
            notes=tuple(candidate.notes),
            doubts=tuple(Doubt(text, text in candidate.flatters) for text in candidate.doubts),
            shown=tuple(shown),
            ends=dict(candidate.ends),
        )

    def lifted(function: Any, *, config: bool = False) -> Any:  # noqa: ANN401
        if function is None:
            return None
        if config:
            return lambda answer, config: function(answer.matrix())
        return lambda answer, config, weights: function(answer.matrix(), weights)

    return Behaviour(
        **read.common(),
        unit=read.need("UNIT"),
        better=read.need("BETTER"),
        needs=frozenset(read.need("NEEDS")),
        unit_of_analysis=read.need("UNIT_OF_ANALYSIS"),
        worst=read.need("WORST"),
        blind=read.need("BLIND"),
        range=read.get("RANGE"),
        part=read.get("PARTS", ""),
        mean_of_parts=read.get("NUMBER") == "mean of parts",
        pair=compare is not None,
        answer=answer,
        summarise=lifted(read.need("summarise")),
        by_part=lifted(read.get("by_part")),
        outcomes=lifted(read.get("outcomes"), config=True),
        effort=read.get("effort"),
    )


@cache
def control(name: str) -> Control:
    """Return a control.

    Args:
        name: Its name, as a study has it: with spaces or with underscores.

    Raises:
        UnknownItemError: There is none of that name.
        ItemError: The file lacks a part.
    """
    read = _Reader("controls", name.replace(" ", "_"))
    parts = (field.name for field in fields(Control) if field.name != "name")
    return Control(read.name, **{part: read.need(part.upper()) for part in parts})


class _Reader:
    """What the module of an item declares: the one place where modules are read by name."""

    def __init__(self, kind: registry.Kind, name: str) -> None:
        self.kind, self.name = kind, name
        self.module: ModuleType = registry.load(kind, name)

    def get(self, part: str, default: Any = None) -> Any:  # noqa: ANN401 - constants and functions of any type
        return getattr(self.module, part, default)

    def need(self, part: str) -> Any:  # noqa: ANN401 - likewise
        if not hasattr(self.module, part):
            raise ItemError(f"{registry.WORDS[self.kind]} {self.name}: no {part} in its file; every one has it")
        return getattr(self.module, part)

    def common(self) -> dict[str, Any]:
        config = self.need("Config")
        for field in fields(config):
            if not field.metadata.get("help"):
                raise ItemError(
                    f"{registry.WORDS[self.kind]} {self.name}: Config.{field.name} was not made by param(...)"
                )
        return {"name": self.name, "version": self.need("VERSION"), "config": config}
