"""An estimator of scikit-learn in a file of skops; what is pickled is refused, as reading it would run what it says."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from whatelse.errors import ArtifactError, MissingExtraError
from whatelse.models import foreign
from whatelse.models.estimator import EstimatorScores
from whatelse.tasks.task import Task

FORM = "an estimator of scikit-learn (.skops)"
_PICKLED = (".pkl", ".pickle", ".joblib")


def takes(text: str) -> bool:
    """Return whether a text names a file of skops, or one that should be.

    Args:
        text: What a user types.
    """
    return text.endswith((".skops", *_PICKLED)) and ":" not in text and not os.path.isdir(text)


def open_model(text: str, task: Task, weights: str) -> EstimatorScores:
    """Return what answers by an estimator.

    Args:
        text: The file.
        task: Gives its columns and the number of classes.
        weights: Refused.

    Raises:
        ArtifactError: It is pickled, damaged, or holds types that are not trusted; or weights are given too.
        MissingExtraError: skops or scikit-learn is not installed.
        TaskError: It was fitted on other columns or classes.
    """
    if text.endswith(_PICKLED):
        raise ArtifactError(
            f"{text}: reading it would run whatever it says, and it is not read; where you trust it, write its "
            "estimator anew: skops.io.dump(joblib.load(...), 'model.skops')"
        )
    foreign.without_weights(text, weights)
    foreign.check(Path(text))
    for name in ("sklearn", "skops"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"{text} needs {name}: pip install 'whatelse[skops]'")
    return EstimatorScores(Path(text), task)
