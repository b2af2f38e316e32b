"""Figures of a search: size against the harm of one behavior, every trial a point, the budget a line, as inline SVG.

Sizes are logarithmic. Down is harm, as in every figure; where harms reach far beyond the budget, what lies below a
dashed line is logarithmic too, so that the budget is no hairline. A finalist has two marks above each other, what
select and what test says of it, and a bar to the upper bound on test.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass

from whatelse.findings import phrasing as words
from whatelse.findings import search_words
from whatelse.findings.searched import Constraint, Finalist, Searched, Trial
from whatelse.report._svg import Axis, line, path, text

WIDTH, HEIGHT, _LEFT, _RIGHT, _TOP, _FOOT = 300, 214, 50, 10, 8, 178
_FAR, _KNEE, _SHARE = 3, 1.5, 0.68  # budgets to reach for a knee, where that is, and the height above it
_STEPS = (1, 1.5, 2, 3, 5, 7)
_CLASSES = {"GO": "go", "NO-GO": "no", "INCONCLUSIVE": "open"}


@dataclass(frozen=True)
class _Harms:
    """From harms to places: to scale, and below the knee, where there is one, logarithmic."""

    plain: Axis
    beyond: Axis | None

    def __call__(self, harm: float) -> float:
        """Return the place of a harm in shown units."""
        if self.beyond is None or harm <= self.plain.high:
            return self.plain(harm)
        return self.beyond(math.log(harm))

    def ticks(self) -> list[float]:
        """Return round numbers, those beyond the knee only where they have room."""
        kept = self.plain.ticks()
        if self.beyond is not None:
            powers = range(-5, 13)
            for harm in (float(f"{step}e{power}") for power in powers for step in (1, 2, 5)):
                inside = self.plain.high < harm and math.log(harm) <= self.beyond.high
                if inside and self(harm) - self(kept[-1]) >= 13:
                    kept.append(harm)
        return kept


def draw(searched: Searched, constraint: Constraint, columns: Mapping[int, int], name: str) -> str:
    """Return the figure of one constraint.

    Args:
        searched: The record.
        constraint: The budget.
        columns: By number of a trial its place among all, by size: what arrow keys go by.
        name: Unique in the page; prefixes every id in the figure.
    """
    shown = [trial for trial in searched.trials if _placed(trial, constraint)]
    across, down = _sizes(searched), _harms(searched, constraint, shown)
    body = _frame(across, down, searched.minimize) + _budget(constraint, across, down)
    points = [(_share(trial), trial.harm[constraint.name] or 0.0) for trial in shown]
    unit = words.scale(constraint.unit)
    body += _staircase([(_at(across, size), down(harm * unit)) for size, harm in search_words.front(points)])
    for trial in sorted(shown, key=lambda trial: _rank(searched, trial)):
        body += _point(searched, constraint, trial, columns[trial.number], across, down)
    title = f"Size against harm: {constraint.name}"
    head = f'<svg class="figure parts front" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="group" '
    head += f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{html.escape(title)}</title>'
    return f'{head}<desc id="{name}-desc">{html.escape(_told(searched, constraint, shown))}</desc>{body}</svg>'


def label(searched: Searched, constraint: Constraint, trial: Trial) -> str:
    """Return what a point says: size and harm, on test too where that was opened, and the binding budget.

    Args:
        searched: The record.
        constraint: The budget of the figure.
        trial: With a number.
    """
    harm = words.brief(trial.harm[constraint.name] or 0.0, constraint.unit)
    told = f"Trial {trial.number}, {search_words.share(trial.share)}: harm {harm} of {search_words.most(constraint)}"
    held = search_words.finalist(searched, trial.number)
    if held is not None and held.verdict != "not opened":
        told += f"; on test {search_words.bounded(constraint, held)}, {held.verdict}"
    return f"{told}; binds: {trial.binding}" if trial.binding else told


def _placed(trial: Trial, constraint: Constraint) -> bool:
    return trial.share is not None and trial.harm.get(constraint.name) is not None


def _share(trial: Trial) -> float:
    return trial.share or 0.0


def _rank(searched: Searched, trial: Trial) -> tuple[bool, bool, bool]:
    """What is drawn last, and over the others: the chosen one, finalists, what keeps all budgets."""
    chosen = trial.number in {searched.winner, searched.nearest}
    return chosen, search_words.finalist(searched, trial.number) is not None, trial.feasible


def _sizes(searched: Searched) -> Axis:
    """The axis of sizes, from the smallest trial to the baseline or beyond; a size of nothing stands at its end."""
    sizes = [trial.share for trial in searched.trials if trial.share]
    low, high = math.log(min([*sizes, 1.0])), math.log(max([*sizes, 1.0]))
    room = 0.05 * (high - low) or 0.5
    return Axis(low - room, high + room, _LEFT, WIDTH - _RIGHT)


def _at(across: Axis, share: float) -> float:
    return across(max(math.log(share), across.low) if share > 0 else across.low)


def _harms(searched: Searched, constraint: Constraint, shown: list[Trial]) -> _Harms:
    unit, name = words.scale(constraint.unit), constraint.name
    values = [trial.harm[name] for trial in shown]
    values += [end for one in searched.finalists for end in (one.harm.get(name), one.upper.get(name))]
    harms = [value * unit for value in (*values, 0.0, constraint.most) if value is not None]
    low, high, budget = min(harms), max(harms), constraint.most * unit
    knee = _KNEE * budget if budget > 0 and high > _FAR * budget else None
    room = 0.08 * ((high if knee is None else knee) - low) or 1.0
    ends = (_TOP, _FOOT if knee is None else _TOP + _SHARE * (_FOOT - _TOP))
    plain = Axis(low - room, high + room if knee is None else knee, *ends)
    return _Harms(plain, None if knee is None else Axis(math.log(knee), math.log(high * 1.15), ends[1], _FOOT))


def _frame(across: Axis, down: _Harms, minimize: str) -> str:
    body = ""
    for value in down.ticks():
        y = down(value)
        body += line(across.start, y, across.end, y, "zero" if value == 0 else "grid")
        body += text(across.start - 5, y + 4, _tick(value), "soft end")
    if down.beyond is not None:
        body += line(across.start, down.beyond.start, across.end, down.beyond.start, "margin")
    for share in _shares(across):
        x = _at(across, share)
        body += line(x, _TOP, x, _FOOT, "grid") + text(x, _FOOT + 14, f"{100 * share:g} %", "soft middle")
    body += text(across.end, HEIGHT - 6, f"share of the baseline’s {minimize}", "soft end")
    return body + text(across.start - 38, HEIGHT - 6, "↓ harm", "soft")


def _tick(value: float) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _shares(across: Axis) -> list[float]:
    """Round shares, the roundest first to be chosen, each only where its text has room."""
    kept: list[float] = []
    powers = range(math.floor(across.low / math.log(10)), math.ceil(across.high / math.log(10)) + 1)
    for step in _STEPS:
        for power in powers:
            share = float(f"{step}e{power}")
            inside = across.low <= math.log(share) <= across.high
            if inside and all(abs(_at(across, share) - _at(across, other)) > 38 for other in kept):
                kept.append(share)
    return sorted(kept)


def _budget(constraint: Constraint, across: Axis, down: _Harms) -> str:
    """The budget, and what lies beyond it; large models stand to the right and rarely there: so does the text."""
    y = down(constraint.most * words.scale(constraint.unit))
    body = f'<rect class="beyond" x="{across.start:.1f}" y="{y:.1f}" width="{across.end - across.start:.1f}" '
    body += f'height="{_FOOT - y:.1f}"/>' + line(across.start, y, across.end, y, "budget")
    below = y + 11 < _FOOT
    return body + text(
        across.end - 3, y + 11 if below else y - 4, f"budget {search_words.most(constraint)}", "limit end"
    )


def _staircase(front: list[tuple[float, float]]) -> str:
    """The front: to the right of a point nothing worse than it need be taken."""
    if len(front) < 2:
        return ""
    corners = [front[0]]
    for x, y in front[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return path(corners, "pareto")


def _point(searched: Searched, constraint: Constraint, trial: Trial, column: int, across: Axis, down: _Harms) -> str:
    unit = words.scale(constraint.unit)
    x = _at(across, _share(trial))
    y = down((trial.harm[constraint.name] or 0.0) * unit)
    held = search_words.finalist(searched, trial.number)
    kind = "inside" if trial.feasible else "over"
    kind += " finalist" if held is not None else ""
    chosen = trial.number in {searched.winner, searched.nearest}
    kind += " chosen" if chosen else ""
    body = f'<circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="8"/><circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>'
    body += _tested(constraint, held, x, down) if held is not None else ""
    if chosen:
        body += text(x, y - 9 if y > _TOP + 18 else y + 18, str(trial.number), "number middle")
    told = html.escape(label(searched, constraint, trial))
    tip = f'aria-describedby="tip-trial-{trial.number}"'
    return f'<g class="trial {kind}" data-column="{column}" {tip}><title>{told}</title>{body}</g>'


def _tested(constraint: Constraint, held: Finalist, x: float, down: _Harms) -> str:
    """What test says of a finalist: a diamond at the harm, a bar to its upper bound, to the end where it has none."""
    kind, unit = _CLASSES.get(held.verdict), words.scale(constraint.unit)
    harm, upper = held.harm.get(constraint.name), held.upper.get(constraint.name)
    if kind is None or harm is None:
        return ""
    y = down(harm * unit)
    end = _FOOT if upper is None else down(upper * unit)
    body = line(x, y, x, end, f"bound {kind}") + line(x - 4, end, x + 4, end, f"bound {kind}")
    return f'{body}<path class="tested {kind}" d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>'


def _told(searched: Searched, constraint: Constraint, shown: list[Trial]) -> str:
    """What those hear who do not see the figure: the front, and where the numbers stand."""
    by_place = {(_share(trial), trial.harm[constraint.name] or 0.0): trial for trial in shown}
    front = [by_place[point] for point in search_words.front(list(by_place))]
    told = "; ".join(label(searched, constraint, trial) for trial in front[:6])
    more = f"; and {len(front) - 6} more on the front" if len(front) > 6 else ""
    return f"{len(shown)} trials; the front: {told}{more}. All harms stand in a table below."
