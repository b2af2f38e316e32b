"""What a study will cost, said beforehand."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from whatelse.study.estimate import Estimate

_SHOWN = 15


def foretell(estimate: Estimate) -> None:
    """Print what a study will cost, and what for, to standard output.

    Args:
        estimate: Of the work that is left.
    """
    console = Console()
    for told in estimate.told:
        console.print(f"checked: {told}", highlight=False, markup=False, soft_wrap=True)
    if not estimate.left:
        console.print(f"nothing to do: all {estimate.total} jobs are done", highlight=False)
        return
    console.print(str(estimate), highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("for")
    table.add_column("forward-equivalents", justify="right")
    for cost in estimate.costs[:_SHOWN]:
        table.add_row(Text(f"{cost.kind} {cost.name}" if cost.kind == "training" else cost.name), f"{cost.passes:,}")
    if rest := estimate.costs[_SHOWN:]:
        table.add_row(f"{len(rest)} more", f"{sum(cost.passes for cost in rest):,}")
    console.print(table)
