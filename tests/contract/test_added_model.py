"""A new kind of model is one file: nothing else has to be edited for it to be audited from the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from whatelse import opening

SRC = Path(__file__).parents[2] / "src"

OPENER = '''"""A table of what to answer to the brightest pixel."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

FORM = "a table of answers (.lookup)"


class Lookup:
    """Answers by the place of the largest value of an input."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = torch.tensor(rows)
        self.key = f"lookup-{rows}"

    def scores(self, inputs: Tensor) -> Tensor:
        """Return class scores."""
        return self.rows[inputs.flatten(1).argmax(1)]


def takes(text: str) -> bool:
    """Return whether a text names such a table."""
    return text.endswith(".lookup")


def open_model(text: str, task: object, weights: str) -> Lookup:
    """Return the table."""
    del task, weights
    return Lookup(json.loads(Path(text).read_text("utf-8")))
'''

ASKED = """
name = "short"
title = "Short"
draws = 200
rows = [{ name = "performance", title = "Accuracy" }, { name = "mechanism", title = "Mechanism" }]
[[measurements]]
row = "performance"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
primary = true
[[measurements]]
row = "mechanism"
item = "mechanism.cka"
label = "cka"
margin = 0.05
primary = true
"""


@pytest.mark.slow
def test_one_added_file_opens_a_new_kind_of_model(tmp_path):
    shutil.copytree(SRC, tmp_path / "src")
    (tmp_path / "src" / "whatelse" / "openers" / "added.py").write_text(OPENER)
    task = opening.load_task("digits")
    place = task.train.inputs.flatten(1).argmax(1)
    table = torch.zeros(64, 10).index_put_((place, task.train.targets), torch.ones(len(place)), accumulate=True)
    right = table[task.test.inputs.flatten(1).argmax(1)].argmax(1) == task.test.targets
    (tmp_path / "base.lookup").write_text(json.dumps(table.tolist()))
    (tmp_path / "small.lookup").write_text(json.dumps(table.roll(1, 0).tolist()))
    (tmp_path / "q.toml").write_text(ASKED)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", "from whatelse.cli.app import main; main()", "audit"]
    options = ["--data", "digits", "--questions", "q.toml", "--json", "f.json", "--quiet"]
    run = subprocess.run(
        [*call, "base.lookup", "small.lookup", *options],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = {f["label"]: f for f in json.loads((tmp_path / "f.json").read_text("utf-8"))["findings"]}
    assert found["accuracy"]["verdict"] == "worsened"
    assert found["accuracy"]["before"] == pytest.approx(float(right.float().mean()))
    assert found["cka"]["verdict"] == "not measurable"
    assert "needs a model that opens" in found["cka"]["why"]
    gone = subprocess.run(
        [*call, "base.nothing", "small.lookup", *options],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert gone.returncode == 3
    assert "a model is a table of answers (.lookup); or " in gone.stderr
