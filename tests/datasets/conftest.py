"""Where the real data lies, if it is there; and data written by tests for everything that is tested everywhere."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def real(monkeypatch):
    """A function that returns the folder of a real data set and points the doors to it, or skips the test."""

    def folder(name):
        root = Path(os.environ.get("WHATELSE_DATA") or BESIDE)
        if not (root / name).is_dir():
            pytest.skip(f"needs {name}/ in the folder that WHATELSE_DATA names")
        monkeypatch.setenv("WHATELSE_DATA", str(root))
        return root / name

    return folder


@pytest.fixture
def at(tmp_path, monkeypatch):
    """An empty folder that the doors take the data from."""
    monkeypatch.setenv("WHATELSE_DATA", str(tmp_path))
    return tmp_path
