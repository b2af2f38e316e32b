"""The decision for a terminal: a table for each candidate, the verdict last, where a reader looks first."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from whatelse.findings.phrasing import Sign
from whatelse.findings.record import Findings
from whatelse.gate import _words as words
from whatelse.gate.decide import Answer, Gate, Ruling

_WIDE = 100  # columns from which on numbers stand beside the question
_ASCII = str.maketrans({"\N{MINUS SIGN}": "-", "≤": "<=", "≥": ">=", "±": "+-", "–": "-"})


def show(gate: Gate, findings: Findings, console: Console) -> None:
    """Print what was asked of each candidate, and the verdict.

    Args:
        gate: As decided.
        findings: On which; nothing else of them is told.
        console: Where to; its width, colors and encoding are respected.
    """
    del findings
    plain = _is_plain(console)
    for ruling in gate.rulings:
        console.print(_verdict(ruling, plain))
        console.print(_table(ruling, plain, console.width < _WIDE))
        for line in words.folded(ruling):
            console.print(_text(line, plain))
            console.print()
    if len(gate.rulings) > 1:
        for ruling in gate.rulings:
            console.print(_verdict(ruling, plain))
        console.print()
    for line in gate.checked:
        console.print(_text(f"checked: {line}", plain))
    for line in (words.MEANING, words.noisy(gate), words.passed_over(gate)):
        if line:
            console.print(_text(line, plain, "dim"))
    console.print()
    sign = words.VERDICTS[gate.verdict]
    title = f" ({gate.title})" if gate.title else ""
    console.print(
        _text(f"{_symbol(sign, plain)} {words.headline(gate)}", plain, sign.style) + _text(title, plain, "dim")
    )


def _is_plain(console: Console) -> bool:
    """Whether the terminal can only show ASCII."""
    try:
        "▲▼✓·–≤≥\N{MINUS SIGN}±".encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def _symbol(sign: Sign, plain: bool) -> str:
    return sign.ascii if plain else sign.symbol


def _text(text: str, plain: bool, style: str = "") -> Text:
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if plain:
        text = text.translate(_ASCII).encode("ascii", "replace").decode("ascii")
    return Text(text, style=style)


def _verdict(ruling: Ruling, plain: bool) -> Text:
    sign = words.VERDICTS[ruling.verdict]
    line = _text(f"{_symbol(sign, plain)} {ruling.verdict:<12} ", plain, sign.style)
    return line + _text(f"{ruling.candidate}: ", plain, "bold") + _text(words.because(ruling), plain)


def _table(ruling: Ruling, plain: bool, narrow: bool) -> Table:
    table = Table(box=box.ASCII if plain else box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Decision", no_wrap=True)
    if not narrow:
        table.add_column("Tier", no_wrap=True)
    table.add_column("Question", overflow="fold", ratio=1)
    for head in () if narrow else ("Harm", "Bound", "Budget"):
        table.add_column(head, justify="right", no_wrap=True)
    for answer in words.asked(ruling):
        table.add_row(*_cells(answer, plain, narrow))
    return table


def _cells(answer: Answer, plain: bool, narrow: bool) -> list[Text]:
    sign = words.SIGNS[answer.decision]
    decisive = answer.broken or answer.open or answer.decision == "within"
    decision = _text(f"{_symbol(sign, plain)} {answer.decision}", plain, sign.style if decisive else "dim")
    harm, bound, budget = words.harm(answer), words.bound(answer), words.budget(answer)
    question = _text(words.name(answer), plain, "bold")
    if narrow:
        told = f"harm {harm} ({bound}), budget {budget}" if harm else f"budget {budget}"
        question = question + Text("\n") + _text(f"{answer.tier}: {told}", plain)
    if words.brief(answer):
        question = question + Text("\n") + _text(words.brief(answer), plain, "dim")
    if narrow:
        return [decision, question]
    tier = _text(answer.tier, plain, "bold" if answer.tier == "critical" else "")
    return [decision, tier, question, *(_text(text, plain) for text in (harm, bound, budget))]
