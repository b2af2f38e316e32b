"""From a command to the page: a forest of scikit-learn against a tree distilled from it, 30,000 rows, two groups.

    python bench/promise.py [ROWS]

Data and models are made and written first (a CSV file, two files of skops); then `whatelse audit` is run as a user runs
it, cold, and a second time. Wall and CPU seconds and the peak of all processes are printed; nothing is asserted.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import skops.io
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

ROWS, TRAINED = 30_000, 20_000
MAIN = "from whatelse.cli import main; main()"


def made(place: Path, rows: int) -> None:
    """Write data.csv (what models are judged on), and the forest and the tree.

    Args:
        place: Folder.
        rows: How many.
    """
    x, y = make_classification(rows + TRAINED, 12, n_informative=8, n_redundant=0, flip_y=0.05, random_state=0)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(x.astype(np.float32), columns=[f"x{i}" for i in range(x.shape[1])])
    forest = RandomForestClassifier(100, min_samples_leaf=5, random_state=0, n_jobs=1)
    words, seen = np.where(y == 1, "yes", "no"), table[:TRAINED].copy()
    forest.fit(seen, words[:TRAINED])
    tree = DecisionTreeClassifier(max_depth=8, random_state=0).fit(seen, forest.predict(seen))
    table["label"] = words
    table["sex"] = rng.choice(["f", "m"], len(y))
    table["age"] = rng.integers(18, 90, len(y))
    table[TRAINED:].to_csv(place / "data.csv", index=False)
    skops.io.dump(forest, place / "forest.skops")
    skops.io.dump(tree, place / "tree.skops")


def main() -> None:
    """Print seconds and gigabytes."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    source = Path(__file__).resolve().parents[1] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", MAIN, "audit", "forest.skops", "tree.skops", "--data", "data.csv", "-q"]
    call += ["--target", "label", "--groups", "sex,age:30,45,65", "--split", "test"]
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder), rows)
        for when in ("cold", "the second time"):
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(call, cwd=folder, env=environment, check=True)
            wall, now = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{rows:,} rows, {when}: {wall:.1f} s, CPU {cpu:.1f} s, largest process {now.ru_maxrss / 2**20:.2f} GiB"
            )


if __name__ == "__main__":
    main()
