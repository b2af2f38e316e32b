"""Columns by family and strength, rows as given."""

from __future__ import annotations

from typing import Any

from whatelse.findings.record import Candidate, Findings, parse
from whatelse.findings.roles import Role
from whatelse.report._grid import Family, Grid, anchors, arrange, questions, short_name


def test_columns_stand_by_family_from_mild_to_strong(document: dict[str, Any]) -> None:
    document["candidates"].reverse()
    grid = arrange(parse(document))
    assert [f.name for f in grid.families] == ["svd", "quantize", "distill", "prune"]
    assert [c.name for c in grid.families[-1].candidates] == ["prune 50 %", "prune 80 %", "prune 95 %"]
    assert not {"baseline", "placebo"} & {c.name for c in grid.candidates}


def test_each_cell_is_the_primary_finding_of_its_column(findings: Findings) -> None:
    grid = arrange(findings)
    for line in grid.lines:
        for candidate, cell in zip(grid.candidates, line.cells, strict=True):
            if line.measured:
                assert cell is not None
                assert (cell.row, cell.candidate, cell.primary) == (line.row.name, candidate.name, True)
            else:
                assert cell is None


def test_a_row_that_is_not_measured_shows_no_cell(document: dict[str, Any]) -> None:
    document["rows"][0]["status"] = "not measured yet"
    assert set(arrange(parse(document)).lines[0].cells) == {None}


def test_names_lose_their_family(findings: Findings) -> None:
    assert [short_name(c) for c in arrange(findings).families[2].candidates] == ["8 bits", "4 bits", "2 bits"]


def test_anchors_answer_the_primary_question(findings: Findings) -> None:
    line = arrange(findings).lines[0]
    held = anchors(findings, line)
    assert set(held) == {"placebo", "twin", "random", "weight decay"}
    assert {f.label for f in held.values()} == {line.cells[0].label if line.cells[0] else ""}


def test_questions_hold_every_finding_of_the_row_the_primary_first(findings: Findings) -> None:
    line = arrange(findings).lines[0]
    groups = questions(findings, line)
    assert sum(len(group) for group in groups.values()) == sum(f.row == line.row.name for f in findings.findings)
    first = next(iter(groups.values()))
    assert [f.primary for f in first] == [True] * 10 + [False] * 4


def test_columns_are_cut_between_families_where_a_page_is_full() -> None:
    def family(name: str, n: int) -> Family:
        return Family(name, tuple(Candidate(f"{name}{i}", name, Role.CANDIDATE, "") for i in range(n)))

    grid = Grid((family("a", 5), family("b", 6), family("c", 3), family("d", 14)), ())
    shape = [[(f.name, len(f.candidates)) for f in band.families] for band in grid.bands]
    assert shape == [[("a", 5), ("b", 6)], [("c", 3)], [("d", 12)], [("d", 2)]]
    assert [c for band in grid.bands for c in band.candidates] == list(grid.candidates)
    for band in grid.bands:
        assert band.candidates == grid.candidates[band.start : band.stop]
    assert [band.candidates for band in Grid((), ()).bands] == [()]
