"""Findings as CSV: what a data frame reads is what the record holds."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pandas
import pytest

from whatelse.findings import flat
from whatelse.findings.record import Findings
from whatelse.report.surfaces.csv import render


@pytest.mark.known_answer
def test_pandas_reads_back_what_the_record_holds(findings: Findings) -> None:
    read = pandas.read_csv(io.StringIO(render(findings)))
    pandas.testing.assert_frame_equal(read[["effect", "low", "high"]], findings.table()[["effect", "low", "high"]])
    for name in ("candidate", "verdict", "label", "primary"):
        assert list(read[name]) == [getattr(f, name) for f in findings.findings]
    assert read["n"].dropna().tolist() == [f.n for f in findings.findings if f.n is not None]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a"b,c\nd'])
def test_no_name_becomes_a_formula_or_another_column(findings: Findings, name: str) -> None:
    one = replace(findings, findings=(replace(findings.findings[0], label=name),))
    header, line = csv.reader(io.StringIO(render(one)))
    assert header == list(flat.COLUMNS)
    told = dict(zip(header, line, strict=True))["label"]
    assert told == (name if name.startswith("a") else f"'{name}")
    assert not told.startswith(("=", "+", "-", "@", "\t"))
