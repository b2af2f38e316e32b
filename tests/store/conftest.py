"""The fixtures of studies."""

from tests.study.conftest import arrays, inline, small, tiny

__all__ = ["arrays", "inline", "small", "tiny"]
