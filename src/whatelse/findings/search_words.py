"""What a search came to, in words and pairs; the same on every surface.

A search ends in one of four ways: a trial is *confirmed* on test; one keeps all budgets on select and was *not
confirmed*, since nothing was held against test; all finalists were *refused*; or *nothing* kept all budgets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from whatelse.findings import phrasing as words
from whatelse.findings.phrasing import Sign
from whatelse.findings.searched import Constraint, Finalist, Searched, Trial

Ending = Literal["confirmed", "not confirmed", "refused", "nothing"]
LEVEL = ".05"
SIGNS: Mapping[str, Sign] = {
    "GO": Sign("✓", "+", "bold green", "every critical budget is shown kept on test, none is shown exceeded"),
    "INCONCLUSIVE": Sign("?", "?", "bold yellow", "a critical budget is neither shown kept nor shown exceeded"),
    "NO-GO": Sign("▼", "x", "bold red", "a budget is shown exceeded on test"),
    "not opened": Sign("·", ".", "dim", "one before it failed: its examples of test were not looked at"),
    "inside": Sign("✓", "+", "green", "every budget is kept on select, with room for what the confirmation may add"),
    "over": Sign("▼", "x", "red", "a budget is exceeded on select, or has too little room to be confirmed"),
    "failed": Sign("×", "x", "reverse red", "the recipe stopped with an error"),
}


def ending(searched: Searched) -> Ending:
    """Return how a search ended.

    Args:
        searched: The record.
    """
    if searched.winner:
        return "confirmed" if searched.finalists else "not confirmed"
    return "refused" if searched.finalists else "nothing"


def sign(searched: Searched) -> str:
    """Return which of `SIGNS` stands for how a search ended.

    Args:
        searched: The record.
    """
    how = ending(searched)
    if how == "refused":
        return searched.finalists[0].verdict
    return {"confirmed": "GO", "not confirmed": "INCONCLUSIVE"}.get(how, "over")


def state(trial: Trial) -> str:
    """Return what became of a trial on select: ``inside``, ``over`` or ``failed``.

    Args:
        trial: Any trial.
    """
    return "failed" if trial.value is None else "inside" if trial.feasible else "over"


def share(value: float | None) -> str:
    """Return a share of the baseline, such as ``9.8 %``, or nothing where there is none.

    Args:
        value: Of one.
    """
    return "" if value is None else f"{words.number(100 * value)} %"


def sized(trial: Trial, searched: Searched) -> str:
    """Return the size of a trial, such as ``9.8 % of the baseline (14 kB of 145 kB)``, or nothing where it failed.

    Args:
        trial: Any trial.
        searched: The record.
    """
    if trial.value is None:
        return ""
    of = f"{words.size(trial.value, searched.unit)} of {words.size(searched.baseline, searched.unit)}"
    return f"{share(trial.share)} of the baseline ({of})"


def headline(searched: Searched) -> str:
    """Return what was chosen and how small it is, or that nothing was, in a sentence.

    Args:
        searched: The record.
    """
    how = ending(searched)
    if searched.winner:
        kept = _kept(searched) if how == "confirmed" else "keeps every budget on select, and was not confirmed"
        return f"Trial {searched.winner} {kept}, at {sized(searched.trial(searched.winner), searched)}."
    if how == "refused":
        first = searched.finalists[0]
        return f"Nothing is confirmed: trial {first.trial}, the safest, is {first.verdict} on test."
    tried = words.count(len(searched.trials))
    return f"None of {tried} {words.plural(len(searched.trials), 'trial')} keeps every budget."


def _kept(searched: Searched) -> str:
    """What is shown of the choice: a GO says of supporting budgets only that none is shown exceeded."""
    chosen = finalist(searched, searched.winner)
    tight = None if chosen is None else tightest(searched, chosen)
    if chosen is None or tight is None or used(tight, chosen.upper.get(tight.name)) <= 1:
        return "keeps every budget"
    return "keeps every critical budget, and is shown to exceed none"


def answers(searched: Searched) -> tuple[tuple[str, str], ...]:
    """Return the first answers as pairs of what is asked and its answer.

    Asked is ``Confirmed``, ``Binds``, ``Runner-up`` and ``Smaller``; where nothing is chosen ``Refused``, ``Nearest``.

    Args:
        searched: The record.
    """
    if ending(searched) == "nothing":
        pairs = [("Nearest", nearest(searched))]
    else:
        pairs = [("Confirmed", confirmed(searched)), ("Binds", binding(searched)), ("Runner-up", runner_up(searched))]
        pairs += [("Smaller" if searched.winner else "Refused", failed(searched))]
    return tuple((name, text) for name, text in pairs if text)


def confirmed(searched: Searched) -> str:
    """Return whether and how the choice was confirmed, in sentences.

    Args:
        searched: The record.
    """
    if not searched.finalists:
        return "No. Nothing was held against test: what is chosen on select looks better than it is."
    passed = sum(one.verdict == "GO" for one in searched.finalists)
    opened = sum(one.verdict != "not opened" for one in searched.finalists)
    of = f"{len(searched.finalists)} {words.plural(len(searched.finalists), 'finalist')}"
    went = f"{passed} of {of} passed, then one failed" if opened > passed else f"all {of} passed"
    went = went if passed else f"the first of {of} failed"
    which = "critical budget" if any(one.tier != "critical" for one in searched.constraints) else "budget"
    rule = f"a model that breaks a {which} is confirmed with chance at most {LEVEL}, over all finalists and budgets"
    return f"{'Yes' if passed else 'No'}. In fixed sequence on test, from safe to small, {went}: {rule}."


def binding(searched: Searched) -> str:
    """Return which budget leaves least room, and how much, or nothing where no trial is chosen.

    On test where the choice was confirmed; else on select, as it was aimed at the confirmation.

    Args:
        searched: The record.
    """
    if not searched.winner:
        return ""
    chosen = finalist(searched, searched.winner)
    tight = None if chosen is None else tightest(searched, chosen)
    if chosen is not None and tight is not None:
        return f"{tight.name}: on test {bounded(tight, chosen)}, of a budget of {most(tight)}."
    return aimed(searched, searched.trial(searched.winner))


def tightest(searched: Searched, one: Finalist) -> Constraint | None:
    """Return the budget that has least room on test; None where nothing was measured there.

    Args:
        searched: The record.
        one: A finalist.
    """
    held = [other for other in searched.constraints if other.name in one.harm or other.name in one.upper]
    return max(held, key=lambda other: used(other, one.upper.get(other.name)), default=None)


def used(constraint: Constraint, harm: float | None) -> float:
    """Return what share of a budget a harm uses up; infinite where nothing bounds it, or beyond a budget of nothing.

    Args:
        constraint: The budget.
        harm: In its unit.
    """
    if harm is None:
        return math.inf
    if constraint.most == 0:
        return math.copysign(math.inf, harm) if harm else 1.0
    return harm / constraint.most


def bounded(constraint: Constraint, one: Finalist) -> str:
    """Return the harm on test with its upper bound, such as ``harm +1.2 pp, at most +1.9 pp``.

    Args:
        constraint: The budget.
        one: What was held against it.
    """
    harm, upper = one.harm.get(constraint.name), one.upper.get(constraint.name)
    ends = "nothing bounds it" if upper is None else f"at most {words.brief(upper, constraint.unit)}"
    return ends if harm is None else f"harm {words.brief(harm, constraint.unit)}, {ends}"


def most(constraint: Constraint) -> str:
    """Return a budget in words, such as ``2.0 pp``; a long unit is left to the name.

    Args:
        constraint: The budget.
    """
    text = words.size(constraint.most, constraint.unit if words.is_brief(constraint.unit) else "")
    return text if constraint.most >= 0 else f"\N{MINUS SIGN}{text}"


def aimed(searched: Searched, trial: Trial) -> str:
    """Return which budget binds a trial on select and by how much, or nothing where none is known.

    Args:
        searched: The record.
        trial: Any trial.
    """
    constraint = named(searched).get(trial.binding)
    if constraint is None:
        return ""
    harm, over = trial.harm.get(constraint.name), trial.over.get(constraint.name)
    told = "not measured" if harm is None else f"harm {words.brief(harm, constraint.unit)}"
    return f"{constraint.name}: on select {told}, of a budget of {most(constraint)}{room(over)}."


def room(over: float | None) -> str:
    """Return by how much a budget is exceeded, or kept, as it is aimed at the confirmation; begins with a semicolon.

    Args:
        over: As a share of the budget.
    """
    if over is None:
        return ""
    amount = f"{words.number(100 * abs(over))} % of the budget"
    return f"; aimed at the confirmation {amount} {'too much' if over > 0 else 'to spare'}"


def runner_up_trial(searched: Searched) -> Trial | None:
    """Return what would be taken in place of the chosen one; None where nothing is chosen, or nothing else keeps all.

    The smallest other that is confirmed; where there is none, the smallest that keeps all budgets on select and is not
    smaller than what was chosen: of smaller ones one failed on test, or comes after one that did.

    Args:
        searched: The record.
    """
    if not searched.winner:
        return None
    chosen = searched.trial(searched.winner)
    shown = [
        searched.trial(one.trial) for one in searched.finalists if one.verdict == "GO" and one.trial != chosen.number
    ]
    held = {one.trial for one in searched.finalists}
    least = chosen.value or 0.0
    rest = [one for one in searched.trials if one.feasible and one.number not in held | {chosen.number}]
    rest = [one for one in rest if one.value is not None and one.value >= least]
    return min(shown or rest, key=lambda one: (one.value or 0.0, one.number), default=None)


def runner_up(searched: Searched) -> str:
    """Return what the runner-up would have cost, or that there is none; nothing where nothing is chosen.

    Args:
        searched: The record.
    """
    if not searched.winner:
        return ""
    other, chosen = runner_up_trial(searched), searched.trial(searched.winner)
    if other is None or other.value is None or chosen.value is None:
        return "There is none: no other trial of this size or more keeps every budget."
    more = other.value - chosen.value
    cost = f"{words.size(more, searched.unit)} more" if more > 0 else "nothing more"
    times = f" (+{words.number(100 * more / chosen.value)} %)" if more > 0 and chosen.value else ""
    if more < 0:
        cost = f"{words.size(more, searched.unit)} less"
    shown = finalist(searched, other.number) is not None
    beside = "confirmed too" if shown else "inside all budgets on select, not held against test"
    return f"Trial {other.number}, at {share(other.share)}, would have cost {cost}{times}; it is {beside}."


def failed(searched: Searched) -> str:
    """Return what became of the first finalist that did not pass, or nothing where all did.

    Args:
        searched: The record.
    """
    first = next((one for one in searched.finalists if one.verdict != "GO"), None)
    if first is None:
        return ""
    why, size = "; ".join(first.because), sized(searched.trial(first.trial), searched)
    return f"Trial {first.trial}, at {size}, is {first.verdict} on test" + (f": {why.rstrip('.')}." if why else ".")


def nearest(searched: Searched) -> str:
    """Return which trial came nearest and what it lacks, or nothing where that is not known.

    Args:
        searched: The record.
    """
    if not searched.nearest:
        return ""
    trial = searched.trial(searched.nearest)
    return " ".join(
        part for part in (f"Trial {trial.number}, at {sized(trial, searched)}.", aimed(searched, trial)) if part
    )


def finalist(searched: Searched, number: int) -> Finalist | None:
    """Return how a trial was confirmed; None where it was no finalist.

    Args:
        searched: The record.
        number: Of the trial.
    """
    return next((one for one in searched.finalists if one.trial == number), None)


def named(searched: Searched) -> dict[str, Constraint]:
    """Return the constraints by name.

    Args:
        searched: The record.
    """
    return {one.name: one for one in searched.constraints}


def in_order(searched: Searched) -> tuple[Constraint, ...]:
    """Return the constraints as a reader needs them: first what binds the choice, then what binds most trials.

    Args:
        searched: The record.
    """
    bound = [trial.binding for trial in searched.trials]
    first = searched.winner or searched.nearest or (searched.finalists[0].trial if searched.finalists else 0)
    leading = searched.trial(first).binding if first else ""
    return tuple(sorted(searched.constraints, key=lambda one: (one.name != leading, -bound.count(one.name))))


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both, from small to large: the Pareto front of size and harm.

    Args:
        points: Size and harm; of both less is better.
    """
    best: list[tuple[float, float]] = []
    for size, harm in sorted(points):
        if not best or harm < best[-1][1]:
            best.append((size, harm))
    return best


def spent(searched: Searched) -> tuple[tuple[str, str], ...]:
    """Return what the search took, by kind of work, in the order of the record.

    Args:
        searched: The record.
    """
    return tuple((words.capital(name), words.lasted(seconds)) for name, seconds in searched.seconds.items())
