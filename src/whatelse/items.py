"""Items as typed records, each resolved once, whoever wrote them: ours, another package's, a file of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from whatelse import registry, settings
from whatelse.errors import ItemError
from whatelse.parts import Parts

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from whatelse.answer import Answer
    from whatelse.evidence.cache import Evidence
    from whatelse.searching.protocol import Problem, Search
    from whatelse.tasks.columns import ColumnSeen
    from whatelse.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Item:
    """What every item has.

    Attributes:
        name: Dotted name, such as ``fairness.gap``.
        version: Raised when the same settings would give another number.
        config: Its settings, a frozen dataclass.
        origin: What else its results depend on: version of another's package, hash of a user's file; empty for ours.
    """

    name: str
    version: int
    config: type[Any]
    origin: str

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
        looks: From settings to whether the values of inputs decide anything; None where they always do.
        layerwise: Whether it goes by the weights and inputs of each layer alone, so that it may be applied to one.
    """

    knob: str
    takes: frozenset[str]
    leaves: str
    compress: Callable[[nn.Module, Any, Task, torch.Generator], nn.Module]
    effort: Callable[[Any, Task], int] | None
    looks: Callable[[Any], bool] | None
    layerwise: bool


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
        takes: Whether a text that a user types is its ``path``, though no ending says so.
        describe: From settings to what its columns hold; None where it has none.
    """

    suffixes: tuple[str, ...]
    load: Callable[[Any], Task]
    takes: Callable[[str], bool]
    describe: Callable[[Any], tuple[ColumnSeen, ...]] | None

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"data {self.name}"


@dataclass(frozen=True, eq=False)
class Strategy(Item):
    """A way to search.

    Attributes:
        start: From a problem, settings and a generator to a search, which is asked for configurations.
    """

    start: Callable[[Problem, Any, torch.Generator], Search]

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"search {self.name}"


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


def behaviour(name: str) -> Behaviour:
    """Return a behaviour.

    Args:
        name: Its dotted name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    return _behaviour(registry.find("behaviours", name))


def method(name: str) -> Method:
    """Return a method.

    Args:
        name: Its dotted name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    return _method(registry.find("methods", name))


def net(name: str) -> Net:
    """Return a small network.

    Args:
        name: Its name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    return _net(registry.find("nets", name))


def loader(name: str) -> Loader:
    """Return a source of data.

    Args:
        name: Its name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    return _loader(registry.find("datasets", name))


def loader_of(path: str) -> Loader | None:
    """Return the source of data that opens a file by the ending of its name; None where no one does.

    Args:
        path: The file.

    Raises:
        ItemError: Several do.
    """
    ending = Path(path).suffix
    known = {n: registry.card("datasets", n).constants.get("SUFFIXES", ()) for n in registry.names("datasets")}
    opens = [n for n, endings in known.items() if isinstance(endings, tuple) and ending in endings]
    if len(opens) > 1:
        calls = " or ".join(f"{name}(path={path!r})" for name in opens)
        raise ItemError(f"{path}: {' and '.join(opens)} open {ending} files; say {calls}")
    return loader(opens[0]) if opens else None


def strategy(name: str) -> Strategy:
    """Return a way to search.

    Args:
        name: Its name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    return _strategy(registry.find("strategies", name))


def control(name: str) -> Control:
    """Return a control.

    Args:
        name: Its name, as a study has it: with spaces or with underscores.

    Raises:
        UnknownItemError: There is none of that name.
        ItemError: The file lacks a part.
    """
    return _control(registry.find("controls", name.replace(" ", "_")))


# What is resolved once goes by where it is written: a file whose text changed is another item.


@cache
def _behaviour(source: registry.Source) -> Behaviour:
    parts = Parts(source)
    entry, answer = parts.function("measure", "compare")

    def alone(baseline: Evidence, candidate: Evidence, config: object, rng: torch.Generator) -> Answer:
        del baseline
        found: Answer = answer(candidate, config, rng)
        return found

    return Behaviour(
        **parts.common(),
        **_declared(parts),
        pair=entry == "compare",
        answer=answer if entry == "compare" else alone,
        summarise=parts.need("summarise"),
        by_part=parts.get("by_part"),
        outcomes=parts.get("outcomes"),
        effort=parts.get("effort"),
    )


def _declared(parts: Parts) -> dict[str, Any]:
    """Return what a behaviour says of its numbers."""
    return {
        "unit": parts.need("UNIT"),
        "better": parts.need("BETTER"),
        "needs": frozenset(parts.need("NEEDS")),
        "unit_of_analysis": parts.need("UNIT_OF_ANALYSIS"),
        "worst": parts.need("WORST"),
        "blind": parts.need("BLIND"),
        "range": parts.get("RANGE"),
        "part": parts.get("PARTS", ""),
        "mean_of_parts": parts.get("NUMBER") == "mean of parts",
    }


@cache
def _method(source: registry.Source) -> Method:
    parts = Parts(source)
    return Method(
        **parts.common(),
        knob=parts.need("KNOB"),
        takes=frozenset(parts.need("TAKES")),
        leaves=parts.need("LEAVES"),
        compress=parts.need("compress"),
        effort=parts.get("effort"),
        looks=parts.get("looks"),
        layerwise=parts.get("LAYERWISE", default=False),
    )


@cache
def _net(source: registry.Source) -> Net:
    parts = Parts(source)
    return Net(**parts.common(), build=parts.need("build"))


@cache
def _loader(source: registry.Source) -> Loader:
    parts = Parts(source)
    told = {"suffixes": parts.get("SUFFIXES", ()), "takes": parts.get("takes", lambda text: False)}
    return Loader(**parts.common(), **told, load=parts.need("load"), describe=parts.get("describe"))


@cache
def _strategy(source: registry.Source) -> Strategy:
    parts = Parts(source)
    return Strategy(**parts.common(), start=parts.need("start"))


@cache
def _control(source: registry.Source) -> Control:
    parts = Parts(source)
    declared = {field.name: parts.need(field.name.upper()) for field in fields(Control) if field.name != "name"}
    return Control(source.name, **declared)
