"""The findings themselves, for machines: what every other surface is made from."""

from __future__ import annotations

from whatelse.findings import codec
from whatelse.findings.record import Findings

HELP = "Write the findings as JSON; - for standard output."


def render(findings: Findings) -> str:
    """Return a JSON document.

    Args:
        findings: As loaded.
    """
    return codec.dumps(findings)
