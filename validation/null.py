"""Nothing happened: copies that compute the same, and networks that were merely trained again.

Run alone it prints both: ``python validation/null.py 4``.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import planted
import torch
import world
from torch import Tensor, nn

import whatelse
from whatelse import items, recipe, registry, settings
from whatelse.auditing import ask, verdicts
from whatelse.auditing.effects import Comparison, SubjectValues
from whatelse.auditing.questions import DATA, Measurement
from whatelse.auditing.verdicts import Compared
from whatelse.findings.record import Finding
from whatelse.statistics.shared import Pool
from whatelse.study.as_study import study_of
from whatelse.study.assemble import inquiry_of
from whatelse.study.plan import pairs
from whatelse.study.spec import Study
from whatelse.tasks.task import Task

with warnings.catch_warnings():  # of torch about its own scripts
    warnings.simplefilter("ignore")
    from torch.fx.experimental.optimization import fuse

SEEDS, EXAMPLES = 5, 300
FLAGGED = {"improved", "worsened", "not trusted"}
NETS = {
    "cnn": ("cnn", {}),
    "mlp": ("mlp", {}),
    "resnet with batch norm": ("resnet", {"depth": 8, "width": 8}),
}


class InPieces(nn.Module):
    """A network that is asked seven examples at a time, whatever the batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``."""
        return torch.cat([self.model(part) for part in x.split(7)])


class OnTwoThreads(nn.Module):
    """A network that computes on two threads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``."""
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            return self.model(x)
        finally:
            torch.set_num_threads(before)


def permuted(model: nn.Module) -> nn.Module:
    """Return a copy whose hidden units stand in another order: the same function."""
    copy, rng = deepcopy(model), torch.Generator().manual_seed(9)
    layers = [m for m in copy.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    for one, next_ in zip(layers[:-1], layers[1:], strict=True):
        if type(one) is not type(next_) or one.weight.shape[0] != next_.weight.shape[1]:
            continue
        order = torch.randperm(one.weight.shape[0], generator=rng)
        with torch.no_grad():
            one.weight.copy_(one.weight[order])
            if one.bias is not None:
                one.bias.copy_(one.bias[order])
            next_.weight.copy_(next_.weight[:, order])
    return copy


def reloaded(model: nn.Module) -> nn.Module:
    """Return the network written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        whatelse.save(model, Path(folder) / "saved")
        return whatelse.load(Path(folder) / "saved")


# What anybody can undo: a scale of the scores, and a shift of all classes alike.
RESCALED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "scores times 1000": lambda z, _: 1000 * z,
    "scores divided by 1000": lambda z, _: z / 1000,
    "scores shifted, another way for each image": lambda z, x: z + 20 * x.flatten(1).sum(1, keepdim=True).sin(),
}
SCALE = {"negative log-likelihood", "squared calibration error (debiased)"}  # they are about the scale
SATURATED = "masked for cross-entropy attacks"  # named of such a model whoever asks, beside the right number

COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "itself": deepcopy,
    "hidden units permuted": permuted,
    "batch norm folded": lambda model: fuse(model),
    "saved and loaded": reloaded,
    "double precision and back": lambda model: deepcopy(model).double().float(),
    "asked seven at a time": InPieces,
    "on two threads": OnTwoThreads,
    **{what: partial(planted.Wrapped, change=change) for what, change in RESCALED.items()},
}


@cache
def digits() -> Task:
    """Return the bundled digits."""
    return whatelse.load_task("digits")


@cache
def trained(name: str) -> nn.Module:
    """Return one of the networks of `NETS`, trained on the digits."""
    item, given = NETS[name]
    net, task = registry.load("nets", item), digits()
    config = settings.build(net.Config, given, item)
    rng = torch.Generator().manual_seed(4)
    return recipe.apply(recipe.parse("train.scratch(epochs=12)")[0], net.build(config, task.shape, 10, rng), task, rng)


