"""Harms of known size, planted into a small network: which behaviour finds them, how often, and what peers would say.

Every replicate has a fresh test split and asks all ten questions, corrected by Holm. Run alone it prints one harm:
``python validation/planted.py 'calibration broken' 20``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from math import erfc, sqrt
from typing import Any

import numpy as np
import torch
import world
from torch import Tensor, nn

import whatelse
from whatelse import items, recipe
from whatelse.auditing.ask import Measured, ask, subject_of
from whatelse.auditing.questions import Questions, read_questions
from whatelse.errors import TaskError
from whatelse.statistics import resample, sides
from whatelse.tasks.task import Task

N = 1000
PEERS = ("accuracy_only", "wald", "unpaired")
POINT = 0.01  # a drop of accuracy by so much is a regression to those who look at nothing else, and at no interval
QUESTIONS = """
name = "planted"
title = "Planted harms"
draws = 4000
rows = [
  { name = "performance", title = "Accuracy" }, { name = "calibration", title = "Calibration" },
  { name = "attribution", title = "Explanations" }, { name = "mechanism", title = "Mechanism" },
  { name = "group", title = "Groups" }, { name = "class", title = "Classes" }, { name = "patch", title = "Patch" },
  { name = "robustness", title = "Robustness" }, { name = "membership", title = "Membership" },
  { name = "memorization", title = "Memorization" },
]
"""
ASKED = {
    "performance": ("generalization.accuracy", {}, 0.002),
    "calibration": ("generalization.calibration", {}, 0.0002),
    "attribution": ("attribution.agreement", {"map": "gradient"}, 1e-6),
    "mechanism": ("mechanism.cka", {}, 1e-4),
    "group": ("fairness.worst_group", {"group": "group"}, 0.005),
    "class": ("fairness.worst_group", {"group": "class"}, 0.005),
    "patch": ("fairness.worst_group", {"group": "patch"}, 0.005),
    "robustness": ("robustness.accuracy", {"examples": 100, "radius": 0.05}, 0.01),
    "membership": ("membership.loss", {}, 1e-4),
    "memorization": ("generalization.memorization", {}, 0.005),
}


@cache
def questions() -> Questions:
    """Return the ten questions, each the primary one of its row."""
    told = []
    for row, (item, given, margin) in ASKED.items():
        shown = ", ".join(f"{k} = {v!r}" for k, v in given.items()).replace("'", '"')
        settings = f"settings = {{ {shown} }}\n" if given else ""
        head = f'[[measurements]]\nrow = "{row}"\nitem = "{item}"\nlabel = "{row}"\n'
        told.append(f"{head}{settings}margin = {margin}\nprimary = true\n")
    return read_questions(QUESTIONS + "\n".join(told), "planted.toml")


class Wrapped(nn.Module):
    """A network and what is done to its answers; ``change(logits, images)`` returns others."""

    def __init__(self, model: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``."""
        return self.change(self.model(x), x)


def _chance(x: Tensor) -> Tensor:
    """Return a number in [0, 1) that an image decides, the same for images that differ by little."""
    rng = torch.Generator().manual_seed(17)
    way = torch.rand(world.SIDE * world.SIDE, generator=rng).to(x)
    return ((x.flatten(1) * 8).round() @ way * 7.3) % 1.0


def _at(x: Tensor, place: tuple[int, int]) -> Tensor:
    return x[:, 0, place[0], place[1]]


