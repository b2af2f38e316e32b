"""Searches as a driver records them, made without searching anything: of every ending and of any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from whatelse.findings.search_words import Ending
from whatelse.findings.searched import Constraint, Finalist, Searched, Trial

LAYERS = ("features.conv1", "features.conv2", "features.conv3", "hidden", "head.1")
# name, unit, most, tier, harm at a damage of 1
ASKED = [
    ("accuracy", "accuracy", 0.01, "critical", 0.5),
    ("accuracy by group: sex=female", "accuracy", 0.03, "critical", 0.6),
    ("accuracy by group: sex=male", "accuracy", 0.03, "critical", 0.5),
    ("accuracy by group: race=Amer-Indian-Eskimo", "accuracy", 0.05, "supporting", 0.7),
    ("flips", "share", 0.06, "critical", 0.8),
    ("Brier score", "Brier score", 0.01, "critical", 0.6),
    ("calibration error", "calibration error", 0.02, "supporting", 0.3),
    ("gap between groups (sex)", "accuracy gap", 0.02, "critical", 0.1),
    ("equalized odds (sex)", "rate", 0.03, "critical", 0.2),
    ("attack with reference models", "AUC", 0.02, "critical", -0.1),
    ("accuracy under attack", "accuracy", 0.03, "critical", 0.4),
    ("agreement of maps with the baseline", "cosine", 0.1, "supporting", 0.6),
    ("similarity of activations", "CKA", 0.05, "supporting", 0.5),
    ("latency", "ms", 0.5, "supporting", 0.2),
    ("features that survive", "share", 0.1, "supporting", 0.7),
]
COSTLY = {"accuracy under attack", "agreement of maps with the baseline", "attack with reference models"}


def make(ending: Ending = "confirmed", trials: int = 60, constraints: int = 15, seed: int = 5) -> Searched:
    """A search of so many trials against so many budgets."""
    rng = np.random.default_rng(seed)
    asked = _constraints(constraints)
    tried = [_trial(rng, number, asked, hard=ending == "nothing") for number in range(1, trials + 1)]
    inside = sorted((t for t in tried if t.feasible), key=lambda t: -(t.share or 0))
    record = Searched(
        whatelse="0.5",
        created="2026-11-30T03:20:00+00:00",
        model="net.py:make@base.pt",
        data="table(path='adult.csv', target='income')",
        strategy="descend(layers=3, power=0.8)",
        seed=0,
        minimize="bytes",
        unit="bytes",
        baseline=1_482_240.0,
        splits={"train": 28_000, "calibration": 512, "select": 5_000, "test": 10_000},
        space="25^5 = 9,765,625 configurations of 5 layers",
        budgets="What the credit model may lose",
        constraints=asked,
        trials=tuple(tried),
        remarks=(
            "Surrogate: harms of two changed layers were off by 0.3 pp in the median, rank correlation .91.",
            "Accuracy under attack cannot be computed from scores: it was measured on 21 of 60 trials.",
        ),
        seconds={"making": 81.2, "measuring": 402.7, "searching": 25.1, "confirming": 66.0},
    )
    if ending == "nothing":
        near = min((t for t in tried if t.over), key=lambda t: max(v for v in t.over.values() if v is not None))
        return replace(record, nearest=near.number)
    if ending == "not confirmed":
        return replace(record, winner=inside[-1].number)
    spaced = [inside[at] for at in sorted({round(at) for at in np.linspace(0, len(inside) - 1, 6)})]
    passing = max(1, len(spaced) - 2) if ending == "confirmed" else 0
    finalists = tuple(_finalist(rng, one, asked, at, passing) for at, one in enumerate(spaced))
    winner = finalists[passing - 1].trial if passing else 0
    return replace(record, finalists=finalists, winner=winner, folder="small" if winner else "")


def _constraints(count: int) -> tuple[Constraint, ...]:
    made = []
    for at in range(count):
        name, unit, most, tier, _ = ASKED[at % len(ASKED)]
        again = f" again {at // len(ASKED)}" if at >= len(ASKED) else ""
        label, _, group = name.partition(" by group: ")
        counted = unit in {"accuracy", "share", "rate"}
        made.append(
            Constraint(
                f"{name}{again}",
                label,
                group,
                unit,
                most,
                "critical" if tier == "critical" else "supporting",
                5_000 if counted else None,
                10_000 if counted else None,
                most * 0.7 if counted else None,
                most * (1.2 if name == "calibration error" else 0.1),
            )
        )
    return tuple(made)


def _trial(rng: np.random.Generator, number: int, asked: tuple[Constraint, ...], *, hard: bool) -> Trial:
    settings = [f"{layer}: prune.magnitude(sparsity={rng.choice([0.5, 0.7, 0.85])}) > quantize.uniform(bits="
                f"{rng.choice([2, 3, 4, 8])})" for layer in LAYERS]  # fmt: skip
    recipe = f"mixed.layers(layers='{'; '.join(settings)}') > train.finetune(epochs=1)"
    if number % 23 == 0:
        why = "RuntimeError: quantize.uniform: features.conv2 has no weight that is not zero"
        return Trial(number, recipe, None, None, why=why, seconds=0.4)
    share = float(np.exp(rng.uniform(np.log(0.05), np.log(0.5))))
    damage = (0.009 / share) ** 1.6 * float(np.exp(rng.normal() * 0.7)) * (40 if hard else 1)
    harm: dict[str, float | None] = {}
    for at, one in enumerate(asked):
        most, whole = ASKED[at % len(ASKED)][2], ASKED[at % len(ASKED)][4]
        harm[one.name] = whole * damage * float(np.exp(rng.normal() * 0.4)) + float(rng.normal()) * most * 0.1
    over = {one.name: (harm[one.name] or 0) / one.most - 0.85 for one in asked}
    skipped = tuple(name for name in harm if name in COSTLY and max(over.values()) > 1)
    for name in skipped:
        del harm[name], over[name]
    binding = max(over, key=lambda name: over[name])
    inside = all(value <= 0 for value in over.values())
    seconds = float(rng.uniform(2, 12))
    return Trial(number, recipe, 1_482_240 * share, share, harm, over, inside, binding, skipped, seconds=seconds)


def _finalist(rng: np.random.Generator, trial: Trial, asked: tuple[Constraint, ...], at: int, passing: int) -> Finalist:
    if at > passing:
        return Finalist(trial.number, "not opened")
    harm = {one.name: (trial.harm.get(one.name) or 0) + float(rng.normal()) * one.most * 0.1 for one in asked}
    upper: dict[str, float | None] = {one.name: min(harm[one.name] + one.most * 0.2, one.most) for one in asked}
    if at < passing:
        return Finalist(trial.number, "GO", harm, upper)
    upper[asked[0].name] = asked[0].most * 1.3
    why = f"{asked[0].name}: at most +1.3 pp, of 1.0 pp; about 14,000 examples would settle it"
    return Finalist(trial.number, "INCONCLUSIVE", harm, upper, (why,))
