"""What damage the owner of a model accepts: a budgets file, checked before anything is decided."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from whatelse import limits, toml_schema
from whatelse.errors import BudgetError, nearest
from whatelse.findings.roles import CONTROLS

TIERS = ("critical", "supporting", "advisory")
EVERY = "*"


@dataclass(frozen=True)
class Budget:
    """The most damage accepted on one question.

    Attributes:
        most: How far the behaviour may move toward worse, in its own unit, 0 or more.
        tier: ``critical`` must be shown kept, ``supporting`` must not be shown exceeded, ``advisory`` is only told.
        behaviour: Dotted name of an item; or nothing where ``label`` says enough.
        label: Of one measurement; where it is empty, the behaviour's primary one is asked, or its only one.
        task: On which it was measured; the primary one where it is empty.
        groups: Parts that must keep the budget too, each by itself; ``*`` for every part that has a better side.
        groups_tier: Tier of the groups; that of the budget where it is empty.
        least: A group of fewer examples that is not shown harmed is waived: told, and does not decide. 0 waives none.
        gain: The largest improvement of the whole that is believed; any where there is none.
        control: Held against which control; the candidate's own where it is empty.
        demanded: Whether it is missing where the file does not have it. One that is not demanded is asked only where
            it is a row's primary measurement, ``label`` names it, or it has ``groups``.
        unless: A behaviour whose parts answer it already: it is asked only where the file does not have these.
        instead: Behaviours that speak in its place: where the file has one of them, it is not demanded.
        why: The owner's reason.
    """

    most: float
    tier: str = "critical"
    behaviour: str = ""
    label: str = ""
    task: str = ""
    groups: list[str] = field(default_factory=list)
    groups_tier: str = ""
    least: int = 0
    gain: float | None = None
    control: str = ""
    demanded: bool = True
    why: str = ""
    unless: str = ""
    instead: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Budgets:
    """A whole budgets file."""

    budgets: list[Budget]
    title: str = ""


def default() -> str:
    """Return the text of the budgets for an owner without an opinion, each with its reason."""
    return resources.files("whatelse.gate").joinpath("default.toml").read_text("utf-8")


def read(path: Path) -> Budgets:
    """Return the budgets of a file, checked.

    Args:
        path: A TOML file.

    Raises:
        BudgetError: The file cannot be read, or says something that makes no sense.
    """
    try:
        text = limits.text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BudgetError(f"{path}: {reason}; --copy {path} writes the default budgets to start from") from error
    return parse(text, str(path))


def parse(text: str, where: str = "budgets") -> Budgets:
    """Return the budgets of a text, checked.

    Args:
        text: TOML.
        where: Name of the file, for messages.

    Raises:
        BudgetError: The text is not TOML, or says something that makes no sense.
    """
    try:
        found = toml_schema.read(Budgets, toml_schema.parse(text, where, BudgetError), "budgets.toml", BudgetError)
    except BudgetError as error:
        raise BudgetError(str(error).replace("budgets.toml", where, 1)) from error
    for at, budget in enumerate(found.budgets):
        _check(budget, f"{where}: {place(at)}")
        if budget in found.budgets[:at]:
            raise BudgetError(f"{where}: {place(at)} says the same as {place(found.budgets.index(budget))}; drop one")
    if not any(budget.tier == "critical" for budget in found.budgets):
        raise BudgetError(
            f'{where}: none of its {len(found.budgets)} budgets has tier = "critical"; '
            "at least one is needed, or the gate would go without anything shown"
        )
    return found


def place(at: int) -> str:
    """Return how messages name a budget.

    Args:
        at: Its index in the file.
    """
    return f"budgets[{at}]"


def _check(budget: Budget, where: str) -> None:
    if not (budget.behaviour or budget.label):
        raise BudgetError(f"{where}: neither behaviour nor label; one of them says what is asked")
    for name, value in (("most", budget.most), ("gain", budget.gain)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise BudgetError(f"{where}.{name}={value}; a number of 0 or more is needed, in the behaviour's unit")
    _check_tiers(budget, where)
    if budget.control and budget.control not in CONTROLS:
        raise BudgetError(f"{where}.control={budget.control!r}; {_hint(budget.control, CONTROLS)}")
    _check_groups(budget, where)


def _check_tiers(budget: Budget, where: str) -> None:
    for name, tier in (("tier", budget.tier), ("groups_tier", budget.groups_tier or budget.tier)):
        if tier not in TIERS:
            raise BudgetError(f"{where}.{name}={tier!r}; {_hint(tier, TIERS)}")
    if budget.groups_tier and not budget.groups:
        raise BudgetError(f"{where}.groups_tier={budget.groups_tier!r}, but there are no groups; name them in groups")


def _check_groups(budget: Budget, where: str) -> None:
    if budget.least < 0:
        raise BudgetError(f"{where}.least={budget.least}; a whole number of 0 or more is needed")
    if len(set(budget.groups)) < len(budget.groups) or (EVERY in budget.groups and len(budget.groups) > 1):
        raise BudgetError(f"{where}.groups={budget.groups}; names of groups are needed, none twice, or '*' alone")


def _hint(name: str, known: tuple[str, ...]) -> str:
    hint = nearest(name, known)
    return hint if hint.startswith("there are") else f"{hint} (there are: {', '.join(known)})"
