"""The choice for a terminal, in a few lines: what, how small, confirmed or not, what binds, what another would cost."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from whatelse.findings import phrasing as words
from whatelse.findings import search_words
from whatelse.findings.searched import Searched

_ASCII = str.maketrans({"\N{MINUS SIGN}": "-", "–": "-", "…": "..."})


def show(searched: Searched, console: Console) -> None:
    """Print what was chosen and what follows, the finalists in order, and remarks.

    Args:
        searched: The record.
        console: Where to; its width, colors and encoding are respected.
    """
    plain = _is_plain(console)
    sign = search_words.SIGNS[search_words.sign(searched)]
    head = f"{sign.ascii if plain else sign.symbol} {search_words.headline(searched)}"
    console.print(_text(head, plain, sign.style))
    for name, text in search_words.answers(searched):
        console.print(_text(f"{name}: ", plain, "bold") + _text(text, plain))
    if searched.finalists:
        went = ", ".join(f"{one.trial} {one.verdict}" for one in searched.finalists)
        console.print(_text("Finalists: ", plain, "bold") + _text(went, plain))
    for name, number in (("Recipe", searched.winner), ("Recipe of the nearest", searched.nearest)):
        if number:
            console.print(_text(f"{name}: ", plain, "bold") + _text(searched.trial(number).recipe, plain))
    if searched.folder:
        console.print(_text("Folder: ", plain, "bold") + _text(searched.folder, plain))
    for remark in searched.remarks:
        console.print(_text(remark, plain, "dim"))
    if failed := [trial for trial in searched.trials if trial.value is None]:
        told = f"{words.count(len(failed))} of {words.count(len(searched.trials))} trials failed, the first: "
        console.print(_text(f"{told}{failed[0].why}", plain, "red"))


def _is_plain(console: Console) -> bool:
    """Whether the terminal can only show ASCII."""
    try:
        "▼✓×·–…\N{MINUS SIGN}".encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def _text(text: str, plain: bool, style: str = "") -> Text:
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if plain:
        text = text.translate(_ASCII).encode("ascii", "replace").decode("ascii")
    return Text(text, style=style)