def copies(name: str) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Return the copies that make sense of a network: folding wants batch norm, permuting plain layers in a row."""
    skipped = set() if "batch norm" in name else {"batch norm folded"}
    skipped |= set() if name in {"cnn", "mlp"} else {"hidden units permuted"}
    return {what: make for what, make in COPIES.items() if what not in skipped}


def lossless(name: str) -> list[dict[str, Any]]:
    """Return every verdict of the default audit on every copy of one network."""
    base = trained(name)
    candidates = {what: make(base) for what, make in copies(name).items()}
    found = whatelse.audit(base, candidates, digits())
    with torch.no_grad():
        said = {
            what: (model(digits().test.inputs) - base(digits().test.inputs)).abs().max()
            for what, model in candidates.items()
        }
    return [
        {
            "net": name,
            "copy": f.candidate,
            "label": f.label,
            "verdict": f.verdict,
            "excused": f.candidate in RESCALED and _excused(f),
            "off": float(said[f.candidate]),
        }
        for f in found.findings
    ]


def _excused(finding: Finding) -> bool:
    """Say whether a copy of rescaled scores may be flagged here: never as improved in what is not their scale."""
    if finding.label in SCALE:
        return True
    return finding.verdict == "not trusted" and all(d.startswith(SATURATED) for d in finding.doubts)


def _network(seed: int) -> nn.Sequential:
    return world.network(seed, hidden=12, epochs=6, spare=4)


def false_candidate(number: int) -> dict[str, Any]:
    """Return the verdicts on a method that does nothing but train again, over five seeds, against five that did too."""
    asked = planted.questions()
    study = study_of(asked, ["candidate"], ["placebo"], range(SEEDS))
    task = world.task(EXAMPLES, torch.Generator().manual_seed(50_000 + number))
    evidence = [_evidence(number * SEEDS + s, task) for s in range(SEEDS)]
    pool = Pool(study.draws, np.random.default_rng([number, ask.number(("resamples",))]))
    compared = [_compared(study, m, evidence, number, pool) for m in asked.measurements]
    found = verdicts.decided(inquiry_of(study), compared).findings
    primary = [f for f in found if f.candidate == "candidate" and f.primary]
    flagged = [f.label for f in primary if f.verdict in {"improved", "worsened"}]
    raw = [f.label for f in primary if f.p is not None and f.p < 0.05]
    before, after = (_accuracy(evidence[0][name]) for name in ("placebo", "candidate"))
    return {
        "number": number,
        **planted.by_accuracy(before, after, EXAMPLES),
        "flagged": flagged,
        "uncorrected": raw,
        "verdicts": {f.label: f.verdict for f in primary},
    }


def _accuracy(evidence: whatelse.Evidence) -> float:
    return float((evidence.predictions() == evidence.task.test.targets).float().mean())


def _evidence(seed: int, task: Task) -> dict[str, whatelse.Evidence]:
    made: dict[str, whatelse.Evidence] = {}
    for kind, name in enumerate(("baseline", "placebo", "candidate")):
        own = 10_000 + 3 * seed + kind
        subject = ask.subject_of(_network(own), name, f"{own}", task)
        made[name] = whatelse.Evidence(subject, task, reference=made.get("baseline"))
    return made


def _compared(
    study: Study, m: Measurement, evidence: list[dict[str, whatelse.Evidence]], again: int, pool: Pool
) -> Compared:
    item, held_against = items.behaviour(m.item), pairs(study, m)
    rng = np.random.default_rng([again, ask.number((m.label,))])
    held = Comparison(item, item.configure(m.settings), pool, rng)
    for name in ("baseline", "placebo", "candidate"):
        seen = SubjectValues()
        for s, each in enumerate(evidence):
            own = ask.generator(m.label, str(again), str(s))
            seen.add(ask.ask(item, m.settings, each[name], each["baseline"], own))
        held.take(name, seen)
    return Compared(m.label, DATA, held_against, held.against(held_against))


def main() -> None:
    """Print what is flagged of copies, and of a few false candidates."""
    for name in NETS:
        rows = lossless(name)
        bad = [r for r in rows if r["verdict"] in FLAGGED]
        print(name, len(rows), "verdicts, flagged:", bad, max(r["off"] for r in rows), flush=True)
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 2):
        print(false_candidate(number), flush=True)


if __name__ == "__main__":
    main()
