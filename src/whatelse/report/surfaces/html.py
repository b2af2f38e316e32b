"""One self-contained page that somebody who has never seen it can read."""

from __future__ import annotations

from pathlib import Path

from whatelse.findings import codec
from whatelse.findings.record import Findings
from whatelse.report import page_cache

HELP = "Write one self-contained HTML page."


def render(findings: Findings) -> str:
    """Return the page, with the mark of what it is made of and a checksum at its end.

    Args:
        findings: As loaded.
    """
    from whatelse.report import page  # it draws: not for a page that stands already

    return page_cache.closed(page.render(findings, _mark(findings)))


def stands(findings: Findings, path: Path) -> bool:
    """Return whether a file is the page of these findings by this release, whole: drawing it anew takes seconds.

    Args:
        findings: As loaded.
        path: The file.
    """
    return page_cache.stands(path, _mark(findings))


def _mark(findings: Findings) -> str:
    return page_cache.mark(codec.dumps(findings))
