"""Starting an item of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whatelse.cli import complete

ORDER = 8


def command(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="behaviour, method, loader, ...", autocompletion=complete.words)
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as fairness.my_gap, its family before the dot.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where; of a checkout its own.")] = Path(),
) -> None:
    """Write a small item that works and a test of it, both yours to edit; --items takes it up in every other command.

    The test holds it against the contract that ours keep too, and against an answer worked out by hand.
    """
    from whatelse import templates

    item, test = templates.write(kind, name, to)
    sys.stdout.write(f"written: {item} and {test}\ntry it: python -m pytest {test}\n")
