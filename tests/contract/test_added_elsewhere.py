"""Items of one's own, in files that the command line names, are listed and run like ours; no line of ours is edited."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from whatelse import templates, testing
from whatelse.findings import codec

CALL = [sys.executable, "-c", "from whatelse.cli import main; main()"]
NAMES = {
    "behaviour": "mine.share",
    "method": "mine.clip",
    "loader": "clouds",
    "net": "small",
    "strategy": "grid",
    "surface": "lines",
    "control": "trained_longer",
    "engine": "commands",
    "opener": "centers",
    "exhibit": "otherwise",
    "gate_surface": "verdicts",
    "search_surface": "trials",
}
QUESTIONS = """
name = "audit"
title = "Mine"
description = "One question of one's own."

[[rows]]
name = "mine"
title = "Mine"

[[measurements]]
row = "mine"
item = "mine.share"
label = "share"
margin = 0.05
primary = true
"""


@pytest.fixture
def folder(tmp_path):
    for word, name in NAMES.items():
        templates.write(word, name, tmp_path)
    return tmp_path


def call(folder, *args):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*CALL, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_items_of_every_kind_are_listed_like_ours(folder):
    listed = json.loads(call(folder, "list", "--items", ".", "--json", "-"))
    mine = {card["name"] for cards in listed.values() for card in cards if card["origin"]}
    assert mine == set(NAMES.values())


def test_surfaces_of_ones_own_are_options_of_report_and_gate(folder):
    (folder / "found.json").write_text(codec.dumps(testing.gate("GO")[1]), "utf-8")
    (folder / "budgets.toml").write_text('[[budgets]]\nlabel = "accuracy"\nmost = 0.5\n', "utf-8")
    mine = ["--items", ".", "--quiet"]
    assert call(folder, "report", "found.json", "--lines", "-", *mine).startswith("candidate,control,behaviour")
    assert call(folder, "gate", "found.json", "--budgets", "budgets.toml", "--verdicts", "-", *mine) == "GO\thalf\t\n"


@pytest.mark.slow
def test_a_method_a_loader_and_a_net_of_ones_own_make_a_model_that_is_audited_with_a_question_of_ones_own(folder):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(400, 4)).astype("float32"), np.arange(400) % 2
    inputs[:, 0] += 3 * targets
    np.savez(folder / "d.npz", inputs=inputs, targets=targets)
    (folder / "questions.toml").write_text(QUESTIONS)
    mine = ["--items", ".", "--quiet"]
    for name, recipe in (
        ("base", "train.finetune(epochs=4)"),
        ("clipped", "train.finetune(epochs=4) > mine.clip(limit=0.8)"),
    ):
        call(folder, "compress", "small()", "--recipe", recipe, "--data", "d.npz", "--out", name, *mine)
    audit = ["audit", "base", "clipped", "--data", "d.npz", "--questions", "questions.toml"]
    call(folder, *audit, "--json", "out.json", *mine)
    (first,) = read(folder)
    assert first["behaviour"] == "mine.share"
    assert first["before"] < 0.5
    # Its VERSION is the same and its text is not: nothing of the former is taken for its answer.
    share = folder / "share.py"
    share.write_text(share.read_text("utf-8").replace("better >= config.top", "better >= 0"), "utf-8")
    call(folder, *audit, "--json", "out.json", *mine)
    (second,) = read(folder)
    assert second["before"] == second["after"] == 1.0


def read(folder):
    return json.loads((folder / "out.json").read_text("utf-8"))["findings"]
