"""How often the answer of a search breaks a budget, in worlds where the truth of every candidate is known.

A world is a list of candidates from large to small, each with its chances, by group, to lose a right answer, to heal a
wrong one, or to change it into another. Select and test are drawn from it: candidates answer alike where
examples are hard. What is confirmed is confirmed by the package: `whatelse.searching.confirm`, and the gate on findings
whose bounds are those of an audit (`whatelse.searching.gauge`). Beside it what one would have picked on select alone.
Run alone it prints the table: ``python validation/search.py 100``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from whatelse import items
from whatelse.auditing import ask
from whatelse.auditing.effects import Comparison, Contrast, SubjectValues
from whatelse.auditing.questions import Measurement, Questions, read_questions
from whatelse.auditing.roles import Role
from whatelse.evidence.cache import Evidence
from whatelse.findings.record import Findings
from whatelse.gate import budgets as owners
from whatelse.gate.degradation import LEVEL
from whatelse.models.model import Model
from whatelse.models.recorded import RecordedScores
from whatelse.searching.confirm import finalists, in_sequence
from whatelse.searching.gauge import Gauge, ahead
from whatelse.searching.trial import NAME
from whatelse.statistics.mcnemar import reach
from whatelse.statistics.shared import Pool
from whatelse.tasks.task import SPLITS, Split, Task

SELECT, TEST = 2000, 4000  # examples
GROUPS = np.array([0.4, 0.3, 0.2, 0.1])  # shares of the examples
RIGHT = np.array([0.93, 0.92, 0.9, 0.87])  # what the baseline answers right of each
MOST = {"accuracy": 0.01, "flips": 0.03, "group": 0.025}
ALIKE = 0.5  # correlation of candidates, by how hard examples are
_CLASSES, _DRAWS = 3, 500
_QUESTIONS = f"""name = "search"
title = "Search"
draws = {_DRAWS}
[[rows]]
name = "r"
title = "r"
[[measurements]]
label = "accuracy"
row = "r"
item = "generalization.accuracy"
margin = 0.01
[[measurements]]
label = "flips"
row = "r"
item = "generalization.flips"
settings = {{ kind = "any" }}
margin = 0.01
[[measurements]]
label = "worst group"
row = "r"
item = "fairness.worst_group"
settings = {{ group = "group" }}
margin = 0.01
"""
_BUDGETS = f"""title = "search"
[[budgets]]
label = "accuracy"
most = {MOST["accuracy"]}
[[budgets]]
label = "flips"
most = {MOST["flips"]}
[[budgets]]
label = "worst group"
most = {MOST["group"]}
groups = ["*"]
"""


@dataclass(frozen=True)
class World:
    """Candidates, and what is true of each.

    Attributes:
        size: Of every candidate, ``(candidates,)``.
        lost: Chance that a right answer is lost, ``(candidates, groups)``.
        healed: Chance that a wrong one becomes right, likewise.
        moved: Chance that a wrong one becomes another wrong one, likewise.
    """

    size: np.ndarray
    lost: np.ndarray
    healed: np.ndarray
    moved: np.ndarray

    @property
    def harms(self) -> np.ndarray:
        """The true harm of every budget: accuracy, flips, the worst group and each group, ``(candidates, k)``."""
        groups = RIGHT * self.lost - (1 - RIGHT) * self.healed
        flips = RIGHT * self.lost + (1 - RIGHT) * (self.healed + self.moved)
        worst = RIGHT.min() - (RIGHT - groups).min(1)
        return np.column_stack([groups @ GROUPS, flips @ GROUPS, worst, groups])

    @property
    def breaks(self) -> np.ndarray:
        """Whether a candidate truly breaks a budget, ``(candidates,)``."""
        return np.asarray((self.harms > _most() + 1e-12).any(1))


def _most() -> np.ndarray:
    return np.array([MOST["accuracy"], MOST["flips"], *[MOST["group"]] * (1 + len(GROUPS))])


def drawn(rng: np.random.Generator) -> World:
    """Return a world in which harm grows as size falls, here more and there less, as in a search.

    Args:
        rng: Source of the candidates.
    """
    size = np.exp(-np.linspace(0, 2.3, 60))
    harm = 0.08 * (1 - size) ** rng.uniform(1, 4) * np.exp(0.5 * rng.normal(size=60))
    uneven = np.exp(0.3 * rng.normal(size=(1, 4)) + 0.2 * rng.normal(size=(60, 4)))
    lost = np.clip(harm[:, None] * uneven, 0, 0.5)
    return World(size, lost, np.clip(4 * lost, 0, 0.4), np.clip(2 * lost, 0, 0.4))


def least_favorable(rng: np.random.Generator) -> World:
    """Return a world in which every candidate breaks one budget, by next to nothing: each GO is an error.

    Args:
        rng: Source of which budget each breaks.
    """
    count = 300
    size = np.exp(-np.linspace(0, 2.3, count))
    lost = np.full((count, 4), 0.001)
    moved, healed = np.zeros((count, 4)), np.zeros((count, 4))
    broken = rng.integers(3, size=count)
    hair = 1 + 1e-6
    lost[broken == 0] = MOST["accuracy"] * hair / (RIGHT @ GROUPS)
    moved[broken == 1] = (MOST["flips"] * hair - 0.001 * (RIGHT @ GROUPS)) / ((1 - RIGHT) @ GROUPS)
    # A group that is not the worst, and small.
    lost[broken == 2, 2] = MOST["group"] * hair / RIGHT[2]
    return World(size, lost, healed, moved)


WORLDS: dict[str, Callable[[np.random.Generator], World]] = {
    "drawn": drawn,
    "least favorable": least_favorable,
}


@dataclass(frozen=True)
class Sample:
    """Examples of a world.

    Attributes:
        group: Of every example, ``(n,)``.
        right: Whether the baseline is, ``(n,)``.
        hard: How hard it is, standard normal, ``(n,)``.
    """

    group: np.ndarray
    right: np.ndarray
    hard: np.ndarray

    @classmethod
    def of(cls, n: int, rng: np.random.Generator) -> Sample:
        """Return so many examples.

        Args:
            n: How many.
            rng: Their source.
        """
        group = rng.choice(len(GROUPS), n, p=GROUPS)
        return cls(group, rng.random(n) < RIGHT[group], rng.normal(size=n))

    def answers(self, world: World, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return what becomes of every answer: -1 lost, 1 healed, 2 another wrong one, 0 as it was, ``(k, n)``.

        Args:
            world: The candidates.
            which: Some of them, ``(k,)``.
            rng: Source of what is each one's own.
        """
        own = rng.normal(size=(len(which), len(self.group)))
        at = np.sqrt(ALIKE) * self.hard + np.sqrt(1 - ALIKE) * own
        lost, healed, both = (
            ndtri(chance[which])[:, self.group] for chance in (world.lost, world.healed, world.healed + world.moved)
        )
        wrong = np.where(at < healed, 1, np.where(at < both, 2, 0))
        return np.where(self.right, np.where(at < lost, -1, 0), wrong)


