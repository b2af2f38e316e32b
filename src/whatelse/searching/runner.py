"""Attempts done by an engine, which is started when the first of them is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import ExitStack

from whatelse import registry
from whatelse.engines import Engine, Resources
from whatelse.errors import StudyError
from whatelse.searching.trial import Attempt, Spent, seconds_of, work_on
from whatelse.store.protocol import Store
from whatelse.study.worker import Report


class Runner:
    """Does attempts on an engine, unless they are done; nothing is started before something is missing.

    Attributes:
        seconds: Spent by kind.
    """

    def __init__(self, start: Callable[[], Engine], store: Store) -> None:
        self._start, self.store = start, store
        self._place: Engine | None = None
        self._mark, self._marked = "", ExitStack()
        self.seconds = {"making": 0.0, "measuring": 0.0}

    def submit(self, attempts: Sequence[Attempt]) -> Future[Spent]:
        """Begin attempts that go together.

        Args:
            attempts: One after the other.

        Raises:
            StudyError: The engine has not what a job needs.
        """
        if all([attempt.done(self.store) for attempt in attempts]):
            done: Future[Spent] = Future()
            done.set_result(Spent(Report(""), seconds_of(attempts, self.store)))
            return done
        if self._place is None:
            self.store.prepare()
            self._mark = self._marked.enter_context(self.store.marked())
            self._place = self._start()
        needs = Resources()
        return self._place.submit(work_on, list(attempts), self.store, self._mark, registry.added(), needs=needs)

    def result(self, future: Future[Spent]) -> Spent:
        """Wait for attempts, and return what they took.

        Args:
            future: What `submit` returned.

        Raises:
            StudyError: A worker died.
        """
        try:
            spent = future.result()
        except BrokenExecutor as error:
            raise StudyError(
                "a worker process died, perhaps for want of memory; finished trials are kept: run again with fewer "
                "--workers"
            ) from error
        self.seconds["making"] += spent.report.training + spent.report.compressing
        self.seconds["measuring"] += spent.report.measuring + spent.report.analyzing
        return spent

    def run(self, attempts: Sequence[Attempt]) -> Spent:
        """Do attempts that go together.

        Args:
            attempts: One after the other.

        Raises:
            StudyError: What they rest on changed, or a worker died.
        """
        return self.result(self.submit(attempts))

    def end(self) -> None:
        """Let the engine end, if it was started."""
        if self._place is not None:
            self._place.close()
            self._place = None
        self._marked.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and self._place is not None:
            self._place.stop()  # in the middle of what runs
            self._place = None
        self.end()
