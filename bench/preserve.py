"""Does holding behavior while training pass budgets that plain training fails? Equal sizes, paired over seeds.

    python bench/preserve.py [SEEDS [STUDY ...]]

Studies: digits (comes with scikit-learn), adult and fashion_mnist (read from $WHATELSE_DATA, default ../shared/data). A
seed draws the network, its training and everything after; the split stays. Each network is compressed in a few ways and
trained further: *plain* by train.finetune, *longer* by train.finetune for as many passes as the preserved one takes,
*preserved* by train.preserve for the epochs of plain. Its budgets are the same in every study, the numbers of the
gate's default file: nothing was set for a study but the radius. Of the bits, training comes before the rounding.

Every number is harm on test beyond that of the control, which is the original trained further by the same epochs,
uncompressed, in the unit of its behavior: above zero is worse. A budget is *kept* where the upper end of the 95 % t
interval over seeds lies within it, *broken* where the lower end lies above it, else *open*. Differences are paired,
with their 95 % t intervals; a star marks those clear of zero. Nothing is corrected for the number of questions. Eight
seeds and all studies by default; one thread.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import nn

import whatelse
from whatelse import items, recipe
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.nets import cnn, mlp
from whatelse.study import estimate
from whatelse.tasks.task import Task

os.environ.setdefault("WHATELSE_DATA", str(Path("../shared/data").resolve()))


@dataclass(frozen=True)
class Study:
    """What is compressed, and how it is trained.

    Attributes:
        data: As whatelse.load_task takes it.
        net: Of nets.
        base: Epochs of the original.
        tune: Epochs after compression.
        how: Settings of all training.
        sparsities: Of the pruned candidates.
        radius: Of the attacks, in units of the input; 0 where the task has no bounds.
    """

    data: str
    net: str
    base: int
    tune: int
    how: str
    sparsities: tuple[float, ...]
    radius: float


STUDIES = {
    "digits": Study("digits", "mlp", 30, 20, "rate=0.008, batch=50", (0.6, 0.7, 0.8), 0.1),
    "adult": Study("adult(limit=8000, limit_test=6000)", "mlp", 10, 5, "rate=0.004, batch=100", (0.9,), 0.0),
    "fashion_mnist": Study(
        "fashion_mnist(limit=1500, limit_test=1500)", "cnn", 12, 3, "rate=0.004, batch=50", (0.9,), 0.03
    ),
}
BUDGETS = "labels=0.01, attribution=0.05, groups=0.02, membership=0.02"
ATTACKED = "robustness=0.03, steps=3"
_ALIKE = 0.1  # three bits round a few more or fewer weights to zero, which are packed
WAYS = ("plain", "longer", "preserved")


@dataclass(frozen=True)
class Question:
    """A behavior with its budget, and 1 where higher is worse, else -1."""

    label: str
    behaviour: str
    settings: tuple[tuple[str, object], ...]
    budget: float
    worse: int


QUESTIONS = (
    Question("accuracy", "generalization.accuracy", (), 0.01, -1),
    Question("changed answers", "generalization.flips", (("kind", "any"),), 0.02, 1),
    Question("attribution agreement", "attribution.agreement", (), 0.05, -1),
    Question("worst group accuracy", "fairness.worst_group", (("group", "+"),), 0.02, -1),
    Question("excess harm of a group", "fairness.flip_share", (), 0.02, 1),
    Question("accuracy under attack", "robustness.accuracy", (("examples", 300),), 0.03, -1),
    Question("membership (AUC)", "membership.loss", (), 0.02, 1),
)


def recipes(study: Study, task: Task) -> dict[str, dict[str, str]]:
    """Return for every candidate its recipe by way, and that of the control."""
    held = f"{BUDGETS}, {ATTACKED}, eps={study.radius}" if study.radius else BUDGETS
    tune = f"epochs={study.tune}, {study.how}"
    passes = [
        estimate.training(recipe.parse(text)[0], task)
        for text in (f"train.preserve({held}, {tune})", f"train.finetune({tune})")
    ]
    longer = f"epochs={round(study.tune * passes[0] / passes[1])}, {study.how}"

    def ways(made_by: str, after: str) -> dict[str, str]:
        first = f"{made_by} > " if made_by else ""
        return {
            "plain": f"{first}train.finetune({tune}){after}",
            "longer": f"{first}train.finetune({longer}){after}",
            "preserved": f"train.preserve(student={made_by!r}, {held}, {tune}){after}",
        }

    pruned = {f"prune.magnitude {s:.0%}": ways(f"prune.magnitude(sparsity={s})", "") for s in study.sparsities}
    return {
        **pruned,
        "prune.structured 50%": ways("prune.structured(ratio=0.5)", ""),
        "quantize.uniform 3 bits": ways("", " > quantize.uniform(bits=3)"),
        "control": {"control": f"train.finetune({tune})"},
    }


def measured(
    study: Study, task: Task, seed: int, chains: dict[str, dict[str, str]]
) -> dict[tuple[str, str], np.ndarray]:
    """Return for every candidate and way its harm beyond the control's, one number a question; NaN where not asked."""
    rng = torch.Generator().manual_seed(seed)
    if study.net == "cnn":
        net = cnn.build(cnn.Config(width=4, hidden=32), task.shape, task.classes, rng)
    else:
        net = mlp.build(mlp.Config(hidden="64x32"), task.shape, task.classes, rng)
    base = whatelse.compress(net, f"train.scratch(epochs={study.base}, {study.how})", task, seed=seed).model
    original = evidence(base, task, "original")
    found, bytes_of = {}, {}
    for name, ways in chains.items():
        for way, chain in ways.items():
            small = whatelse.compress(base, chain, task, seed=seed).model
            found[name, way] = np.array(
                [ask(q, study, original, evidence(small, task, f"{name} {way}")) for q in QUESTIONS]
            )
            bytes_of[name, way] = ask(SIZE, study, original, evidence(small, task, f"{name} {way}"))
    for name, way in found:
        ratio = bytes_of[name, way] / bytes_of[name, next(iter(chains[name]))]
        assert abs(ratio - 1) < _ALIKE, f"{name}, {way}: {ratio:.3f} times the bytes of plain"
    worse = np.array([q.worse for q in QUESTIONS])
    control = found.pop(("control", "control"))
    return {key: worse * (values - control) for key, values in found.items()}