def on_select(sample: Sample, answers: np.ndarray, confirming: int) -> dict[str, np.ndarray]:
    """Return the most that any budget is exceeded by, in shares of it, by three rules, ``(candidates,)`` each.

    Args:
        sample: The examples of select.
        answers: What became of every answer.
        confirming: Examples of test.
    """
    n = len(sample.group)
    parts = [np.ones(n, bool), np.ones(n, bool), *(sample.group == g for g in range(len(GROUPS)))]
    most = [MOST["accuracy"], MOST["flips"], *[MOST["group"]] * len(GROUPS)]
    every: dict[str, list[np.ndarray]] = {"estimate": [], "bound": [], "aimed": []}
    for at, (mine, budget) in enumerate(zip(parts, most, strict=True)):
        moved = answers[:, mine]
        flips = at == 1
        lost = ((moved != 0) if flips else (moved == -1)).sum(1)
        gained = np.zeros_like(lost) if flips else (moved == 1).sum(1)
        of = np.full(len(lost), int(mine.sum()))
        value = (lost - gained) / of
        upper = value + reach(lost, gained, of, LEVEL)[1]
        later = round(confirming * mine.mean())
        aimed = np.array([ahead(float(v), float(u), int(of[0]), later) for v, u in zip(value, upper, strict=True)])
        for name, number in (("estimate", value), ("bound", upper), ("aimed", aimed)):
            every[name].append((number - budget) / budget)
    return {name: np.max(over, 0) for name, over in every.items()}


@cache
def questions() -> Questions:
    """Return what the gate is asked."""
    return read_questions(_QUESTIONS, "search.toml")


