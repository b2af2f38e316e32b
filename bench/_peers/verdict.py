"""From the files of all seeds to one row a pair: differences with their intervals, and a verdict."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from _peers import tasks
from _peers.pairs import PAIRS, Pair
from whatelse.statistics import mcnemar, paired, summaries

_MORE = 1.05  # So many times the peer's bytes or time is worth a word.


def rows(folder: Path, seeds: int) -> list[dict[str, Any]]:
    """Return one record a pair.

    Args:
        folder: Where the files are.
        seeds: How many.
    """
    return [_row(pair, [_read(folder, pair.net, seed, pair.key) for seed in range(seeds)]) for pair in PAIRS]


def baselines(folder: Path, seeds: int) -> dict[str, dict[str, float]]:
    """Return accuracy and bytes of the baselines, by network.

    Args:
        folder: Where the files are.
        seeds: How many.
    """
    found = {}
    for net in tasks.ARENAS:
        records = [_read(folder, net, seed, "baseline") for seed in range(seeds)]
        found[net] = {
            "accuracy": float(np.mean([np.mean(r["right"]) for r in records])),
            "bytes": float(np.mean([r["bytes"] for r in records])),
        }
    return found


def _read(folder: Path, net: str, seed: int, key: str) -> dict[str, Any]:
    path = folder / f"{net}-{seed}-{key}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {"failed": "the process ended before it"}


def _row(pair: Pair, records: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"net": pair.net, "ours": pair.ours, "peer": pair.name, "note": pair.note}
    row["tuned"] = pair.tune.epochs if pair.tune else 0
    failed = [r["failed"] for r in records if "failed" in r]
    if failed:
        return row | {"verdict": f"failed: {failed[0]}"}
    right = {side: [np.array(r[side]["right"], float) for r in records] for side in ("ours", "peer")}
    for side, values in right.items():
        row[f"accuracy_{side}"] = float(np.mean(values))
        for name in ("bytes", "architecture", "nonzero", "seconds"):
            row[f"{name}_{side}"] = float(np.mean([r[side][name] for r in records]))
        turns = np.concatenate([r["ratios"][side] for r in records])
        row[f"latency_{side}"] = [float(q) for q in np.quantile(turns, (0.25, 0.5, 0.75))]
    row |= _difference(right["ours"], right["peer"])
    return row | {"verdict": _verdict(row)}


def _difference(ours: list[np.ndarray], peer: list[np.ndarray]) -> dict[str, Any]:
    """Return ours minus the peer's accuracy: over seeds, over seeds and examples, over all examples pooled."""
    each = np.array([a.mean() - b.mean() for a, b in zip(ours, peer, strict=True)])
    half = math.nan
    if len(each) > 1:
        half = float(stdtrit(len(each) - 1, 0.975) * each.std(ddof=1) / math.sqrt(len(each)))
    both = paired.effect(peer, ours, summaries.mean, np.random.default_rng(0))
    a, b = np.concatenate(ours), np.concatenate(peer)
    pooled = mcnemar.interval(int((a > b).sum()), int((a < b).sum()), len(a))
    mean = float(each.mean())
    return {
        "difference": mean,
        "by_seed": each.tolist(),
        "t_interval": [mean - half, mean + half],
        "interval": [both.low, both.high],
        "pooled": list(pooled),
        "changed": int((a != b).sum()),
    }


def _verdict(row: dict[str, Any]) -> str:
    words = [_accuracy(row)]
    if row["bytes_ours"] > _MORE * row["bytes_peer"]:
        words.append(f"larger {row['bytes_ours'] / row['bytes_peer']:.2f} x")
    (low, ours, _), (_, peer, high) = row["latency_ours"], row["latency_peer"]
    if ours > _MORE * peer and low > high:
        words.append(f"slower {ours / peer:.2f} x")
    return ", ".join(words)


def _accuracy(row: dict[str, Any]) -> str:
    if not row["changed"]:
        return "level: same answers"
    for word, (low, high) in (("", row["interval"]), ("level, leaning ", row["pooled"])):
        if low > 0:
            return f"{word}ahead"
        if high < 0:
            return f"{word}behind"
    return "level"
