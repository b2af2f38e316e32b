"""Where modules compute: a device that is not there, and one that is, in a process of its own."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from whatelse import testing
from whatelse.artifacts import compress
from whatelse.errors import TaskError
from whatelse.models import placed
from whatelse.study import plan, run_study, spec

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


def test_a_device_that_is_not_there_is_refused_before_any_work(tmp_path):
    with pytest.raises(TaskError, match="--device nowhere: torch"):
        compress.compress(testing.models()[0], "train.finetune(epochs=1)", testing.images(), device="nowhere")
    study = replace(spec.parse(spec.shipped()["fashion_mnist"], "some.toml"), device="nowhere")
    with pytest.raises(TaskError, match="--device nowhere: torch"):
        run_study.dry_run(study, tmp_path)


def test_a_study_elsewhere_has_keys_of_its_own():
    study = spec.parse(spec.shipped()["fashion_mnist"], "some.toml")
    here, there, plain = (
        plan.plan(replace(study, device=device), {"clothes": "data"}) for device in ("", "cuda:1", "cpu")
    )
    keys = [{job.origin.key for job in one.jobs} for one in (here, there)]
    assert not keys[0] & keys[1]
    assert plain == here
    assert {job.resources.gpus for job in there.jobs} == {0.25}
    assert {job.resources.gpus for job in here.jobs} == {0}


@pytest.mark.slow
def test_every_behaviour_answers_on_a_second_device_as_here():
    call = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(HERE / "there.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(call, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, check=False)
    if re.search(r"\d+ skipped", run.stdout) and "passed" not in run.stdout:
        pytest.skip("needs g++ and ninja, to compile a second device")
    assert run.returncode == 0, run.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > 60
