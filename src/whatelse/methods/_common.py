"""Settings that many methods have: each said once, so that training and students are set alike everywhere."""

from __future__ import annotations

from typing import Any

from whatelse.settings import param


def epochs(default: int) -> Any:  # noqa: ANN401 - as `param`
    """Declare how long to train.

    Args:
        default: Passes over train.
    """
    return param(default, "Passes over train.", low=0, high=10_000)


def rate() -> Any:  # noqa: ANN401 - as `param`
    """Declare how fast to train."""
    return param(8e-3, "Peak learning rate of the one-cycle schedule.", low=0.0, high=1.0)


def batch() -> Any:  # noqa: ANN401 - as `param`
    """Declare the size of a training step."""
    return param(50, "Examples a step.", low=1)


def width() -> Any:  # noqa: ANN401 - as `param`
    """Declare how wide a student is."""
    return param(0.5, "Width of the student as a share of the teacher's.", low=0.01, high=1.0)


def student(default: str = "") -> Any:  # noqa: ANN401 - as `param`
    """Declare what makes the student.

    Args:
        default: A recipe; empty for a narrower network.
    """
    return param(default, "Recipe that makes the student of the teacher, in place of a narrower one.", recipe="result")


def temperature() -> Any:  # noqa: ANN401 - as `param`
    """Declare how far the predictions of teacher and student are softened."""
    return param(4.0, "Softens both predictions; 1 leaves them as they are.", low=0.1, high=1000.0)


def mix() -> Any:  # noqa: ANN401 - as `param`
    """Declare how much the teacher counts beside the labels."""
    return param(0.9, "Weight of the teacher's predictions; the rest is that of the labels.", low=0.0, high=1.0)
