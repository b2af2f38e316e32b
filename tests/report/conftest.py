"""A seeded, full and realistic findings document, made without measuring anything."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from whatelse.findings.record import Findings, parse
from whatelse.findings.roles import Role
from whatelse.report.page import render

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

FT = "train.finetune(epochs=2)"
# family, short name, level, knob, knob's name, recipe, share of parameters kept, damage done (0 to 1)
MODELS = [
    ("prune", "50 %", "mild", 0.5, "sparsity", f"prune.magnitude(sparsity=0.5) > {FT}", 0.5, 0.00),
    ("prune", "80 %", "", 0.8, "sparsity", f"prune.magnitude(sparsity=0.8) > {FT}", 0.2, 0.05),
    ("prune", "95 %", "strong", 0.95, "sparsity", f"prune.magnitude(sparsity=0.95) > {FT}", 0.05, 0.5),
    ("distill", "half", "mild", 0.5, "width", "distill.logits(width=0.5, temperature=4)", 0.27, 0.03),
    ("distill", "quarter", "strong", 0.25, "width", "distill.logits(width=0.25, temperature=4)", 0.08, 0.2),
    ("quantize", "8 bits", "mild", 8, "bits", "quantize.uniform(bits=8)", 1.0, 0.0),
    ("quantize", "4 bits", "", 4, "bits", "quantize.uniform(bits=4)", 1.0, 0.04),
    ("quantize", "2 bits", "strong", 2, "bits", "quantize.uniform(bits=2)", 1.0, 0.8),
    ("svd", "50 %", "mild", 0.5, "rank", f"decompose.svd(rank=0.5) > {FT}", 0.6, 0.02),
    ("svd", "25 %", "strong", 0.25, "rank", f"decompose.svd(rank=0.25) > {FT}", 0.33, 0.25),
]
CONTROLS = [
    ("baseline", "train.fit(epochs=60)"),
    ("placebo", f"train.fit(epochs=60) > {FT}"),
    ("twin", "train.fit(epochs=60), another seed"),
    ("random", "untrained"),
    ("weight decay", "train.fit(epochs=60, weight_decay=0.01)"),
]
# name, title, question, survey, cited, behaviour, label, unit, better, margin, before, harm at damage 1, secondary
ROWS: list[tuple[Any, ...]] = [
    ("overfitting", "Overfitting", "Does the smaller model generalize better or worse than the one it was made of?",
     "All except slight pruning damage it.", "LeCun 1989", "generalization.accuracy", "accuracy on clean labels",
     "accuracy", "higher", 0.02, 0.776, 0.5,
     [("generalization.memorization", "flipped labels learned by heart", "share", "lower", 0.05, 0.99, -0.8),
      ("generalization.calibration", "calibration error", "calibration error", "lower", 0.02, 0.18, 0.12)]),
    ("attribution", "Attribution", "Do explanations still point at the pixels that carry the digit?",
     "Pruning and distillation damage attribution.", "Joseph 2020", "attribution.quality", "mass inside the mask",
     "share", "higher", 0.03, 0.61, 0.4,
     [("attribution.agreement", "agreement of maps with the baseline", "cosine", "higher", 0.05, 0.853, 0.6)]),
    ("trees", "Explanation by trees", "Is a decision tree distilled from the model better than one grown on labels?",
     "Distillation improves it.", "Frosst 2017, Liu 2018", "transparency.tree", "accuracy of the distilled tree",
     "accuracy", "higher", 0.02, 0.803, 0.3,
     [("transparency.fidelity", "fidelity of the tree", "share", "higher", 0.02, 0.81, 0.3)]),
    ("architecture", "Architecture search", "Does a searched architecture compress better than a given one?",
     "Search helps pruning and distillation.", "Cheng 2017, Ashok 2018", None),
    ("fairness", "Fairness", "Does the worst-served group lose more than the others?",
     "All methods exacerbate bias.", "Stoychev & Gunes 2022", "fairness.worst_group", "worst group (style)",
     "accuracy", "higher", 0.01, 0.951, 0.5,
     [("fairness.gap", "gap between groups (style)", "accuracy gap", "lower", 0.01, 0.03, 0.1),
      ("fairness.gap", "gap between groups (digit)", "accuracy gap", "lower", 0.02, 0.08, 0.2)]),
    ("adversarial", "Adversarial examples", "Is the smaller model easier to fool by a small change of its input?",
     "Distillation helps; pruning and quantization do not.", "Zhao 2018", "robustness.pgd", "accuracy under attack",
     "accuracy", "higher", 0.02, 0.43, 0.2,
     [("robustness.transfer", "attack carried over from the baseline", "success rate", "lower", 0.03, 0.62, 0.2)]),
    ("membership", "Membership inference", "Can an attacker tell whether a record was in the training data?",
     "Pruning can help.", "Wang 2020", "membership.reference", "attack with reference models", "AUC", "lower", 0.02,
     0.797, -0.2, [("membership.threshold", "loss threshold (lower bound)", "AUC", "lower", 0.02, 0.70, -0.12),
                   ("membership.joint", "attacker holds both models", "AUC", "lower", 0.02, 0.797, 0.02)]),
    ("leakage", "Gradient leakage", "Can a training image be rebuilt from one gradient?",
     "No word in the table; the text expects compression to help.", "no citation", "leakage.inversion",
     "similarity of the rebuilt image", "dB", "lower", 1.0, 24.1, -9.0,
     [("leakage.labels", "labels recovered from the gradient", "share", "lower", 0.02, 1.0, -0.02)]),
    ("mechanism", "Mechanism", "Does the smaller model compute by the same features?",
     "What compression does to mechanisms has remained a mystery.", "Olah 2022", "mechanism.cka",
     "similarity of activations", "CKA", "higher", 0.05, 0.96, 0.5,
     [("mechanism.features", "features that survive", "share", "higher", 0.05, 0.9, 0.6)]),
    ("efficiency", "Efficiency", "What does the smaller model save on this machine?", "", "",
     "efficiency.bytes", "bytes on disk", "bytes", "lower", 1000, 152000, None,
     [("efficiency.latency", "time of one pass, relative to the baseline", "ratio", "lower", 0.05, 1.0, 0.1)]),
]  # fmt: skip
CLAIMS = {
    "overfitting": ("level-dependent", "LeCun 1989 says that pruning can improve generalization and says nothing on "
                    "distillation, quantization or decomposition."),
    "attribution": ("supported", "Joseph 2020 blames pruning and uses a distillation loss as the cure. The paper that "
                    "shows the damage is Park 2020, which the table does not cite."),
    "trees": ("supported", "True of distilling into a tree; says nothing about distilled networks."),
    "architecture": ("not measured", "The cited works support it; the converse is better evidenced."),
    "fairness": ("contradicted", "Its abstract says that on RAF-DB the compression strategies do not seem to increase "
                 "the gap; decomposition and distillation were not studied."),
    "adversarial": ("contradicted", "Zhao 2018 does not study distillation at all."),
    "membership": ("level-dependent", "Supports it for one membership-aware pruning algorithm only."),
    "leakage": ("indistinguishable", "The survey cites nobody."),
    "mechanism": ("indistinguishable", "The essay says nothing about compression."),
}  # fmt: skip
STUDY_FILE = """# The survey's Table 1 on real digits
name = "table"
seeds = [0, 1, 2, 3, 4]

