"""What looking again and again costs: false alarms, and after how many examples a verdict is clear.

Confidence sequences (`whatelse.statistics.sequential`) against a fixed 95 % interval that is looked at each time, and
against the number of examples that a plan made beforehand asks for. Samples are drawn from laws with a few values, so
that the code under test sees all of them at once. Run alone it prints tables: ``python validation/peeking.py``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta, binomtest

from whatelse.statistics import power, sequential

EVERY = 20  # examples between looks
LOOKS, LONG = 250, 1000  # looks under the null, and at most where a verdict is waited for
ALTERNATIVES = ((0.02, 0.02), (0.05, 0.02), (0.1, 0.02), (0.0, 0.02), (0.0, 0.05))  # effect, margin
# Ways to look; "then fixed" takes the fixed interval after the last look where the sequence did not stop before.
RULES = ("confidence sequence", "sequence, then fixed", "fixed, every look", "fixed, last look")
_BLOCK = 100  # samples at once


@dataclass(frozen=True)
class Law:
    """Differences candidate minus control: what they may be, and with what chance, both ``(k,)``."""

    values: np.ndarray
    chances: np.ndarray

    @property
    def variance(self) -> float:
        """The variance of one difference."""
        return float(self.chances @ self.values**2 - (self.chances @ self.values) ** 2)


def flips(share: float) -> Callable[[float], Law]:
    """Return the law of right or wrong, where ``share`` flip each way and the effect is more of one flip."""
    return lambda effect: Law(np.array([-1.0, 0, 1]), np.array([share + effect, 1 - 2 * share - effect, share]))


def drops(effect: float) -> Law:
    """Return the law of a drop in agreement of maps: mostly small, at times large, with a mean of minus the effect."""
    ends = np.linspace(0, 0.9, 46)
    chances = np.diff(beta(0.6, 6).cdf(ends))
    chances /= chances.sum()
    middle = (ends[1:] + ends[:-1]) / 2
    return Law(chances @ middle - middle - effect, chances)


KINDS = {
    "rare flips, 1 % each way": flips(0.01),
    "flips, 5 % each way": flips(0.05),
    "robust accuracy, 10 % each way": flips(0.1),
    "drops of agreement": drops,
}


def simulate(samples: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return one row for every kind under the null, and one for every kind, effect and margin.

    Args:
        samples: Number of samples of each row.
        rng: Where the random numbers come from.
    """
    rows = [false_alarms(kind, samples, rng) for kind in KINDS]
    return rows + [stopping(kind, *pair, samples, rng) for kind in KINDS for pair in ALTERNATIVES]


