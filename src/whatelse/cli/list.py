"""Listing what there is."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from whatelse import registry
from whatelse.errors import StudyError, nearest

ORDER = 1


def command(
    kind: Annotated[str, typer.Argument(metavar="[methods|behaviours]", help="Only one kind.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Name every method and behaviour, with one line each, its settings and its needs."""
    kinds: tuple[registry.Kind, ...] = ("methods", "behaviours")
    if kind and kind not in kinds:
        raise StudyError(f"whatelse list {kind}: no such kind; {nearest(kind, kinds)}")
    cards = {k: [registry.card(k, n) for n in registry.names(k)] for k in kinds if kind in {"", k}}
    if as_json:
        listing = {k: [{**vars(c), "constants": c.constants} for c in found] for k, found in cards.items()}
        sys.stdout.write(json.dumps(listing, indent=1) + "\n")
        return
    console = Console()
    for k, found in cards.items():
        table = Table(title=k, title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("name", style="bold", no_wrap=True)
        table.add_column("what it is")
        table.add_column("settings" if k == "methods" else "needs", style="dim")
        for c in found:
            table.add_row(c.name, c.summary, ", ".join(c.settings if k == "methods" else c.needs))
        console.print(table)
