"""The notebook in docs runs as it stands, cell by cell in one namespace, and what its text says is so."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "audit.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    document = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    return document["cells"]


@pytest.fixture(scope="module")
def ran(cells: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """The namespace after the last cell, what was printed, and the folder where it ran."""
    folder, space, out = tmp_path_factory.mktemp("notebook"), {"__name__": "__main__"}, io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        for at, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"cell {at}", "exec"), space)
    return space, out.getvalue(), folder


def test_it_is_kept_without_outputs(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        assert {"cell_type", "id", "metadata", "source"} <= set(cell)
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_every_cell_runs_and_it_ends_in_a_page(ran: tuple[dict[str, Any], str, Path]) -> None:
    space, printed, folder = ran
    found = space["found"]
    assert {f.candidate for f in found.findings} == {"pruned", "int8"}
    assert {f.verdict for f in found.findings if f.candidate == "pruned" and f.primary} == {"worsened"}
    assert "worsened" not in {f.verdict for f in found.findings if f.candidate == "int8"}
    assert "pruned: Shown worse in 2 of 2 questions; none is open." in printed
    assert len(space["table"]) == len(found.findings)
    assert (folder / "audit.html").read_text("utf-8") == found.to_html()
    assert json.loads((folder / "audit.json").read_text("utf-8"))["study"]["name"] == "notebook"


def test_lines_fit_the_width_of_a_page(cells: list[dict[str, Any]]) -> None:
    assert max(len(line.rstrip("\n")) for cell in cells for line in cell["source"]) <= 150
