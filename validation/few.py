"""Harm to a few: a small group and a rare class that are lost, what the default gate says, and its false alarms.

Run alone it prints both: ``python validation/few.py 10``.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import planted
import torch
import world
from torch import Tensor, nn

import whatelse
from whatelse.auditing.questions import Questions, default, read_questions
from whatelse.gate import budgets as owners
from whatelse.gate.decide import Answer, decide
from whatelse.gate.match import Question
from whatelse.tasks.task import Task

RARE = 4  # the class that is made rare
ITEMS = ("generalization.accuracy", "generalization.macro_accuracy", "fairness.worst_group")


@dataclass(frozen=True)
class Few:
    """So many test examples of one group or class, and the share of them that is answered wrong."""

    what: str  # group or class
    n: int
    lost: float


FEW = tuple(Few(what, n, lost) for what in ("group", "class") for n in (5, 12, 25) for lost in (0.5, 1.0))
NULL = 0.02  # share of all answers that a harmless candidate changes: nobody loses more than the budgets accept


@cache
def questions() -> Questions:
    """Return those of the default questions that look at groups and classes."""
    table = tomllib.loads(default())
    rows = {m["row"] for m in table["measurements"] if m["item"] in ITEMS}
    lines = ['name = "few"\ntitle = "Few"\ndraws = 2000\n']
    lines += [f'[[rows]]\nname = "{row}"\ntitle = "{row}"\n' for row in sorted(rows)]
    for m in (m for m in table["measurements"] if m["item"] in ITEMS):
        given = 'settings = { group = "group" }\n' if m["item"] == "fairness.worst_group" else ""
        told = (f"{k} = {json.dumps(v)}\n" for k, v in m.items() if k != "settings")
        lines.append(f"[[measurements]]\n{given}{''.join(told)}")
    return read_questions("".join(lines), "few.toml")


def task(few: Few, seed: int) -> Task:
    """Return a task whose test split has only so many of the marked, or of the rare class."""
    made = world.task(planted.N, torch.Generator().manual_seed(2000 + seed))
    test = made.test
    mine = test.groups["group"] == 1 if few.what == "group" else test.targets == RARE
    kept = ~mine | (mine.cumsum(0) <= few.n)
    return replace(made, splits={**made.splits, "test": test.take(torch.nonzero(kept).flatten())})


def candidate(base: nn.Sequential, few: Few) -> nn.Module:
    """Return a model that answers a share of the marked, or of what it takes for the rare class, wrong."""

    def whom(logits: Tensor, x: Tensor) -> Tensor:
        marked = x[:, 0, world.GROUP[0], world.GROUP[1]] > 0.5  # noqa: PLR2004 - a mark is 0 or 1
        return marked if few.what == "group" else logits.argmax(1) == RARE

    return planted.Wrapped(base, planted._wrong(few.lost, whom))


def harmed(few: Few, seed: int) -> dict[str, Any]:
    """Return what the gate says of a planted harm to a few."""
    base = planted.baseline(seed)
    answers, verdict = _ruled(base, candidate(base, few), task(few, seed), seed)
    label, group = ("worst group accuracy", "marked") if few.what == "group" else ("macro accuracy", f"class {RARE}")
    mine = next(a for a in answers if (a.question.place.label, a.question.group) == (label, group))
    whole = next(a for a in answers if a.question.place.label == label and not a.question.group)
    accuracy = next(a for a in answers if a.question.place.label == "accuracy")
    return {
        "what": few.what,
        "size": few.lost,
        "n": mine.question.n,
        "harm": mine.question.harm.value if mine.question.harm else None,
        "decision": mine.decision,
        "kept": _keeps(mine) or _keeps(whole),
        "verdict": verdict,
        "accuracy_only": _value(accuracy.question) > planted.POINT,
    }


def harmless(number: int) -> dict[str, Any]:
    """Return which groups and classes are called harmed by a candidate that changes few answers, of whomever."""
    few = FEW[2 * (number % (len(FEW) // 2))]
    base = planted.baseline(number)
    other = planted.Wrapped(base, planted._wrong(NULL, lambda logits, _: logits.argmax(1) >= 0))
    answers, _ = _ruled(base, other, task(few, 5000 + number), number)
    asked = [a for a in answers if a.question.place.label != "accuracy"]
    return {
        "asked": len(asked),
        "exceeded": [f"{a.question.place.label}: {a.question.group}" for a in asked if a.decision == "exceeded"],
        "uncorrected": sum(a.p is not None and a.p <= 0.05 for a in asked),  # noqa: PLR2004 - the level
    }


def _ruled(base: nn.Module, other: nn.Module, on: Task, seed: int) -> tuple[tuple[Answer, ...], str]:
    found = whatelse.audit(base, {"candidate": other}, on, questions(), seed=seed)
    gate = decide(owners.parse(owners.default()), found)
    return gate.rulings[0].answers, gate.verdict


def _keeps(answer: Answer) -> bool:
    return answer.open or answer.broken


def _value(question: Question) -> float:
    return question.harm.value if question.harm else 0.0


def rows(harms: int, nothing: int) -> Iterator[tuple[str, Any]]:
    """Yield what is to be measured: every harm so many times, and so many harmless candidates."""
    yield from (("harm", (few, seed)) for few in FEW for seed in range(harms))
    yield from (("null", number) for number in range(nothing))


def measured(asked: tuple[str, Any]) -> dict[str, Any]:
    """Return one row."""
    kind, what = asked
    return {"kind": kind, **(harmed(*what) if kind == "harm" else harmless(what))}


def main() -> None:
    """Print what becomes of each harm, and the false alarms."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found = [measured(asked) for asked in rows(times, 4 * times)]
    for few in FEW:
        mine = [
            r for r in found if r["kind"] == "harm" and (r["what"], r["n"], r["size"]) == (few.what, few.n, few.lost)
        ]
        print(few, {d: sum(r["decision"] == d for r in mine) for d in ("exceeded", "undecided", "within")}, end=" ")
        print({v: sum(r["verdict"] == v for r in mine) for v in ("GO", "INCONCLUSIVE", "NO-GO")}, flush=True)
    null = [r for r in found if r["kind"] == "null"]
    print("false alarms", sum(bool(r["exceeded"]) for r in null), "of", len(null), [r for r in null if r["exceeded"]])


if __name__ == "__main__":
    main()
