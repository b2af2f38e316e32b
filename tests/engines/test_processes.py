import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from whatelse import engines
from whatelse.engines import Resources
from whatelse.errors import StudyError
from whatelse.study import run


def test_as_many_workers_as_asked_for():
    engine = run.engine("processes", 3)
    assert engine.slots == 3
    engine.close()


def test_a_job_that_needs_more_than_a_process_has_is_refused():
    engine = run.engine("processes", 1)
    with pytest.raises(StudyError, match="a job needs 4 cores; --on processes has 1 for each job"):
        engine.submit(abs, -3, needs=Resources(cpus=4))
    engine.close()


def test_what_memory_is_free_is_that_of_the_machine_and_of_its_container(monkeypatch):
    files = {"/proc/meminfo": ["MemTotal:  8000 kB", "MemAvailable:  5000 kB"]}
    monkeypatch.setattr(engines, "_lines", lambda path: files.get(path, []))
    assert engines.free() == 5000 * 1024
    files |= {"/sys/fs/cgroup/memory.max": ["max"], "/sys/fs/cgroup/memory.current": ["1024"]}
    assert engines.free() == 5000 * 1024
    files["/sys/fs/cgroup/memory.max"] = ["4096"]
    assert engines.free() == 3072
    files.clear()
    assert engines.free() == engines.memory()


def test_an_unknown_engine_is_refused_and_a_former_name_is_led_to_the_new_one():
    with pytest.raises(StudyError, match="--on 'here': no such engine; did you mean processes"):
        run.check_engine("here")


@pytest.mark.slow
def test_stopping_ends_the_workers_and_no_other_process():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    engine = run.engine("processes", 1)
    assert engine.submit(abs, -3, needs=Resources()).result() == 3
    cut = engine.submit(time.sleep, 60, needs=Resources())
    time.sleep(0.2)
    started = time.monotonic()
    engine.stop()
    with pytest.raises(BrokenProcessPool):
        cut.result(timeout=30)
    assert time.monotonic() - started < 10
    assert other.is_alive()
    other.kill()
    other.join()
    other.close()


def test_products_of_a_worker_have_one_thread_and_the_environment_stays_the_users(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    engine = run.engine("processes", 1)
    told = [engine.submit(os.getenv, name, needs=Resources()) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
    assert [one.result() for one in told] == ["1", "3"]
    assert "OMP_NUM_THREADS" not in os.environ
    engine.close()


@pytest.mark.slow
def test_a_script_that_does_not_look_at_its_name_first_is_not_run_again_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from whatelse.engines import Resources\n"
        "from whatelse.engines.processes import start\n"
        "engine = start(2)\n"
        "print('run', [engine.submit(abs, n, needs=Resources()).result() for n in (-3, 4)], __file__ == sys.argv[0])\n"
        "engine.close()\n"
    )
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (said.stdout, said.returncode) == ("run [3, 4] True\n", 0), said.stderr
