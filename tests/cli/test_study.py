import json
import os
import signal
import time
from importlib import resources

import pytest

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("prune.magnitude", "prune.magnitud", ("small.toml", "candidates[0]", "did you mean prune.magnitude")),
        ("sparsity=0.9", "sparsity=9", ("sparsity=9", "[0.0, 1.0]")),
        ("generalization.accuracy", "generalisation.accuracy", ("did you mean generalization.accuracy",)),
        ("title = ", "titel = ", ("no key 'titel'", "did you mean title")),
    ],
)
def test_a_wrong_study_is_refused_before_any_work(old, new, words, tmp_path, whatelse, refused, small):
    (tmp_path / "small.toml").write_text(small.replace(old, new, 1))
    assert refused(whatelse("study", "small.toml", cwd=tmp_path), *words)
    assert [p.name for p in tmp_path.iterdir()] == ["small.toml"]


def test_a_study_that_ships_goes_by_its_name(tmp_path, whatelse, refused):
    assert whatelse("study", "adult", "--copy", "mine.toml", cwd=tmp_path).returncode == 0
    shipped = resources.files("whatelse").joinpath("studies", "adult.toml").read_text("utf-8")
    assert (tmp_path / "mine.toml").read_text("utf-8") == shipped
    (tmp_path / "mine.toml").unlink()
    assert refused(whatelse("study", "adlt", cwd=tmp_path), "adlt", "did you mean adult")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [("study", "small.toml"), ("table",)])
def test_what_a_study_would_cost_is_said_without_any_work(call, tmp_path, whatelse, small):
    (tmp_path / "small.toml").write_text(small)
    run = whatelse(*call, "--dry-run", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    first, *rest = run.stdout.splitlines()
    assert first.startswith("to do: ")
    for words in ("jobs", "forward-equivalents", "training", "measuring", "about", "worker"):
        assert words in first
    assert any("training models, clean" in line for line in rest)
    assert [p.name for p in tmp_path.iterdir()] == ["small.toml"]


@pytest.mark.slow
def test_a_study_cut_in_a_costly_cell_keeps_the_finished_ones(tmp_path, whatelse, launched, small):
    # Seconds a model, between a cheap cell and the end of the job.
    costly = """
[[measurements]]
row = "overfitting"
item = "mechanism.ablation"
label = "units"
tasks = ["clean"]
margin = 0.1
settings = { examples = 900, units = 64 }
"""
    text = small.replace("width = 4, hidden = 16", "width = 16, hidden = 64").replace("seeds = [0, 1]", "seeds = [0]")
    (tmp_path / "small.toml").write_text(text + costly)
    running = launched("small.toml", tmp_path)
    values = tmp_path / "whatelse-results" / "values"
    for _ in range(2400):
        if any(values.glob("generalization.accuracy-*")):
            break
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, out + err
    before = {p.name: p.stat().st_mtime_ns for p in values.glob("*.safetensors")}
    assert before
    assert not any(name.startswith("mechanism.ablation") for name in before), "it was cut too late"
    trained = {p.name: p.stat().st_mtime_ns for p in (values.parent / "models").glob("*.safetensors")}
    second = whatelse("study", "small.toml", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    after = {p.name: p.stat().st_mtime_ns for p in values.glob("*.safetensors")}
    assert len(after) == 2 * 4, "four models, two questions"
    assert {name: after[name] for name in before} == before, "a finished cell was made again"
    again = {p.name: p.stat().st_mtime_ns for p in (values.parent / "models").glob("*.safetensors")}
    assert {name: again[name] for name in trained} == trained, "a model was trained again"


@pytest.mark.slow
def test_a_study_is_run_interrupted_resumed_and_reported(tmp_path, whatelse, refused, launched, small):
    (tmp_path / "small.toml").write_text(small)
    running = launched("small.toml", tmp_path)
    values = tmp_path / "whatelse-results" / "values"
    for _ in range(600):
        if values.exists() and any(values.iterdir()):
            break
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, out + err
    assert "Traceback" not in err
    assert "run the same command again to go on" in err
    kept = {p.name for p in values.iterdir()}
    assert kept
    assert not (tmp_path / "small.json").exists()

    second = whatelse("study", "small.toml", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    (line,) = [line for line in second.stderr.splitlines() if "to do: " in line]
    assert "forward-equivalents" in line
    assert line.endswith("Ctrl-C keeps what is finished")
    assert kept <= {p.name for p in values.iterdir()}
    assert "half" in second.stdout
    found = json.loads((tmp_path / "small.json").read_text("utf-8"))
    assert found["schema"] == 2
    assert (tmp_path / "small.html").read_text("utf-8").startswith("<!doctype html>")

    started = time.perf_counter()
    third = whatelse("study", "small.toml", "--json", "-", "--quiet", cwd=tmp_path)
    assert time.perf_counter() - started < 60, "nothing is trained again"
    again = json.loads(third.stdout)
    assert third.stderr == ""
    assert {**again, "created": ""} == {**found, "created": ""}

    fourth = whatelse("study", "small.toml", cwd=tmp_path)
    assert "to do" not in fourth.stderr, "there is nothing to do"
    assert "nothing to do: all 9 jobs are done" in whatelse("study", "small.toml", "--dry-run", cwd=tmp_path).stdout

    report = whatelse("report", "small.json", "--html", "a.html", "--markdown", "a.md", "--card", "c.md", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert all((tmp_path / name).read_text("utf-8") for name in ("a.html", "a.md", "c.md"))
    assert refused(whatelse("report", "small.toml", cwd=tmp_path), "small.toml")
    assert refused(whatelse("report", "small.json", "--html", "no/where.html", cwd=tmp_path), "no/where.html")


@pytest.mark.slow
def test_results_that_cannot_be_written_are_said_in_one_line(tmp_path, whatelse, refused, small):
    (tmp_path / "small.toml").write_text(small)
    (tmp_path / "whatelse-results").write_text("in the way")
    run = whatelse("study", "small.toml", "--quiet", cwd=tmp_path)
    assert refused(run, "cannot write", "whatelse-results", "finished cells are kept")
