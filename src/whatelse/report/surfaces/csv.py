"""One line a finding, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io

from whatelse.findings import flat
from whatelse.findings.record import Findings

HELP = "Write the findings as CSV."

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes


def render(findings: Findings) -> str:
    """Return a header and one line a finding; a number that does not exist is empty.

    A text that a spreadsheet would take for a formula begins with an apostrophe: names come from whoever made the file.

    Args:
        findings: As loaded.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(flat.COLUMNS)
    writer.writerows([_cell(value) for value in line.values()] for line in flat.lines(findings))
    return out.getvalue()


def _cell(value: flat.Value) -> flat.Value:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
