"""Nothing left to lose, or nothing seen: the baseline held against itself must be *not measurable*, and no GO.

Run alone it prints every case: ``python validation/floors.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import planted
import torch
import world
from torch import nn

import whatelse
from whatelse.auditing.questions import read_questions
from whatelse.gate import budgets, decide

N = 300


def trained(base: nn.Sequential) -> nn.Module:
    """The network as it is."""
    return deepcopy(base)


def always_wrong(base: nn.Sequential) -> nn.Module:
    """Scores are handed to the next class: hardly anything is right."""
    return planted.Wrapped(base, lambda logits, x: logits.roll(1, 1))


def one_answer(base: nn.Sequential) -> nn.Module:
    """The head says the first class, whatever it sees: no gradient, no map, no group told from another."""
    model = deepcopy(base)
    with torch.no_grad():
        model[3].weight.zero_()
        model[3].bias.copy_(torch.eye(world.CLASSES)[0])
    return model


def silent(base: nn.Sequential) -> nn.Module:
    """No hidden unit ever fires."""
    model = deepcopy(base)
    with torch.no_grad():
        model[1].bias.fill_(-1000.0)
    return model


# Which model, the behaviour, its settings, its margin, and the budget that a gate would hold it against.
CASES: tuple[tuple[Callable[[nn.Sequential], nn.Module], str, dict[str, Any], float], ...] = (
    (trained, "robustness.accuracy", {"radius": 0.5, "examples": 100}, 0.03),
    (trained, "robustness.accuracy", {"radius": 5.0, "norm": "l2", "examples": 100}, 0.03),
    (always_wrong, "generalization.accuracy", {}, 0.05),
    (always_wrong, "generalization.flips", {}, 0.05),
    (always_wrong, "fairness.worst_group", {"group": "class"}, 0.05),
    (one_answer, "fairness.parity", {"group": "group"}, 0.02),
    (one_answer, "attribution.agreement", {}, 0.05),
    (one_answer, "transparency.stability", {}, 0.05),
    (silent, "mechanism.cka", {}, 0.05),
    (silent, "mechanism.dead", {}, 0.05),
    (silent, "membership.loss", {}, 0.02),
)


def case(number: int) -> dict[str, Any]:
    """Return the verdict on one baseline held against itself, and whether a gate says GO."""
    make, item, given, margin = CASES[number]
    base = make(world.network(0))
    task = world.task(N, torch.Generator().manual_seed(70_000 + number))
    shown = ", ".join(f"{k} = {json.dumps(v)}" for k, v in given.items())
    asked = read_questions(
        'name = "floors"\ntitle = "Floors"\ndraws = 1000\nrows = [{ name = "row", title = "Row" }]\n[[measurements]]\n'
        f'row = "row"\nitem = "{item}"\nlabel = "asked"\nmargin = {margin}\nprimary = true\nsettings = {{ {shown} }}\n'
    )
    record = whatelse.audit(base, {"itself": deepcopy(base)}, task, asked, force=True)
    (found,) = record.findings
    one = budgets.parse(
        f'[[budgets]]\nbehaviour = "{item}"\nmost = {margin}\ntier = "critical"\nwhy = "it is all there is"\n'
    )
    return {
        "model": make.__name__.replace("_", " "),
        "behaviour": item,
        "before": found.before,
        "verdict": found.verdict,
        "gate": decide.decide(one, record).verdict,
    }


def main() -> None:
    """Print every case."""
    for number in range(len(CASES)):
        print(case(number), flush=True)


if __name__ == "__main__":
    main()
