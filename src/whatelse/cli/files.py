"""Writing what a command was asked to write, with one line of reason where that is not possible."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from whatelse.errors import StoreError

if TYPE_CHECKING:
    from whatelse.findings.record import Findings


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


def places(json_file: str, html: str, stem: str) -> tuple[str, str]:
    """Return where findings go, as JSON and as a page: as asked, else STEM.json and STEM.html in the current folder.

    Args:
        json_file: What --json says.
        html: What --html says.
        stem: Of the names where neither is given.

    Raises:
        StoreError: One of them cannot be written.
    """
    out = (json_file, html) if json_file or html else (f"{stem}.json", f"{stem}.html")
    for name in out:
        probe(name)
    return out


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


def hand_out(found: dict[str, object], out: tuple[str, str], where: str, *, quiet: bool) -> None:
    """Write findings as JSON and as a page, and print the table; where JSON goes to stdout, doubts go to stderr.

    Args:
        found: The findings.
        out: Where to write JSON and the page; empty for nowhere.
        where: How messages call them.
        quiet: Print nothing.
    """
    from whatelse.findings import checks
    from whatelse.findings import record as reader

    json_file, html = out
    text_of = json.dumps(found, indent=1, allow_nan=False) + "\n"
    if json_file:
        write(json_file, text_of)
    read = reader.parse(found, where)
    if html:
        write_page(read, html, text_of)
    for line in checks.told(read.comparability) if json_file == "-" and not quiet else ():
        sys.stderr.write(f"warning: {line}\n")
    if not quiet and json_file != "-":
        print_findings(read)
        written = " and ".join(name for name in (html, json_file) if name)
        Console(stderr=True).print(f"written: {written}", highlight=False)


def print_findings(found: Findings) -> None:
    """Print the table of findings to standard output.

    Args:
        found: The findings.
    """
    from whatelse.report import table as tables

    tables.print_table(found, Console())


def write_page(found: Findings, name: str, text: str) -> None:
    """Write the page, unless it stands there already, whole, made of the same findings by the same release.

    Args:
        found: The findings.
        name: A file, or ``-`` for standard output.
        text: The same findings as JSON.
    """
    from whatelse.report import page_cache

    mark = page_cache.mark(text)
    if name == "-" or not page_cache.stands(Path(name), mark):
        from whatelse.report import page

        write(name, page_cache.closed(page.render(found, mark)))
