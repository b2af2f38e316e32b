"""How small the smallest confirmed model is by strategy, at equal trials and at equal CPU time.

    python bench/search.py [--studies digits,table,fashion] [--seeds 5] [--trials 60] [--strategies 'a;b'] [--out FILE]

Every strategy searches the same space of the same baseline with the same budgets; each seed has a baseline of its own.
Printed are the bytes of the smallest model that is confirmed on test, as a share of the baseline's, with the trials and
the CPU seconds that it took; how many trials `descend` needs to reach what another strategy ends at; and of the plain
way (one setting for all layers, the smallest whose accuracy is kept on select) how many winners break a budget by an
audit on test. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import whatelse
from whatelse import Task, items, registry
from whatelse.auditing.questions import default, read_questions
from whatelse.findings.searched import Searched
from whatelse.gate import budgets as owners
from whatelse.gate.decide import decide
from whatelse.searching import gauge
from whatelse.searching.driver import search
from whatelse.searching.trials import State
from whatelse.training.initialize import initialize
from whatelse.training.loop import Schedule, fit, hard_labels

STRATEGIES = ("descend", "one_score", "uniform", "optuna", "optuna(sampler='nsga2')", "random")
BUDGETS = """
title = "{title}"
[[budgets]]
behaviour = "generalization.accuracy"
most = {accuracy}
[[budgets]]
label = "harmed (right before, wrong after)"
most = {harmed}
[[budgets]]
label = "negative log-likelihood"
most = {likelihood}
[[budgets]]
behaviour = "{parts}"
most = {worst}
groups = {groups}
"""


@dataclass(frozen=True)
class Study:
    """A model, its data, and what damage is accepted.

    Attributes:
        data: What opens the examples.
        net: What opens the untrained network, and its settings.
        epochs: Passes over train.
        budgets: Of the damage.
    """

    data: str
    net: tuple[str, dict[str, Any]]
    epochs: int
    budgets: dict[str, Any]


STUDIES = {
    "digits": Study(
        "digits()",
        ("cnn", {}),
        15,
        {  # some thirty examples of a class on select tell nothing of it alone
            "accuracy": 0.02,
            "harmed": 0.04,
            "likelihood": 0.1,
            "worst": 0.05,
            "parts": "generalization.macro_accuracy",
            "groups": [],
        },
    ),
    "table": Study(
        "adult()",
        ("mlp", {}),
        5,
        {
            "accuracy": 0.01,
            "harmed": 0.02,
            "likelihood": 0.02,
            "worst": 0.02,
            "parts": "fairness.group",
            "groups": '["*"]',
        },
    ),
    "fashion": Study(
        "fashion_mnist(limit=20000)",
        ("mlp", {}),
        8,
        {
            "accuracy": 0.01,
            "harmed": 0.03,
            "likelihood": 0.05,
            "worst": 0.03,
            "parts": "generalization.macro_accuracy",
            "groups": '["*"]',
        },
    ),
}


def baseline(study: Study, task: Task, seed: int) -> nn.Module:
    """Return a trained network.

    Args:
        study: Gives the network.
        task: The examples.
        seed: Decides everything random.
    """
    rng = torch.Generator().manual_seed(seed)
    if study.net[0] == "mlp":  # deeper than the table's, so that layers differ
        widths = [int(np.prod(task.shape)), 256, 256, 128, 128, 128, 64, 64, task.classes]
        parts: list[nn.Module] = [nn.Flatten()]
        for entering, leaving in zip(widths, widths[1:], strict=False):
            parts += [nn.Linear(entering, leaving), nn.ReLU()]
        net: nn.Module = nn.Sequential(*parts[:-1])
        initialize(net, rng)
    else:
        item = items.net(study.net[0])
        net = item.build(item.configure(study.net[1]), task.shape, task.classes, rng)
    schedule = Schedule(study.epochs, 2e-3, 128 if len(task.train) > 5_000 else 50)
    fit(net, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return net.eval().requires_grad_(requires_grad=False)


def run(name: str, strategy: str, seed: int, trials: int, results: Path) -> dict[str, Any]:
    """Return what a strategy ends at, and what it took.

    Args:
        name: Of the study.
        strategy: With its settings.
        seed: Of the baseline and of the search.
        trials: At the most.
        results: Where trials are kept.
    """
    study = STUDIES[name]
    task = whatelse.load_task(study.data)
    net = baseline(study, task, seed)
    budgets = owners.parse(BUDGETS.format(title=name, **study.budgets))
    spent: list[float] = []
    began = time.process_time()

    def show(state: State) -> None:
        while len(spent) < len(state.trials):
            spent.append(time.process_time() - began)

    # What no budget asks is not audited at the end: all strategies would pay the same for it.
    asked = read_questions(default())
    asked.measurements[:] = gauge.asked_for(budgets, asked)
    told: dict[str, Any] = {"asked": asked, "seed": seed, "results": results, "show": show}
    found = search(net, task, budgets, strategy=strategy, trials=trials, **told)
    record = found.record
    line: dict[str, Any] = {"study": name, "strategy": strategy, "seed": seed, "trials": len(record.trials)}
    line |= {"cpu": round(spent[-1] if spent else 0.0, 2), "confirmed": confirmed(record), "path": path(record, spent)}
    line |= {"finalists": [one.verdict for one in record.finalists], "remarks": list(record.remarks)}
    line["seconds"] = {name: round(value, 2) for name, value in record.seconds.items()}
    line["whole"] = round(time.process_time() - began, 2)
    if strategy == "uniform":
        line["plain"] = plain(record, net, task, budgets)
    return line


def confirmed(record: Searched) -> float | None:
    """Return the share of the winner.

    Args:
        record: Of a search.
    """
    return record.trial(record.winner).share if record.winner else None


def path(record: Searched, spent: list[float]) -> list[tuple[int, float, float]]:
    """Return trial, CPU seconds and share wherever a smaller model was found that keeps all budgets on select.

    Args:
        record: Of a search.
        spent: CPU seconds after every trial.
    """
    found: list[tuple[int, float, float]] = []
    for trial, seconds in zip(record.trials, spent, strict=True):
        if trial.feasible and trial.share is not None and (not found or trial.share < found[-1][2]):
            found.append((trial.number, round(seconds, 2), round(trial.share, 5)))
    return found


def plain(record: Searched, net: nn.Module, task: Task, budgets: owners.Budgets) -> dict[str, Any] | None:
    """Return what the smallest model whose accuracy is kept on select breaks on test.

    Args:
        record: Of the uniform search.
        net: The baseline.
        task: The examples.
        budgets: What damage is accepted.
    """
    most = record.constraints[0].most
    kept = [t for t in record.trials if t.share is not None and (t.harm.get("accuracy") or 0.0) <= most]
    if not kept:
        return None
    chosen = min(kept, key=lambda t: t.share or 1.0)
    labels = {one.label for one in record.constraints}
    asked = read_questions(default())
    asked.measurements[:] = [m for m in asked.measurements if m.label in labels]
    model = whatelse.compress(net, chosen.recipe, task).model
    ruling = decide(budgets, whatelse.audit(net, {"plain": model}, task, asked)).rulings[0]
    broken = [f"{a.question.place.label} {a.question.group}".strip() for a in ruling.answers if a.broken]
    return {"share": chosen.share, "verdict": ruling.verdict, "broken": broken}


def table(lines: list[dict[str, Any]]) -> str:
    """Return the results in a table for each study.

    Args:
        lines: What `run` returned.
    """
    told = []
    for study in dict.fromkeys(line["study"] for line in lines):
        told.append(f"\n{study}: share of the baseline's bytes, by seed; trials; CPU s")
        for strategy in dict.fromkeys(line["strategy"] for line in lines):
            mine = [line for line in lines if (line["study"], line["strategy"]) == (study, strategy)]
            if not mine:
                continue
            shares = " ".join("none" if line["confirmed"] is None else f"{line['confirmed']:.4f}" for line in mine)
            on_select = " ".join(f"{line['path'][-1][2]:.4f}" if line["path"] else "none" for line in mine)
            trials = np.mean([line["trials"] for line in mine])
            cpu = np.mean([line["cpu"] for line in mine])
            told.append(f"  {strategy:26s} confirmed {shares:40s} select {on_select:40s} {trials:5.1f} {cpu:7.1f}")
        told += _ratios([line for line in lines if line["study"] == study])
    return "\n".join(told)


def _ratios(lines: list[dict[str, Any]]) -> list[str]:
    mine = {line["seed"]: line for line in lines if line["strategy"] == "descend"}
    told = []
    for strategy in dict.fromkeys(line["strategy"] for line in lines):
        theirs = [line for line in lines if line["strategy"] == strategy and line["seed"] in mine]
        if strategy == "descend" or not theirs:
            continue
        pairs = [(mine[line["seed"]], line) for line in theirs]
        ratio = [a["confirmed"] / b["confirmed"] for a, b in pairs if a["confirmed"] and b["confirmed"]]
        reached = [_reached(a, b) for a, b in pairs]
        equal = [_at_cpu(a, b) for a, b in pairs]
        known = [f"{one:.2f}" for one in equal if one is not None]
        told.append(
            f"  descend / {strategy}: confirmed {np.median(ratio):.2f} (median of {len(ratio)}); on select at equal "
            f"CPU {', '.join(known) or 'unknown'}; trials to its final size {reached}"
            if ratio
            else f"  descend / {strategy}: it confirmed nothing in {len(pairs)} of {len(pairs)}"
        )
    plains = [line["plain"] for line in lines if line.get("plain")]
    if plains:
        broken = sum(bool(one["broken"]) for one in plains)
        told.append(f"  the plain way: {broken} of {len(plains)} winners break a budget on test: {plains}")
    return told


def _reached(mine: dict[str, Any], other: dict[str, Any]) -> int | None:
    """Return after how many trials a search was as small, on select, as another at its end."""
    if not other["path"]:
        return mine["path"][0][0] if mine["path"] else None
    return next((number for number, _, share in mine["path"] if share <= other["path"][-1][2]), None)


def _at_cpu(mine: dict[str, Any], other: dict[str, Any]) -> float | None:
    """Return the ratio of the sizes on select after the CPU seconds of the cheaper of the two."""
    most = min(mine["cpu"], other["cpu"])
    sizes = [[share for _, seconds, share in line["path"] if seconds <= most] for line in (mine, other)]
    return sizes[0][-1] / sizes[1][-1] if all(sizes) else None


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", default=",".join(STUDIES))
    parser.add_argument("--strategies", default=";".join(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--out", default="")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    registry.add(str(Path(__file__).parent / "_peers" / "one_score.py"))
    lines: list[dict[str, Any]] = []
    for name in asked.studies.split(","):
        for seed in range(asked.seeds):
            with tempfile.TemporaryDirectory() as place:
                for strategy in asked.strategies.split(";"):
                    # Each has results of its own: what one measured would cost another nothing.
                    lines.append(run(name, strategy, seed, asked.trials, Path(place) / str(len(lines))))
                    print(json.dumps({k: v for k, v in lines[-1].items() if k != "remarks"}), flush=True)
                    if asked.out:
                        Path(asked.out).write_text(json.dumps(lines, indent=1), "utf-8")
    print(table(lines))


if __name__ == "__main__":
    main()
