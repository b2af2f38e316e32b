"""What every opener of a language model refuses: weights beside it, other data, and weights that would be random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whatelse.errors import ArtifactError
from whatelse.models import fit
from whatelse.tasks.task import Task

_SHOWN = 3


def check(text: str, task: Task, weights: str) -> None:
    """Refuse weights, and data that no language model reads.

    Args:
        text: What a user typed for the model.
        task: What it is asked.
        weights: What a user typed for weights.

    Raises:
        ArtifactError: There are some.
        TaskError: The data are of another kind.
    """
    if weights:
        raise ArtifactError(f"weights {weights}: {text} has its own weights; leave one of them out")
    fit.check_reads(task, text)


def check_whole(told: str, info: Mapping[str, Any], mend: str = "") -> None:
    """Refuse a model of which some weights were not in its file.

    Args:
        told: How messages call the file.
        info: What transformers says of having loaded it.
        mend: What to do.

    Raises:
        ArtifactError: It is one.
    """
    lacking = sorted({str(name) for kind in ("missing_keys", "mismatched_keys") for name in info[kind]})
    if lacking:
        some = ", ".join(lacking[:_SHOWN])
        raise ArtifactError(
            f"{told} no fitting weights for {some} ({len(lacking)} in all), which would be random{mend}"
        )
