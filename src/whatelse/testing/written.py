"""What is demanded of the file of every item: that it says what it is and where that is from, and declares settings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from whatelse import parts, registry
from whatelse.testing.contract import Case

_SOURCE = re.compile(r"^Source:\n    \S", re.MULTILINE)


def it_says_what_it_is_and_where_it_comes_from(case: Case) -> None:
    """Demand a docstring with a first sentence and ``Source:``, of the form that listings read.

    Args:
        case: The item.
    """
    text = case.module.__doc__ or ""
    case.demand(_SOURCE.search(text), "its docstring has no Source: with the paper or the book that it is from")
    card = registry.card(case.source.kind, case.source.name)
    case.demand(card.summary.endswith("."), "its docstring begins with no sentence, which listings print")
    version = card.constants.get("VERSION")
    case.demand(isinstance(version, int), "VERSION is computed; write the number out, as listings read it")


def its_settings_are_declared(case: Case) -> None:
    """Demand a frozen dataclass of settings, each with default, help, and a default inside its own range.

    Args:
        case: The item.
    """
    config = parts.Parts(case.source).common()["config"]
    case.demand(config.__dataclass_params__.frozen, "Config is not frozen; write @dataclass(frozen=True)")
    case.demand((config.__doc__ or "").strip(), "Config has no docstring")
    config()
    for setting in dataclasses.fields(config):
        rule = setting.metadata
        inside = setting.default is None or (
            (rule["low"] is None or setting.default >= rule["low"])
            and (rule["high"] is None or setting.default <= rule["high"])
            and (rule["choices"] is None or setting.default in rule["choices"])
        )
        case.demand(inside, f"Config.{setting.name}: its default {setting.default!r} is outside its own range")


def in_order(case: Case, entry: str, rest: Sequence[str] = (), *, more: bool = False) -> None:
    """Demand that the public parts of a file stand in the order of all others, take what such parts take, and no more.

    Args:
        case: The item.
        entry: What does the work, such as ``compress``.
        rest: What may follow it, in this order.
        more: Whether anything else may follow.
    """
    module = case.module
    public = [n for n, v in vars(module).items() if not n.startswith("_") and _of(v) == module.__name__]
    wanted = ["Config", entry, *(name for name in rest if name in public)]
    public = public[: len(wanted)] if more else public
    case.demand(public == wanted, f"its public parts are {', '.join(public)}; they must be {', '.join(wanted)}")
    for name in wanted[1:]:
        takes = tuple(inspect.signature(getattr(module, name)).parameters)
        case.demand(takes == parts.FUNCTIONS[name], f"{name} takes {takes}; it must take {parts.FUNCTIONS[name]}")
        case.demand((getattr(module, name).__doc__ or "").strip(), f"{name} has no docstring")


def alone(case: Case, before: Tensor) -> None:
    """Demand that the random numbers of the process were left alone.

    Args:
        case: The item.
        before: State of its generator before the item ran, as ``torch.get_rng_state`` gives it.
    """
    untouched = torch.equal(before, torch.get_rng_state())
    case.demand(untouched, "it drew from the generator of the process; draw from the one that it is given")


def generator(seed: int = 7) -> torch.Generator:
    """Return the generator that an item is given.

    Args:
        seed: Its seed.
    """
    return torch.Generator().manual_seed(seed)


def _of(value: Any) -> str | None:  # noqa: ANN401 - anything that stands in a module
    return getattr(value, "__module__", None)