@cache
def gauge() -> Gauge:
    """Return what holds candidates against the budgets, as a search does."""
    return Gauge(owners.parse(_BUDGETS, "budgets"), questions(), questions().measurements, "budgets")


def found(sample: Sample, answer: np.ndarray, pool: Pool, seed: int) -> Findings:
    """Return the findings on one candidate.

    Args:
        sample: The examples of test.
        answer: What became of every answer, ``(n,)``.
        pool: Resamples, the same of every candidate.
        seed: Of whatever else is random.
    """
    truth = torch.arange(len(answer)) % _CLASSES
    off = np.where(sample.right, 0, 1)  # classes from the true one
    before = (truth + torch.from_numpy(off)) % _CLASSES
    after = (truth + torch.from_numpy(np.select([answer == -1, answer == 1, answer == 2], [1, 0, 2], off))) % _CLASSES
    split = Split(torch.zeros(len(answer), 1), truth, truth, {"group": torch.from_numpy(sample.group)})
    names = {"group": tuple(f"group {g}" for g in range(len(GROUPS)))}
    task = Task("search", _CLASSES, None, dict.fromkeys(SPLITS, split), names)
    base = _evidence(Role.BASELINE, before, task, None)
    mine = _evidence(NAME, after, task, base)
    contrasts = {m.label: _contrast(m, base, mine, pool, seed) for m in questions().measurements}
    return gauge().findings(contrasts)


def _evidence(name: str, said: Tensor, task: Task, reference: Evidence | None) -> Evidence:
    scores = torch.nn.functional.one_hot(said.long(), _CLASSES).float()
    return Evidence(Model(name, RecordedScores({"test": scores}), name), task, reference=reference)


def _contrast(m: Measurement, base: Evidence, mine: Evidence, pool: Pool, seed: int) -> tuple[Contrast, ...]:
    item = items.behaviour(m.item)
    held = Comparison(item, item.configure(m.settings), pool, np.random.default_rng([seed, 1]))
    for name, evidence in ((str(Role.BASELINE), base), (NAME, mine)):
        seen = SubjectValues()
        seen.add(ask.ask(item, m.settings, evidence, base, ask.generator(m.label, str(seed))))
        held.take(name, seen)
    return held.against(((NAME, str(Role.BASELINE)),))


def searched(kind: str, seed: int) -> dict[str, Any]:
    """Return what three rules pick in one world, and whether that truly breaks a budget; None where nothing is picked.

    Args:
        kind: One of `WORLDS`.
        seed: Which.
    """
    rng = np.random.default_rng([seed, list(WORLDS).index(kind)])
    world = WORLDS[kind](rng)
    select, test = Sample.of(SELECT, rng), Sample.of(TEST, rng)
    every = np.arange(len(world.size))
    over = on_select(select, select.answers(world, every, rng), TEST)
    order = finalists([(at, float(world.size[at]), float(over["aimed"][at])) for at in every])
    answers = test.answers(world, np.array(order, dtype=int), rng)
    opened: list[int] = []
    pool = Pool(_DRAWS, np.random.default_rng(seed))

    def passes(at: int) -> bool:
        opened.append(at)
        return gauge().decide(found(test, answers[order.index(at)], pool, seed)).verdict == "GO"

    picked = {rule: _smallest(world, over[rule]) for rule in ("estimate", "bound", "aimed")}
    picked["confirmed"] = in_sequence(order, passes)
    kept = world.size[~world.breaks]
    return {
        "world": kind,
        "seed": seed,
        "finalists": len(order),
        "opened": len(opened),
        "best": float(kept.min()) if len(kept) else None,
        **{f"{rule} breaks": None if at is None else bool(world.breaks[at]) for rule, at in picked.items()},
        **{f"{rule} size": None if at is None else float(world.size[at]) for rule, at in picked.items()},
    }


def _smallest(world: World, over: np.ndarray) -> int | None:
    passing = np.flatnonzero(over <= 0)
    return int(passing[world.size[passing].argmin()]) if len(passing) else None


def main() -> None:
    """Print how often each rule answers, and how often its answer breaks a budget."""
    import page

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rows = [searched(kind, seed) for kind in WORLDS for seed in range(count)]
    print(page._searches({"search": rows}))


if __name__ == "__main__":
    main()