SIZE = Question("bytes", "efficiency.bytes", (), 0.0, 1)


def evidence(model: nn.Module, task: Task, name: str) -> Evidence:
    """Return evidence of a model."""
    of = subject.of(model, name, name, task.test.inputs[:4], torch.Generator().manual_seed(0))
    return Evidence(of, task)


def ask(question: Question, study: Study, original: Evidence, candidate: Evidence) -> float:
    """Return the number of a behavior on test."""
    given = dict(question.settings)
    if question.behaviour == "robustness.accuracy":
        if not study.radius:
            return float("nan")
        given["radius"] = study.radius
    item = items.behaviour(question.behaviour)
    config = item.configure(given)
    answer = item.answer(original, candidate, config, torch.Generator().manual_seed(0))
    rows = len(next(iter(answer.columns.values())))
    return float(item.summarise(answer, config, np.ones((1, rows)))[0])


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean and the ends of its 95 % t interval."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half


def verdict(values: np.ndarray, budget: float) -> str:
    """Return whether a budget is shown kept, shown broken or open."""
    _, low, high = interval(values)
    return "kept" if high <= budget else "broken" if low > budget else "open"


def show(found: dict[tuple[str, str], np.ndarray], candidates: list[str], won: Counter[str]) -> None:
    """Print the table of a study, and count what the preserved candidates won.

    Args:
        found: Harm by candidate and way, ``(seeds, questions)``.
        candidates: Their names.
        won: Counts over all studies.
    """
    for name in candidates:
        print(
            f"\n  {name:27}{'budget':>7}"
            + "".join(f"{way:>18}" for way in WAYS)
            + "   preserved - plain        - longer"
        )
        for number, question in enumerate(QUESTIONS):
            harm = {way: found[name, way][:, number] for way in WAYS}
            if np.isnan(harm["plain"]).any():
                continue
            said = {way: verdict(values, question.budget) for way, values in harm.items()}
            cells = "".join(f"{harm[way].mean():+11.4f} {said[way]:>6}" for way in WAYS)
            print(
                f"  {question.label:27}{question.budget:>7}{cells}  " + "  ".join(paired(harm, way) for way in WAYS[:2])
            )
            for way in WAYS[:2]:
                won[f"{way} {said[way]}, preserved {said['preserved']}"] += 1


def paired(harm: dict[str, np.ndarray], way: str) -> str:
    """Return the difference of preserved to another way with its interval."""
    mean, low, high = interval(harm["preserved"] - harm[way])
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]{'*' if low > 0 or high < 0 else ' '}"


def main() -> None:
    """Run the studies and print their tables."""
    torch.set_num_threads(1)
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
    won: Counter[str] = Counter()
    for name in sys.argv[2:] or STUDIES:
        study, started = STUDIES[name], time.process_time()
        task = whatelse.load_task(study.data)
        chains = recipes(study, task)
        print(f"\n{name}: {len(task.train):,} train, {len(task.test):,} test examples, {len(seeds)} seeds")
        print(f"  preserved: {chains['quantize.uniform 3 bits']['preserved'].split(' > ')[0]}")
        print(f"  longer: {chains['quantize.uniform 3 bits']['longer'].split(' > ')[0]}")
        each = [measured(study, task, seed, chains) for seed in seeds]
        show({key: np.stack([one[key] for one in each]) for key in each[0]}, list(chains)[:-1], won)
        print(f"\n  {time.process_time() - started:.0f} s of one core", flush=True)
    print("\nBudgets, over all studies and candidates:")
    for what, count in sorted(won.items()):
        print(f"  {what}: {count}")


if __name__ == "__main__":
    main()
