"""The decision as Markdown, for a pull request or the summary of a CI job."""

from __future__ import annotations

from whatelse.findings.phrasing import markdown as plain
from whatelse.findings.record import Findings
from whatelse.gate import _words as words
from whatelse.gate.decide import Answer, Gate, Ruling

HELP = "Write it as Markdown."


def render(gate: Gate, findings: Findings) -> str:
    """Return Markdown with the verdict, and a table of what was asked for each candidate.

    Args:
        gate: As decided.
        findings: On which; nothing else of them is told.
    """
    del findings
    parts = [f"## {words.VERDICTS[gate.verdict].symbol} {plain(words.headline(gate))}"]
    parts.append(plain(gate.title))
    if len(gate.rulings) > 1:
        parts.append(_overview(gate))
    parts += [part for ruling in gate.rulings for part in _ruling(ruling, alone=len(gate.rulings) == 1)]
    parts.append("\n".join(f"- checked: {plain(line)}" for line in gate.checked))
    parts.append(plain(words.passed_over(gate)))
    parts.append(f"<sub>{plain(f'{words.MEANING} {words.noisy(gate)}')}</sub>")
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(gate: Gate) -> str:
    lines = [_row(["Candidate", "Decision", "Because"]), _row(["---"] * 3)]
    for ruling in gate.rulings:
        verdict = f"{words.VERDICTS[ruling.verdict].symbol} **{ruling.verdict}**"
        lines.append(_row([plain(ruling.candidate), verdict, plain(words.because(ruling))]))
    return "\n".join(lines)


def _ruling(ruling: Ruling, *, alone: bool) -> list[str]:
    sign = words.VERDICTS[ruling.verdict].symbol
    head = "" if alone else f"### {sign} {ruling.verdict}: {plain(ruling.candidate)}"
    because = plain(words.because(ruling))
    lines = [_row(list(words.HEAD)), _row(["---", "---", "---:", "---:", "---:", "---", "---"])]
    lines += [_line(answer) for answer in words.asked(ruling)]
    folded = "\n".join(f"- {plain(line)}" for line in words.folded(ruling))
    return [head, f"{because[0].upper()}{because[1:]}.", "\n".join(lines), folded]


def _line(answer: Answer) -> str:
    decision = f"{words.SIGNS[answer.decision].symbol} {answer.decision}"
    cells = [answer.tier, words.name(answer), words.harm(answer), words.bound(answer), words.budget(answer)]
    shown = f"**{decision}**" if answer.broken or answer.open else decision
    return _row([*map(plain, cells), shown, plain(words.brief(answer))])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
