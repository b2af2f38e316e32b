"""The progress bar: what a study will cost, the running cells and the time left, on stderr or in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from whatelse.study.estimate import Estimate
from whatelse.study.run import Progress as State


@contextmanager
def closing_progress(progress: Progress) -> Generator[None]:
    """Stop a progress bar at the end, if it was started.

    Args:
        progress: Any.
    """
    try:
        yield
    finally:
        if progress.live.is_started:
            progress.stop()


@contextmanager
def bar(*, quiet: bool) -> Generator[tuple[Callable[[State], None], Callable[[Estimate], None]], None, None]:
    """Show a progress bar while the block runs.

    Args:
        quiet: Show nothing.

    Yields:
        What to call whenever a job starts or ends, and what to call before the first, with what all of it will cost.
    """
    columns = (
        BarColumn(24),
        MofNCompleteColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True, quiet=quiet)
    progress = Progress(*columns, console=console, disable=quiet)
    with closing_progress(progress):
        shown = progress.add_task("starting", total=None)
        said: list[str] = []
        if console.is_terminal:  # elsewhere every start is a line, which an error alone must be
            progress.start()

        def show(state: State) -> None:
            progress.start()
            for remark in state.remarks[len(said) :]:
                said.append(remark)
                console.print(remark, highlight=False, markup=False, soft_wrap=True)
            now = state.running[0] if state.running else "done" if state.done == state.total else "starting"
            progress.update(shown, total=state.total, completed=state.done, description=now)

        def announce(estimate: Estimate) -> None:
            line = f"{estimate}; Ctrl-C keeps what is finished"
            for one in (*(f"checked: {told}" for told in estimate.told), line):
                console.print(one, highlight=False, markup=False, soft_wrap=True)

        yield show, announce
