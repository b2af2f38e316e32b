import json
import subprocess
import sys

import pytest
import torch

import whatelse as library
from whatelse import opening
from whatelse.auditing.questions import default
from whatelse.findings import record as reader
from whatelse.nets import mlp

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

ASKED = """
name = "short"
title = "Short"
draws = 200
[[rows]]
name = "performance"
title = "Accuracy"
[[measurements]]
row = "performance"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
primary = true
"""


def whatelse(*args, cwd):
    call = [sys.executable, "-c", "from whatelse.cli.app import main; main()", "audit", *args]
    return subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def refused(run, *words):
    assert run.returncode == 3, run.stdout + run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    assert run.stderr.startswith("whatelse: ")
    for word in words:
        assert word in run.stderr
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A linear model of the digits in closed form, the same one without most of its weights, and the questions."""
    place = tmp_path_factory.mktemp("audit")
    task = opening.load_task("digits")
    model = mlp.build(mlp.Config(hidden="64"), (1, 8, 8), 10, torch.Generator().manual_seed(0))
    hidden = model[:-1](task.train.inputs).detach()
    x = torch.cat([hidden, torch.ones(len(hidden), 1)], 1)
    wanted = torch.nn.functional.one_hot(task.train.targets, 10).float() - 0.1
    weights = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(65), x.T @ wanted)
    with torch.no_grad():
        model.head.weight.copy_(10 * weights[:64].T)
        model.head.bias.copy_(10 * weights[64])
        library.save(model, place / "base")
        model.head.weight.mul_(torch.rand(10, 64, generator=torch.Generator().manual_seed(0)) > 0.5)
    for name in ("small", "one/small", "two/small"):
        library.save(model, place / name)
    (place / "q.toml").write_text(ASKED)
    return place


def verdicts(found):
    return [(f["candidate"], f["control"], f["verdict"]) for f in found["findings"]]


def test_two_folders_are_audited_into_json_and_a_page(folder):
    before = set(folder.iterdir())
    args = ("base", "small", "--data", "digits", "--questions", "q.toml", "--json", "f.json", "--html", "f.html")
    run = whatelse(*args, cwd=folder)
    assert run.returncode == 0, run.stderr
    assert {p.name for p in set(folder.iterdir()) - before} == {"f.json", "f.html", "whatelse-results"}
    found = json.loads((folder / "f.json").read_text("utf-8"))
    reader.parse(found)
    assert verdicts(found) == [("small", "baseline", "worsened")]
    assert found["study"]["file"] == ASKED
    assert found["findings"][0]["before"] > 0.7
    page = (folder / "f.html").read_text("utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "Short" in page
    assert "worsened" in run.stdout
    assert "f.html and f.json" in run.stderr


def test_the_questions_are_given_away(tmp_path):
    run = whatelse("--copy", "mine.toml", cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]
    assert (tmp_path / "mine.toml").read_text("utf-8") == default()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("base", "small"), ("BASELINE", "CANDIDATE", "--data")),
        (("base", "--data", "digits"), ("BASELINE", "CANDIDATE", "--data")),
        ((), ("BASELINE", "CANDIDATE", "--data")),
        (("base", "smal", "--data", "digits"), ("smal: no such folder",)),
        (("base", "small", "--data", "digit"), ("no data loader named 'digit'", "did you mean digits")),
        (("base", "small", "--data", "digits", "--questions", "none.toml"), ("none.toml", "No such file")),
        (("base", "small", "--data", "digits", "--json", "no/where.json"), ("cannot write no/where.json",)),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_3(folder, args, words):
    before = set(folder.rglob("*"))
    assert refused(whatelse(*args, cwd=folder), *words)
    assert set(folder.rglob("*")) == before


def test_wrong_questions_are_one_line_and_exit_code_3(folder, tmp_path):
    (tmp_path / "q.toml").write_text(ASKED.replace("generalization.accuracy", "generalization.acuracy"))
    models = (str(folder / "base"), str(folder / "small"))
    run = whatelse(*models, "--data", "digits", "--questions", "q.toml", cwd=tmp_path)
    assert refused(run, "q.toml: ", "did you mean generalization.accuracy")
    assert [p.name for p in tmp_path.iterdir()] == ["q.toml"]


def test_folders_with_the_same_last_part_keep_their_whole_path(folder):
    args = ("base", "one/small", "two/small", "--placebo", "base", "--data", "digits", "--questions", "q.toml")
    run = whatelse(*args, "--json", "-", "-q", cwd=folder)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert [c["name"] for c in found["candidates"]] == ["baseline", "placebo", "one/small", "two/small"]
    assert {(c, a) for c, a, _ in verdicts(found)} >= {("one/small", "placebo"), ("two/small", "placebo")}


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["a/base", "b/small/"], ["base", "small"]),
        (["a/small", "b/small"], ["a/small", "b/small"]),
        (["a/base", "b/small", "c/small"], ["base", "b/small", "c/small"]),
        (["mine.py:make", "mine.py:other"], ["make", "other"]),
        (["a.py:make", "b.py:make"], ["a.py:make", "b.py:make"]),
        (["a/base", "b/baseline"], ["base", "b/baseline"]),
    ],
)
def test_models_go_by_the_last_part_of_what_was_typed(texts, names):
    assert opening.short_names(texts) == names


def test_a_model_against_itself_needs_a_second_name(folder):
    same = whatelse("base", "base", "--data", "digits", cwd=folder)
    assert refused(same, "base is given twice", "write one of them another way")
    assert refused(whatelse("base", "small", "small", "--data", "digits", cwd=folder), "small is given twice")
    asked = ("--questions", "q.toml", "--json", "same.json")
    run = whatelse("base", "./base", "--data", "digits", *asked, cwd=folder)
    assert run.returncode == 0, run.stderr
    (found,) = json.loads((folder / "same.json").read_text())["findings"]
    assert (found["candidate"], found["effect"]) == ("./base", 0.0)


def test_what_it_will_cost_is_said_before_and_nothing_is_measured(folder, tmp_path):
    models = (str(folder / "base"), str(folder / "small"))
    args = (*models, "--data", "digits", "--questions", str(folder / "q.toml"))
    said = whatelse(*args, "--dry-run", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("to do: 3 of 3 jobs, 4.8 thousand forward-equivalents (0 training, at most")
    assert "GiB" in said.stdout.splitlines()[0] + said.stdout.splitlines()[1]
    assert [p.name for p in tmp_path.iterdir()] == ["whatelse-results"], "no page, no document"
    assert not (tmp_path / "whatelse-results" / "values").exists()
    run = whatelse(*args, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("to do: 3 of 3 jobs"), "and nothing of results of a release before"
    assert whatelse(*args, "--dry-run", cwd=tmp_path).stdout == "nothing to do: all 3 jobs are done\n"
