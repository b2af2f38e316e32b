"""Listing what there is."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from whatelse import registry
from whatelse.cli import complete
from whatelse.cli.files import probe, write
from whatelse.cli.options import Items
from whatelse.errors import WhatElseError
from whatelse.kinds import KINDS, Kind, kind_of

ORDER = 1


def command(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[KIND]", help="Only one kind, such as behaviours or methods.", autocompletion=complete.kinds
        ),
    ] = "",
    items: Items = None,
    json_file: Annotated[str, typer.Option("--json", metavar="FILE", help="Write it as JSON; - for stdout.")] = "",
) -> None:
    """Name every method, behaviour, loader ..., with one line each and what it takes; also those from elsewhere."""
    del items  # taken up when they were read
    probe(json_file)
    kinds = [kind_of(kind)] if kind else [other for other, room in KINDS.items() if room.listed]
    cards = {k: [_card(k, name) for name in registry.names(k)] for k in kinds}
    if json_file:
        listing = {k: [vars(card) for card in found] for k, found in cards.items()}
        write(json_file, json.dumps(listing, indent=1) + "\n")
        return
    console = Console()
    for k, found in cards.items():
        console.print(_table(k, found))


def _card(kind: Kind, name: str) -> registry.Card:
    """Return the card of an item; of a file that cannot be read, one that says why, so that all others are listed."""
    try:
        return registry.card(kind, name)
    except WhatElseError as error:
        return registry.Card(name, f"cannot be read: {error}", "", "", "", "", "", (), (), {})


def _table(kind: Kind, found: list[registry.Card]) -> Table:
    table = Table(title=kind, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it is")
    table.add_column("needs" if kind == "behaviours" else "settings", style="dim")
    elsewhere = any(card.origin for card in found)
    if elsewhere:
        table.add_column("from", style="dim")
    for card in found:
        takes = ", ".join(card.needs if kind == "behaviours" else card.settings)
        table.add_row(card.name, card.summary, takes, *([card.origin] if elsewhere else []))
    return table
