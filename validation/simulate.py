"""Type I error, coverage and power of every kind of summary, by Monte-Carlo on the code that studies run.

Values are drawn from a law whose effect is known; each sample gets the effect, interval and p that a study would print.
Run alone it prints the table: ``python validation/simulate.py``.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy import stats

from whatelse import items
from whatelse.answer import Answer
from whatelse.behaviours.fairness import _groups, worst_group
from whatelse.statistics import resample, sides

Pair = tuple[np.ndarray, np.ndarray]
SIZES = (20, 200, 2000)
DRAWS, SHARED = 1000, 50  # resamples, and samples that share them
_TRUTH = 100_000  # examples that the true effect is taken from


@dataclass(frozen=True)
class Kind:
    """A kind of summary: ``item`` whose ``summarise`` it is, and ``draw(rng, n, shift)``, values before and after.

    ``columns`` are the names that the item gives them.
    """

    name: str
    item: str
    columns: tuple[str, ...]
    draw: Callable[[np.random.Generator, int, float], Pair]
    shift: float = 1.0
    clusters: bool = False

    def answer(self, values: np.ndarray) -> Answer:
        """Return what the item would have answered of such values."""
        made = torch.from_numpy(values.reshape(len(values), -1)).unbind(1)
        return Answer(dict(zip(self.columns, made, strict=True)))


def flips(rng: np.random.Generator, n: int, shift: float, discordance: float = 0.1) -> Pair:
    """Right or wrong: a tenth of the examples flips, and ``shift`` of 1 makes 4 points more harmed than healed."""
    before = (rng.random(n) < 0.85).astype(float)
    share = discordance / 2
    flip = np.where(before > 0, rng.random(n) < (share + 0.04 * shift) / 0.85, rng.random(n) < share / 0.15)
    return before, np.where(flip, 1 - before, before)


def rare(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Right or wrong, where one example in a hundred flips each way."""
    before = (rng.random(n) < 0.95).astype(float)
    flip = np.where(before > 0, rng.random(n) < (0.01 + 0.02 * shift) / 0.95, rng.random(n) < 0.01 / 0.05)
    return before, np.where(flip, 1 - before, before)