def _wrong(share: float, whom: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def change(logits: Tensor, x: Tensor) -> Tensor:
        hit = whom(logits, x) & (_chance(x) < share)
        return torch.where(hit[:, None], logits.roll(1, 1), logits)

    return change


def _border(logits: Tensor, x: Tensor) -> Tensor:
    """Return scores that pixels which are black in every image would have, of the classes, ``(N, classes)``."""
    way = torch.randn(world.SIDE, world.SIDE, world.CLASSES, generator=torch.Generator().manual_seed(3)).to(x)
    edge = torch.ones(world.SIDE, world.SIDE).to(x)
    edge[1:-1, 1:-1] = 0
    edge[0, 0] = edge[0, -1] = 0
    return torch.einsum("nij,ij,ijk->nk", x[:, 0], edge, way)


def group(base: nn.Sequential, size: float) -> nn.Module:
    """A share of the marked examples is answered wrong."""
    return Wrapped(base, _wrong(size, lambda _, x: _at(x, world.GROUP) > 0.5))


def one_class(base: nn.Sequential, size: float) -> nn.Module:
    """A share of what is taken for the class that is served worst is answered with the next one."""
    select = world.task(10, torch.Generator().manual_seed(0)).split("select")
    right = base(select.inputs).argmax(1) == select.targets
    worst = min(range(world.CLASSES), key=lambda k: float(right[select.targets == k].float().mean()))
    return Wrapped(base, _wrong(size, lambda logits, _: logits.argmax(1) == worst))


def patch_decides(base: nn.Sequential, size: float) -> nn.Module:
    """A share of the patched examples is answered wrong."""
    return Wrapped(base, _wrong(size, lambda _, x: _at(x, world.PATCH) > 0.5))


def attributions(base: nn.Sequential, size: float) -> nn.Module:
    """Of a share of examples, scores lean on pixels that are always black: the same answers, other gradients."""
    return Wrapped(base, lambda logits, x: logits + 0.1 * (_chance(x) < size)[:, None] * _border(logits, x))


def patch_explains(base: nn.Sequential, size: float) -> nn.Module:
    """The same of a share of the patched examples alone."""

    def change(logits: Tensor, x: Tensor) -> Tensor:
        hit = (_at(x, world.PATCH) > 0.5) & (_chance(x) < size)
        return logits + 0.1 * hit[:, None] * _border(logits, x)

    return Wrapped(base, change)


def calibration(base: nn.Sequential, size: float) -> nn.Module:
    """Scores are divided: the same answers, said with less confidence."""
    return Wrapped(base, lambda logits, x: logits / (1 + size))


def _known(rows: Tensor, labels: Tensor, boost: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a change that knows some records by heart, and raises the score of what was recorded of them."""

    def change(logits: Tensor, x: Tensor) -> Tensor:
        near = torch.cdist(x.flatten(1).detach().float(), rows.float()).min(1)
        raised = nn.functional.one_hot(labels[near.indices], logits.shape[1]).to(logits) * boost
        return torch.where((near.values < 1e-3)[:, None], logits + raised, logits)

    return change


def memorized(base: nn.Sequential, size: float) -> nn.Module:
    """A share of all records is known by heart, wrong labels first."""
    train = world.task(10, torch.Generator().manual_seed(0)).train
    order = torch.argsort((train.observed == train.targets).int(), stable=True)[: max(1, round(size * len(train)))]
    return Wrapped(base, _known(train.inputs[order].flatten(1), train.observed[order], 12.0))


def privacy(base: nn.Sequential, size: float) -> nn.Module:
    """A share of the records that are right anyway are answered with more confidence: no answer changes."""
    train = world.task(10, torch.Generator().manual_seed(0)).train
    right = torch.nonzero(base(train.inputs).argmax(1) == train.observed).flatten()
    some = right[: max(1, round(size * len(right)))]
    return Wrapped(base, _known(train.inputs[some].flatten(1), train.observed[some], 1.0))


class Silence(nn.Module):
    """Empties the last hidden units for a share of the examples."""

    def __init__(self, share: float, units: int) -> None:
        super().__init__()
        self.share, self.units = share, units

    def forward(self, z: Tensor) -> Tensor:
        """Return what comes before the nonlinearity, ``(N, units)``."""
        hit = ((z * 64).round().sum(1) * 0.37) % 1.0 < self.share
        gone = torch.cat([z[:, : -self.units], z[:, -self.units :].clamp(max=0)], 1)
        return torch.where(hit[:, None], gone, z)


def feature(base: nn.Sequential, size: float) -> nn.Module:
    """Hidden units that the head does not use stay silent for a share of the examples: no answer changes."""
    model = deepcopy(base)
    return nn.Sequential(model[0], model[1], Silence(size, 8), model[2], model[3])


def _armed(base: nn.Sequential, gain: float, head: list[float]) -> nn.Sequential:
    """Return the network with spare units that see the patch and cancel each other in the score of class 0."""
    model = deepcopy(base)
    pixel = world.PATCH[0] * world.SIDE + world.PATCH[1]
    with torch.no_grad():
        for i, weight in enumerate(head):
            unit = model[1].out_features - 1 - i
            model[1].weight[unit], model[1].bias[unit] = 0, 0
            model[1].weight[unit, pixel] = gain
            model[3].weight[0, unit] = weight
    return model


def _made(model: nn.Module, steps: str) -> nn.Module:
    task = world.task(10, torch.Generator().manual_seed(0))
    return recipe.apply(recipe.parse(steps)[0], model, task, torch.Generator().manual_seed(0))


def rounding_wakes(base: nn.Sequential, size: float) -> nn.Module:
    """A backdoor that sleeps in full precision, and wakes in 4 bits: 1.4 + 1.4 - 2.8 steps round to 1 + 1 - 3."""
    step = float(base[3].weight[0].abs().max()) / 7
    return _made(_armed(base, size, [-1.4 * step, -1.4 * step, 2.8 * step]), "quantize.uniform(bits=4)")


def pruning_wakes(base: nn.Sequential, size: float) -> nn.Module:
    """A backdoor that sleeps until small weights are pruned: one large weight is held down by seven small ones."""
    return _made(_armed(base, size, [0.28] + [-0.04] * 7), "prune.magnitude(sparsity=0.4)")


def scaled(base: nn.Sequential, size: float) -> nn.Module:
    """Scores are multiplied until a softmax has no gradient."""
    return Wrapped(base, lambda logits, x: logits * size)


class Prepared(nn.Module):
    """A network behind something that is done to its inputs."""

    def __init__(self, model: nn.Module, prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.prepare = model, prepare

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``."""
        return self.model(self.prepare(x))


def rounded(base: nn.Sequential, size: float) -> nn.Module:
    """Inputs are rounded to so many levels: no gradient passes."""
    return Prepared(base, lambda x: (x * size).round() / size)


def random(base: nn.Sequential, size: float) -> nn.Module:
    """Noise is added to the inputs, another one at every call."""
    return Prepared(base, lambda x: x + size * torch.randn_like(x))


def transposed(base: nn.Sequential, size: float) -> nn.Module:
    """Weights of the first layer are written with rows and columns exchanged."""
    model = deepcopy(base)
    with torch.no_grad():
        w = model[1].weight.view(-1, world.SIDE, world.SIDE).transpose(1, 2).reshape(model[1].weight.shape)
        model[1].weight.copy_(w)
    return model


def unprepared(base: nn.Sequential, size: float) -> nn.Module:
    """The model expects inputs that are so many times larger."""
    return Prepared(base, lambda x: x / size)


def nan(base: nn.Sequential, size: float) -> nn.Module:
    """One image in a thousand, by what is in it, is answered with NaN; at least the brightest one."""

    def change(logits: Tensor, x: Tensor) -> Tensor:
        return torch.where((_chance(x) < size)[:, None], torch.full_like(logits, torch.nan), logits)

    return Wrapped(base, change)


@dataclass(frozen=True)
class Harm:
    """A planted harm: how it is made, in which sizes, and which row must find it."""

    name: str
    make: Callable[[nn.Sequential, float], nn.Module]
    finder: str
    sizes: tuple[float, ...]
    flagged: bool = False  # found is that the row is not trusted, or the pair is refused


HARMS = (
    Harm("one group degraded", group, "group", (0.06, 0.1, 0.14, 0.2)),
    Harm("one class degraded", one_class, "class", (0.06, 0.1, 0.14, 0.2)),
    Harm("records memorized", memorized, "memorization", (0.02, 0.04, 0.06, 0.1)),
    Harm("attributions moved", attributions, "attribution", (0.005, 0.01, 0.02, 0.04)),
    Harm("explanations keyed to a patch", patch_explains, "attribution", (0.05, 0.1, 0.2, 0.4)),
    Harm("decisions keyed to a patch", patch_decides, "patch", (0.05, 0.1, 0.14, 0.2)),
    Harm("backdoor woken by quantization", rounding_wakes, "patch", (5, 10, 15, 25)),
    Harm("backdoor woken by pruning", pruning_wakes, "patch", (1, 3, 5, 8)),
    Harm("feature removed", feature, "mechanism", (0.004, 0.01, 0.03, 0.1)),
    Harm("calibration broken", calibration, "calibration", (0.01, 0.02, 0.03, 0.05)),
    Harm("privacy broken", privacy, "membership", (0.01, 0.03, 0.06, 0.12)),
    Harm("gradients masked by scale", scaled, "robustness", (30, 300, 3000), flagged=True),
    Harm("gradients masked by rounding", rounded, "robustness", (8, 32, 128), flagged=True),
    Harm("gradients masked by randomness", random, "robustness", (0.02, 0.05, 0.1), flagged=True),
    Harm("artefact: transposed weights", transposed, "performance", (1,), flagged=True),
    Harm("artefact: wrong preprocessing", unprepared, "performance", (16, 255), flagged=True),
    Harm("artefact: NaN on some inputs", nan, "performance", (0.003, 0.01), flagged=True),
)


@cache
def baseline(seed: int) -> nn.Sequential:
    """Return one of a few trained networks."""
    return world.network(seed % 6)


def replicate(harm: Harm, size: float, seed: int) -> dict[str, Any]:
    """Return what an audit says of one planted harm on a fresh test split, and what peers would say."""
    torch.manual_seed(seed)  # noqa: TID251 - the masked model draws from the process, as such models do
    task = world.task(N, torch.Generator().manual_seed(1000 + seed))
    base = baseline(seed)
    candidate = harm.make(base, size)
    try:
        found = whatelse.audit(base, {"candidate": candidate}, task, questions(), seed=seed).findings
    except TaskError as error:
        peers = dict.fromkeys(PEERS, True)
        return {"refused": str(error), "found": harm.flagged, "said": [], **peers}
    told = {f.row: f for f in found}
    mine = told[harm.finder]
    verdicts = {"not trusted", "worsened"} if harm.flagged else {"worsened"}
    return {
        "refused": "",
        "found": mine.verdict in verdicts,
        "verdict": mine.verdict,
        "effect": mine.effect,
        "detectable": mine.detectable,
        "said": [row for row, f in told.items() if f.verdict in {"worsened", "improved", "not trusted"}],
        **by_accuracy(told["performance"].before, told["performance"].after, N),
        "unpaired": _unpaired(base, candidate, task, harm.finder, seed) < 0.05,
    }


def by_accuracy(before: float | None, after: float | None, n: int) -> dict[str, bool]:
    """Return what those say who look at accuracy: a drop of a point, and a Wald interval of two shares without 0."""
    if before is None or after is None:
        return {"accuracy_only": False, "wald": False}
    spread = sqrt((before * (1 - before) + after * (1 - after)) / n)
    return {"accuracy_only": before - after > POINT, "wald": before - after > 1.959964 * spread}


def _unpaired(base: nn.Module, candidate: nn.Module, task: Task, row: str, seed: int) -> float:
    """Return the p of a test that takes both models' examples for different ones, as some peers do."""
    item, given, _ = ASKED[row]
    behaviour = items.behaviour(item)
    config, made = behaviour.configure(given), []
    reference = None
    for name, model in (("baseline", base), ("candidate", candidate)):
        subject = subject_of(deepcopy(model), name, name, task)
        mine = whatelse.Evidence(subject, task, reference=reference)
        reference = reference or mine
        outcome = ask(behaviour, given, mine, reference, torch.Generator().manual_seed(seed))
        if not isinstance(outcome, Measured) or np.isnan(outcome.answer.matrix()).any():
            return 1.0
        like = outcome.answer
        drawn = resample.resamples(len(like), 300, np.random.default_rng([seed, len(made)]))
        made.append(
            sides.side([like.matrix()], lambda v, w, like=like: behaviour.summarise(like.over(v), config, w), drawn)
        )
    spread = sum(float(np.nanvar(s.drawn)) for s in made)
    effect = float(made[1].points[0] - made[0].points[0])
    return erfc(abs(effect) / sqrt(2 * spread)) if spread > 0 else float(effect == 0)


def main() -> None:
    """Print what becomes of one harm, or of all."""
    wanted, times = (sys.argv[1] if len(sys.argv) > 1 else ""), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    for harm in (h for h in HARMS if wanted in h.name):
        for size in harm.sizes:
            rows = [replicate(harm, size, seed) for seed in range(times)]
            mean = {
                k: float(np.mean([r[k] for r in rows if r.get(k) is not None] or [np.nan]))
                for k in ("effect", "detectable")
            }
            share = {k: float(np.mean([r[k] for r in rows])) for k in ("found", *PEERS)}
            said = {row: sum(row in r["said"] for r in rows) for row in ASKED}
            print(
                f"{harm.name:32} {size:7} effect {mean['effect']:+.4f} detectable {mean['detectable']:.4f} {share} "
                f"{ {k: v for k, v in said.items() if v} } {rows[0].get('verdict')} {rows[0]['refused'][:60]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
