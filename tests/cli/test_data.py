"""`whatelse data check` and an audit of a table as it lies there, as a user calls them."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

pd = pytest.importorskip("pandas")

MODELS = """
import torch

def made(scale):
    model = torch.nn.Sequential(torch.nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[-2.0, 0, 0, 0], [2.0, 0, 0, scale]]))
        model[0].bias.zero_()
    return model

def base():
    return made(0.0)

def small():
    return made(20.0)
"""
ASKED = """
name = "short"
title = "Short"
draws = 200
[[rows]]
name = "performance"
title = "Accuracy"
[[rows]]
name = "membership"
title = "Membership"
[[measurements]]
row = "performance"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
primary = true
[[measurements]]
row = "membership"
item = "membership.loss"
label = "membership"
margin = 0.02
primary = true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"pay": rng.normal(size=600).round(4), "age": rng.integers(17, 90, 600)})
    frame = frame.assign(sex=rng.choice(["f", "m"], 600), person=rng.integers(0, 90, 600))
    frame["y"] = np.where(frame["pay"] + rng.normal(size=600) > 0, "yes", "no")
    frame[:400].to_csv(place / "test.csv", index=False)
    frame[400:].to_csv(place / "members.csv", index=False)
    (place / "m.py").write_text(MODELS)
    (place / "q.toml").write_text(ASKED)
    return place


def test_what_was_understood_is_printed_and_written(folder, whatelse):
    options = ("--target", "y", "--groups", "sex,age:40", "--members", "members.csv", "--cluster", "person")
    run = whatelse("data", "check", "test.csv", *options, "--json", "d.json", cwd=folder)
    assert run.returncode == 0, run.stderr
    for words in ("pay", "input, group", "sex: f", "age: over 40", "persons", "near-duplicates", "no; within"):
        assert words in run.stdout
    seen = json.loads((folder / "d.json").read_text("utf-8"))
    assert seen["splits"]["train"] == 200
    assert seen["splits"]["select"] + seen["splits"]["test"] == 400
    assert {c["name"]: c["role"] for c in seen["columns"]}["person"] == "cluster"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("data", "chek", "test.csv"), ("did you mean check",)),
        (("data", "check", "test.csv", "--target", "z"), ("label: no column 'z'", "--target")),
        (("audit", "m.py:base", "m.py:small", "--data", "test.csv", "--target", "z"), ("label: no column 'z'",)),
    ],
)
def test_a_wrong_call_is_one_line(args, words, folder, whatelse, refused):
    assert refused(whatelse(*args, cwd=folder), *words)


def test_a_table_without_a_training_split_is_audited_all_the_same(folder, whatelse):
    models = ("audit", "m.py:base", "m.py:small", "--data", "test.csv", "--questions", "q.toml", "--json", "f.json")
    options = ("--target", "y", "--groups", "sex", "--classes", "no,yes", "--cluster", "person")
    run = whatelse(*models, *options, "--split", "test", "--workers", "1", cwd=folder)
    assert run.returncode == 0, run.stderr
    found = {f["label"]: f for f in json.loads((folder / "f.json").read_text("utf-8"))["findings"]}
    assert found["accuracy"]["verdict"] == "worsened"
    assert found["accuracy"]["clusters"] > 50, "persons are resampled"
    assert found["membership"]["verdict"] == "not measurable"
    assert "train" in found["membership"]["why"]
