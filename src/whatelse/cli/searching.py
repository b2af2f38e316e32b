"""How far a search is, and what it ended in, for the command line."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from whatelse.cli.files import render, write
from whatelse.cli.options import Files
from whatelse.study.bar import closing_progress

if TYPE_CHECKING:
    from whatelse.searching.driver import Found
    from whatelse.searching.trials import State


@contextmanager
def shown(*, quiet: bool) -> Generator[Callable[[State], None]]:
    """Show while the block runs how many trials were measured, the best so far, and the budget that binds.

    Args:
        quiet: Show nothing.

    Yields:
        What to call whenever the search got further.
    """
    console = Console(stderr=True, quiet=quiet)
    columns = BarColumn(24), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    progress = Progress(*columns, console=console, disable=quiet)
    with closing_progress(progress):
        bar = progress.add_task("looking at the baseline", total=None)
        if console.is_terminal:  # elsewhere every start is a line, which an error alone must be
            progress.start()

        def show(state: State) -> None:
            progress.start()
            progress.update(bar, total=state.total or None, completed=len(state.trials), description=_told(state))

        yield show


def _told(state: State) -> str:
    """Return in a line how far a search is."""
    if state.phase != "searching":
        return state.phase
    many = f"trial {len(state.trials)}{f' of {state.total}' if state.total else ''}"
    if not state.trials:
        return f"{many}: measuring what layers do"
    last = state.trials[-1]
    if state.best is None or state.best.share is None:
        return f"{many}: none keeps all budgets yet; the last exceeded {last.binding or 'nothing: it failed'}"
    return f"{many}: best {state.best.share:.4f} of the baseline, trial {state.best.number}; {state.best.binding} binds"


def hand_over(found: Found, files: Files, audit: str, *, quiet: bool) -> None:
    """Write the record of a search and the audit of its winner, and print what was chosen.

    Args:
        found: What the search ended in.
        files: Where each surface writes to, by its name.
        audit: Where the page of the audit goes; empty for nowhere.
        quiet: Print nothing.
    """
    render("search_surfaces", files, found.record, quiet=quiet)
    written = [*files.values()]
    if audit and found.findings is not None:
        write(audit, found.findings.to_html())
        written.append(audit)
    if not quiet and "-" not in files.values():
        places = [*written, *([found.record.folder] if found.record.folder else [])]
        Console(stderr=True).print(f"written: {' and '.join(places)}", highlight=False)
