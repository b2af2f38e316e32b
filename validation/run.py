"""Everything that shows whether verdicts can be trusted, measured, and written to docs/validation.md.

``python validation/run.py`` takes half an hour on two cores; a run that was cut off goes on. ``--page`` only writes the
page anew from what was measured; ``--quick`` measures a little of everything, in minutes, and writes no page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import few
import floors
import null
import numpy as np
import page
import page_language
import peeking
import planted
import planted_language
import savings
import search
import simulate
import wald

import whatelse

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "validation-results"
RESULTS = ROOT / "whatelse-results"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Counts:
    """How much of everything is measured."""

    samples: int  # of every kind of summary and number of examples
    twins: int  # false candidates
    replicates: int  # of every planted harm and size
    peeks: int  # samples that are looked at again and again
    searches: int  # of each kind of world
    nets: tuple[str, ...]


WHOLE = Counts(200, 200, 25, 1000, 500, tuple(null.NETS))
QUICK = Counts(20, 4, 2, 40, 10, ("mlp",))


def _summaries(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    asked = [(kind, n) for n in reversed(simulate.SIZES) for kind in simulate.KINDS]
    return list(pool.map(partial(_row, counts.samples), asked))


def _row(samples: int, asked: tuple[simulate.Kind, int]) -> dict[str, Any]:
    return simulate.row(*asked, samples)


def _lossless(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    return [row for rows in pool.map(null.lossless, counts.nets) for row in rows]


def _twins(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    return list(pool.map(null.false_candidate, range(counts.twins), chunksize=4))


def _planted(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    every = [(h, size, seed) for h in planted.HARMS for size in h.sizes for seed in range(counts.replicates)]
    return list(pool.map(_replicate, every, chunksize=8))


def _replicate(asked: tuple[planted.Harm, float, int]) -> dict[str, Any]:
    harm, size, _ = asked
    return {"harm": harm.name, "size": size, "finder": harm.finder, **planted.replicate(*asked)}


def _language(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    harms, times = planted_language.HARMS, range(counts.replicates)
    # A decoder takes longest: every process learns as few of them as may be.
    every = [(h.name, size, seed) for seed in sorted(times, key=lambda s: s % 2) for h in harms for size in h.sizes]
    return list(pool.map(_spoken, every, chunksize=max(1, len(every) // (2 * (os.cpu_count() or 1)))))


def _spoken(asked: tuple[str, float, int]) -> dict[str, Any]:
    name, size, seed = asked
    (harm,) = (h for h in planted_language.HARMS if h.name == name)
    return {"harm": name, "size": size, "finder": harm.finder, **planted_language.replicate(harm, size, seed)}


def _few(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    return list(pool.map(few.measured, few.rows(counts.replicates, counts.twins), chunksize=8))


def _peeking(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    return pool.submit(peeking.simulate, counts.peeks, np.random.default_rng(0)).result()


def _searches(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    asked = [(kind, seed) for kind in search.WORLDS for seed in range(counts.searches)]
    return list(pool.map(search.searched, *zip(*asked, strict=True), chunksize=8))


def _floors(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    return list(pool.map(floors.case, range(len(floors.CASES))))


def _savings(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    if counts is WHOLE:
        # The processes of the study are its own; finished cells are found.
        whatelse.run_study(whatelse.read_study(Path(savings.TABLE)), RESULTS)
    return savings.saved(RESULTS)


def _wald(counts: Counts, pool: ProcessPoolExecutor) -> Rows:
    return wald.passes()


STAGES: dict[str, Callable[[Counts, ProcessPoolExecutor], Rows]] = {
    "lossless": _lossless,
    "wald": _wald,
    "peeking": _peeking,
    "summaries": _summaries,
    "twins": _twins,
    "planted": _planted,
    "language": _language,
    "floors": _floors,
    "few": _few,
    "search": _searches,
    "savings": _savings,
}


def code() -> str:
    """Return a hash of everything that the numbers come from."""
    digest = hashlib.sha256()
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.toml"), *Path(__file__).parent.glob("*.py")]
    for file in sorted(f for f in files if f.name not in {"page.py", "page_language.py", "run.py"}):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def measure(counts: Counts, wanted: Iterable[str], kept: Path | None) -> dict[str, dict[str, Any]]:
    """Return what every stage measured; a stage that was measured with this code is found.

    Args:
        counts: How much.
        wanted: Names out of `STAGES`.
        kept: Folder where stages are kept; None keeps nothing.
    """
    found: dict[str, dict[str, Any]] = {}
    made_by = code()
    with ProcessPoolExecutor(os.cpu_count() or 1, get_context("spawn")) as pool:
        for name in wanted:
            path = kept / f"{name}.json" if kept else None
            if path and path.exists() and (old := json.loads(path.read_text("utf-8")))["code"] == made_by:
                found[name] = old
                continue
            started = time.perf_counter()
            sys.stderr.write(f"{name} ...\n")
            rows = STAGES[name](counts, pool)
            found[name] = {"code": made_by, "seconds": time.perf_counter() - started, "rows": rows}
            if path:
                path.parent.mkdir(exist_ok=True)
                path.with_suffix(".part").write_text(json.dumps(found[name]), "utf-8")
                path.with_suffix(".part").replace(path)
    return found


def main() -> None:
    """Measure, write the page, and end with 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("stages", nargs="*", help=f"only some of {', '.join(STAGES)}")
    asked = parser.parse_args()
    if asked.page:
        found = {name: json.loads((KEPT / f"{name}.json").read_text("utf-8")) for name in STAGES}
    else:
        found = measure(QUICK if asked.quick else WHOLE, asked.stages or STAGES, None if asked.quick else KEPT)
    broken = page.broken({name: stage["rows"] for name, stage in found.items()})
    if set(found) == set(STAGES) and not asked.quick:
        page.write(found, ROOT)
    elif "language" in found and not asked.quick:  # its section stands by itself
        page_language.renew(found["language"]["rows"], ROOT)
    for line in broken:
        sys.stderr.write(f"broken: {line}\n")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
