"""What a gate that believes Wald's interval lets pass where few examples were looked at, exactly, by enumeration."""

from __future__ import annotations

import math
from typing import Any

from scipy.special import stdtrit
from scipy.stats import binom

from whatelse.statistics import mcnemar

BUDGET = 0.01
RATES, SIZES = (0.02, 0.05, 0.1), (10, 20, 50, 100, 300, 1000)


def passes() -> list[dict[str, Any]]:
    """Return the chance that a gate lets a model pass that harms a share of the examples and heals none.

    The budget is one point. Wald's interval (Student's t on the paired differences, 95 %) is no interval at all where
    nothing flipped; ours is the one-sided bound at 5 % that `whatelse gate` decides on.
    """
    rows = []
    for rate in RATES:
        for n in SIZES:
            chances = [(c, float(binom.pmf(c, n, rate))) for c in range(n + 1)]
            wald = sum(p for c, p in chances if _wald(c, n) <= BUDGET)
            ours = sum(p for c, p in chances if p > 1e-12 and -mcnemar.bounds(0, c, n, 0.9)[0] <= BUDGET)  # noqa: PLR2004
            rows.append({"rate": rate, "n": n, "wald": wald, "ours": ours})
    return rows


def _wald(c: int, n: int) -> float:
    """Return the upper end of Wald's interval for the harm."""
    mean = c / n
    spread = math.sqrt(mean * (1 - mean) / (n - 1))
    return float(mean + stdtrit(n - 1, 0.975) * spread) if spread else mean


def needed(budget: float = BUDGET) -> int:
    """Return how many examples without a flip keep a budget, by the bound at 5 %: the rule of three, exactly."""
    return math.ceil(math.log(0.05) / math.log(1 - budget))


def main() -> None:
    """Print the chances."""
    for row in passes():
        print(row)
    print("without a flip", needed(), "examples keep a budget of one point")


if __name__ == "__main__":
    main()
