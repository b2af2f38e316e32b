"""Hold one joint audit against the same measurements made by separate tools: equal numbers, passes and time.

    python bench/evidence.py [images|table]

Quick measurements of four families (generalization, attribution, mechanism, fairness) on a baseline and a pruned
candidate: by `whatelse.evidence`, which asks each model once, and by torchmetrics, scikit-learn, fairlearn, captum,
CKA from whole Gram matrices and units by hooks, each tool with its own passes, batch by batch, as its documentation
shows. Both sides use the same models, examples and size of batch, without gradients where none are needed, on one
thread, in turn over several repeats. Seconds are those of the processor, which neighbors on the machine hardly move.
Passes are counted by a hook on the models, so also the few that check a model's gradient first. Numbers are held
against each other before anything is timed; none of the tools gives intervals, so none are timed.

Images: a ResNet-20 on 32x32 pixels; the published weights on CIFAR-10 where $WHATELSE_DATA (default ../shared/data)
has them, else untrained on random images. Table: an MLP on 40 features.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from _peers import audits
from _peers.audits import BATCH, Case
from torch import Tensor, nn

from whatelse import items, registry
from whatelse.evidence.cache import Evidence
from whatelse.models import subject

REPEATS = 5
PEERS = ("captum", "fairlearn", "sklearn", "torchmetrics")
# What the tools measure too: label, behaviour, settings, and how far the two may differ.
ASKED: tuple[tuple[str, str, dict[str, object], float], ...] = (
    ("accuracy", "generalization.accuracy", {}, 1e-6),
    ("ece", "generalization.ece", {}, 1e-5),
    ("likelihood", "generalization.likelihood", {}, 1e-5),
    ("brier", "generalization.brier", {}, 1e-5),
    ("flips", "generalization.flips", {"kind": "any"}, 1e-6),
    ("agreement", "attribution.agreement", {"score": "spearman"}, 1e-4),
    ("cosine", "attribution.agreement", {"score": "cosine"}, 1e-4),
    ("saliency", "attribution.agreement", {"score": "spearman", "map": "gradient"}, 1e-4),
    ("energy", "attribution.localization", {"score": "energy", "map": "gradient"}, 1e-4),
    ("cka", "mechanism.cka", {}, 1e-5),
    ("dead", "mechanism.dead", {}, 1e-6),
    ("selectivity", "mechanism.selectivity", {}, 1e-5),
    ("worst group", "fairness.worst_group", {}, 1e-6),
    ("gap", "fairness.gap", {}, 1e-6),
    ("odds", "fairness.odds", {}, 1e-6),
    ("equalized odds", "fairness.equalized_odds", {}, 1e-6),
    ("parity", "fairness.parity", {}, 1e-6),
)


@dataclass
class Counter:
    """Examples that went through the models, forward and backward, and the processor seconds since the last `take`."""

    forward: int = 0
    backward: int = 0
    started: float = 0.0
    spent: dict[str, list[tuple[float, float, float]]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, model: nn.Module) -> None:
        """Count every pass of a model, and of its copies, from now on."""

        def back(slope: Tensor) -> None:
            self.backward += len(slope)

        # A function, as a copy of the model then goes on counting here, and a bound method would be copied too.
        def passed(module: nn.Module, inputs: object, output: Tensor) -> None:
            del module, inputs
            self.forward += len(output)
            if output.requires_grad:
                output.register_hook(back)  # type: ignore[no-untyped-call] # torch's own

        model.register_forward_hook(passed)

    def start(self) -> None:
        """Begin anew."""
        self.forward = self.backward = 0
        self.started = time.process_time()

    def take(self, name: str, examples: int) -> None:
        """Book what was spent since the start under a name, passes an example, and begin anew."""
        seconds = time.process_time() - self.started
        self.spent[name].append((self.forward / examples, self.backward / examples, seconds))
        self.start()


def main() -> None:
    """Compare both cases, or the named ones."""
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: needs {', '.join(missing)} (pip install 'whatelse[dev]')")
        return
    torch.set_num_threads(1)
    short = []
    for kind in sys.argv[1:] or ("images", "table"):
        if not compared(audits.CASES[kind]()):
            short.append(kind)
    if short:
        print(f"less than 4 times faster, which is the target: {', '.join(short)}")


def compared(case: Case) -> bool:
    """Print the comparison on one case, and say whether the joint audit takes at most a quarter of the time.

    Args:
        case: Models and examples.
    """
    n, counter = len(case.task.test), Counter()
    for model in case.models:
        counter.watch(model)
    asked = [row for row in ASKED if row[1] in registry.names("behaviours") and applies(row[1], case)]
    print(f"\n{case.name}: {n:,} examples, batches of {BATCH}, one thread, {REPEATS} repeats in turn")
    together(case, asked, counter)
    equal(case, asked, counter)
    counter.spent.clear()
    ratios = []
    for _ in range(REPEATS):
        ours = seconds(lambda: together(case, asked, counter))
        ratios.append(seconds(lambda: apart(case, asked, counter)) / ours)
    print(f"{'':34s} {'forward':>8s} {'backward':>8s} {'seconds':>8s}   passes an example, both models together")
    total = [0.0, 0.0, 0.0]
    for name, rows in counter.spent.items():
        typical = [statistics.median(column) for column in zip(*rows, strict=True)]
        print(f"{name:34s} {typical[0]:8.2f} {typical[1]:8.2f} {typical[2]:8.3f}")
        if name != "whatelse":
            total = [t + part for t, part in zip(total, typical, strict=True)]
    print(f"{'separate tools together':34s} {total[0]:8.2f} {total[1]:8.2f} {total[2]:8.3f}")
    ratio = statistics.median(ratios)
    print(f"ratio of times: {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return ratio >= 4


def applies(name: str, case: Case) -> bool:
    """Say whether a behaviour can be asked of a case.

    Args:
        name: The behaviour.
        case: Models and examples.
    """
    return case.task.test.masks is not None or "masks" not in registry.card("behaviours", name).needs


def seconds(call: Callable[[], object]) -> float:
    """Return how long the processor works on a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def together(
    case: Case, asked: list[tuple[str, str, dict[str, object], float]], counter: Counter
) -> dict[str, list[float]]:
    """Return what one audit says: for each label the candidate's number, and the baseline's where it has one.

    Args:
        case: Models and examples.
        asked: Rows of `ASKED`.
        counter: Books what was spent.
    """
    counter.start()
    seen: list[Evidence] = []
    for name, model in zip(("baseline", "candidate"), case.models, strict=True):
        of = subject.of(model, name, name, case.task.test.inputs[:4], torch.Generator().manual_seed(0))
        seen.append(Evidence(of, case.task, reference=seen[0] if seen else None, batch=BATCH))
    found: dict[str, list[float]] = {}
    for label, name, settings, _ in asked:
        item = items.behaviour(name)
        config, rng = item.configure(settings), torch.Generator().manual_seed(0)
        answers = [item.answer(seen[0], e, config, rng) for e in (seen[1:] if item.pair else seen)]
        doubles = [a.over(a.matrix().astype(np.float64)) for a in answers]
        found[label] = [float(item.summarise(a, config, np.ones((1, len(a))))[0]) for a in doubles]
    counter.take("whatelse", len(case.task.test))
    return found