def false_alarms(kind: str, samples: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the share of samples without an effect that were ever flagged, each with its exact 95 % interval.

    Args:
        kind: One of `KINDS`.
        samples: Number of samples.
        rng: Where the random numbers come from.
    """
    law = KINDS[kind](0.0)
    flagged = []
    for counts in _looks(law, samples, LOOKS, rng):
        ours = (_wealth(law, counts, 0.0) >= math.log(40)).any(1)
        wrong = _outside(law, counts)
        flagged.append(np.stack([ours, ours | wrong[:, -1], wrong.any(1), wrong[:, -1]]))
    times = np.concatenate(flagged, 1).sum(1)
    shares = {name: _share(int(k), samples) for name, k in zip(RULES, times, strict=True)}
    return {"table": "null", "kind": kind, "samples": samples, "examples": EVERY * LOOKS, **shares}


def stopping(kind: str, effect: float, margin: float, samples: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return after how many examples the verdict is clear (`sequential.settled`), and how many a plan asks for.

    Args:
        kind: One of `KINDS`.
        effect: The true difference.
        margin: What the owner accepts.
        samples: Number of samples.
        rng: Where the random numbers come from.
    """
    law = KINDS[kind](effect)
    first = []
    for counts in _looks(law, samples, LONG, rng):
        changed = _wealth(law, counts, 0.0) >= math.log(40)
        same = np.logical_and(*(np.maximum.accumulate(w >= math.log(20), 1) for w in _sides(law, counts, margin)))
        clear = changed | same
        first.append(np.where(clear.any(1), EVERY * (clear.argmax(1) + 1), np.inf))
    at = np.concatenate(first)
    if effect:
        planned = math.ceil((power.detectable(math.sqrt(law.variance)) / effect) ** 2)
    else:
        planned = power.equivalence_n(law.variance, margin, 0.8)
    median, most = np.quantile(at, [0.5, 0.9], method="higher")
    return {
        "table": "stopping",
        "kind": kind,
        "effect": effect,
        "margin": margin,
        "samples": samples,
        "median": float(median),
        "most": float(most),
        "planned": planned,
        "sooner": _share(int((at < planned).sum()), samples),
        "cautious": math.ceil(power.detectable(math.sqrt(law.variance)) ** 2 / margin**2),
    }


def _looks(law: Law, samples: int, looks: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield how often each value was seen up to each look, ``(some samples, looks, k)``."""
    for start in range(0, samples, _BLOCK):
        shape = (min(_BLOCK, samples - start), looks)
        yield rng.multinomial(EVERY, law.chances, shape).cumsum(1).astype(np.float64)


def _sides(law: Law, counts: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the log wealth against a mean of -margin or less, and of margin or more, each ``(samples, looks)``."""
    flat, mean = counts.reshape(-1, counts.shape[-1]).T, np.array([(1 - margin) / 2])
    above, below = (sequential.wealth((1 + sign * law.values) / 2, flat, mean)[0] for sign in (1, -1))
    return above.reshape(counts.shape[:2]), below.reshape(counts.shape[:2])


def _wealth(law: Law, counts: np.ndarray, margin: float) -> np.ndarray:
    """Return the log wealth of the richer of both, ``(samples, looks)``."""
    above, below = _sides(law, counts, margin)
    return np.asarray(np.maximum(above, below))


def _outside(law: Law, counts: np.ndarray) -> np.ndarray:
    """Return whether the mean plus and minus 1.96 standard errors excludes 0 at each look, ``(samples, looks)``."""
    n = counts.sum(-1)
    mean = counts @ law.values / n
    variance = (counts @ law.values**2 / n - mean**2) * n / (n - 1)
    return np.asarray(np.abs(mean) > 1.96 * np.sqrt(np.maximum(variance, 0) / n))


def _share(k: int, n: int) -> tuple[float, float, float]:
    found = binomtest(k, n).proportion_ci(0.95, "exact")
    return k / n, float(found.low), float(found.high)


def main() -> None:
    """Print the tables."""
    samples, seed = (int(given) for given in (*sys.argv[1:], *("1000", "0")[len(sys.argv) - 1 :]))
    rows = simulate(samples, np.random.default_rng(seed))
    lines = [
        f"{samples} samples a row, seed {seed}, a look every {EVERY} examples; brackets are exact 95 % intervals.",
        "",
        f"No effect, share of samples flagged within {EVERY * LOOKS} examples:",
        "",
        "| kind | " + " | ".join(RULES) + " |",
        "| --- " * (1 + len(RULES)) + "|",
    ]
    for row in (r for r in rows if r["table"] == "null"):
        lines.append("| " + " | ".join([row["kind"], *(_said(row[rule]) for rule in RULES)]) + " |")
    lines += [
        "",
        "Examples until the verdict is clear; what a plan with power .8 asks for that knows the effect (two one-sided",
        "tests where it is 0), and one that is to find an effect as large as the margin:",
        "",
        "| kind | effect | margin | median | 90 % | planned | sooner than planned | planned for the margin |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in (r for r in rows if r["table"] == "stopping"):
        ends = [f"{row[k]:,.0f}" if math.isfinite(row[k]) else f"> {EVERY * LONG:,}" for k in ("median", "most")]
        numbers = [f"{row['effect']:g}", f"{row['margin']:g}", *ends, f"{row['planned']:,}", _said(row["sooner"])]
        numbers.append(f"{row['cautious']:,}")
        lines.append("| " + " | ".join([row["kind"], *numbers]) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


def _said(share: tuple[float, float, float]) -> str:
    return f"{share[0]:.1%} [{share[1]:.1%}, {share[2]:.1%}]"


if __name__ == "__main__":
    main()
