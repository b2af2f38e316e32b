"""A new file is a new kind of exhibit: a study makes it, and its report shows it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
SMALL = (Path(__file__).parents[1] / "study" / "conftest.py").read_text("utf-8").split('"""')[3]
ADDED = '''"""The first example of test."""

from __future__ import annotations

from collections.abc import Iterator

from whatelse.exhibits.asked import Asked
from whatelse.exhibits.pictures import picture
from whatelse.findings.exhibits import Exhibit, Picture

VERSION, SCOPE = 1, "row"


def exhibits(asked: Asked) -> Iterator[Exhibit]:
    """Return one for every candidate."""
    for candidate in asked.candidates:
        shown = (Picture(image=picture(asked.task.test.inputs[0], asked.task), note="the first of all", index=0),)
        yield Exhibit(asked.measurement.row, "first", asked.task_name, candidate.name, shown)
'''


@pytest.mark.slow
def test_an_added_exhibit_stands_in_findings_and_on_the_page(tmp_path):
    shutil.copytree(SRC, tmp_path / "src")
    (tmp_path / "src" / "whatelse" / "exhibits" / "kinds" / "added.py").write_text(ADDED)
    (tmp_path / "small.toml").write_text(SMALL.replace("epochs = 6", "epochs = 2").replace("[0, 1]", "[0]"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", "from whatelse.cli import main; main()"]
    run = subprocess.run(
        [*call, "study", "small.toml", "--json", "out.json", "--html", "out.html", "--quiet", "--show-examples"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    (shown,) = [e for e in json.loads((tmp_path / "out.json").read_text())["exhibits"] if e["kind"] == "first"]
    assert (shown["row"], shown["candidate"], shown["items"][0]["index"]) == ("overfitting", "half", 0)
    page = (tmp_path / "out.html").read_text("utf-8")
    assert "the first of all" in page
    assert ">First" in page, "without a title the kind is the heading"
