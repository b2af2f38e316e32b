"""Examples as pictures in gray."""

from __future__ import annotations

import math

from torch import Tensor

from whatelse.findings.exhibits import Grey
from whatelse.tasks.task import Task


def picture(image: Tensor, task: Task) -> Grey | None:
    """Return an image in gray, from 0 at the lower bound of the task to 1 at the upper, of three channels their mean.

    None where that is no picture: tables, texts, another number of channels, unknown bounds.

    Args:
        image: ``(channels, height, width)``.
        task: Gives modality and bounds.
    """
    bounds = task.bounds
    if not pictured(task) or bounds is None or not all(map(math.isfinite, bounds)):
        return None
    return rounded(((image.mean(0) - bounds[0]) / (bounds[1] - bounds[0])).clamp(0, 1))


def pictured(task: Task) -> bool:
    """Return whether inputs are images of one channel or three.

    Args:
        task: Gives modality and shape.
    """
    return task.modality == "images" and task.shape[0] in {1, 3}


def rounded(field: Tensor) -> Grey:
    """Return numbers with three digits behind the point, as a page needs them.

    Args:
        field: ``(height, width)``.
    """
    return tuple(tuple(round(v, 3) for v in line) for line in field.tolist())