[task.clean]
door = "digits"

[task.noisy]
door = "digits"
label_noise = 0.3

[[recipe]]
name = "prune 50 %"
steps = "prune.magnitude(sparsity=0.5) > train.finetune(epochs=2)"
"""


def _numbers(rng: np.random.Generator, effect: float, se: float, row: dict[str, Any], before: float) -> dict[str, Any]:
    effect += float(rng.normal()) * se
    low, high = effect - 1.96 * se, effect + 1.96 * se
    good = (effect > 0) == (row["better"] == "higher")
    if abs(effect) + 1.64 * se < row["margin"]:
        verdict = "unchanged"
    elif low > 0 or high < 0:
        verdict = "improved" if good else "worsened"
    else:
        verdict = "inconclusive"
    return {
        "before": before, "after": before + effect, "effect": effect, "low": low, "high": high,
        "floor": 1.6 * se, "detectable": 2.8 * se, "p": 0.0004 if low > 0 or high < 0 else 0.3,
        "adjusted_p": 0.001 if low > 0 or high < 0 else 1.0, "verdict": verdict,
        "needed": 2400 if verdict == "inconclusive" else None,
        "per_seed": [effect + float(e) * se for e in rng.normal(size=5)],
    }  # fmt: skip


EMPTY: dict[str, Any] = {
    **dict.fromkeys(["before", "after", "effect", "low", "high", "floor", "detectable", "needed", "p", "adjusted_p"]),
    "per_seed": [],
}


def _finding(rng: np.random.Generator, at: int, row: tuple[Any, ...], model: tuple[Any, ...], asked: tuple[Any, ...],
             primary: bool) -> dict[str, Any]:  # fmt: skip
    behaviour, label, unit, better, margin, before, harm = asked
    base = {
        "id": f"f{at}", "row": row[0], "behaviour": behaviour, "settings": {}, "label": label,
        "title": f"{label.capitalize()}, one value per example.",
        "task": "noisy" if row[0] == "overfitting" else "clean",
        "candidate": f"{model[0]} {model[1]}", "control": "placebo", "primary": primary, "n": 900,
        "unit_of_analysis": "record" if row[0] == "membership" else "test example", "seeds": 5,
        "unit": unit, "better": better, "margin": margin, "validity": [], "why": "",
    }  # fmt: skip
    damage = model[7]
    if unit == "bytes":
        effect, se = -(1 - model[6]) * before, 0.0
    else:
        effect = (1 if better == "lower" else -1) * abs(harm) * damage * (1 if harm >= 0 else -1)
        se = margin * float(rng.choice([0.15, 0.3, 0.7]))
    if row[0] == "overfitting" and model[1] == "80 %":
        effect = 0.06
    return {**base, **_numbers(rng, effect, se, base, before)}


def _special(findings: list[dict[str, Any]]) -> None:
    """Give the verdicts that numbers alone do not make."""
    for f in findings:
        if f["row"] == "adversarial" and f["candidate"] == "quantize 2 bits":
            f.update(verdict="not trusted", validity=["masked gradient: 41 % of input gradients are zero"])
        if f["row"] == "adversarial" and f["candidate"] == "svd 50 %" and f["primary"]:
            f.update(EMPTY, verdict="failed", why="RuntimeError: attack diverged")
        if f["row"] == "leakage" and f["candidate"].startswith("quantize"):
            f.update(EMPTY, verdict="not measurable", why="needs gradients; an integer model only predicts")
        if f["row"] == "trees" and f["candidate"] == "distill half":
            f.update(verdict="inconclusive", needed=None)


def _anchor(rng: np.random.Generator, at: int, row: tuple[Any, ...], name: str) -> dict[str, Any]:
    model = (name, "", "", None, "", "", 1.0, {"random": 1.6}.get(name, 0.0))
    finding = _finding(rng, at, row, model, row[5:12], False)
    return {**finding, "candidate": name, "control": "baseline"}


PARTS = {
    ("fairness", "worst group (style)"): ("group", ["regular", "slanted", "bold", "a style with a long name", "empty"]),
    ("fairness", "gap between groups (digit)"): ("class", [str(digit) for digit in range(10)]),
    ("trees", "accuracy of the distilled tree"): ("depth", ["2", "3", "4", "5"]),
    ("overfitting", "calibration error"): ("confidence bin", [f"{at / 10} to {(at + 1) / 10}" for at in range(10)]),
    ("adversarial", "accuracy under attack"): ("severity", [f"severity {at}" for at in range(1, 6)]),
    ("mechanism", "similarity of activations"): (
        "layer",
        ["features.conv1", "features.conv2", "hidden", "head.1"],
    ),
    ("mechanism", "features that survive"): ("feature", [f"feature {at}" for at in range(64)]),
}


def _parts(rng: np.random.Generator, f: dict[str, Any]) -> dict[str, Any] | None:
    kind, names = PARTS.get((f["row"], f["label"]), ("", []))
    if not names or f["effect"] is None:
        return None
    items = []
    for at, name in enumerate(names):
        size = 2 * at / len(names)
        before = f["before"] * (0.8 + 0.2 * size) if kind != "confidence bin" else (at + 0.4) / 10
        effect = f["effect"] * size + float(rng.normal()) * f["margin"] / 4
        effect = min(effect, 1 - before) if f["better"] == "higher" and f["before"] <= 1 else effect
        width = f["margin"] * 0.6
        p = float(np.exp(-abs(effect) / width * 2))
        items.append({"name": name, "before": before, "after": before + effect, "effect": effect,
                      "low": effect - width, "high": effect + width, "adjusted_p": p})  # fmt: skip
        if name in {"empty", "0.0 to 0.1"}:
            items[-1] |= dict.fromkeys(["before", "after", "effect", "low", "high", "adjusted_p"])
    return {"kind": kind, "items": items}


def _enrich(rng: np.random.Generator, findings: list[dict[str, Any]]) -> None:
    """Add what later findings have beside: parts, and the share of the way from random to placebo."""
    for f in findings:
        f["parts"] = _parts(rng, f)
        if f["row"] == "mechanism" and f["candidate"] not in {"random", "placebo"} and f["effect"] is not None:
            f["share"] = {"value": 1 + f["effect"], "low": 0.97 + f["effect"], "high": 1.03 + f["effect"]}


def _node(rng: np.random.Generator, n: int, room: int) -> dict[str, Any]:
    told: dict[str, Any] = {"class": str(int(rng.integers(10))), "n": n}
    if n < 12:
        return told
    if room == 0:
        return told | {"leaves": 2}
    left = int(n * rng.uniform(0.2, 0.8))
    pixel = f"pixel {int(rng.integers(8))},{int(rng.integers(8))}"
    told |= {"feature": pixel, "threshold": round(float(rng.uniform()), 4)}
    return told | {"left": _node(rng, left, room - 1), "right": _node(rng, n - left, room - 1)}


def _findings(rng: np.random.Generator) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in (r for r in ROWS if r[5] is not None):
        for which, asked in enumerate([row[5:12], *row[12]]):
            for model in MODELS:
                found.append(_finding(rng, len(found), row, model, asked, which == 0))
        names = ["placebo", "twin", "random"] + (["weight decay"] if row[0] == "overfitting" else [])
        for name in names if row[7] != "bytes" else []:
            found.append(_anchor(rng, len(found), row, name))
    _special(found)
    _enrich(np.random.default_rng(7), found)
    return found


def _claims(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    claims = []
    for row in ROWS:
        if row[0] not in CLAIMS:
            continue
        outcome, supports = CLAIMS[row[0]]
        mine = [f for f in findings if f["row"] == row[0] and f["primary"]]
        tally = {v: sum(f["verdict"] == v for f in mine) for v in ("improved", "unchanged", "worsened")}
        told = ", ".join(f"{n} {v}" for v, n in tally.items())
        claims.append({
            "row": row[0], "claim": row[3], "source": f"{row[4]}, arXiv:2201.01709", "supports": supports,
            "outcome": outcome, "reason": f"Of {len(mine)} candidates: {told}." if mine else "Not in this release.",
            "because": [f["id"] for f in mine],
        })  # fmt: skip
    return claims


def _exhibits(rng: np.random.Generator) -> list[dict[str, Any]]:
    digits = load_digits()
    pictures = digits.images / 16
    harmed = []
    for at in range(8):
        image, truth = pictures[at * 7 + 3], int(digits.target[at * 7 + 3])
        mass = image - 0.4 * np.roll(image, 1, axis=0)
        maps = {
            "baseline": (mass + rng.normal(size=image.shape) * 0.08).round(3).tolist(),
            "candidate": (0.5 * mass + rng.normal(size=image.shape) * 0.4).round(3).tolist(),
        }
        harmed.append({
            "index": at * 7 + 3, "truth": str(truth), "before": str(truth), "after": str((truth + 5) % 10),
            "image": image.round(3).tolist(), "maps": maps,
            "note": f"wrong after compression in {5 - at % 3} of 5 seeds",
        })  # fmt: skip
    rebuilt = []
    for at in range(6):
        image = pictures[at]
        again = np.clip(image + rng.normal(size=image.shape) * 0.05 * (at + 1), 0, 1)
        rebuilt.append({"image": image.round(3).tolist(), "reconstruction": again.round(3).tolist(),
                        "note": f"PSNR {31 - 3 * at} dB"})  # fmt: skip
    listed = [{"index": 31 * at, "truth": str(at % 10), "before": str(at % 10), "after": str((at + 3) % 10),
               "note": f"in {5 - at % 3} of 5 seeds"} for at in range(30)]  # fmt: skip
    grower = np.random.default_rng(11)
    trees = [{"row": "trees", "kind": "tree", "task": "clean", "candidate": name, "items": [],
              "title": f"the tree distilled from {name}", "tree": _node(grower, 600, 4)}
             for name in ("baseline", "prune 95 %", "distill quarter")]  # fmt: skip
    return [
        {"row": "fairness", "kind": "harmed", "task": "clean", "candidate": "prune 95 %",
         "title": "Right before, wrong after", "items": harmed},
        {"row": "attribution", "kind": "harmed", "task": "clean", "candidate": "distill quarter",
         "title": "Explanations that moved most", "items": harmed[:4]},
        {"row": "leakage", "kind": "reconstruction", "task": "clean", "candidate": "prune 95 %",
         "title": "Rebuilt from one gradient", "items": rebuilt},
        {"row": "overfitting", "kind": "population", "task": "noisy", "candidate": "quantize 2 bits",
         "title": "Read otherwise by most seeds", "items": listed},
        {"row": "overfitting", "kind": "population", "task": "noisy", "candidate": "prune 95 %",
         "items": [{k: v for k, v in one.items() if k != "maps"} for one in harmed[:6]]},
        *trees,
    ]  # fmt: skip


def _rows() -> list[dict[str, Any]]:
    keys = ["name", "title", "question", "survey", "cited", "behaviour"]
    rows = []
    for row in ROWS:
        one = dict(zip(keys, row, strict=False))
        one |= {"status": "measured" if row[5] else "not measured yet", "items": [row[5]] if row[5] else []}
        one |= dict(zip(["unit", "better", "margin"], row[7:10] if row[5] else [None] * 3, strict=True))
        one["task"] = ("noisy" if row[0] == "overfitting" else "clean") if row[5] else None
        rows.append(one)
    return rows


def _candidates() -> list[dict[str, Any]]:
    found = []
    for name, recipe in CONTROLS:
        found.append(
            {
                "name": name,
                "family": "control",
                "level": "",
                "knob": None,
                "knob_name": "",
                "recipe": recipe,
                "role": name if name in tuple(map(str, Role)) else "control",
                "parameters": 38_000,
                "bytes": 152_000,
                "macs": 410_000,
                "left_alone": [],
            }
        )
    for family, short, level, knob, knob_name, recipe, kept, _ in MODELS:
        found.append(
            {
                "name": f"{family} {short}",
                "family": family,
                "level": level,
                "knob": knob,
                "knob_name": knob_name,
                "recipe": recipe,
                "role": "candidate",
                "parameters": int(38_000 * kept),
                "bytes": int(152_000 * kept * (knob / 32 if family == "quantize" else 1)),
                "macs": int(410_000 * kept),
                "left_alone": ["head.bias"] if family == "svd" else [],
                "remarks": ["stored <packed>, computed dequantized"] if family == "quantize" else [],
            }
        )
    return found  # fmt: skip


def make(seed: int = 0) -> dict[str, Any]:
    """Return a findings document as JSON has it."""
    rng = np.random.default_rng(seed)
    findings = _findings(rng)
    return {
        "schema": 2, "whatelse": "0.1.0", "created": "2026-11-23T21:00:00Z",
        "study": {"name": "table", "title": "What else changed? The survey's Table 1, measured on handwritten digits",
                  "description": "A small network that reads handwritten digits was made smaller in ten ways.",
                  "file": STUDY_FILE},
        "environment": {"python": "3.11.7", "torch": "2.13.0+cpu", "numpy": "2.4.6", "platform": "Linux x86_64",
                        "threads": 1},
        "timing": {"wall_s": 301.2, "training_s": 402.0, "compressing_s": 71.5, "measuring_s": 95.0},
        "seeds": [0, 1, 2, 3, 4],
        "tasks": [{"name": name, "title": title, "description": "1,797 real 8 × 8 images that ship with scikit-learn.",
                   "splits": {"train": 600, "calibration": 100, "select": 297, "test": 900}, "classes": 10,
                   "key": name * 3}
                  for name, title in (("clean", "Digits, clean labels"), ("noisy", "Digits, 30 % of labels flipped"))],
        "rows": _rows(), "candidates": _candidates(), "findings": findings, "claims": _claims(findings),
        "exhibits": _exhibits(rng),
        "potential": [
            {"family": "prune", "kind": "prune", "knob_name": "sparsity", "label": "accuracy on clean labels",
             "task": "noisy", "delta": 0.005, "potential": 0.8, "levels": [0.5, 0.8, 0.95],
             "shown": [True, True, False], "unbroken": 0.8, "unit": "accuracy",
             "recipe": "prune.magnitude()"},
            {"family": "svd", "kind": "decompose", "knob_name": "rank", "label": "accuracy on clean labels",
             "task": "noisy", "delta": 0.005, "potential": None, "levels": [0.5, 0.25]}],
        "failed": [{"cell": "adversarial / svd 50 % / seed 3", "error": "RuntimeError: attack diverged"}],
    }  # fmt: skip


@pytest.fixture(scope="package")
def _made() -> str:
    return json.dumps(make())


@pytest.fixture(scope="package")
def rendered(_made: str) -> str:
    """The page of the unchanged document."""
    return render(parse(json.loads(_made)))


@pytest.fixture
def document(_made: str) -> dict[str, Any]:
    """A document that a test may change."""
    return copy.deepcopy(json.loads(_made))


@pytest.fixture
def findings(document: dict[str, Any]) -> Findings:
    return parse(document)


@pytest.fixture
def file(document: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def _chromium() -> str:
    named = os.environ.get("WHATELSE_CHROMIUM")
    places = [named] if named else [shutil.which("chromium"), "/usr/bin/chromium"]
    found = next((place for place in places if place and Path(place).exists()), None)
    if found is None:
        pytest.skip("no Chromium: install Debian's chromium, or name one in WHATELSE_CHROMIUM")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # this file is read where no browser is wanted too

    place = _chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce"
    )
    yield context
    context.close()
