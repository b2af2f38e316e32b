"""The choice, the confirmation and the budgets as Markdown, for a pull request."""

from __future__ import annotations

from whatelse.findings import phrasing as words
from whatelse.findings import search_words
from whatelse.findings.phrasing import markdown as plain
from whatelse.findings.searched import Constraint, Finalist, Searched

HELP = "Write what was chosen in Markdown."


def render(searched: Searched) -> str:
    """Return Markdown with the answers, the finalists in order, and every budget.

    Args:
        searched: The record.
    """
    sign = search_words.SIGNS[search_words.sign(searched)].symbol
    parts = [f"## {sign} {plain(search_words.headline(searched))}"]
    parts.append("\n".join(f"- **{name}**: {plain(text)}" for name, text in search_words.answers(searched)))
    if searched.winner:
        parts.append(f"Recipe: {_code(searched.trial(searched.winner).recipe)}")
    if searched.finalists:
        head = ["Trial", "On test", "Share", "What kept a GO away"]
        lines = [_finalist(searched, one) for one in searched.finalists]
        parts.append(_table("The confirmation, in order", head, lines))
    head = ["Budget", "Accepted", "Chosen, on select", "On test, at most", "Passes up to", "Trials that it binds"]
    parts.append(_table("The budgets", head, [_budget(searched, one) for one in search_words.in_order(searched)]))
    parts.append("\n".join(f"- {plain(remark)}" for remark in searched.remarks))
    tried, failed = len(searched.trials), sum(trial.value is None for trial in searched.trials)
    counted = f"{words.count(tried)} {words.plural(tried, 'trial')}"
    counted += f", {words.count(failed)} failed" if failed else ""
    parts.append(f"whatelse {plain(searched.whatelse)}, {counted}, {plain(searched.strategy)}, seed {searched.seed}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(cells)} |" for cells in rows)])


def _finalist(searched: Searched, one: Finalist) -> list[str]:
    verdict = f"{search_words.SIGNS[one.verdict].symbol} {one.verdict}"
    chosen = f"**{one.trial}**" if one.trial == searched.winner else str(one.trial)
    return [chosen, verdict, search_words.share(searched.trial(one.trial).share), plain("; ".join(one.because))]


def _budget(searched: Searched, constraint: Constraint) -> list[str]:
    harm = searched.trial(searched.winner).harm.get(constraint.name) if searched.winner else None
    held = search_words.finalist(searched, searched.winner)
    upper = None if held is None else held.upper.get(constraint.name)
    shown = ["" if value is None else words.signed(value, constraint.unit) for value in (harm, upper, constraint.power)]
    binds = sum(trial.binding == constraint.name for trial in searched.trials)
    return [plain(constraint.name), *map(plain, (search_words.most(constraint), *shown)), str(binds)]


def _code(recipe: str) -> str:
    """Return a recipe as code, in more ticks than it has itself."""
    ticks = "`" * (1 + recipe.count("`"))
    return f"{ticks}{' '.join(recipe.split())}{ticks}"
