"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whatelse import limits, registry

KEPT = Path("whatelse-results")


def _hold(context: typer.Context, given: str) -> str:
    """Let the limit that is given hold until the command ends."""
    context.with_resource(limits.within(given))
    return given


def _take_up(given: list[str] | None) -> list[str]:
    """Take up the items of files that the user names: they are his own, and nobody else's file is run."""
    for place in given or ():
        registry.add(place)
    return given or []


Json = Annotated[str, typer.Option("--json", metavar="FILE", help="Write the findings as JSON; - for standard output.")]
Html = Annotated[str, typer.Option("--html", metavar="FILE", help="Write one self-contained HTML page.")]
Items = Annotated[
    list[str] | None,
    typer.Option(
        "--items",
        metavar="FILE",
        help="Take up items of your own, as new writes them: a file, or a folder for all in it; may be repeated.",
        callback=_take_up,
    ),
]
Results = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where finished cells are kept and found again.")
]
On = Annotated[str, typer.Option("--on", metavar="ENGINE", help="Where jobs run: processes (here) or ray.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Jobs at once; 0 for as many as cores.")]
Full = Annotated[
    bool,
    typer.Option("--full", help="Also what the study marks full, and its full settings; needs whatelse[methods]."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what is left to do and what it will cost.")]
Copy = Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the study file.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")]
_ALLOWED = "What opening a file may take, such as 8G [2G, or 16 times the file]."
Memory = Annotated[str, typer.Option("--max-memory", metavar="SIZE", help=_ALLOWED, callback=_hold)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table; errors only.")]
