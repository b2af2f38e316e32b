"""What the file of an item may and must declare: the one place where modules are read by name.

Whatever is missing or of another kind is one line for its author: the file, the part, what is allowed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import ModuleType
from typing import Any

from whatelse import registry
from whatelse.errors import ItemError, nearest, shown

# What a behaviour may ask for, and what its rows may stand for.
NEEDS = (
    *("predicts", "differentiates", "opens", "groups", "masks", "references", "label noise", "inputs in bounds"),
    *("images", "tables", "texts", "sentences", "shifted split", "same units", "sensitivities"),
    *("reads", "writes", "parts", "documents", "choices", "pairs"),
)
UNITS_OF_ANALYSIS = ("test example", "training example", "record", "batch", "layer", "turn", "example", "image")


@dataclass(frozen=True)
class Constant:
    """A constant that files declare.

    Attributes:
        types: It is of one of these.
        wanted: What it must be, in a message.
        among: The only values it may have, or its members may have; empty for any.
    """

    types: tuple[type, ...]
    wanted: str
    among: tuple[str, ...] = ()


_END = (float, type(None))
CONSTANTS = {
    "ITEM": Constant((str,), 'the kind and the name, such as "behaviour fairness.my_gap"'),
    "VERSION": Constant((int,), "a whole number, raised when the same settings would give another result"),
    "UNIT": Constant((str,), 'the unit of its number, such as "accuracy"'),
    "BETTER": Constant((str,), '"higher" or "lower"', ("higher", "lower")),
    "NEEDS": Constant((set, frozenset), 'a set of what it asks for, such as {"predicts"}', NEEDS),
    "UNIT_OF_ANALYSIS": Constant((str,), 'what a row stands for, such as "test example"', UNITS_OF_ANALYSIS),
    "WORST": Constant(_END, "the number (a float) at which nothing is left to lose, or None"),
    "BLIND": Constant(_END, "the number (a float) of a model of which nothing is seen, or None"),
    "RANGE": Constant((tuple,), "its smallest and largest value, two floats"),
    "PARTS": Constant((str,), 'what by_part\'s numbers are of, such as "group"'),
    "NUMBER": Constant((str,), '"mean of parts"', ("mean of parts",)),
    "KNOB": Constant((str,), "the setting that sets its strength; empty where there is none"),
    "TAKES": Constant((set, frozenset), 'a set of states of a model, such as {"dense", "sparse"}'),
    "LEAVES": Constant((str,), "the state that it leaves; empty where it leaves the one it found"),
    "LAYERWISE": Constant((bool,), "True where it goes by the weights and inputs of each layer alone"),
    "SCOPE": Constant((str,), '"row" or "study"', ("row", "study")),
    "HELP": Constant((str,), 'what its option does, such as "Write the table as CSV."'),
    "OWN": Constant((str,), 'why nothing may be declared to be done to inputs, such as "has a processor of its own"'),
    "SUFFIXES": Constant((tuple,), 'a tuple of endings of files, such as (".csv",)'),
}
FUNCTIONS = {
    "measure": ("evidence", "config", "rng"),
    "compare": ("baseline", "candidate", "config", "rng"),
    "summarise": ("answer", "config", "weights"),
    "by_part": ("answer", "config", "weights"),
    "outcomes": ("answer", "config"),
    "effort": ("config", "task"),
    "looks": ("config",),
    "compress": ("model", "config", "task", "rng"),
    "build": ("config", "shape", "classes", "rng"),
    "load": ("config",),
    "takes": ("text",),
    "describe": ("config",),
    "start": ("problem", "config", "rng"),
    "exhibits": ("asked",),
}


class Parts:
    """The parts of one item's file.

    Attributes:
        source: Where it is written.
        module: The file, imported.

    Raises:
        UnknownItemError: There is no such item.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file says that it is another item.
    """

    def __init__(self, source: registry.Source) -> None:
        self.source = source
        self.module: ModuleType = registry.load(source.kind, source.name)
        mine = f"{registry.KINDS[source.kind].word} {source.name}"
        if self.get("ITEM", mine) != mine:
            raise ItemError(f"{source.where}: ITEM is {shown(self.get('ITEM'))}, and it was asked for as {mine!r}")

    def has(self, part: str) -> bool:
        """Say whether the file declares a part.

        Args:
            part: Its name.
        """
        return hasattr(self.module, part)

    def get(self, part: str, default: Any = None) -> Any:  # noqa: ANN401 - constants and functions of any type
        """Return a part that may be left out, checked.

        Args:
            part: Its name.
            default: What stands for it where it is left out.

        Raises:
            ItemError: It is not what such a part must be.
        """
        return self.need(part) if self.has(part) else default

    def need(self, part: str, wanted: str = "") -> Any:  # noqa: ANN401 - likewise
        """Return a part that every item of its kind has, checked.

        Args:
            part: Its name.
            wanted: What it must be, for the message; by default what this file knows of the part.

        Raises:
            ItemError: It is left out, or is not what such a part must be.
        """
        if not self.has(part):
            raise ItemError(f"{self.source.where}: no {part}; {wanted or _wanted(part)} is needed")
        value = getattr(self.module, part)
        if part in CONSTANTS:
            self._check_constant(part, value, CONSTANTS[part])
        elif part in FUNCTIONS:
            self._check_function(part, value)
        return value

    def function(self, *parts: str) -> tuple[str, Callable[..., Any]]:
        """Return name and function of the one of several entries that the file has.

        Args:
            parts: Names of the entries.

        Raises:
            ItemError: It has none of them, or more than one.
        """
        here = [part for part in parts if self.has(part)]
        if len(here) != 1:
            entries = " or ".join(map(_wanted, parts))
            raise ItemError(f"{self.source.where}: {' and '.join(here) or 'no entry'}; one of {entries} is needed")
        return here[0], self.need(here[0])

    def common(self) -> dict[str, Any]:
        """Return what every item has, by the names of `whatelse.items.Item`.

        Raises:
            ItemError: There is no ``VERSION``, or ``Config`` is not a frozen dataclass of settings.
        """
        source = self.source
        return {"name": source.name, "version": self.need("VERSION"), "config": self._config(), "origin": source.origin}

    def _config(self) -> type[Any]:
        config = self.need("Config", "a frozen dataclass of settings, each made by param(...),")
        where = f"{self.source.where}: Config"
        if not isinstance(config, type) or not is_dataclass(config):
            raise ItemError(f"{where} is {shown(config)}; a frozen dataclass is needed")
        for setting in fields(config):
            if not setting.metadata.get("help") or setting.default is MISSING:
                raise ItemError(f"{where}.{setting.name} was not made by param(default, help), which every setting is")
        return config

    def _check_constant(self, part: str, value: object, rule: Constant) -> None:
        number = isinstance(value, bool) and bool not in rule.types  # to Python a bool is one
        if number or not isinstance(value, rule.types):
            raise ItemError(f"{self.source.where}: {part} is {shown(value)}; {rule.wanted} is needed")
        for one in value if isinstance(value, (set, frozenset)) else [value]:
            if rule.among and one not in rule.among:
                raise ItemError(f"{self.source.where}: {part} has {shown(one)}; {nearest(str(one), rule.among)}")

    def _check_function(self, part: str, value: object) -> None:
        if not callable(value):
            raise ItemError(f"{self.source.where}: {part} is {shown(value)}; {_wanted(part)} is needed")
        try:
            inspect.signature(value).bind(*FUNCTIONS[part])
        except TypeError as error:
            raise ItemError(f"{self.source.where}: {part} cannot be called as {_wanted(part)}: {error}") from error


def _wanted(part: str) -> str:
    if part in FUNCTIONS:
        return f"{part}({', '.join(FUNCTIONS[part])})"
    return CONSTANTS[part].wanted if part in CONSTANTS else "every one has it, and it"
