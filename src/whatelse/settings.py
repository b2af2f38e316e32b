"""The one place for a setting: its default, its help and its range, read by everyone else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from whatelse.errors import SettingError, nearest, shown

C = TypeVar("C")


def param(
    default: Any,  # noqa: ANN401 - a setting may be a number, a word or a flag
    help: str,  # noqa: A002 - the word that command lines use
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    recipe: str = "",
    kind: type | None = None,
    option: str = "",
) -> Any:  # noqa: ANN401 - dataclasses.field is typed so
    """Declare one field of an item's ``Config``.

    The range is read by `build`, by the command line and by the search, the help by the command line and
    the documentation: there is no second table to fall out of step.

    Args:
        default: The value when the caller says nothing; its type is the type of the setting. None where the item then
            chooses the value from the data.
        help: One line, with the unit.
        low: Smallest allowed value, if there is one.
        high: Largest allowed value, if there is one.
        choices: The allowed words, for a setting that is a word.
        recipe: For a setting that is itself a recipe: ``result`` where the model that it makes is the one that is
            returned, ``inner`` where it is not, ``parts`` where it holds one for each of some parts of the model; empty
            for every other setting.
        kind: Type of the setting where its default is None.
        option: What command lines call it, where that is another word.
    """
    known = type(default) if kind is None else kind
    rules = {"help": help, "low": low, "high": high, "choices": choices, "recipe": recipe, "kind": known}
    rules |= {"option": option} if option else {}
    return field(default=default, metadata=rules)


def build(kind: type[C], given: Mapping[str, Any], where: str) -> C:
    """Return a checked configuration.

    Args:
        kind: The item's ``Config``.
        given: Settings by name, as a study file or a recipe has them.
        where: Name of the item, for the message.

    Raises:
        SettingError: A name is unknown, or a value has the wrong type or lies outside its range.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for name, value in given.items():
        if name not in known:
            hint = nearest(name, known) if known else "it has no settings"
            raise SettingError(f"{where}: no setting {shown(name)}; {hint}")
        values[name] = _checked(value, known[name].metadata, f"{where}: {name}")
    return kind(**values)


def changed(config: Any) -> dict[str, Any]:  # noqa: ANN401 - any item's Config
    """Return the fields that differ from their default, in order of declaration.

    Args:
        config: A dataclass whose fields were made with `param`.
    """
    return {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != f.default}


def recipes(config: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - any item's Config
    """Return the settings that are recipes, each with its role, so that they are read before any work.

    Args:
        config: A dataclass whose fields were made with `param`.
    """
    return [(getattr(config, f.name), f.metadata["recipe"]) for f in fields(config) if f.metadata["recipe"]]


def _checked(value: Any, rule: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401 - as in `param`
    if rule["kind"] is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else value
    if type(value) is not rule["kind"]:
        raise SettingError(f"{where}={shown(value)} is not of type {rule['kind'].__name__}")
    if rule["choices"] is not None and value not in rule["choices"]:
        raise SettingError(f"{where}={shown(value)}; {nearest(str(value), rule['choices'])}")
    low, high = rule["low"], rule["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        raise SettingError(f"{where}={shown(value)} is outside {_range(low, high)}")
    return value


def _range(low: float | None, high: float | None) -> str:
    left = "(-inf" if low is None else f"[{low}"
    right = "inf)" if high is None else f"{high}]"
    return f"{left}, {right}"