def skewed(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """A skewed number, such as a loss: exponential, half of its variance shared."""
    shared = rng.exponential(size=n)
    before, after = (shared + rng.exponential(size=n) for _ in range(2))
    return before, after + 0.3 * shift


def drops(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Agreement of maps: bounded by 1, skewed to the left."""
    shared = rng.beta(6, 2, n)
    before, after = (np.clip(2 * (0.7 * shared + 0.3 * rng.beta(6, 2, n)) - 1, -1, 1) for _ in range(2))
    return before, after - 0.05 * shift


def latency(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Ratios of times with outliers, of which a median is taken."""
    before, after = (1 + 0.05 * np.abs(rng.standard_t(3, n)) for _ in range(2))
    return before, after + 0.02 * shift


def members(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Scores of a membership attack, half of the records members."""
    member = (np.arange(n) % 2).astype(float)
    shared = rng.normal(size=n)
    sides_ = []
    for extra in (0.5, 0.5 + 0.4 * shift):
        score = math.sqrt(0.6) * shared + math.sqrt(0.4) * rng.normal(size=n) + extra * member
        sides_.append(np.stack([score, member], 1))
    return sides_[0], sides_[1]


def grouped(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Right or wrong in four groups of unequal size; ``shift`` of 1 costs the smallest, the worst, 8 points more.

    Groups below 30 examples are left out of the number, as the behaviours have it: of 20 examples nothing is measured.
    """
    sizes = np.diff(np.round(n * np.array([0, 0.35, 0.6, 0.82, 1]))).astype(int)
    group = rng.permutation(np.repeat(range(4), sizes))
    kept = np.where(sizes[group] < worst_group.Config().least, _groups.LEFT_OUT, group)
    accuracy = np.array([0.92, 0.9, 0.88, 0.8])[group]
    before = (rng.random(n) < accuracy).astype(float)
    share = 0.05 + 0.08 * shift * (group == 3)
    flip = np.where(before > 0, rng.random(n) < share / accuracy, rng.random(n) < 0.05 / (1 - accuracy))
    return np.stack([before, group, kept], 1), np.stack([np.where(flip, 1 - before, before), group, kept], 1)


def classes(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Right or wrong in ten classes, the rarest of 2 % of the examples; a shift of 1 costs the three rarest a third."""
    shares = np.array([0.2, 0.18, 0.16, 0.14, 0.1, 0.08, 0.06, 0.04, 0.02, 0.02])
    code = rng.permutation(
        np.repeat(range(10), np.diff(np.round(n * np.concatenate([[0], shares.cumsum()]))).astype(int))
    )
    _, code = np.unique(code, return_inverse=True)
    before = (rng.random(n) < 0.8).astype(float)
    flip = np.where(before > 0, rng.random(n) < 0.05 / 0.8 + shift * (code > code.max() - 3) / 3, rng.random(n) < 0.25)
    return np.stack([before, code], 1), np.stack([np.where(flip, 1 - before, before), code], 1)


def odds(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Whether class 1 is answered, the true class, the group: one of two groups loses recall of one of two classes.

    The true class stands where the item has groups and the group where it has classes: the gap that is averaged is
    that between the classes, in each group.
    """
    target, group = (rng.random(n) < 0.4).astype(float), (rng.random(n) < 0.35).astype(float)
    before = np.where(rng.random(n) < 0.85, target, 1 - target)
    redo = rng.random(n) < 0.15
    recall = 0.85 - 0.6 * shift * (group == 1) * (target == 1)
    after = np.where(redo, np.where(rng.random(n) < recall, target, 1 - target), before)
    return np.stack([before, target, group], 1), np.stack([after, target, group], 1)


def sure(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Confidence and correctness of two models of equal accuracy; ``shift`` makes the second overconfident."""
    known = rng.beta(4, 1.5, n)
    pair = []
    for extra in (0.0, shift):
        chance = np.clip(known + 0.05 * rng.normal(size=n), 0.01, 0.99)
        right = (rng.random(n) < chance).astype(float)
        pair.append(np.stack([np.clip(chance + 0.08 * extra * (1 - chance) * 2, 0, 1), right], 1))
    return pair[0], pair[1]


def covered(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """The same, where ``shift`` also blurs the second model's confidence."""
    before, after = sure(rng, n, shift)
    noise = rng.normal(size=n)
    after[:, 0] = np.clip(after[:, 0] + 0.25 * shift * noise, 0, 1)
    return before, after


def ratios(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """An error and the change it is relative to."""
    change = rng.exponential(size=n) + 0.2
    pair = [np.stack([change * rng.exponential(0.1 + e, n), change], 1) for e in (0.0, 0.03 * shift)]
    return pair[0], pair[1]


def users(rng: np.random.Generator, n: int, shift: float) -> Pair:
    """Ten examples of each user, who fares alike on all of them; users are resampled whole."""
    user = np.arange(n) // 10
    before = rng.normal(size=n)
    own = rng.normal(size=user[-1] + 1)[user]
    return before, before + own + 0.3 * rng.normal(size=n) + 0.3 * shift


_GROUPED, _SURE = ("correct", "group drawn", "large group drawn"), ("confidence", "correct")
KINDS = (
    Kind("share, 10 % flip", "generalization.accuracy", ("correct",), flips),
    Kind("share, 2 % flip", "generalization.accuracy", ("correct",), rare),
    Kind("mean, skewed", "generalization.likelihood", ("loss",), skewed),
    Kind("mean, bounded", "attribution.agreement", ("agreement",), drops),
    Kind("mean, clustered by ten", "generalization.likelihood", ("loss",), users, clusters=True),
    Kind("median", "efficiency.latency", ("ratio",), latency),
    Kind("ratio of sums", "attribution.completeness", ("error", "change"), ratios),
    Kind("area under the ROC", "membership.loss", ("score", "member"), members),
    Kind("worst group", "fairness.worst_group", _GROUPED, grouped),
    Kind("gap between groups", "fairness.gap", _GROUPED, grouped),
    Kind("mean over classes", "generalization.macro_accuracy", ("correct", "class"), classes),
    Kind("equalized odds", "fairness.odds", ("correct", "group", "class"), odds),
    Kind("binned calibration", "generalization.ece", _SURE, sure),
    Kind("smooth calibration", "generalization.smooth_ece", _SURE, sure),
    Kind("risk and coverage", "generalization.risk_coverage", _SURE, covered),
)


@cache
def truth(kind: Kind, shift: float) -> float:
    """Return the true effect, from very many examples; 0 by symmetry where nothing was shifted."""
    if shift == 0:
        return 0.0
    item = items.behaviour(kind.item)
    rng = np.random.default_rng(99)
    found = []
    for _ in range(8):
        before, after = kind.draw(rng, _TRUTH, shift)
        one = np.ones((1, _TRUTH))
        ends = [item.summarise(kind.answer(values), item.config(), one) for values in (before, after)]
        found.append(float((ends[1] - ends[0])[0]))
    return float(np.mean(found))


def study(kind: Kind, n: int, shift: float, samples: int, seed: int, biases: list[float]) -> list[Any]:
    """Return the effects that a study would print of many samples of one kind, and note the bias of each."""
    rng = np.random.default_rng([seed, n, zlib.crc32(kind.name.encode()), int(10 * shift)])
    found: list[Any] = []
    clusters = np.arange(n) // 10 if kind.clusters else None
    while len(found) < samples:
        drawn = resample.resamples(n, DRAWS, rng, clusters)
        for _ in range(min(SHARED, samples - len(found))):
            pair = kind.draw(rng, n, shift)
            told = [_told(kind, v) for v in pair]
            if any(t is not None and not t.counted.any() for t in told):
                return []  # not measurable
            before, after = (_side(kind, v, drawn, t) for v, t in zip(pair, told, strict=True))
            found.append(sides.contrast(before, after, rng))
            biases.append(max(sides.bias(before), sides.bias(after)))
    return found


def _side(kind: Kind, values: np.ndarray, drawn: resample.Resamples, told: sides.Outcomes | None) -> sides.Side:
    item, like = items.behaviour(kind.item), kind.answer(values)
    config = item.config()
    return sides.side([values], lambda v, weights: item.summarise(like.over(v), config, weights), drawn, told)


def _told(kind: Kind, values: np.ndarray) -> sides.Outcomes | None:
    item, answer = items.behaviour(kind.item), kind.answer(values)
    if item.outcomes is None or item.by_part is None:
        return None
    parts = item.by_part(answer, item.config(), np.ones((1, len(answer)))).shape[1]
    return sides.outcomes([item.outcomes(answer, item.config())], parts, averaged=item.mean_of_parts)


def interval(hits: int, of: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper and Pearson)."""
    found = stats.binomtest(hits, of).proportion_ci(method="exact") if of else (math.nan, math.nan)
    return float(found[0]), float(found[1])


def row(kind: Kind, n: int, samples: int, seed: int = 0) -> dict[str, Any]:
    """Return what was counted over samples without an effect and with one."""
    biases: list[float] = []
    null = study(kind, n, 0.0, samples, seed, biases)
    moved = study(kind, n, kind.shift, samples, seed + 1, biases)
    said = [e for e in null if math.isfinite(e.effect) and math.isfinite(e.low)]
    told = [e for e in moved if math.isfinite(e.effect) and math.isfinite(e.low)]
    nothing, real = truth(kind, 0.0), truth(kind, kind.shift)
    alarms = sum(e.p < 0.05 and (e.low > 0 or e.high < 0) for e in said)
    return {
        "kind": kind.name,
        "item": kind.item,
        "n": n,
        "samples": samples,
        "answered": len(said),
        "alarms": alarms,
        "covered": sum(e.low <= nothing <= e.high for e in said),
        "covered_moved": sum(e.low <= real <= e.high for e in told),
        "answered_moved": len(told),
        "found": sum(e.p < 0.05 and (e.low > 0) == (real > 0) and (e.low > 0 or e.high < 0) for e in told),
        "effect": real,
        "null": nothing,
        "detectable": float(np.median([2.8016 * e.se for e in told])) if told else math.nan,
        "width": float(np.median([e.high - e.low for e in told])) if told else math.nan,
        "biased": float(np.median(biases)) if biases else 0.0,
    }


def main() -> None:
    """Print the table."""
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    for kind in KINDS:
        for n in SIZES:
            if only in kind.name:
                r = row(kind, n, samples)
                m = r["answered"] or 1
                print(
                    f"{kind.name:24} n={n:5} alarms {r['alarms'] / m:.3f} cover {r['covered'] / m:.3f} "
                    f"moved {r['covered_moved'] / max(1, r['answered_moved']):.3f} power {r['found'] / samples:.3f} "
                    f"effect {r['effect']:+.4f} null {r['null']:+.4f} detect {r['detectable']:.4f} "
                    f"bias {r['biased']:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
