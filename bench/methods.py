"""Hold every method against the peer that a user would pick: accuracy, bytes, time of a pass, time to compress.

    python bench/methods.py [SEEDS [FOLDER]]

Two small networks on public data, found by WHATELSE_DATA (by default ../shared/data). Ours and the peer start from the
same trained baseline, see the same calibration examples and are trained further by the same loop for as many epochs.
Three seeds by default. A FOLDER is kept, gets methods.json, and a second run goes on where the first ended; one with
results of other code is refused, as a table must not mix them. Processes have one thread each, two run at a time.

Bytes are those of the file that each is usually written to: ours the tensors and the architecture, the peer a state
dict by torch.save, or an ONNX file. Times of a pass are multiples of the baseline's, measured in turn: the median and
the middle half over turns and seeds, batches of 64. Differences are ours minus the peer's in percentage points, with
95 % intervals: first over seeds and examples, by which the verdict goes, then over the pooled examples alone, which
knows nothing of the noise of training: where only this one is clear of zero the verdict says *leaning*.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# The statistics.py beside this file must not hide Python's own from the libraries.
sys.path.append(sys.path.pop(0))

import torch
from _peers import measure, tasks, verdict

import whatelse

_AT_ONCE = 2
_WIDTHS = (9, 16, 41, 18, 36, 15)
_HEAD = ("", "accuracy %", "difference [both] [pooled]", "kB", "time of a pass x", "seconds")


def run(seeds: int, folder: Path, shrink: int) -> None:
    """Measure all pairs under all seeds, a process for each network and seed.

    Args:
        seeds: How many.
        folder: Where results go.
        shrink: Divides the number of examples, for a quick trial.
    """
    todo = [(net, seed) for net in tasks.ARENAS for seed in range(seeds)]
    running: list[subprocess.Popen[bytes]] = []
    while todo or running:
        while todo and len(running) < _AT_ONCE:
            net, seed = todo.pop(0)
            call = [sys.executable, __file__, "--part", net, str(seed), str(folder), str(shrink)]
            running.append(subprocess.Popen(call, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=sys.stderr))
        time.sleep(0.2)
        running = [process for process in running if process.poll() is None]


def code() -> str:
    """Return a fingerprint of the toolkit and of this bench."""
    digest = hashlib.sha256()
    for root in (Path(whatelse.__file__).parent, Path(__file__).resolve().parent / "_peers"):
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def claim(folder: Path, of: str) -> None:
    """Make a folder one of results of some code.

    Args:
        folder: Made where it does not exist.
        of: What `code` returned.
    """
    mark = folder / "code.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if mark.exists() and mark.read_text("utf-8") != of:
        sys.exit(f"{folder} has results of other code; give another folder")
    mark.write_text(of, "utf-8")


def show(rows: list[dict[str, Any]], before: dict[str, dict[str, float]]) -> None:
    """Print the table.

    Args:
        rows: What `verdict.rows` returned.
        before: What `verdict.baselines` returned.
    """
    net = ""
    for row in rows:
        if row["net"] != net:
            net = row["net"]
            accuracy, size = _points(before[net]["accuracy"]), before[net]["bytes"] / 1e3
            print(f"\n{tasks.ARENAS[net].title}: {accuracy} %, {size:.0f} kB")
            print(_line(_HEAD))
        tuned = f"; both trained further, {row['tuned']} epochs" if row["tuned"] else ""
        print(f"\n{row['ours']} | {row['peer']}{tuned}")
        if "interval" in row:
            print(_numbers(row))
        print(f"{'':9}{row['verdict']}")
        if row["note"] and any(word in row["verdict"] for word in ("behind", "larger", "slower")):
            print(f"{'':9}{row['note']}")


def _numbers(row: dict[str, Any]) -> str:
    ranges = (f"[{100 * low:+.1f}, {100 * high:+.1f}]" for low, high in (row["interval"], row["pooled"]))
    change = f"{100 * row['difference']:+.2f} {' '.join(ranges)}"
    sides = ("ours", "peer")
    accuracy = " | ".join(_points(row[f"accuracy_{s}"]) for s in sides)
    size = " | ".join(f"{row[f'bytes_{s}'] / 1e3:.1f}" for s in sides)
    spans = [row[f"latency_{s}"] for s in sides]
    speed = " | ".join(f"{middle:.2f} {low:.2f}-{high:.2f}" for low, middle, high in spans)
    spent = " | ".join(f"{row[f'seconds_{s}']:.1f}" for s in sides)
    return _line(("", accuracy, change, size, speed, spent))


def _line(cells: tuple[str, ...]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def main() -> None:
    """Run the measurement and print it."""
    if sys.argv[1:2] == ["--part"]:
        net, seed, folder, shrink = sys.argv[2:6]
        torch.set_num_threads(1)
        measure.part(net, int(seed), Path(folder), int(shrink))
        return
    if missing := tasks.absent():
        print(f"nothing measured: {tasks.root()} has no {', '.join(missing)}; set WHATELSE_DATA to the data's folder")
        return
    seeds, shrink = int(sys.argv[1]) if len(sys.argv) > 1 else 3, int(os.environ.get("WHATELSE_SHRINK", "1"))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else aside)
        of = f"{code()} /{shrink}"
        claim(folder, of)
        run(seeds, folder, shrink)
        rows, before = verdict.rows(folder, seeds), verdict.baselines(folder, seeds)
        record = {"seeds": seeds, "code": of, "baselines": before, "pairs": rows}
        (folder / "methods.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    show(rows, before)
    if f"{code()} /{shrink}" != of:
        print("\nthe code changed while this ran: processes may have read different versions; run it again")
    print(f"\n{seeds} seeds, {(time.perf_counter() - started) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
