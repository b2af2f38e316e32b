"""The page of a search: what was chosen and what it cost, every trial against every budget, and the confirmation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from os.path import commonprefix

from markupsafe import Markup

from whatelse.findings import phrasing as words
from whatelse.findings import search_words
from whatelse.findings.searched import Constraint, Finalist, Searched, Trial
from whatelse.report import _fronts as fronts
from whatelse.report import _templates as templates

_FIGURES = 16  # that stand unfolded: four lines of a page of 1,300 pixels
_TRIALS = 60  # likewise lines of the table
_ABREAST = 15  # columns of harms that such a page holds uncut
_RECIPE, _ALIKE = 40, 12  # characters of a recipe in a cell; with which all must begin for it to be left out


@dataclass(frozen=True)
class Figure:
    """One constraint as it is drawn, how many trials it binds, and whether harms far beyond it are logarithmic."""

    constraint: Constraint
    svg: Markup
    binds: int

    @property
    def bent(self) -> bool:
        """Whether the figure has the line below which harms are logarithmic."""
        return 'class="margin"' in self.svg


@dataclass(frozen=True)
class Line:
    """One trial as a line of the table: what stands in its cells, and what they are sorted by."""

    trial: Trial
    state: str
    size: str
    share: str
    test: str
    over: str
    brief: str
    tip: str


@dataclass(frozen=True)
class Budget:
    """One constraint as a line of its table: numbers by heading, how many trials it binds, and a remark."""

    constraint: Constraint
    numbers: list[tuple[str, str]]
    binds: int
    remark: str


def render(searched: Searched) -> str:
    """Return the page as HTML; the same search gives the same bytes.

    Args:
        searched: The record.
    """
    figures = _figures(searched)
    return templates.filled(
        "search.html",
        styles=("style.css", "search.css"),
        scripts=("script.js", "search.js"),
        it=searched,
        made_from="",
        say=search_words,
        ending=search_words.ending(searched),
        chosen=searched.trial(searched.winner or searched.nearest) if searched.winner or searched.nearest else None,
        figures=(figures[:_FIGURES], figures[_FIGURES:]),
        lines=_lines(searched),
        unfolded=len(searched.trials) <= _TRIALS,
        bands=_bands(searched),
        harms=[(trial, [_harm(trial, one) for one in searched.constraints]) for trial in searched.trials],
        finalists=[(one, searched.trial(one.trial), _tightest(searched, one)) for one in searched.finalists],
        budgets=_budgets(searched),
        when=words.when(searched.created),
    )


def _figures(searched: Searched) -> list[Figure]:
    by_size = sorted(searched.trials, key=lambda trial: (trial.share or 0.0, trial.number))
    columns = {trial.number: at for at, trial in enumerate(by_size)}
    bound = Counter(trial.binding for trial in searched.trials)
    return [
        Figure(one, Markup(fronts.draw(searched, one, columns, f"front-{at}")), bound[one.name])  # noqa: S704 - escaped there
        for at, one in enumerate(search_words.in_order(searched))
    ]


def _lines(searched: Searched) -> list[Line]:
    alike = commonprefix([trial.recipe for trial in searched.trials])  # says nothing of what tells trials apart
    alike = alike[: alike.rfind(" ") + 1]
    alike = alike if len(alike) > _ALIKE and len(searched.trials) > 1 else ""
    return [_line(searched, trial, len(alike)) for trial in searched.trials]


def _line(searched: Searched, trial: Trial, alike: int) -> Line:
    brief = "…" * bool(alike) + trial.recipe[alike:]
    held = search_words.finalist(searched, trial.number)
    over = trial.over.get(trial.binding)
    return Line(
        trial,
        search_words.state(trial),
        "" if trial.value is None else words.size(trial.value, searched.unit),
        search_words.share(trial.share),
        "" if held is None else held.verdict,
        "" if over is None else words.signed(100 * over, "%"),
        brief if len(brief) <= _RECIPE else f"{brief[: _RECIPE - 1]}…",
        search_words.aimed(searched, trial),
    )


def _harm(trial: Trial, constraint: Constraint) -> tuple[str, bool]:
    """What stands in a cell of harms, and whether it is beyond the budget."""
    harm = trial.harm.get(constraint.name)
    if harm is None:
        return ("skipped" if constraint.name in trial.skipped else ""), False
    return words.brief(harm, constraint.unit), harm > constraint.most


def _bands(searched: Searched) -> list[tuple[int, int]]:
    """Where bands of columns begin and end, so that none is cut."""
    count = len(searched.constraints)
    return [(at, min(count, at + _ABREAST)) for at in range(0, count, _ABREAST)]


def _tightest(searched: Searched, one: Finalist) -> str:
    """Which budget has least room on test, and how much; empty where test was not opened."""
    tight = search_words.tightest(searched, one)
    return f"{tight.name}: {search_words.bounded(tight, one)}, budget {search_words.most(tight)}" if tight else ""


def _budgets(searched: Searched) -> list[Budget]:
    """Every budget with those of its numbers that any has."""
    found = [_budget(searched, one) for one in search_words.in_order(searched)]
    there = {name for one in found for name, text in one.numbers if text}
    return [replace(one, numbers=[pair for pair in one.numbers if pair[0] in there]) for one in found]


def _budget(searched: Searched, constraint: Constraint) -> Budget:
    select = searched.trial(searched.winner).harm if searched.winner else {}
    held = search_words.finalist(searched, searched.winner) or Finalist(0, "not opened")
    numbers = [
        ("Accepted", search_words.most(constraint)),
        ("Chosen, on select", _number(select.get(constraint.name), constraint)),
        ("On test", _number(held.harm.get(constraint.name), constraint)),
        ("At most", _number(held.upper.get(constraint.name), constraint)),
        ("n of select", "" if constraint.n is None else words.count(constraint.n)),
        ("n of test", "" if constraint.confirming is None else words.count(constraint.confirming)),
        ("Passes up to", _number(constraint.power, constraint)),
        ("Noise floor", _number(constraint.floor, constraint)),
    ]
    below = constraint.floor is not None and constraint.floor > constraint.most
    remark = "below the noise floor: measuring the baseline once more would exceed it" if below else ""
    return Budget(constraint, numbers, sum(trial.binding == constraint.name for trial in searched.trials), remark)


def _number(value: float | None, constraint: Constraint) -> str:
    return "" if value is None else words.brief(value, constraint.unit)
