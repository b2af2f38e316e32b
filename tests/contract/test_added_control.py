"""A control and an engine are one file each: nothing else has to be edited for a study to have them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.study.conftest import SMALL

SRC = Path(__file__).parents[2] / "src"
ENGINE = '''"""Jobs run here, one after the other, and a file says so.

Source:
    Nobody, 2026.
"""

from pathlib import Path

from whatelse.engines.inline import Inline

VERSION = 1


def start(workers):
    Path("started").write_text(str(workers))
    return Inline()
'''
CONTROL = '''"""The baseline trained twice as long.

Source:
    Nobody, 2026.
"""

VERSION, ROLE = 1, "control"
AFTER, WHOLE_SEED, OWN_SEED, AGAIN = "baseline", 0, 0, 0
RECIPE, NAMED, SHADOWS = "study", "twice as long", "own"
HELD, ALSO, HANDED = "baseline", True, False
'''


@pytest.mark.slow
def test_a_study_has_an_added_control_on_an_added_engine(tmp_path):
    shutil.copytree(SRC, tmp_path / "src")
    (tmp_path / "src" / "whatelse" / "engines" / "added.py").write_text(ENGINE)
    (tmp_path / "src" / "whatelse" / "controls" / "twice_as_long.py").write_text(CONTROL)
    text = SMALL.replace("seeds = [0, 1]", "seeds = [0]")
    text = text.replace('twin = ""', 'twin = ""\n"twice as long" = "train.finetune(epochs=2)"')
    (tmp_path / "added.toml").write_text(text)
    call = [sys.executable, "-c", "from whatelse.cli import main; main()", "study", "added.toml"]
    run = subprocess.run(
        [*call, "--json", "out.json", "--on", "added", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "started").read_text() == "0"
    found = json.loads((tmp_path / "out.json").read_text())
    assert {c["name"]: c["role"] for c in found["candidates"]}["twice as long"] == "control"
    held = {(f["candidate"], f["control"]) for f in found["findings"]}
    assert {("twice as long", "baseline"), ("half", "twice as long")} <= held
