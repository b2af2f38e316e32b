import json
import os
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest

from whatelse import registry

SMALL = (Path(__file__).parents[1] / "study" / "conftest.py").read_text("utf-8").split('"""')[3]


def whatelse(*args, cwd):
    call = [sys.executable, "-c", "from whatelse.cli.app import main; main()", *args]
    return subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def refused(run, *words):
    assert run.returncode == 3, run.stdout + run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    assert run.stderr.startswith("whatelse: ")
    for word in words:
        assert word in run.stderr
    return True


def test_the_listing_names_every_item(tmp_path):
    found = json.loads(whatelse("list", "--json", cwd=tmp_path).stdout)
    assert [c["name"] for c in found["methods"]] == list(registry.names("methods"))
    assert [c["name"] for c in found["behaviours"]] == list(registry.names("behaviours"))
    accuracy = next(c for c in found["behaviours"] if c["name"] == "generalization.accuracy")
    assert accuracy["needs"] == ["predicts"]
    only = whatelse("list", "methods", cwd=tmp_path)
    assert "prune.magnitude" in only.stdout
    assert "generalization" not in only.stdout


def test_help_is_worth_reading(tmp_path):
    run = whatelse("--help", cwd=tmp_path)
    assert run.returncode == 0
    assert "What else changed?" in run.stdout
    for command in ("list", "table", "study", "compress", "report"):
        assert command in run.stdout
        assert whatelse(command, "--help", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("lst",), ("No such command", "list")),
        (("list", "methds"), ("no such kind", "methods")),
        (("study", "none.toml"), ("none.toml", "No such file")),
        (("study",), ("Missing argument",)),
        (("table", "--workers", "many"), ("--workers",)),
        (("report", "none.json"), ("none.json",)),
        (
            ("audit", "a", "b", "--data", "digits", "--max-memory", "much"),
            ("--max-memory='much'", "such as 500M or 8G"),
        ),
        (("table", "--on", "rai"), ("no such engine", "ray")),
        (("table", "--json", "no/where.json"), ("cannot write no/where.json", "nothing was done")),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_3(args, words, tmp_path):
    assert refused(whatelse(*args, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("prune.magnitude", "prune.magnitud", ("small.toml", "candidates[0]", "did you mean prune.magnitude")),
        ("sparsity=0.9", "sparsity=9", ("sparsity=9", "[0.0, 1.0]")),
        ("generalization.accuracy", "generalisation.accuracy", ("did you mean generalization.accuracy",)),
        ("title = ", "titel = ", ("no key 'titel'", "did you mean title")),
    ],
)
def test_a_wrong_study_is_refused_before_any_work(old, new, words, tmp_path):
    (tmp_path / "small.toml").write_text(SMALL.replace(old, new, 1))
    assert refused(whatelse("study", "small.toml", cwd=tmp_path), *words)
    assert [p.name for p in tmp_path.iterdir()] == ["small.toml"]


def test_the_study_of_the_table_is_given_away(tmp_path):
    assert whatelse("table", "--copy", "mine.toml", cwd=tmp_path).returncode == 0
    shipped = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    assert (tmp_path / "mine.toml").read_text("utf-8") == shipped


def test_a_study_that_ships_goes_by_its_name(tmp_path):
    assert whatelse("study", "adult", "--copy", "mine.toml", cwd=tmp_path).returncode == 0
    shipped = resources.files("whatelse").joinpath("studies", "adult.toml").read_text("utf-8")
    assert (tmp_path / "mine.toml").read_text("utf-8") == shipped
    (tmp_path / "mine.toml").unlink()
    assert refused(whatelse("study", "adlt", cwd=tmp_path), "adlt", "did you mean adult")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [("study", "small.toml"), ("table",)])
def test_what_a_study_would_cost_is_said_without_any_work(call, tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    run = whatelse(*call, "--dry-run", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    first, *rest = run.stdout.splitlines()
    assert first.startswith("to do: ")
    for words in ("jobs", "forward-equivalents", "training", "measuring", "about", "worker"):
        assert words in first
    assert any("training models, clean" in line for line in rest)
    assert [p.name for p in tmp_path.iterdir()] == ["small.toml"]


def launched(file, folder):
    call = [sys.executable, "-c", "from whatelse.cli.app import main; main()", "study", file]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(call, cwd=folder, env=environment, start_new_session=True, **streams)


@pytest.mark.slow
def test_a_study_cut_in_a_costly_cell_keeps_the_finished_ones(tmp_path):
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
    text = SMALL.replace("width = 4, hidden = 16", "width = 16, hidden = 64").replace("seeds = [0, 1]", "seeds = [0]")
    (tmp_path / "small.toml").write_text(text + costly)
    running = launched("small.toml", tmp_path)
    values = tmp_path / "whatelse-results" / "values"
    for _ in range(600):
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
def test_a_study_is_run_interrupted_resumed_and_reported(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
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
    assert found["schema"] == 1
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
def test_results_that_cannot_be_written_are_said_in_one_line(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "whatelse-results").write_text("in the way")
    run = whatelse("study", "small.toml", "--quiet", cwd=tmp_path)
    assert refused(run, "cannot write", "whatelse-results", "finished cells are kept")


COMPRESS = ("compress", "cnn()", "--recipe", "prune.magnitude()", "--data", "digits", "--out", "o")


def changed(**given):
    call = list(COMPRESS)
    for name, value in given.items():
        place = 1 if name == "model" else call.index(f"--{name}") + 1
        call[place] = value
    return call


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (changed(model="nowhere"), ("nowhere", "no such folder", "file.py:function")),
        (changed(recipe="prune.magnitud()"), ("did you mean prune.magnitude",)),
        (changed(recipe="quantize.uniform() > decompose.svd()"), ("put decompose.svd before quantize.uniform",)),
        (changed(data="digit"), ("did you mean digits",)),
        (changed(data="none.npz"), ("none.npz", "no such file")),
        (changed(out=str(Path(__file__).parent)), ("is there already",)),
        (changed(model="torch.nn:Flatten"), ("answers with a tensor of shape (64, 64)", "one of (N, 10) is needed")),
        ((*COMPRESS, "--json", "no/where.json"), ("cannot write no/where.json",)),
    ],
)
def test_what_cannot_be_compressed_is_one_line_before_any_work(call, words, tmp_path):
    assert refused(whatelse(*call, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_is_compressed_and_its_folder_is_a_model_again(tmp_path):
    first = whatelse(*changed(model="cnn()", recipe="train.scratch(epochs=4)"), "--json", "c.json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "bytes on disk" in first.stdout
    assert "outputs equal bit for bit" in first.stderr
    found = json.loads((tmp_path / "c.json").read_text())
    assert {c["name"]: c["after"] for c in found["costs"]}["accuracy, select split"] > 0.5
    second = whatelse(*changed(model="o", recipe="prune.magnitude(sparsity=0.9)", out="p"), "--quiet", cwd=tmp_path)
    assert (second.returncode, second.stdout) == (0, "")
    sizes = [sum(f.stat().st_size for f in (tmp_path / name).iterdir()) for name in ("o", "p")]
    assert sizes[1] < sizes[0] / 3
    again = whatelse(*changed(model="o", out="p"), cwd=tmp_path)
    assert refused(again, "p is there already")
