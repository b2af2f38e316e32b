"""How often the answer of a search breaks a budget, in worlds where the truth of every candidate is known.

A world is a list of candidates from large to small, each with its chances, by group, to lose a right answer, to heal a
wrong one, or to change it into another, and to be less sure of a right one. Select and test are drawn from it:
candidates answer alike where examples are hard. What is confirmed is confirmed by the package:
`whatelse.searching.confirm`, and the gate on findings whose bounds are those of an audit (`whatelse.searching.gauge`).
Beside it what one would have picked on select alone. Run alone it prints the table, and keeps what it has measured:
``python validation/search.py 100``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from whatelse import items
from whatelse.auditing import ask
from whatelse.auditing.effects import Comparison, SubjectValues
from whatelse.auditing.questions import Measurement, Questions, read_questions
from whatelse.auditing.roles import Role
from whatelse.evidence.cache import Evidence
from whatelse.findings.record import Findings
from whatelse.gate import budgets as owners
from whatelse.gate.degradation import LEVEL
from whatelse.models.model import Model
from whatelse.models.recorded import RecordedScores
from whatelse.searching.confirm import finalists, in_sequence
from whatelse.searching.gauge import AIM, REACHED, STRAYS, Gauge, ahead
from whatelse.searching.trial import NAME
from whatelse.statistics.mcnemar import reach
from whatelse.statistics.paired import hall, skewness
from whatelse.statistics.shared import Pool
from whatelse.tasks.task import SPLITS, Split, Task

SELECT, TEST = 2000, 4000  # examples
GROUPS = np.array([0.4, 0.3, 0.2, 0.1])  # shares of the examples
RIGHT = np.array([0.93, 0.92, 0.9, 0.87])  # what the baseline answers right of each
MOST = {"accuracy": 0.01, "flips": 0.03, "group": 0.025, "likelihood": 0.02}
SURE, WRONG = 0.02, 1.5  # losses of a right answer, and of a wrong one
LESS, SELDOM = (0.1, 0.9), 0.2  # by how much more a right answer may lose, and how often that is the larger
_KEPT = 40  # searches after which a run that is cut off goes on
ALIKE = 0.5  # correlation of candidates, by how hard examples are
_CLASSES, _DRAWS = 3, 2000
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
label = "likelihood"
row = "r"
item = "generalization.likelihood"
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
label = "likelihood"
most = {MOST["likelihood"]}
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
        unsure: Chance that a right answer stays and loses more, ``(candidates,)``.
    """

    size: np.ndarray
    lost: np.ndarray
    healed: np.ndarray
    moved: np.ndarray
    unsure: np.ndarray

    @property
    def harms(self) -> np.ndarray:
        """The true harm of every budget, ``(candidates, k)``.

        Accuracy, flips, likelihood, the worst group and each group.
        """
        groups = RIGHT * self.lost - (1 - RIGHT) * self.healed
        flips = RIGHT * self.lost + (1 - RIGHT) * (self.healed + self.moved)
        worst = RIGHT.min() - (RIGHT - groups).min(1)
        more = (1 - SELDOM) * LESS[0] + SELDOM * LESS[1]
        stay = (RIGHT * (1 - self.lost)) @ GROUPS
        loss = (groups @ GROUPS) * (WRONG - SURE) + self.unsure * stay * more
        return np.column_stack([groups @ GROUPS, flips @ GROUPS, loss, worst, groups])

    @property
    def breaks(self) -> np.ndarray:
        """Whether a candidate truly breaks a budget, ``(candidates,)``."""
        return np.asarray((self.harms > _most() + 1e-12).any(1))


def _most() -> np.ndarray:
    return np.array([MOST["accuracy"], MOST["flips"], MOST["likelihood"], *[MOST["group"]] * (1 + len(GROUPS))])


def drawn(rng: np.random.Generator) -> World:
    """Return a world in which harm grows as size falls, here more and there less, as in a search.

    Args:
        rng: Source of the candidates.
    """
    size = np.exp(-np.linspace(0, 2.3, 60))
    harm = 0.08 * (1 - size) ** rng.uniform(1, 4) * np.exp(0.5 * rng.normal(size=60))
    uneven = np.exp(0.3 * rng.normal(size=(1, 4)) + 0.2 * rng.normal(size=(60, 4)))
    lost = np.clip(harm[:, None] * uneven, 0, 0.5)
    return World(size, lost, np.clip(4 * lost, 0, 0.4), np.clip(2 * lost, 0, 0.4), harm)


