"""One self-contained page: the choice, and every trial against every budget."""

from __future__ import annotations

from whatelse.findings.searched import Searched

HELP = "Write one self-contained HTML page."


def render(searched: Searched) -> str:
    """Return the page.

    Args:
        searched: The record.
    """
    from whatelse.report import search_page  # it needs a library for templates: not for a terminal

    return search_page.render(searched)
