"""The record of the architecture-search row, and the page that is written of it: every sentence is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

Rows = Sequence[Mapping[str, Any]]


def record(
    how: Mapping[str, Any],
    volumes: Rows,
    each: Mapping[str, Any],
    claim: Rows,
    pruning: Rows,
    seconds: float,
) -> dict[str, Any]:
    """Return what is kept: settings, effects with intervals, and what was measured under each seed.

    Args:
        how: Seeds, budget, versions.
        volumes: Hypervolumes against those of the controls.
        each: Of every strategy under each seed.
        claim: Searched against uniform architectures, with verdicts.
        pruning: Pruned widths, fine-tuned and from scratch, against uniform ones, with verdicts.
        seconds: Of the processor, for all.
    """
    return {
        **how,
        "made_by": "python bench/architecture.py",
        "page": "docs/studies/architecture.md",
        "predictions": list(claim),
        "told": _told(how, claim, volumes, each),
        "hypervolume": list(volumes),
        "pruning": list(pruning),
        "each": each,
        "processor_seconds": round(seconds),
    }


def _told(how: Mapping[str, Any], claim: Rows, volumes: Rows, each: Mapping[str, Any]) -> str:
    """Return the outcome in sentences."""
    parts = [f"{one['label']}: {_points(one)}, {one['verdict']}" for one in claim]
    above = [v for v in volumes if v["arena"] == "cnn" and v["low"] > 0 and "against random" in v["label"]]
    better = ", ".join(v["label"].split()[0] for v in above) or "no strategy"
    tau = spread([one["inherited, with from scratch"] for one in each["tau"]])
    size = spread([one["parameters alone, with from scratch"] for one in each["tau"]])
    return (
        "Accuracy on test of a searched architecture less that of an evenly narrowed one of at most as many parameters "
        f"(points, 95 % interval, {how['seeds']} seeds, small network on digits): {'; '.join(parts)}. On it shown to "
        f"reach a larger hypervolume than as many ({how['trials']}) random architectures: {better}. Accuracy with "
        f"inherited weights ranks architectures as accuracy from scratch does with Kendall's tau {_interval(tau)}; "
        f"their number of parameters alone does with {_interval(size)}."
    )


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds with its 95 % interval by Student's t.

    Args:
        values: One a seed.
    """
    held = np.asarray(values, np.float64)
    if len(held) < 2:
        return float(held.mean()), float("nan"), float("nan")
    half = float(stdtrit(len(held) - 1, 0.975) * held.std(ddof=1) / np.sqrt(len(held)))
    return float(held.mean()), float(held.mean()) - half, float(held.mean()) + half


def _interval(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def _points(one: Mapping[str, Any]) -> str:
    return f"{100 * one['effect']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"


def written(kept: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        kept: What `record` returned.
    """
    lines = [
        "# The architecture-search row, measured",
        "",
        f"Made by `{kept['made_by']}` ({kept['seeds']} seeds, {kept['trials']} measured models a search, "
        f"{kept['processor_seconds']} seconds of one processor, torch {kept['torch']}); what is compared how stands at "
        "the top of that file. The table (`whatelse table`) quotes this outcome; none of it is measured by the table.",
        "",
        kept["told"],
        "",
        *_claim(kept),
        *_volumes(kept),
        *_taus(kept),
        *_pruning(kept),
        "**Read with care.** One small network of each kind on 600 images: spaces are small (6,561 widths of the cnn, "
        "52,488 widths and layers of the mlp), and in small spaces random search is hard to beat. Strategies run with "
        "their default settings; none was tuned here. A search costs forty measured models, and `evolve` a supernet "
        "besides; a uniform network costs one. Seconds are for scale: what an earlier strategy measured is not made "
        "again. The verdicts are corrected over all comparisons of their table (Holm), with a margin of "
        "one point: *unchanged* is shown to lie inside it, *inconclusive* shows nothing.",
    ]
    return "\n".join(lines) + "\n"


def _claim(kept: Mapping[str, Any]) -> list[str]:
    head = [
        "## The claim: does searching help pruning and distillation?",
        "",
        "Accuracy on test, in percentage points, of the best on select of a strategy's measured architectures against "
        "the widest evenly narrowed network, both of at most so many parameters. Pruned: cut and trained for eight "
        "epochs. Distilled: the same architecture drawn anew, taught by the baseline for thirty.",
        "",
        "| | uniform | searched | difference (95 %) | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    return [*head, *map(_effect, kept["predictions"]), ""]


def _effect(one: Mapping[str, Any]) -> str:
    cells = (one["label"], f"{100 * one['before']:.1f}", f"{100 * one['after']:.1f}", _points(one), one["verdict"])
    return f"| {' | '.join(cells)} |"


def _volumes(kept: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Hypervolume at an equal number of measured models",
        "",
        "Of accuracy on test (from chance to 1) and parameters (from 100 to 1 % of the baseline's, on a log scale); on "
        "the front is what nobody beats on select. Smallest: parameters of the smallest model that loses at most two "
        "points on select. Means over seeds; intervals of differences are paired over seeds. `descend` is made for the "
        "smallest model inside budgets, not for a front.",
        "",
    ]
    for arena, every in kept["each"]["searches"].items():
        lines += [
            f"**{arena}**",
            "",
            "| strategy | models | hypervolume | less random's | less uniform's | smallest | processor seconds |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        against = {v["label"]: v for v in kept["hypervolume"] if v["arena"] == arena}
        for name, held in every.items():
            mean = {word: float(np.mean([one[word] for one in held])) for word in held[0]}
            cells = [name, f"{mean['measured']:.0f}", f"{mean['hypervolume']:.3f}"]
            for control in ("random", "uniform"):
                one = against.get(f"{name} against {control}")
                cells.append(f"{one['effect']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})" if one else "")
            cells += [f"{mean['smallest']:.1%}", f"{mean['seconds']:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return lines


def _taus(kept: Mapping[str, Any]) -> list[str]:
    found = {name: spread([one[name] for one in kept["each"]["tau"]]) for name in kept["each"]["tau"][0]}
    return [
        "## Do inherited weights rank architectures?",
        "",
        "Kendall's tau-b over 16 random configurations, mean over seeds with its 95 % interval.",
        "",
        *(f"- {name}: {_interval(one)}" for name, one in found.items()),
        "",
    ]


def _pruning(kept: Mapping[str, Any]) -> list[str]:
    return [
        "## Pruning as architecture search",
        "",
        "Accuracy on test in percentage points of two networks of as many parameters each.",
        "",
        "| | the second | the first | difference (95 %) | verdict |",
        "| --- | --- | --- | --- | --- |",
        *map(_effect, kept["pruning"]),
        "",
    ]
