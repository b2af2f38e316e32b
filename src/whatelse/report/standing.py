"""Whether a page stands already: drawing it anew takes longer than finding everything else done."""

from __future__ import annotations

import hashlib
from pathlib import Path

_HEAD = 2000  # characters of a page within which its mark stands


def mark(text: str) -> str:
    """Return what a page made of a findings file is known by: a hash of the file and of everything that draws it.

    Args:
        text: The findings file.
    """
    digest = hashlib.sha256(text.encode())
    for source in sorted(Path(__file__).parent.rglob("*.*")):
        if source.suffix in {".py", ".html", ".css", ".js"}:
            digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def stands(path: Path, mark: str) -> bool:
    """Say whether a file is a page with this mark.

    Args:
        path: Where the page would be written.
        mark: What `mark` returned.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return f'content="{mark}"' in file.read(_HEAD)
    except (OSError, UnicodeDecodeError):
        return False
