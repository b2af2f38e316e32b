"""The search itself, for machines: what every other surface is made from."""

from __future__ import annotations

from whatelse.findings import codec
from whatelse.findings.searched import Searched

HELP = "Write the search as JSON; - for standard output."


def render(searched: Searched) -> str:
    """Return a JSON document.

    Args:
        searched: The record.
    """
    return codec.dumps(searched)
