"""Findings made by hand: effects with the bounds of a normal distribution, nothing measured."""

from __future__ import annotations

import json
from statistics import NormalDist

import numpy as np
import pytest

from whatelse.findings.record import parse
from whatelse.gate import budgets as owners
from whatelse.gate.decide import decide
from whatelse.statistics import counts

LEVELS = (0.05, 0.025, 0.01, 0.005, 0.0025, 0.001, 0.0005)


def bounds(effect, se):
    """Effect, intervals and tails of a normal estimate; nothing where there is none."""
    if effect is None:
        return {"effect": None, "tails": []}
    reach = {level: NormalDist().inv_cdf(1 - level) * se for level in LEVELS}
    return {
        "effect": effect, "low": effect - reach[0.025], "high": effect + reach[0.025],
        "low90": effect - reach[0.05], "high90": effect + reach[0.05],
        "tails": [[level, effect - reach[level], effect + reach[level]] for level in LEVELS],
    }  # fmt: skip


def finding(effect=-0.002, se=0.001, candidate="small", label="accuracy", **given):
    """One finding as JSON has it; a primary one of accuracy, with five seeds, unless said otherwise."""
    base = {
        "row": "overfitting", "behaviour": "generalization.accuracy", "label": label, "task": "clean",
        "candidate": candidate, "control": "placebo", "leading": True, "primary": False, "verdict": "inconclusive",
        "unit": "accuracy", "better": "higher", "n": 1000, "seeds": 5, "needed": 1, "floor": None, "doubts": [],
        "verdict_if_one_sided": "", "why": "", "per_seed": [],
    }  # fmt: skip
    return {**base, **bounds(effect, se), **given}


def part(name, effect, se, **given):
    numbers = bounds(effect, se)
    return {"name": name, **{k: numbers[k] for k in ("effect", "low", "high", "tails")}, **given}


def counted(name, rose, fell, n):
    """A part of n examples of which so many rose and fell, with its exact bounds, as a study writes it."""
    change = [1.0] * rose + [-1.0] * fell + [0.0] * (n - rose - fell)
    made = counts.counted(1.0, 1.0, np.array(change))
    told = {k: getattr(made, k) for k in ("effect", "low", "high", "rose", "fell")}
    return {"name": name, "n": n, **told, "tails": [list(tail) for tail in made.tails]}


def document(*found, candidates=("small",)):
    """A findings document with these findings."""
    found = found or (finding(primary=True),)
    names = [(name, "candidate") for name in candidates] + [("placebo", "control")]
    rows = [{"name": "overfitting", "title": "Overfitting", "status": "measured", "survey": "", "cited": ""}]
    return {
        "schema": 2, "whatelse": "0", "created": "2026-01-01T00:00:00Z", "environment": {}, "timing": {}, "seeds": [0],
        "study": {"name": "s", "title": "S", "description": "", "file": ""},
        "tasks": [{"name": t, "title": t, "description": "", "splits": {"test": 1000}} for t in ("clean", "noisy")],
        "rows": rows, "claims": [],
        "candidates": [{"name": n, "family": "f", "role": role, "recipe": "r"} for n, role in names],
        "findings": [{"id": f"f{at}", **one} for at, one in enumerate(found)],
    }  # fmt: skip


class World:
    """What tests are written with."""

    finding = staticmethod(finding)
    part = staticmethod(part)
    counted = staticmethod(counted)
    document = staticmethod(document)

    @staticmethod
    def gate(budgets, *found, candidates=("small",), asked=(), known=()):
        """Decide on findings; budgets are TOML."""
        read = parse(json.loads(json.dumps(document(*found, candidates=candidates))))
        return decide(owners.parse(budgets, "b.toml"), read, asked, known, "b.toml")

    @staticmethod
    def one(*found, tier="critical", behaviour="generalization.accuracy", **budget):
        """Decide on one budget, and return the answers and the verdict."""
        lines = [f"{k} = {json.dumps(v)}" for k, v in {"tier": tier, "behaviour": behaviour, **budget}.items()]
        text = "[[budgets]]\n" + "\n".join(lines)
        if tier != "critical":
            text += '\n[[budgets]]\nlabel = "anchor"\nmost = 1\n'
            found = (*found, finding(0.0, 0.01, label="anchor", behaviour="generalization.brier"))
        gate = World.gate(text, *found)
        return gate.rulings[0].answers, gate.verdict


@pytest.fixture
def world():
    return World
