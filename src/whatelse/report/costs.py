"""What a compressed model costs beside the original, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_costs(record: Mapping[str, Any], console: Console) -> None:
    """Print a table of costs, what every step left alone, and how layers are really computed.

    Args:
        record: What ``whatelse compress --json`` writes: ``costs``, ``steps`` and ``remarks``.
        console: Where to.
    """
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in ("original", "compressed", "ratio"):
        table.add_column(name, justify="right")
    for cost in (c for c in record["costs"] if not c["why"]):
        ratio = f"{cost['after'] / cost['before']:.3f}" if cost["before"] else "-"
        if cost["middle"]:
            ratio += f" ({cost['middle'][0]:.2f} to {cost['middle'][1]:.2f})"
        table.add_row(escape(cost["name"]), _number(cost["before"]), _number(cost["after"]), ratio)
    console.print(table)
    for cost in (c for c in record["costs"] if c["why"]):
        console.print(f"{escape(cost['name'])}: not measurable: {escape(cost['why'])}", highlight=False)
    for done in record["steps"]:
        left = f"; left alone: {', '.join(done['left_alone'])}" if done["left_alone"] else ""
        console.print(f"[bold]{escape(done['step'])}[/bold]  {done['seconds']:.1f} s{escape(left)}", highlight=False)
    remarks = record["remarks"]
    for text in dict.fromkeys(remarks.values()):
        names = [name or "the model" for name, remark in remarks.items() if remark == text]
        console.print(f"{escape(text)}: {escape(', '.join(names))}", highlight=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and value != 1 else f"{value:.3f}"
