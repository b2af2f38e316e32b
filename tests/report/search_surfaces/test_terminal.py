"""A search in a terminal: a few lines that fit, whatever the terminal can show."""

from __future__ import annotations

import io
from typing import get_args

import pytest
from rich.console import Console

from tests.report.searches import make
from whatelse import testing
from whatelse.findings import search_words
from whatelse.findings.search_words import Ending
from whatelse.findings.searched import Searched
from whatelse.report.search_surfaces.terminal import show


def _printed(searched: Searched, width: int = 100, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    show(searched, Console(file=file, width=width, no_color=True, _environ={}))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("ending", get_args(Ending))
@pytest.mark.parametrize("width", [60, 100])
def test_it_says_all_answers_and_fits(ending: Ending, width: int) -> None:
    made = make(ending)
    text = _printed(made, width)
    flat = " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width
    assert flat.startswith(f"{search_words.SIGNS[search_words.sign(made)].symbol} {search_words.headline(made)}")
    for name, told in search_words.answers(made):
        assert f"{name}: {told}" in flat
    assert all(remark in flat for remark in made.remarks)
    assert "2 of 60 trials failed, the first: RuntimeError: quantize.uniform" in flat


def test_it_is_short() -> None:
    lines = _printed(testing.searched(), 120).splitlines()
    assert len(lines) <= 12
    assert "Finalists: 1 GO, 2 GO, 3 INCONCLUSIVE" in lines
    assert "Recipe: quantize.uniform(bits=4)" in lines
    assert "Folder: small" in lines


def test_an_ascii_terminal_gets_ascii() -> None:
    assert _printed(testing.searched(), encoding="ascii").startswith("+ Trial 2 keeps every budget")
