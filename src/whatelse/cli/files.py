"""Writing what a command was asked to write, with one line of reason where that is not possible."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from whatelse import surfaces
from whatelse.errors import StoreError
from whatelse.registry import Kind

if TYPE_CHECKING:
    from whatelse.findings.record import Findings


def probe(*names: str) -> None:
    """Refuse a place that nothing can be written to, before an hour's work rather than after it.

    Args:
        names: Each a file, ``-`` for standard output, or nothing.

    Raises:
        StoreError: One cannot be written.
    """
    for name in names:
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


def render(kind: Kind, files: Mapping[str, str], *what: object, quiet: bool) -> None:
    """Write what was asked for; and print, unless standard output is taken. What holds it already is left as it is.

    Args:
        kind: Of the surfaces: ``surfaces`` for findings, ``gate_surfaces`` for a decision, ``search_surfaces``.
        files: Where each surface writes to, by its name; ``-`` for standard output.
        what: What surfaces of the kind take.
        quiet: Print nothing.

    Raises:
        StoreError: A file cannot be written.
    """
    for name in sorted(files, key=lambda name: name != "json"):  # the record first, whatever becomes of the others
        surface, file = surfaces.surface(kind, name), files[name]
        if file == "-" or not surface.holds(Path(file), *what):
            write(file, surface.text(*what))
    for name in () if quiet or "-" in files.values() else surfaces.printed(kind):
        surfaces.surface(kind, name).print(*what, Console())


def hand_out(found: Findings, files: Mapping[str, str], *, quiet: bool) -> None:
    """Write findings and print them; where a file goes to standard output, doubts go to standard error.

    Args:
        found: The findings.
        files: Where each surface writes to, by its name.
        quiet: Print nothing.
    """
    from whatelse.findings import checks

    render("surfaces", files, found, quiet=quiet)
    if quiet:
        return
    told_left_out(found)
    if "-" in files.values():
        for line in checks.told(found.comparability):
            sys.stderr.write(f"warning: {line}\n")
    else:
        Console(stderr=True).print(f"written: {' and '.join(files.values())}", highlight=False)


def told_left_out(found: Findings) -> None:
    """Say on standard error how many examples nobody asked for.

    Args:
        found: The findings.
    """
    if left := sum(exhibit.left_out for exhibit in found.exhibits):
        sys.stderr.write(f"left out: {left} examples, which are rows of people; --show-examples shows them\n")
