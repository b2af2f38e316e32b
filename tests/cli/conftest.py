"""The command line as a user calls it: in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CALL = (sys.executable, "-c", "from whatelse.cli import main; main()")


def run(*args, cwd):
    """What a call returns and prints."""
    return subprocess.run([*CALL, *args], cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def is_refused(call, *words):
    """Whether a call ended in one line that has these words, and exit code 3."""
    assert call.returncode == 3, call.stdout + call.stderr
    assert call.stderr.count("\n") == 1, call.stderr
    assert call.stderr.startswith("whatelse: ")
    for word in words:
        assert word in call.stderr
    return True


def launch(file, folder):
    """A study that runs, to be interrupted."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*CALL, "study", file], cwd=folder, env=environment, start_new_session=True, **streams)


@pytest.fixture
def whatelse():
    return run


@pytest.fixture
def refused():
    return is_refused


@pytest.fixture
def launched():
    return launch


@pytest.fixture(scope="session")
def small():
    """The text of a study that takes seconds."""
    return (Path(__file__).parents[1] / "study" / "conftest.py").read_text("utf-8").split('"""')[3]
