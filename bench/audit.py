"""How long an audit takes: cold and the second time, beside another build in the same run.

    python bench/audit.py [SRC_OF_THE_OTHER_BUILD] [EXAMPLES]

The pair is a small CNN and a pruned copy, on as many noisy digits as asked for (10,000 test examples where nothing is
said). Each build audits the same two folders in processes of one thread; the other build is a checkout's ``src`` (that
before issue 15 is at 67e8532d). Wall
seconds, CPU seconds of all processes (user and system) and their ratios are printed; nothing is asserted. What the
analysis alone costs as rows grow is in ``bench/questions.py``.
"""

from __future__ import annotations

import compileall
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

EXAMPLES, TRAINED = 10_000, 2_500
MAIN = "from whatelse.cli import main; main()"


def arrays(path: Path, examples: int) -> None:
    """Write enlarged digits with noise, a grouping beside them.

    Args:
        path: Of the file.
        examples: Of test.
    """
    raw, rng = load_digits(), np.random.default_rng(0)
    picks = rng.integers(0, len(raw.target), examples + TRAINED)
    large = np.kron(raw.images[picks] / 16, np.ones((1, 3, 3))) + rng.normal(0, 0.15, (len(picks), 24, 24))
    inputs = np.clip(large, 0, 1).astype(np.float32)[:, None]
    targets, half = raw.target[picks], np.array(["a", "b"])[rng.integers(0, 2, examples)]
    train = {"train_inputs": inputs[:TRAINED], "train_targets": targets[:TRAINED]}
    np.savez(path, **train, test_inputs=inputs[TRAINED:], test_targets=targets[TRAINED:], test_group_half=half)


def compiled(source: Path, place: Path) -> Path:
    """Copy a build's package and compile it, as an installed one is, and return the folder that holds it.

    Args:
        source: Folder that holds the package.
        place: Of the copy.
    """
    shutil.copytree(source / "whatelse", place / "whatelse", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(place, quiet=2)
    return place


def run(place: Path, source: Path, *args: str) -> tuple[float, float]:
    """Run a command of a build and return its wall seconds, and the CPU seconds of all its processes.

    Args:
        place: Where.
        source: Folder that holds the package.
        args: The command.
    """
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", MAIN, *args, "-q"], cwd=place, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, spent


def main() -> None:
    """Print the seconds of both builds, and the ratios."""
    here = Path(__file__).resolve().parents[1] / "src"
    other = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    examples = int(sys.argv[2]) if len(sys.argv) > 2 else EXAMPLES
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        here = compiled(here, place / "this build")
        other = other and compiled(other, place / "the other")
        arrays(place / "data.npz", examples)
        data = ("--data", "data.npz")
        run(place, here, "compress", "cnn()", *data, "--recipe", "train.scratch(epochs=4)", "--out", "base")
        steps = "prune.magnitude(sparsity=0.9) > train.finetune(epochs=2)"
        run(place, here, "compress", "base", *data, "--recipe", steps, "--out", "small")
        audit = ("audit", "base", "small", *data)
        before = run(place, other, *audit) if other else (float("nan"), float("nan"))
        shutil.rmtree(place / "whatelse-results", ignore_errors=True)
        cold, again = run(place, here, *audit), run(place, here, *audit)
    for at, kind in enumerate(("wall", "CPU")):
        print(f"{examples:,} examples, {kind}: cold {cold[at]:.1f} s, the second time {again[at]:.1f} s")
        times = f"cold {before[at] / cold[at]:.2f} times, the second time {before[at] / again[at]:.1f} times"
        print(f"the other build {before[at]:.1f} s: {times} this one's")


if __name__ == "__main__":
    main()
