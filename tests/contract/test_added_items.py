"""A new file is a new item: nothing else has to be edited for the table, the listing or a recipe to have it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
FAMILIES = ("train", "prune", "distill", "quantize", "decompose")
SMALL = (Path(__file__).parents[1] / "study" / "conftest.py").read_text("utf-8").split('"""')[3]

ITEM = '''"""Multiply every weight.

Source:
    Nobody, 2026.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "factor", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings."""

    factor: float = param(0.5, "By how much.", low=0.0, high=1.0)


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy."""
    del task, rng
    made = deepcopy(model)
    for parameter in made.parameters():
        parameter.mul_(config.factor)
    return made
'''


@pytest.mark.slow
def test_a_study_runs_with_one_added_item_of_each_family(tmp_path):
    shutil.copytree(SRC, tmp_path / "src")
    for family in FAMILIES:
        (tmp_path / "src" / "whatelse" / "methods" / family / "added.py").write_text(ITEM)
    first, rest = SMALL.split("[[candidates]]", 1)
    _, after = rest.split("[[rows]]", 1)
    added = "".join(
        f'[[candidates]]\nname = "{f}"\nfamily = "{f}"\nrecipe = "{f}.added(factor=0.25)"\ncontrol = "baseline"\n\n'
        for f in FAMILIES
    )
    claims = after.split("[[claims]]", 1)[0]
    (tmp_path / "added.toml").write_text(f"{first}{added}[[rows]]{claims}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", "from whatelse.cli.app import main; main()"]
    run = subprocess.run(
        [*call, "study", "added.toml", "--json", "out.json", "--quiet"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert not found["failed"]
    candidates = {c["name"]: c for c in found["candidates"]}
    assert all(candidates[f]["knob"] == 0.25 for f in FAMILIES)
    assert {f["candidate"] for f in found["findings"]} >= set(FAMILIES)
    listed = subprocess.run([*call, "list", "methods", "--json", "-"], env=environment, capture_output=True, check=True)
    assert {f"{f}.added" for f in FAMILIES} <= {c["name"] for c in json.loads(listed.stdout)["methods"]}
