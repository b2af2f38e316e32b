"""How the gate's decisions and numbers are put into words; the same on every surface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from whatelse.findings import phrasing as words
from whatelse.findings.phrasing import Sign
from whatelse.gate.decide import Answer, Gate, Ruling

SIGNS: Mapping[str, Sign] = {
    "within": Sign("✓", "+", "green", "the upper bound of the harm is inside the budget"),
    "exceeded": Sign("▼", "x", "bold red", "the lower bound of the harm is beyond the budget, corrected by Holm"),
    "implausible gain": Sign("▲", "^", "bold red", "better than is believed; handled like a loss"),
    "undecided": Sign("?", "?", "yellow", "neither is shown"),
    "missing": Sign("–", "/", "magenta", "demanded, and not measured"),
    "too few": Sign("·", ".", "dim", "a group that is smaller than the owner asks for, and not shown harmed"),
    "not asked": Sign("·", ".", "dim", "not demanded, and not measured"),
}
VERDICTS: Mapping[str, Sign] = {
    "GO": Sign("✓", "+", "bold green", "every critical budget is shown kept, none is shown exceeded"),
    "INCONCLUSIVE": Sign("?", "?", "bold yellow", "a critical budget is neither shown kept nor shown exceeded"),
    "NO-GO": Sign("▼", "x", "bold red", "a critical or supporting budget is shown exceeded"),
}
HEAD = ("Tier", "Question", "Harm", "Bound", "Budget", "Decision", "What would settle it, and remarks")
NOISE = "Budget below the noise floor: retraining the baseline would fail it too."
_NOISE = NOISE[NOISE.index(":") : -1]
MEANING = (
    "Harm is movement toward worse, its bounds one-sided at 5 %. Within: the upper bound is inside the budget. "
    "Exceeded: the lower bound is beyond it, corrected by Holm over the critical and supporting questions. Anything "
    "else is undecided, never passed. Critical budgets must be shown kept, supporting ones not shown exceeded; "
    "advisory ones only tell. A group is a question of its own, held to the exact bounds of its own size."
)
FOLDED = 6  # groups of one budget that decide nothing, from which on they share a line
_SPELLED, _BECAUSE = 24, 8  # names that one line spells out


def name(answer: Answer) -> str:
    """Return what was asked, such as ``accuracy by group: women``.

    Args:
        answer: Any.
    """
    question = answer.question
    return f"{question.place.label}: {question.group}" if question.group else question.place.label


def sized(answer: Answer) -> str:
    """Return what was asked, and of a group how many examples it has: ``accuracy by group: women (25)``.

    Args:
        answer: Any.
    """
    question = answer.question
    return f"{name(answer)} ({words.count(question.n)})" if question.group and question.n is not None else name(answer)


def harm(answer: Answer) -> str:
    """Return the harm, such as ``+1.2 pp``, or nothing where there is none; a long unit is left to the budget.

    Args:
        answer: Any.
    """
    moved = answer.question.harm
    return "" if moved is None else words.brief(moved.value, answer.question.unit)


def bound(answer: Answer) -> str:
    """Return the bound that decides: ``≤ +1.6 pp``, ``≥ +2.2 pp``, or both ends of what is undecided.

    Args:
        answer: Any.
    """
    moved, unit = answer.question.harm, answer.question.unit
    if moved is None:
        return ""
    if answer.decision == "exceeded":
        return f"≥ {words.brief(moved.lower(), unit)}"
    if answer.decision != "undecided":
        return f"≤ {words.brief(moved.upper(), unit)}"
    return words.interval(moved.lower(), moved.upper(), unit if words.is_brief(unit) else "")


def budget(answer: Answer) -> str:
    """Return what was accepted, such as ``2.0 pp``.

    Args:
        answer: Any.
    """
    most, unit = answer.budget.most, answer.question.unit
    return words.size(most, unit) if unit else words.number(most)


def remarks(answer: Answer) -> str:
    """Return why, what would settle it, and what else is worth a note, in one line.

    Args:
        answer: Any.
    """
    return "; ".join(part for part in (answer.why, answer.settle, *answer.notes) if part)


def noisy(gate: Gate) -> str:
    """Return what a budget below the noise floor means, where there is one; its remark stands in a table without it.

    Args:
        gate: As decided.
    """
    notes = [note for ruling in gate.rulings for answer in ruling.answers for note in answer.notes]
    return NOISE if any(note.endswith(_NOISE) for note in notes) else ""


def brief(answer: Answer) -> str:
    """Return the remarks without what `noisy` says once.

    Args:
        answer: Any.
    """
    return remarks(answer).replace(_NOISE, "")


def asked(ruling: Ruling) -> list[Answer]:
    """Return the answers for the table: all but what was not asked, and but the groups of which `folded` tells.

    Args:
        ruling: On one candidate.
    """
    hidden = {id(answer) for answers in _folds(ruling) for answer in answers}
    return [a for a in ruling.answers if a.decision != "not asked" and id(a) not in hidden]


def folded(ruling: Ruling) -> list[str]:
    """Return a line for every budget with many groups that decide nothing: each by name, with its n and what it takes.

    Args:
        ruling: On one candidate.
    """
    lines = []
    for answers in _folds(ruling):
        first = answers[0]
        spelled = max(_SPELLED, sum(_leans(a) for a in answers))  # whoever seems harmed beyond the budget, all of them
        told = [f"{a.question.group} ({_short(a)})" for a in answers[:spelled]]
        more = f" and {len(answers) - spelled} more, all in the JSON" if len(answers) > spelled else ""
        head = f"{first.question.place.label}: {len(answers)} groups {first.decision} ({first.tier})"
        lines.append(f"{head}: {'; '.join(told)}{more}")
    return lines


def _folds(ruling: Ruling) -> list[list[Answer]]:
    told: dict[tuple[int, str, str], list[Answer]] = {}
    for answer in ruling.answers:
        if answer.question.group and not (answer.broken or answer.open or answer.decision == "not asked"):
            told.setdefault((id(answer.budget), answer.question.place.label, answer.decision), []).append(answer)
    return [sorted(answers, key=_least_harmed) for answers in told.values() if len(answers) > FOLDED]


def _least_harmed(answer: Answer) -> float:
    """Return what sorts the most harmed first, and those without a number last."""
    moved = answer.question.harm
    return math.inf if moved is None else -moved.value


def _leans(answer: Answer) -> bool:
    return answer.question.harm is not None and answer.question.harm.value > answer.budget.most


def _short(answer: Answer) -> str:
    if answer.decision == "within":
        return f"{'' if answer.question.n is None else words.count(answer.question.n)} {bound(answer)}".strip()
    return "; ".join(part for part in (answer.why, answer.settle) if part)


def passed_over(gate: Gate) -> str:
    """Return one sentence that names every budget that no candidate was asked, or nothing.

    Args:
        gate: As decided; what is not in the findings is so for all candidates.
    """
    lines = [f"{name(a)} ({a.why})" for a in gate.rulings[0].answers if a.decision == "not asked"]
    return f"Not demanded, and not asked: {', '.join(lines)}." if lines else ""


def because(ruling: Ruling) -> str:
    """Return in one line what the verdict rests on.

    Args:
        ruling: On one candidate.
    """
    if ruling.verdict != "GO":
        told = [(word, [sized(a) for a in ruling.because if a.decision == word]) for word in SIGNS]
        return (
            "; ".join(f"{word}: {listed(names)}" for word, names in told if names) or "no critical budget was decided"
        )
    kept = [sized(a) for a in ruling.answers if a.decision == "within" and a.tier == "critical"]
    left = [a for a in ruling.answers if a.decision in {"undecided", "missing", "too few"}]
    unshown = [sized(a) for a in sorted(left, key=lambda a: not _leans(a))]
    beside = f"; not shown, and not critical: {listed(unshown)}" if unshown else ""
    alone = any(a.question.group for a in ruling.answers)
    return f"shown kept: {listed(kept)}{beside}{'' if alone else '; no group or class was looked at by itself'}"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence; of very many the first, and how many more.

    Args:
        names: At least one.
    """
    if len(names) > _BECAUSE + 1:
        names = [*names[:_BECAUSE], f"{len(names) - _BECAUSE} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def headline(gate: Gate) -> str:
    """Return the verdict on all candidates and how many have which, such as ``NO-GO: 1 of 3 candidates``.

    Args:
        gate: As decided.
    """
    size = len(gate.rulings)
    if size == 1:
        return f"{gate.verdict}: {gate.rulings[0].candidate}"
    same = sum(ruling.verdict == gate.verdict for ruling in gate.rulings)
    return f"{gate.verdict}: {'all' if same == size else same} of {size} candidates"
