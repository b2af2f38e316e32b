"""Every error that the toolkit raises on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WhatElseError(Exception):
    """Base class: a caller catches the toolkit's own errors by it, the command line prints one line of it."""


class UnknownItemError(WhatElseError):
    """A method or behaviour was asked for by a name that no file has."""


class ItemError(WhatElseError):
    """The file of an item lacks a part, or says something that no such item says."""


class SettingError(WhatElseError):
    """A setting is unknown, of the wrong type or outside its declared range."""


class RecipeError(WhatElseError):
    """A recipe cannot be read, or its steps make no sense in that order."""


class TaskError(WhatElseError):
    """Data cannot be used: a split is missing, labels are out of range, shapes disagree."""


class StudyError(WhatElseError):
    """A study file has a wrong key, a missing part or a value that makes no sense."""


class ChangedError(StudyError):
    """Data or models are not those that the work was planned for."""


class StoreError(WhatElseError):
    """Results cannot be written or read back: a full disk, a folder without permission, a damaged file."""


class ArtifactError(WhatElseError):
    """A model cannot be described as data, or what was saved does not fit its description."""


class FindingsError(WhatElseError):
    """A findings file is not one, or is of a version that this release does not read."""


class BudgetError(WhatElseError):
    """A budgets file has a wrong key, a value that makes no sense, or asks what cannot be told apart."""


class NotMeasurableError(WhatElseError):
    """A behaviour needs what this subject or task does not offer; the message is the reason."""


class Told(UserWarning):
    """What was understood of somebody's file where he might think otherwise; findings keep it beside the model."""


class MissingExtraError(WhatElseError):
    """An optional package is absent; the message says which extra brings it."""


class MissingHardwareError(RecipeError):
    """A method needs arithmetic that this machine does not have; the message says what was found."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that offers the known names nearest to a misspelled one.

    Args:
        name: What was asked for.
        known: Every name there is.
    """
    every = sorted(known)
    near = difflib.get_close_matches(name, every, n=3, cutoff=0.5)
    if near:
        alike = {other: difflib.SequenceMatcher(None, other, name).ratio() for other in near}
        near = [other for other in near if alike[other] > alike[near[0]] - 0.1]  # one slip of the finger names one
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {', '.join(every)}"


def in_short(error: BaseException, most: int = 200) -> str:
    """Return what an error of someone else's code says, in one line.

    Where it prints a trace of its own, as TorchScript does, its last line is what happened.

    Args:
        error: Any error.
        most: Characters of the line.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    traced = len(lines) > 1 and any(line.startswith("Traceback") for line in lines)
    text = " ".join(lines[-1:] if traced else lines) or type(error).__name__
    return cut(" ".join(text.split()), most)


def cut(text: str, most: int = 200) -> str:
    """Return a text as a message shows it: its beginning, where it is long.

    Args:
        text: Any text.
        most: Characters.
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def shown(value: object, most: int = 200) -> str:
    """Return any value as a message shows it: as Python writes it, its beginning where that is long.

    Args:
        value: Anything of Python's own.
        most: Characters.
    """
    try:
        return cut(repr(value), most)
    except (ValueError, RecursionError):  # a whole number of more digits than Python writes, lists in lists
        return f"a {type(value).__name__} too large to print"
