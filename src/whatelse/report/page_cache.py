"""Whether a page stands already: drawing it anew takes longer than finding everything else done."""

from __future__ import annotations

import hashlib
from pathlib import Path

from whatelse import findings

_HEAD = 2000  # characters of a page within which its mark stands
_SUM = "<!-- sha256 of all above: {} -->\n"


def mark(text: str) -> str:
    """Return what a page made of a findings file is known by: a hash of the file and of everything that draws it.

    What is said of findings, verdicts in words and the first answers, is made in their own room.

    Args:
        text: The findings file.
    """
    digest = hashlib.sha256(text.encode())
    rooms = (Path(__file__).parent, Path(findings.__file__).parent)
    for source in sorted(one for room in rooms for one in room.rglob("*.*")):
        if source.suffix in {".py", ".html", ".css", ".js"}:
            digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def closed(page: str) -> str:
    """Return a page that ends with a checksum, by which a damaged one is told from a whole one.

    Args:
        page: HTML.
    """
    return page + _SUM.format(hashlib.sha256(page.encode()).hexdigest())


def stands(path: Path, mark: str) -> bool:
    """Say whether a file is a page with this mark, whole to its last byte.

    Args:
        path: Where the page would be written.
        mark: What `mark` returned.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return False
    page = text[: -len(_SUM.format("0" * 64))]
    return f'content="{mark}"' in page[:_HEAD] and closed(page) == text
