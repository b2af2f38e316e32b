"""What a log of Inspect was asked (``.eval``), graded right or wrong sample by sample: only logs answer it.

Samples are known by task, number, epoch, and hashes of item, prompt and settings; models are logs of the same
questions. ``groups`` are columns of ``metadata``, or ``id`` and ``epoch``. All epochs of one sample are drawn together.

Source:
    UK AI Security Institute, Inspect, 2024, github.com/UKGovernmentBEIS/inspect_ai.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whatelse.datasets import _groups, _language
from whatelse.errors import TaskError
from whatelse.settings import param
from whatelse.tasks import evals
from whatelse.tasks.language import GRADED
from whatelse.tasks.task import Task

VERSION = 1
SUFFIXES = (".eval",)


@dataclass(frozen=True)
class Config:
    """Settings of a log."""

    path: str = param("", "The log: an .eval that Inspect wrote.")
    scorer: str = param("", "Whose grades are read; empty for the one that Inspect names first.")
    groups: str = param("", f"Columns of metadata that make groups, {_groups.HELP}.")
    cluster: str = param("id", "The column that says which samples belong together; all epochs of one by default.")
    split: str = param("", "test, as nothing is taken for train anyway.", choices=("", "test"))
    select: float = param(0.0, "Share of examples held back for choices, such as those of a search.", low=0, high=0.9)
    limit: int = param(0, "Largest number of examples of each split; 0 for all.", low=0)

    @property
    def context(self) -> int:
        """Tokens that a model reads at once at most: none reads here."""
        return 0


def load(config: Config) -> Task:
    """Return what a log was asked as a task.

    Args:
        config: Which log.

    Raises:
        TaskError: It cannot be read, or a sample is not graded right or wrong; it is named.
        MissingExtraError: It is packed by zstandard, which is not installed.
    """
    path = Path(config.path)
    if path.suffix.lower() != evals.ENDING:
        raise TaskError(f"data inspect: path={config.path!r}; a file that ends in {evals.ENDING} is needed")
    held = evals.read(path, config.scorer)
    told = (GRADED, [one.passage for one in held], [1] * len(held))
    return _language.task(path.stem, told, [dict(one.row) for one in held], config, f"inspect, {path.name}")


def takes(text: str) -> bool:
    """Return whether a text names a log of Inspect.

    Args:
        text: What a user types.
    """
    return evals.looks(Path(text))
