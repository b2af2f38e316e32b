"""The progress bar of the command line: names the running cells and the time left, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from whatelse.study.run import Progress as State


@contextmanager
def bar(*, quiet: bool) -> Generator[Callable[[State], None], None, None]:
    """Show a progress bar while the block runs.

    Args:
        quiet: Show nothing.

    Yields:
        What to call whenever a job starts or ends.
    """
    columns = (
        BarColumn(24),
        MofNCompleteColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        shown = progress.add_task("starting", total=None)

        def show(state: State) -> None:
            now = state.running[0] if state.running else "done" if state.done == state.total else "starting"
            progress.update(shown, total=state.total, completed=state.done, description=now)

        yield show