def apart(
    case: Case, asked: list[tuple[str, str, dict[str, object], float]], counter: Counter
) -> dict[str, list[float]]:
    """Return what the separate tools say, as `together` does.

    Args:
        case: Models and examples.
        asked: Rows of `ASKED`.
        counter: Books what each tool spent.
    """
    labels = {label for label, *_ in asked}
    found: dict[str, list[float]] = {}
    for name, tool in audits.TOOLS.items():
        counter.start()
        found |= tool(case, labels)
        counter.take(name, len(case.task.test))
    return found


def equal(case: Case, asked: list[tuple[str, str, dict[str, object], float]], counter: Counter) -> None:
    """Print both sides' numbers; stop where they differ.

    Args:
        case: Models and examples.
        asked: Rows of `ASKED`.
        counter: Not read.
    """
    ours, theirs = together(case, asked, counter), apart(case, asked, counter)
    if set(ours) != set(theirs):
        sys.exit(f"measured by one side only: {sorted(set(ours) ^ set(theirs))}")
    for label, name, settings, tolerance in asked:
        for mine, other in zip(ours[label], theirs[label], strict=True):
            if not abs(mine - other) <= tolerance:
                sys.exit(f"{label}: {mine} by whatelse, {other} by the tool; they may differ by {tolerance}")
        given = ", ".join(f"{k}={v}" for k, v in settings.items())
        numbers = ", ".join(f"{v:.5f}" for v in ours[label])
        print(f"  {name}({given}): {numbers}; equal to {tolerance:g}")


if __name__ == "__main__":
    main()
