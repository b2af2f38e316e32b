"""Open files that were changed by chance or crafted, and say what came of it: whole, refused in a line, or a fault.

Every input is opened in a process of its own, under a limit of time and memory. A traceback, more than 20 seconds or
more than 3 GiB is a fault; any makes the exit code 1. The same seed makes the same inputs.

    python fuzz/run.py [--seed 0] [--count 300] [--minutes 10] [--only folders] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import time
from pathlib import Path

import _child
import checkpoints
import data
import folders
import texts

from whatelse import opening
from whatelse.artifacts import folder

KINDS = {"folders": folders, "checkpoints": checkpoints, "data": data, "texts": texts}
OUTCOMES = ("clean", "refused", "traceback", "slow", "large")


def main() -> int:
    """Run the fuzzers that are asked for, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="decides every change")
    parser.add_argument("--count", type=int, default=300, help="changed inputs of each kind; crafted ones come on top")
    parser.add_argument("--minutes", type=float, default=10.0, help="stop after so many")
    parser.add_argument("--only", choices=KINDS, help="one kind")
    parser.add_argument("--keep", default="", help="folder for the inputs; else they are removed")
    asked = parser.parse_args()
    until, faults = time.monotonic() + 60 * asked.minutes, 0
    _warm()
    print(f"{'':24}" + "".join(f"{name:>11}" for name in OUTCOMES) + "    slowest   largest")
    for name in [asked.only] if asked.only else KINDS:
        for way in ("crafted", "mutated"):
            with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
                place = Path(asked.keep or scratch) / f"{name}-{way}"
                place.mkdir(parents=True)
                rng = random.Random(f"{asked.seed} {name}")
                made = KINDS[name].mutated(asked.count, rng, place) if way == "mutated" else KINDS[name].crafted(place)
                faults += _row(f"{name}, {way}", made, until)
    return int(faults > 0)


def _row(title: str, cases: collections.abc.Iterator[_child.Case], until: float) -> int:
    """Try some inputs, print their line of the table, and return how many were faults."""
    counts: collections.Counter[str] = collections.Counter()
    slowest, largest, said = 0.0, 0, []
    for case in cases:
        if time.monotonic() > until:
            said.append("  stopped early: the time is over")
            break
        outcome = _child.tried(case)
        counts[outcome.kind] += 1
        slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.memory)
        if outcome.kind not in {"clean", "refused"}:
            said.append(f"  {outcome.kind}: {case.name}: {outcome.seconds:.1f} s: {outcome.said[:300]}")
    numbers = "".join(f"{counts[name]:>11}" for name in OUTCOMES)
    print(f"{title:24}{numbers}{slowest:>9.1f} s{largest / 2**20:>6.0f} MiB", *said, sep="\n", flush=True)
    return sum(counts[name] for name in OUTCOMES[2:])


def _warm() -> None:
    """Open one whole model of each kind here, so that no input pays for what torch imports on first use."""
    for model, task in folders.models().values():
        with tempfile.TemporaryDirectory() as place:
            folder.save(model.eval(), place)
            opening.open_model(place, task)


if __name__ == "__main__":
    sys.exit(main())
