"""Where modules compute: a device that is not there, and one that is, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from whatelse.errors import TaskError
from whatelse.models import placed

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["cuda:7", "nowhere"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(TaskError, match=f"--device {name}: torch .* cannot compute there .*; here are: cpu") as refused:
        placed.check(name)
    assert "\n" not in str(refused.value)


def test_the_cpu_is_where_everything_is_anyway():
    placed.check("")
    placed.check("cpu")
    assert placed.named("cpu") == placed.named("") == ""
    assert placed.named("cuda:1") == "cuda:1"


@pytest.mark.slow
def test_every_behaviour_answers_on_a_second_device_as_here():
    call = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(HERE / "there.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(call, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, check=False)
    if re.search(r"\d+ skipped", run.stdout) and "passed" not in run.stdout:
        pytest.skip("needs g++ and ninja, to compile a second device")
    assert run.returncode == 0, run.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > 60
