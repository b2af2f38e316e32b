"""The reference of Table 1: as many seeds as settle it, its claims judged also on either half of the seeds.

    python bench/reference.py [SEEDS [FOLDER [ENGINE]]]

Runs the study of `whatelse table` with SEEDS (64) on ENGINE (processes, or ray), then the study fashion_mnist with ten
seeds where its data are there, so that each claim has two tasks. Keeps all that is finished in FOLDER
(reference-results), so that it can be interrupted and taken up again, and writes docs/studies/table1.md and .json. A
primary cell is decided if it is improved, unchanged, worsened, or not measurable by nature. Halves are the seeds with
even and with odd numbers: they share nothing but the data. About half a minute a seed on each of two cores.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

# The statistics.py beside this file must not hide Python's own from the libraries.
sys.path.append(sys.path.pop(0))

from whatelse.errors import TaskError
from whatelse.findings import phrasing as words
from whatelse.findings.record import Claim, Finding, Findings
from whatelse.findings.roles import Role
from whatelse.study import spec
from whatelse.study.bar import bar
from whatelse.study.run_study import run_study

ROOT = Path(__file__).parents[1]
PAGE, KEPT, NOTES = (ROOT / "docs/studies" / name for name in ("table1.md", "table1.json", "notes/table1.md"))
SEEDS, FOLDER, ENGINE = 64, "reference-results", "processes"
SECOND, FEWER = "fashion_mnist", 10  # the other task, and its seeds
DECIDED = ("improved", "unchanged", "worsened", "not measurable")
WANTED = 0.9  # of primary cells that are to be decided


def measured(seeds: Sequence[int], folder: Path, engine: str, text: str = "") -> Findings:
    """Return the findings of a study with some seeds; what the folder has is found.

    Args:
        seeds: Which.
        folder: Where results are kept.
        engine: Where jobs run.
        text: The study's file; that of the table where none is given.
    """
    study = replace(spec.parse(text or _text(), "study.toml"), seeds=list(seeds))
    with bar(quiet=False) as (show, announce):
        return run_study(study, folder, on=engine, show=show, announce=announce)


def primary(found: Findings) -> list[Finding]:
    """Return the findings that the cells of the table show.

    Args:
        found: Of a study.
    """
    candidates = {one.name for one in found.candidates if one.role is Role.CANDIDATE}
    return [f for f in found.findings if f.primary and f.candidate in candidates]


def told(found: Findings, halves: Sequence[Findings]) -> dict[str, Any]:
    """Return what is committed: claims with how sure they are, and every primary cell.

    Args:
        found: Of all seeds.
        halves: Of either half of them.
    """
    cells = primary(found)
    counts = Counter(f.verdict for f in cells)
    return {
        "seeds": len(found.seeds),
        "environment": {"torch": found.environment.torch, "platform": found.environment.platform},
        "seconds": {"wall": found.timing.wall_s, "training": found.timing.training_s},
        "decided": sum(counts[word] for word in DECIDED) / len(cells),
        "verdicts": dict(counts),
        "claims": [_claim(claim, [half.claims[at] for half in halves]) for at, claim in enumerate(found.claims)],
        "cells": [_cell(f) for f in cells],
    }


def elsewhere(found: Findings) -> dict[str, Any]:
    """Return what is committed of the second task.

    Args:
        found: Of all its seeds.
    """
    (task,) = found.tasks
    claims = [
        {"claim": c.claim, "outcome": c.outcome, "settled": c.settled, "said": words.outcome(c), "reason": c.reason}
        for c in found.claims
    ]
    return {
        "task": task.title,
        "seeds": len(found.seeds),
        "claims": claims,
        "cells": [_cell(f) for f in primary(found)],
    }


def _claim(claim: Claim, halves: Sequence[Claim]) -> dict[str, Any]:
    return {
        "row": claim.row,
        "claim": claim.claim,
        "outcome": claim.outcome,
        "settled": claim.settled,
        "said": words.outcome(claim),
        "halves": [half.outcome for half in halves],
        "reason": claim.reason,
    }


def _cell(f: Finding) -> dict[str, Any]:
    numbers = {name: getattr(f, name) for name in ("effect", "low", "high", "margin")}
    rounded = {name: None if value is None else float(f"{value:.4g}") for name, value in numbers.items()}
    needed = {"needed_seeds": f.needed_seeds, "needed": f.needed}
    return {"row": f.row, "label": f.label, "candidate": f.candidate, "verdict": f.verdict, **rounded, **needed}


def page(kept: dict[str, Any], found: Findings) -> str:
    """Return the page.

    Args:
        kept: What `told` returned.
        found: Of all seeds, for titles and units.
    """
    rows = {row.name: row for row in found.rows}
    lines = [
        "# Table 1, the reference",
        "",
        f"Made by `{_command(kept['seeds'])}`: {kept['seeds']} seeds of the study that `make table` runs "
        f"with {len(spec.parse(_text(), 'table1.toml').seeds)}; torch {kept['environment']['torch']}, "
        f"{kept['environment']['platform']}.",
        "",
        f"**{kept['decided']:.0%} of the primary cells are decided** ({_counted(kept['verdicts'])}). {_open(kept)}",
        "",
        "| what the survey says | outcome | the same when seeds are drawn again | on either half of the seeds |",
        "| --- | --- | --- | --- |",
    ]
    for one in kept["claims"]:
        sure = "" if one["settled"] is None else f"{one['settled']:.0%}"
        halves = ", ".join(dict.fromkeys(one["halves"]))
        lines.append(f"| {one['claim']} | **{one['said']}** ({one['reason']}) | {sure} | {halves} |")
    lines += _second(kept)
    lines += ["", "## Every primary cell", "", _legend(), "", _grid(kept, found, rows)]
    if NOTES.is_file():
        lines += ["", "## Read with care", "", NOTES.read_text("utf-8").strip()]
    return "\n".join(lines) + "\n"


def _second(kept: dict[str, Any]) -> list[str]:
    """Return the lines on the second task: each claim's outcome on both."""
    if not kept.get("second"):
        return []
    other = kept["second"]
    there = {one["claim"]: one for one in other["claims"]}
    lines = ["", f"## The same claims on {other['task']}", ""]
    lines += [
        f"Made by the study `{SECOND}` with {other['seeds']} seeds: real images, other networks, fewer recipes.",
        "",
    ]
    lines += [
        f"| claim | digits | {other['task']} | the same when seeds are drawn again | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in (one for one in kept["claims"] if one["claim"] in there):
        second = there[one["claim"]]
        sure = "" if second["settled"] is None else f"{second['settled']:.0%}"
        told = _agreed(one["said"], second["said"])
        lines.append(f"| {one['claim']} | {one['said']} | {second['said']} ({second['reason']}) | {sure} | {told} |")
    return lines


def _agreed(first: str, second: str) -> str:
    """Return what two tasks together say of a claim."""
    open_ = {"not settled", "indistinguishable", "not measured"}
    if {first, second} & open_:
        return "" if {first, second} <= open_ else "settled on one task only"
    return "on both" if first == second else "**depends on the task**"


def _text() -> str:
    return resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")


def _command(seeds: int) -> str:
    return "make reference" if seeds == SEEDS else f"python bench/reference.py {seeds}"


def _counted(verdicts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(verdicts).most_common())


def _open(kept: dict[str, Any]) -> str:
    left = [cell for cell in kept["cells"] if cell["verdict"] not in DECIDED]
    if not left:
        return ""
    each = [f"{cell['candidate']} ({cell['label']}): {_needs(cell)}" for cell in left]
    short = "" if kept["decided"] >= WANTED else f" Wanted is {WANTED:.0%}."
    return f"Open, and what would settle it: {'; '.join(each)}.{short}"


def _needs(cell: dict[str, Any]) -> str:
    if cell["needed_seeds"]:
        return f"about {cell['needed_seeds']:,} seeds"
    if cell["needed"]:
        return f"about {cell['needed']:,} examples"
    return cell["verdict"] if cell["verdict"] != "inconclusive" else "no number of seeds tells: it lies at its margin"


def _legend() -> str:
    return (
        "Effect against the control of each model with its 95 % interval, in the unit of the row; *worsened* is harm "
        "whatever the sign."
    )


def _grid(kept: dict[str, Any], found: Findings, rows: dict[str, Any]) -> str:
    names = [one.name for one in found.candidates if one.role is Role.CANDIDATE]
    lines = []
    for row in dict.fromkeys(cell["row"] for cell in kept["cells"]):
        mine = {cell["candidate"]: cell for cell in kept["cells"] if cell["row"] == row}
        first = next(iter(mine.values()))
        unit = next(f.unit for f in primary(found) if f.row == row)
        lines += [f"**{rows[row].title}**: {first['label']} ({unit}), margin {first['margin']:g}", ""]
        lines += ["| model | verdict | effect | 95 % interval |", "| --- | --- | --- | --- |"]
        for name in (name for name in names if name in mine):
            cell = mine[name]
            number = "" if cell["effect"] is None else f"{cell['effect']:+.3g}"
            between = (
                "" if cell["low"] is None or cell["high"] is None else f"{cell['low']:+.3g} to {cell['high']:+.3g}"
            )
            lines.append(f"| {name} | {cell['verdict']} | {number} | {between} |")
        lines.append("")
    return "\n".join(lines).strip()


def main() -> None:
    """Measure, judge both halves, and write page and numbers."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else FOLDER)
    engine = sys.argv[3] if len(sys.argv) > 3 else ENGINE
    found = measured(range(count), folder, engine)
    halves = [measured(range(first, count, 2), folder, engine) for first in (0, 1)]
    kept = told(found, halves)
    try:
        other = resources.files("whatelse.studies").joinpath(f"{SECOND}.toml").read_text("utf-8")
        kept["second"] = elsewhere(measured(range(FEWER), folder, engine, other))
    except TaskError as error:
        print(f"left out: {SECOND}: {error}")
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(kept, found), "utf-8")
    print(f"{kept['decided']:.0%} of the primary cells are decided")
    for one in kept["claims"]:
        print(f"{one['row']}: {one['said']} (halves: {', '.join(one['halves'])})")


if __name__ == "__main__":
    main()
