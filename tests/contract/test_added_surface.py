"""A new file is a new surface: an option of every command that gives findings, or of the gate, and in the listing."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.conftest import make
from whatelse import surfaces

SRC = Path(__file__).parents[2] / "src"
ADDED = '''"""Every finding as a line of comma-separated values."""

from __future__ import annotations

import csv
import io

from whatelse.findings.record import Findings

HELP = "Write the findings as lines."


def render(findings: Findings) -> str:
    """Return the lines."""
    out = io.StringIO()
    csv.writer(out).writerows((f.candidate, f.label, f.verdict) for f in findings.findings)
    return out.getvalue()
'''
OF_THE_GATE = '''"""The verdict in a word."""

from __future__ import annotations

from whatelse.findings.record import Findings
from whatelse.gate.decide import Gate

HELP = "Write the verdict alone."


def render(gate: Gate, findings: Findings) -> str:
    """Return the word."""
    return f"{findings.study.name}: {gate.verdict}"
'''


@pytest.fixture
def whatelse(tmp_path):
    shutil.copytree(SRC, tmp_path / "src")
    (tmp_path / "src" / "whatelse" / "report" / "surfaces" / "lines.py").write_text(ADDED)
    (tmp_path / "src" / "whatelse" / "gate" / "surfaces" / "one_word.py").write_text(OF_THE_GATE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "COLUMNS": "120"}

    def call(*args):
        run = [sys.executable, "-c", "from whatelse.cli import main; main()", *args]
        return subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return call


def test_an_added_surface_is_an_option_and_writes(whatelse, tmp_path):
    document = make()
    (tmp_path / "f.json").write_text(json.dumps(document))
    run = whatelse("report", "f.json", "--lines", "out.csv", "--quiet")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    lines = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert lines == [[f["candidate"], f["label"], f["verdict"]] for f in document["findings"]]
    assert whatelse("report", "f.json", "--lines", "-").stdout.splitlines()[0].startswith(lines[0][0])
    gated = whatelse("gate", "f.json", "--one-word", "-")
    assert gated.stdout == f"{document['study']['name']}: {('GO', 'NO-GO', 'INCONCLUSIVE')[gated.returncode]}"


@pytest.mark.parametrize("command", ["report", "study", "table", "audit"])
def test_every_command_that_gives_findings_offers_it(command, whatelse):
    help_text = whatelse(command, "--help").stdout
    assert "--lines" in help_text
    assert "Write the findings as lines." in help_text
    assert "--one-word" not in help_text


def test_ours_are_found_by_their_files_and_none_is_imported_for_the_help():
    assert set(surfaces.written("surfaces")) >= {"card", "csv", "html", "json", "junit", "markdown"}
    assert set(surfaces.written("gate_surfaces")) >= {"json", "junit", "markdown"}
    assert set(surfaces.written("search_surfaces")) >= {"html", "json", "markdown"}
    for kind in ("surfaces", "gate_surfaces", "search_surfaces"):
        assert surfaces.printed(kind) == ("terminal",)
        for name in surfaces.written(kind):
            assert surfaces.surface(kind, name).render is not None
