"""The fixtures of attacks that behaviours make use of."""

from tests.behaviours.robustness.conftest import claims, fickle, lines, reversed_, stepped

__all__ = ["claims", "fickle", "lines", "reversed_", "stepped"]
