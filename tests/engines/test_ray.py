"""Ray: on this machine, and on two nodes of it that share nothing but an S3 server."""

import os
import re
import signal
import subprocess
import sys
import time

import fsspec
import pytest

from whatelse.engines import Resources
from whatelse.engines import ray as engine
from whatelse.errors import MissingExtraError, StoreError, StudyError, TaskError
from whatelse.store import places
from whatelse.study import plan, run, run_study, spec, worker

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, about its next release
ONE = Resources()
# The command line, which takes a cluster for gone after a few seconds.
COMMAND = "from whatelse.engines import ray; ray._PATIENCE = 4; from whatelse.cli import main; main()"


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"--on ray needs Ray: pip install 'whatelse\[ray\]'"):
        run.engine("ray", 1)


def test_where_nothing_answers_it_is_said_at_once(monkeypatch):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(StudyError, match=r"RAY_ADDRESS='127\.0\.0\.1:9': nothing answers there"):
        run.engine("ray", 1)
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    with pytest.raises(StudyError, match="start the study on a machine of the cluster"):
        run.engine("ray", 1)


def test_another_release_on_a_machine_is_refused_by_name():
    with pytest.raises(StudyError, match=r"has whatelse .*, and the work was planned by 0\.0\.1"):
        engine._run("0.0.1", abs, -1)


def test_an_error_says_on_which_machine():
    def absent():
        raise TaskError("there is no own.npz")

    with pytest.raises(TaskError, match=r"there is no own\.npz \(on .+, a machine of the Ray cluster\)"):
        engine._run(engine.whatelse.__version__, absent)


def test_a_device_elsewhere_is_named_by_its_kind(small, tmp_path):
    for device in ("auto", "cuda:1"):
        study = spec.parse(small.replace('title = "Small"', f'title = "Small"\ndevice = "{device}"'), "small")
        with pytest.raises(TaskError, match=f"--device {device}: machines of a cluster differ; name a kind alone"):
            run_study.dry_run(study, tmp_path, on="ray")
    study = spec.parse(small.replace('title = "Small"', 'title = "Small"\ndevice = "cuda"'), "small")
    store, _, todo = run_study.prepared(study, tmp_path, elsewhere=True)
    assert {job.resources.gpus for job in todo.jobs} == {plan.ACCELERATED.gpus}


@pytest.mark.slow
def test_ray_gives_the_same_numbers(small, tmp_path, inline):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    study = spec.parse(small, "small")
    todo = plan.plan(study, {n: worker.load_task(study, n).key for n in study.tasks})
    found = []
    for name, start in (("ray", lambda: run.engine("ray", 2)), ("inline", lambda: inline)):
        store = places.at(tmp_path / name)
        run.run(todo, store, start, lambda _: None)
        found.append([store.load_record("effects", e.key) for e in todo.effects])
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_job_that_needs_an_accelerator_runs_where_there_is_one(raylets):
    place = run.engine("ray", 0)
    try:

        def where():
            import ray

            return ray.get_runtime_context().get_node_id(), [str(one) for one in ray.get_gpu_ids()]

        some = [place.submit(where, needs=Resources(gpus=0.25)) for _ in range(4)]
        assert [future.result(timeout=60) for future in some] == [(raylets.second, ["0"])] * 4
        with pytest.raises(StudyError, match=r"no machine of the Ray cluster has it \(at most 1 GPU\)"):
            place.submit(where, needs=Resources(gpus=2))
        with pytest.raises(StudyError, match=r"a job needs 2 CPU; no machine of the Ray cluster has it"):
            place.submit(where, needs=Resources(cpus=2))  # two nodes have two, and no job runs on both
    finally:
        place.stop()


@pytest.mark.slow
def test_results_that_workers_do_not_see_are_refused_in_one_line(raylets, small):
    """Memory is what a folder is on machines that share no disk: each has its own under the same name."""
    study = spec.parse(small, "small")
    with pytest.raises(StoreError, match=r"a worker on .+ does not see the results in memory://.*--results s3://"):
        run_study.run_study(study, "memory://results", on="ray")


@pytest.mark.slow
def test_what_ran_on_a_node_that_goes_away_runs_again_elsewhere_and_nothing_else_does(raylets, tmp_path):
    place = run.engine("ray", 0)
    try:
        assert place.slots == 2

        def job(number):  # sent whole: a worker has none of these tests
            import ray

            node = ray.get_runtime_context().get_node_id()
            (tmp_path / f"{number}-{node}").touch()
            while not (tmp_path / "go").exists():
                time.sleep(0.05)
            return node

        def begun():
            return sorted(path.name.partition("-")[::2] for path in tmp_path.glob("*-*"))

        def began(count):
            late = time.monotonic() + 60
            while len(begun()) < count and time.monotonic() < late:
                time.sleep(0.1)

        jobs = [place.submit(job, number, needs=ONE) for number in range(3)]
        began(2)
        first = begun()
        assert len({node for _, node in first}) == 2, "one on each node"
        raylets.do("remove")
        late = time.monotonic() + 30
        while place.slots == 2 and time.monotonic() < late:
            time.sleep(0.5)
        assert place.slots == 1
        (tmp_path / "go").touch()
        assert len({future.result(timeout=90) for future in jobs} | {raylets.second}) == 2
        lost = [number for number, node in first if node == raylets.second]
        counts = [sum(name == str(number) for name, _ in begun()) for number in range(3)]
        assert counts == [2 if str(number) in lost else 1 for number in range(3)]
    finally:
        place.stop()


def launched(url, folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    call = ["study", "tiny.toml", "--on", "ray", "--results", url, "--json", "found.json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", COMMAND, *call], cwd=folder, env=environment, **pipes)


def kept(url):
    try:
        found = fsspec.filesystem("s3", use_listings_cache=False).find(url)
    except FileNotFoundError:
        return set()
    return {name.partition("/results/")[2] for name in found if "/values/" in name}


def until_some_are_kept(url, before=0):
    late = time.monotonic() + 90
    while len(kept(url)) <= before and time.monotonic() < late:
        time.sleep(0.1)


@pytest.mark.slow
def test_interrupted_then_left_by_its_cluster_a_study_keeps_what_is_finished(raylets, buckets, tiny, tmp_path, inline):
    url = buckets()
    tiny = tiny.replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3, 4, 5]")
    (tmp_path / "tiny.toml").write_text(tiny)

    running = launched(url, tmp_path)
    until_some_are_kept(url)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert err.splitlines()[-1].startswith("whatelse: interrupted; finished cells are kept")
    interrupted = kept(url)
    assert interrupted

    running = launched(url, tmp_path)
    until_some_are_kept(url, len(interrupted))
    raylets.do("die")
    out, err = running.communicate(timeout=90)
    assert running.returncode == 3, err
    said = [line for line in err.splitlines() if "whatelse:" in line]
    assert re.match(r"whatelse: the Ray cluster at \S+: it does not answer any more; what is finished is kept", said[0])
    assert "Traceback" not in err
    left = kept(url)
    assert left > interrupted
    assert not (tmp_path / "found.json").exists()

    study = spec.parse(tiny, "tiny")
    store, _, todo = run_study.prepared(study, url)
    jobs, _ = run.missing(todo, store)
    assert 0 < len(jobs) < len(todo.jobs)
    assert not store.damaged
