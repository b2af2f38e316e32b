"""Time what analysis costs as rows grow: the default questions of a pair of models, resampled, beside another build.

    OMP_NUM_THREADS=1 python bench/questions.py [SRC_OF_THE_OTHER_BUILD] [ROWS]

Nothing is measured on a model: the answers of the questions that are asked of every example are made up, with as many
columns as those of a small CNN on ten classes and two groups. CPU seconds of each build in a process of its own, 10,000
resamples; of the other build, which draws for every question anew, 500, and twenty times their seconds are printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROWS, DRAWS, OTHER_DRAWS = 100_000, 10_000, 500
CLASSES, LAYERS = 10, 3


def answers(rows: int, seed: int) -> dict[str, tuple[dict[str, torch.Tensor], tuple[str, ...]]]:
    """Return columns and names of parts by item, of one model.

    Args:
        rows: How many.
        seed: The model.
    """
    draw, shared = np.random.default_rng(seed), np.random.default_rng(0)
    target, half = shared.integers(0, CLASSES, rows), shared.integers(0, 2, rows)
    sure = draw.beta(5, 1, rows)
    right = (draw.random(rows) < sure).astype(float)
    classes, layers = tuple(f"class {c}" for c in range(CLASSES)), tuple(f"layer {at}" for at in range(LAYERS))
    grouped = {"group half": half, "large group half": half}
    kinds = "H(K, L)", "H(K, K)", "H(L, L)"
    score, inside = draw.normal(size=rows), shared.integers(0, 2, rows)
    made = {
        "generalization.accuracy": ({"correct": right}, ()),
        "generalization.macro_accuracy": ({"correct": right, "class": target}, classes),
        "generalization.flips": ({"flip": right}, ()),
        "generalization.likelihood": ({"loss": draw.exponential(size=rows)}, ()),
        "generalization.calibration": ({"confidence": sure, "correct": right}, ()),
        "attribution.agreement": ({"agreement": draw.uniform(-1, 1, rows)}, ()),
        "mechanism.cka": ({f"{kind} of {at}": draw.normal(1, 0.5, rows) for at in layers for kind in kinds}, layers),
        "mechanism.probe": ({**{f"hit in {at}": right for at in layers}, "counts": np.ones(rows)}, layers),
        "fairness.worst_group": ({"correct": right, **grouped}, ("a", "b")),
        "fairness.gap": ({"correct": right, **grouped}, ("a", "b")),
        "fairness.group": ({"outcome": right, **grouped}, ("a", "b")),
        "membership.loss": ({"score": score + 0.1 * inside, "member": inside}, ("1 %", "0.1 %", "balanced")),
    }
    return {
        item: ({name: torch.from_numpy(np.asarray(column, np.float64)) for name, column in columns.items()}, parts)
        for item, (columns, parts) in made.items()
    }


def timed(rows: int, draws: int) -> dict[str, float]:
    """Return the CPU seconds of this process for every question; what is shared stands at the first.

    Args:
        rows: How many.
        draws: Resamples.
    """
    from whatelse import items  # noqa: PLC0415 - of the build that this process is for
    from whatelse.answer import Answer, Parts  # noqa: PLC0415 - as above
    from whatelse.auditing.ask import Measured  # noqa: PLC0415 - as above
    from whatelse.auditing.effects import Comparison, values_of  # noqa: PLC0415 - as above

    rng = np.random.default_rng
    try:
        from whatelse.statistics.shared import Pool  # noqa: PLC0415 - the former build has none

        pool = Pool(draws, rng(0))
    except ImportError:  # a build whose questions draw for themselves
        pool = draws
    models = {"baseline": answers(rows, 1), "small": answers(rows, 2)}
    held, spent = {}, {}
    for name in models["baseline"]:
        started, item = time.process_time(), items.behaviour(name)
        held[name] = Comparison(item, item.configure({}), pool, rng(0))
        for model, asked in models.items():
            columns, parts = asked[name]
            held[name].take(model, values_of([Measured(Answer(columns, parts=Parts(parts)), {}, 0.0)]))
        spent[name] = time.process_time() - started
    for name, one in held.items():
        started = time.process_time()
        one.against([("small", "baseline")])
        spent[name] += time.process_time() - started
    return spent


def of_build(source: Path, rows: int, draws: int) -> dict[str, float]:
    """Return what `timed` returns in a process of another build.

    Args:
        source: Folder that holds the package.
        rows: How many.
        draws: Resamples.
    """
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--here", str(rows), str(draws)]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(said)
    return found


def main() -> None:
    """Print the seconds of both builds, and the ratios."""
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(timed(int(sys.argv[2]), int(sys.argv[3]))))
        return
    other = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    mine = of_build(Path(__file__).resolve().parents[1] / "src", rows, DRAWS)
    theirs = of_build(other, rows, OTHER_DRAWS) if other else {}
    print(f"{rows:,} rows, {DRAWS:,} resamples, a pair of models; CPU seconds")
    for name, seconds in mine.items():
        before = theirs.get(name, float("nan")) * DRAWS / OTHER_DRAWS
        print(f"{name:34} {seconds:8.1f}   the other build {before:8.1f}")
    whole, before = sum(mine.values()), sum(theirs.values()) * DRAWS / OTHER_DRAWS
    print(f"{'all':34} {whole:8.1f}   the other build {before:8.1f}   {before / whole:.1f} times")


if __name__ == "__main__":
    main()
