"""Writing what a command was asked to write, with one line of reason where that is not possible."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from whatelse.errors import StoreError


def probe(name: str) -> None:
    """Refuse a place that nothing can be written to, before an hour's work rather than after it.

    Args:
        name: A file, ``-`` for standard output, or nothing.

    Raises:
        StoreError: It cannot be written.
    """
    folder = Path(name).parent
    if name not in {"", "-"} and (not os.access(folder, os.W_OK) or Path(name).is_dir()):
        raise StoreError(f"cannot write {name}: {folder} is no folder that can be written to; nothing was done")


def write(name: str, text: str) -> None:
    """Write a text to a file or to standard output.

    Args:
        name: A file, or ``-`` for standard output.
        text: What.

    Raises:
        StoreError: It cannot be written.
    """
    if name == "-":
        sys.stdout.write(text)
        return
    try:
        Path(name).write_text(text, "utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {name}: {error.strerror}; finished cells are kept") from error