def least_favorable(rng: np.random.Generator) -> World:
    """Return a world in which every candidate breaks one budget, by next to nothing: each GO is an error.

    Args:
        rng: Source of which budget each breaks.
    """
    count = 300
    size = np.exp(-np.linspace(0, 2.3, count))
    lost = np.full((count, 4), 0.001)
    moved, healed = np.zeros((count, 4)), np.zeros((count, 4))
    unsure, broken = np.zeros(count), rng.integers(4, size=count)
    hair = 1 + 1e-6
    lost[broken == 0] = MOST["accuracy"] * hair / (RIGHT @ GROUPS)
    moved[broken == 1] = (MOST["flips"] * hair - 0.001 * (RIGHT @ GROUPS)) / ((1 - RIGHT) @ GROUPS)
    # A group that is not the worst, and small.
    lost[broken == 2, 2] = MOST["group"] * hair / RIGHT[2]
    # A few examples carry all of a loss.
    spent = (
        World(size, lost, healed, moved, np.ones(count)).harms[:, 2],
        World(size, lost, healed, moved, unsure).harms[:, 2],
    )
    unsure[broken == 3] = ((MOST["likelihood"] * hair - spent[1]) / (spent[0] - spent[1]))[broken == 3]
    return World(size, lost, healed, moved, unsure)


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
        """Return what becomes of every answer, ``(k, n)``: -1 lost, 1 healed, 2 another wrong one, 0 as it was.

        3 and 4 are right ones that lose a little or much more.

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
        less = np.where(rng.random(own.shape) < SELDOM, 4, 3)
        stays = np.where(rng.random(own.shape) < world.unsure[which, None], less, 0)
        return np.where(self.right, np.where(at < lost, -1, stays), wrong)

    def losses(self, answers: np.ndarray) -> np.ndarray:
        """Return the loss of every example after what became of its answer, of the shape of the answers.

        Args:
            answers: What `answers` returned.
        """
        told = [answers == -1, answers == 1, answers == 3, answers == 4]  # noqa: PLR2004 - kinds of answers
        lost = [WRONG, SURE, SURE + LESS[0], SURE + LESS[1]]
        return np.select(told, lost, np.where(self.right, SURE, WRONG))


def on_select(sample: Sample, answers: np.ndarray, confirming: int) -> dict[str, np.ndarray]:
    """Return the most that any budget is exceeded by, in shares of it, by two rules, ``(candidates,)`` each.

    By the estimate and by its bound; and the ``chance`` that a confirmation passes.

    Args:
        sample: The examples of select.
        answers: What became of every answer.
        confirming: Examples of test.
    """
    every: dict[str, list[np.ndarray]] = {"estimate": [], "bound": [], "chance": []}
    for value, upper, n, budget in _measured(sample, answers):
        later = round(confirming * n / len(sample.group))
        spread = (upper - value) / REACHED * np.sqrt(1 + n / later)
        every["estimate"].append((value - budget) / budget)
        every["bound"].append((upper - budget) / budget)
        # Of a budget that nothing strays from, whether it is kept.
        with np.errstate(divide="ignore"):
            away = (budget - ahead(value, upper, n, later)) / spread
        every["chance"].append(ndtr(STRAYS + away))
    return {name: (np.min if name == "chance" else np.max)(over, 0) for name, over in every.items()}


def _measured(sample: Sample, answers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int, float]]:
    """Return of every budget the harms, their upper bounds, the number of examples, and what is accepted."""
    n = len(sample.group)
    parts = [np.ones(n, bool), np.ones(n, bool), *(sample.group == g for g in range(len(GROUPS)))]
    most = [MOST["accuracy"], MOST["flips"], *[MOST["group"]] * len(GROUPS)]
    for at, (mine, budget) in enumerate(zip(parts, most, strict=True)):
        moved = answers[:, mine]
        lost = (np.isin(moved, (-1, 1, 2)) if at == 1 else (moved == -1)).sum(1)
        gained = np.zeros_like(lost) if at == 1 else (moved == 1).sum(1)
        of = np.full(len(lost), int(mine.sum()))
        value = (lost - gained) / of
        yield value, value + reach(lost, gained, of, LEVEL)[1], int(of[0]), budget
    more = sample.losses(answers) - np.where(sample.right, SURE, WRONG)
    skew = np.array([skewness(one) for one in more])
    se = more.std(1) / math.sqrt(n)
    yield more.mean(1), more.mean(1) + se * hall(np.array(REACHED), skew), n, MOST["likelihood"]


@cache
def questions() -> Questions:
    """Return what the gate is asked."""
    return read_questions(_QUESTIONS, "search.toml")


@cache
def gauge() -> Gauge:
    """Return what holds candidates against the budgets, as a search does."""
    return Gauge(owners.parse(_BUDGETS, "budgets"), questions(), questions().measurements, "budgets")


def found(sample: Sample, answers: np.ndarray, pool: Pool, seed: int) -> list[Findings]:
    """Return the findings on some candidates, each held against the baseline.

    Args:
        sample: The examples of test.
        answers: What became of every answer, ``(k, n)``.
        pool: Resamples, the same of every candidate.
        seed: Of whatever else is random.
    """
    n = len(sample.group)
    truth = torch.arange(n) % _CLASSES
    split = Split(torch.zeros(n, 1), truth, truth, {"group": torch.from_numpy(sample.group)})
    names = {"group": tuple(f"group {g}" for g in range(len(GROUPS)))}
    task = Task("search", _CLASSES, None, dict.fromkeys(SPLITS, split), names)
    base = _evidence(Role.BASELINE, sample, np.zeros(n, int), truth, task, None)
    models = [_evidence(NAME, sample, one, truth, task, base) for one in answers]
    # All are taken before any is held against another, so that resamples are drawn once.
    taken = {m.label: _taken(m, base, models, pool, seed) for m in questions().measurements}
    pairs = [(f"{NAME} {at}", str(Role.BASELINE)) for at in range(len(models))]
    contrasts = {name: [replace(one, candidate=NAME) for one in held.against(pairs)] for name, held in taken.items()}
    return [gauge().findings({label: (told[at],) for label, told in contrasts.items()}) for at in range(len(answers))]


def _evidence(
    name: str, sample: Sample, answers: np.ndarray, truth: Tensor, task: Task, reference: Evidence | None
) -> Evidence:
    """Return a model that is as sure of the truth as its losses say, and of one other class that it may answer."""
    right = (sample.right & (answers != -1)) | (answers == 1)
    off = np.where(right, 0, np.where(answers == 2, 2, 1))  # noqa: PLR2004 - another wrong one
    sure = torch.from_numpy(np.exp(-sample.losses(answers)))
    chances = ((1 - sure) / (_CLASSES - 1))[:, None].repeat(1, _CLASSES)
    chances[torch.arange(len(truth)), truth] = sure
    # A wrong answer has nearly all that the truth has not.
    wrong, said = torch.from_numpy(~right), (truth + torch.from_numpy(off)) % _CLASSES
    chances[wrong, said[wrong]] += 0.1
    rest = (truth[wrong] + torch.from_numpy(3 - off[~right])) % _CLASSES
    chances[wrong, rest] -= 0.1
    return Evidence(Model(name, RecordedScores({"test": chances.log().float()}), name), task, reference=reference)


def _taken(m: Measurement, base: Evidence, models: Sequence[Evidence], pool: Pool, seed: int) -> Comparison:
    item = items.behaviour(m.item)
    held = Comparison(item, item.configure(m.settings), pool, np.random.default_rng([seed, 1]))
    names = [f"{NAME} {at}" for at in range(len(models))]
    for name, evidence in zip((str(Role.BASELINE), *names), (base, *models), strict=True):
        seen = SubjectValues()
        seen.add(ask.ask(item, m.settings, evidence, base, ask.generator(m.label, str(seed))))
        held.take(name, seen)
    return held


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
    told = on_select(select, select.answers(world, every, rng), TEST)
    order = finalists([(at, float(world.size[at]), float(told["chance"][at])) for at in every])
    answers = test.answers(world, np.array(order, dtype=int), rng)
    pool, held = Pool(_DRAWS, np.random.default_rng(seed)), list[Findings]()
    opened: list[int] = []

    def passes(at: int) -> bool:
        if len(held) < 2:  # noqa: PLR2004 - the first alone: where it fails the others need not be measured
            held.extend(found(test, answers[:1] if not held else answers[1:], pool, seed))
        opened.append(at)
        return gauge().decide(held[order.index(at)]).verdict == "GO"

    picked = {rule: _smallest(world, told[rule] <= 0) for rule in ("estimate", "bound")}
    picked["aimed"] = _smallest(world, told["chance"] >= AIM)
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


def _smallest(world: World, passing: np.ndarray) -> int | None:
    some = np.flatnonzero(passing)
    return int(some[world.size[some].argmin()]) if len(some) else None


def main() -> None:
    """Print how often each rule answers, and how often its answer breaks a budget; a run that was cut off goes on."""
    import page
    import run

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    path, code = run.KEPT / "searches.json", run.code()
    old = json.loads(path.read_text("utf-8")) if path.exists() else {}
    rows: list[dict[str, Any]] = old["rows"] if old.get("code") == code else []
    done = {(row["world"], row["seed"]) for row in rows}
    left = [(kind, seed) for seed in range(count) for kind in WORLDS if (kind, seed) not in done]
    path.parent.mkdir(exist_ok=True)
    for at, asked in enumerate(left):
        rows.append(searched(*asked))
        if at % _KEPT == _KEPT - 1 or at == len(left) - 1:
            path.with_suffix(".part").write_text(json.dumps({"code": code, "rows": rows}), "utf-8")
            path.with_suffix(".part").replace(path)
    asked_for = [row for kind in WORLDS for row in rows if row["world"] == kind and row["seed"] < count]
    print(page._searches({"search": asked_for}))


if __name__ == "__main__":
    main()
