"""The contract of surfaces of a search: what shows its choice, in a file or in a terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from whatelse.findings.search_words import Ending
from whatelse.findings.searched import Constraint, Finalist, Searched, Trial, Verdict
from whatelse.testing import surfaces
from whatelse.testing.contract import Case


def it_shows_every_ending(case: Case) -> None:
    """Demand a text, or print, from a search of every ending, and another one for each.

    Args:
        case: The surface.
    """
    found = {ending: surfaces.text(case, searched(ending)) for ending in get_args(Ending)}
    for ending, text in found.items():
        case.demand(isinstance(text, str) and text.strip(), f"of the ending {ending} it gives nothing to read")
    case.demand(len(set(found.values())) == len(found), "it shows one search as it shows another")


def it_repeats_and_writes_nothing_itself(case: Case) -> None:
    """Demand the same text of the same search, and no file of its own: where it goes is the user's to say.

    Args:
        case: The surface.
    """
    surfaces.repeats(case, searched())


CHECKS = (surfaces.its_parts_are_in_order, it_shows_every_ending, it_repeats_and_writes_nothing_itself)


def searched(ending: Ending = "confirmed") -> Searched:
    """Return a small search: five trials against two budgets, one of which failed, and up to three finalists.

    Args:
        ending: How it ended.
    """
    trials: tuple[Trial, ...] = (
        _trial(1, "quantize.uniform(bits=8)", 0.25, 0.002, 0.01, "accuracy"),
        _trial(2, "quantize.uniform(bits=4)", 0.125, 0.006, 0.035, "accuracy by group: sex=female"),
        _trial(3, "quantize.uniform(bits=3)", 0.1, 0.009, 0.044, "accuracy by group: sex=female"),
        _trial(4, "quantize.uniform(bits=2)", 0.0625, 0.2, 0.4, "accuracy"),
        Trial(5, "decompose.svd(rank=0)", None, None, why="SettingError: rank=0 is outside [0.01, 1]", seconds=0.1),
    )
    if ending == "nothing":
        trials = tuple(replace(trial, feasible=False) for trial in trials)
    record = Searched(
        whatelse="0",
        created="2026-01-01T00:00:00+00:00",
        model="base",
        data="people.csv",
        strategy="uniform()",
        seed=0,
        minimize="bytes",
        unit="bytes",
        baseline=16_000.0,
        splits={"train": 8000, "select": 2000, "test": 4000},
        space="25^4 configurations",
        budgets="What may be lost",
        constraints=(
            Constraint("accuracy", "accuracy", "", "accuracy", 0.02, "critical", 2000, 4000, 0.013, 0.0),
            Constraint("accuracy by group: sex=female", "accuracy", "female", "accuracy", 0.05, "supporting"),
        ),
        trials=trials,
        nearest=2 if ending == "nothing" else 0,
        winner=3 if ending == "not confirmed" else 0,
        remarks=("The surrogate erred by 0.4 pp in the median.",),
        seconds={"making": 2.5, "measuring": 61.0},
    )
    if ending not in {"confirmed", "refused"}:
        return record
    finalists = (
        _finalist(1, "GO" if ending == "confirmed" else "NO-GO", 0.002, 0.01),
        _finalist(2, "GO" if ending == "confirmed" else "not opened", 0.007, 0.04),
        _finalist(3, "INCONCLUSIVE" if ending == "confirmed" else "not opened", 0.012, 0.06),
    )
    winner, folder = (2, "small") if ending == "confirmed" else (0, "")
    return replace(record, finalists=finalists, winner=winner, folder=folder)


def _trial(number: int, recipe: str, share: float, accuracy: float, group: float, binding: str) -> Trial:
    harm = {"accuracy": accuracy, "accuracy by group: sex=female": group}
    over = {"accuracy": accuracy / 0.02 - 0.9, "accuracy by group: sex=female": group / 0.05 - 0.9}
    inside = all(value <= 0 for value in over.values())
    return Trial(number, recipe, 16_000 * share, share, harm, over, inside, binding, seconds=1.5)


def _finalist(trial: int, verdict: Verdict, accuracy: float, group: float) -> Finalist:
    if verdict == "not opened":
        return Finalist(trial, "not opened")
    names = ("accuracy", "accuracy by group: sex=female")
    harm = dict(zip(names, (accuracy, group), strict=True))
    upper = {name: value + 0.009 for name, value in harm.items()}
    because = () if verdict == "GO" else ("accuracy is at most +2.1 pp, of 2.0 pp",)
    return Finalist(trial, verdict, harm, upper, because)
