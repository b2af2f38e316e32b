"""The architecture-search row of the table: measured at the table's scale, apart from its grid of models.

    python bench/architecture.py [SEEDS [FOLDER]]

Writes src/whatelse/studies/architecture.json, which `whatelse table` quotes, and docs/studies/architecture.md; with the
word `page` in place of SEEDS only the page, from what is kept. Five seeds by default, as the table has; one thread,
about ten minutes. A FOLDER is kept: a second run goes on there, several at once share the work. On the table's digits:

* hypervolume: every strategy of `whatelse list` spends the same number of measured models on the widths (and layers) of
  the same baseline, each trained for three epochs after it was cut. Who is on the front is decided on select; the
  hypervolume is of accuracy on test and of parameters. The uniform control gets as many shares, of the same range, as
  others get models.
* rank correlation (Kendall's tau-b) of the accuracy with weights inherited from `evolve`'s supernet with that after
  training from scratch, over configurations drawn at random; beside it that of the number of parameters alone.
* pruning as architecture search (Liu et al., arXiv:1810.05270): widths that `prune.structured` finds, fine-tuned,
  trained from scratch, and against uniform widths of as many parameters.
* the claim: at most so many parameters, is a searched architecture better than a uniform one, pruned and trained
  further, or as the student of a distillation? What is searched is what `evolve` measured best on select.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The statistics.py beside this file must not hide Python's own from the libraries.
sys.path.append(sys.path.pop(0))

from _architecture import page
from scipy.stats import kendalltau
from torch import Tensor, nn

import whatelse
from whatelse import items, recipe, registry
from whatelse.auditing.ask import generator
from whatelse.errors import MissingExtraError, RecipeError
from whatelse.searching.protocol import Problem, Score
from whatelse.searching.space import DEPTH, WIDTH, Axis, Configuration, Space
from whatelse.searching.supernet import Supernet
from whatelse.statistics import multiplicity, paired, summaries, verdicts
from whatelse.statistics.effect import Effect
from whatelse.tasks.task import Task
from whatelse.training.loop import answers

ROOT = Path(__file__).parents[1]
KEPT, PAGE = ROOT / "src/whatelse/studies/architecture.json", ROOT / "docs/studies/architecture.md"
SEEDS, TRIALS, RANKED = 5, 40, 16
SHARES = ("0.875", "0.75", "0.625", "0.5", "0.375", "0.25", "0.125", "0.0625")
EVENLY = tuple(f"{share:.4f}" for share in np.linspace(1, float(SHARES[-1]), TRIALS + 1)[1:])
THEN = "train.finetune(epochs=3)"
LOSES, MARGIN = 0.02, 0.01  # accuracy that the smallest model may lose on select; what counts as a difference
LEAST = 0.01  # share of parameters at which the hypervolume ends
LEVELS = {"a quarter": 0.25, "a tenth": 0.1}  # of the parameters, for the claim
CLAIMED = ("evolve", "reinforce")  # whose architectures the claim is held against
RATIOS = (0.5, 0.75)
ARENAS = {
    "cnn": ("cnn(width=16, hidden=64)", ("conv1", "conv2", "conv3", "linear"), ()),
    "mlp": (
        "mlp(hidden='64x64x64x64')",
        ("linear1", "linear2", "linear3", "linear4"),
        ("linear2", "linear3", "linear4"),
    ),
}


class Judge:
    """Tells how much of the budget, `LOSES` points of accuracy on select, a model takes."""

    names = ("accuracy",)
    seen = np.array([True])

    def __init__(self, task: Task, before: float) -> None:
        self.rows, self.targets, self.before = torch.arange(len(task.test)), task.test.targets, before

    def over(self, scores: Sequence[Tensor]) -> np.ndarray:
        """Return by how much the budget is exceeded, as a share of it, ``(models, 1)``.

        Args:
            scores: On select.
        """
        lost = [self.before - right(one, self.targets).mean() for one in scores]
        return np.array(lost)[:, None] / LOSES - 1


def right(scores: Tensor, targets: Tensor) -> np.ndarray:
    """Return whether each example is answered right, 0 or 1."""
    return (scores.argmax(1) == targets).double().numpy()


def count(model: nn.Module) -> float:
    """Return the number of parameters."""
    return float(sum(p.numel() for p in model.parameters()))


@dataclass
class Bed:
    """One baseline: its network, and what was measured of configurations of it.

    Attributes:
        arena: Which network.
        seed: Of everything.
    """

    arena: str
    seed: int
    known: dict[str, tuple[float, Tensor, Tensor]] = field(default_factory=dict)
    nets: dict[Sequence[str], Supernet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task = items.loader("digits").load(items.loader("digits").configure({}))
        name, given = recipe.read_call(ARENAS[self.arena][0], "arena")
        net = items.net(name)
        start = net.build(net.configure(given), self.task.shape, self.task.classes, self.draws("net"))
        self.model = self.made("train.scratch(epochs=30)", start)
        self.select = self.task.on("select")
        self.judge = Judge(
            self.select, right(answers(self.model, self.select.test.inputs), self.select.test.targets).mean()
        )

    def draws(self, *what: str) -> torch.Generator:
        """Return a source of random numbers of its own."""
        return generator("architecture", self.arena, str(self.seed), *what)

    def made(self, steps: str, model: nn.Module | None = None) -> nn.Module:
        """Return what a recipe makes of the baseline, or of another model."""
        found = model or self.model
        for step in recipe.parse(steps):
            found = recipe.apply(step, found, self.task, self.draws("made"))
        return found

    def measured(self, steps: str, cut: nn.Module | None = None) -> tuple[float, Tensor, Tensor]:
        """Return parameters as a share, and class scores on select and on test, of what a recipe makes.

        With a model that is cut already, as the recipe would cut it, only the training after it is done.
        """
        if steps not in self.known:
            small = self.made(steps) if cut is None else self.made(THEN, cut)
            said = [answers(small, split.inputs) for split in (self.select.test, self.task.test)]
            self.known[steps] = (count(small) / count(self.model), said[0], said[1])
        return self.known[steps]

    def accuracies(self, steps: str) -> tuple[float, float]:
        """Return accuracy on select and on test."""
        _, on_select, on_test = self.measured(steps)
        return right(on_select, self.select.test.targets).mean(), right(on_test, self.task.test.targets).mean()

    def space(self, shares: Sequence[str]) -> Space:
        """Return widths from some shares, and which layers go."""
        _, widths, layers = ARENAS[self.arena]
        deep = [Axis(DEPTH, name, ("", "drop")) for name in layers]
        return Space((*deep, *(Axis(WIDTH, name, ("", *shares)) for name in widths)), THEN)

    def net(self, shares: tuple[str, ...]) -> Supernet:
        """Return a supernet that is not trained: its members are what recipes cut, only that groups are found once."""
        if shares not in self.nets:
            self.nets[shares] = Supernet(self.space(shares), self.model, self.task)
        return self.nets[shares]

    def problem(self, name: str) -> Problem:
        """Return what a strategy is given; the uniform control has as many shares as others have models."""
        space = self.space(EVENLY if name == "uniform" else SHARES)
        net = self.net(EVENLY if name == "uniform" else SHARES)
        return Problem(space, self.model, self.select, self.judge, count, {}, self.sizes(space, net), TRIALS)

    def sizes(self, space: Space, net: Supernet) -> list[np.ndarray]:
        """Return by axis what each option costs more than being left alone, as a share of the baseline's."""
        found = []
        for at, axis in enumerate(space.axes):
            alone = [(0,) * at + (option,) + (0,) * (len(space.axes) - at - 1) for option in range(len(axis.options))]
            found.append(np.array([count(net.member(one).model) for one in alone]) / count(self.model) - 1)
        return found


def searched(bed: Bed, name: str) -> tuple[list[str], float, Any]:
    """Return the recipes that a strategy measured, the processor seconds of that, and the search itself."""
    problem, item, net = bed.problem(name), items.strategy(name), bed.net(EVENLY if name == "uniform" else SHARES)
    search = item.start(problem, item.configure({}), bed.draws("search", name))
    tried: list[str] = []
    begun = time.process_time()
    while len(tried) < TRIALS:
        at = search.ask()
        if at is None:
            break
        steps = recipe.write(problem.space.recipe(at))
        try:
            share, on_select, _ = bed.measured(steps, net.inherited(at, bed.draws("cut")) if any(at) else None)
            over = {"accuracy": float(bed.judge.over([on_select])[0, 0])}
            search.tell(at, Score(share, over, on_select))
            tried.append(steps)
        except RecipeError as error:
            search.tell(at, Score(math.inf, why=str(error)))
    return tried, time.process_time() - begun, search


def front(bed: Bed, tried: Sequence[str]) -> list[tuple[float, float]]:
    """Return parameters and accuracy on test of those that on select nobody beats in both."""
    held = [(bed.measured(steps)[0], bed.accuracies(steps)) for steps in tried]
    return [
        (share, both[1])
        for share, both in held
        if not any(s <= share and b[0] >= both[0] and (s < share or b[0] > both[0]) for s, b in held)
    ]


def hypervolume(points: Sequence[tuple[float, float]], chance: float) -> float:
    """Return the share of the plane that a front dominates: accuracy from chance to 1, parameters on a log scale."""
    steps = sorted((math.log(min(1.0, max(LEAST, share))) / math.log(LEAST), accuracy) for share, accuracy in points)
    total, best = 0.0, chance
    for at, (place, accuracy) in enumerate(reversed(steps)):
        best = max(best, accuracy)
        until = steps[len(steps) - at - 2][0] if at + 1 < len(steps) else 0.0
        total += (place - until) * (best - chance) / (1 - chance)
    return total


def smallest(bed: Bed, tried: Sequence[str]) -> float:
    """Return the share of the smallest that keeps the budget on select; 1 where none does."""
    kept = [bed.measured(steps)[0] for steps in tried if bed.judge.over([bed.measured(steps)[1]])[0, 0] <= 0]
    return min(kept, default=1.0)


def ranks(bed: Bed, net: Supernet) -> dict[str, float]:
    """Return Kendall's tau of inherited accuracy, and of size, with accuracy on test after training from scratch."""
    rng, seen = bed.draws("ranked"), dict[Configuration, None]()
    while len(seen) < RANKED:
        drawn = tuple(int(torch.randint(len(axis.options), (), generator=rng)) for axis in net.space.axes)
        if any(drawn) and _whole(net, drawn):
            seen[drawn] = None
    inherited, sizes, alone, tuned = [], [], [], []
    cut = Space(net.space.axes)
    for at in seen:
        small = net.inherited(at, rng)
        inherited.append(right(answers(small, bed.select.test.inputs), bed.select.test.targets).mean())
        sizes.append(count(small))
        steps = recipe.write(cut.recipe(at))
        alone.append(bed.accuracies(f"{steps} > train.scratch(epochs=30)")[1])
        tuned.append(bed.accuracies(f"{steps} > {THEN}")[1])
    return {
        "inherited, with from scratch": float(kendalltau(inherited, alone).statistic),
        "parameters alone, with from scratch": float(kendalltau(sizes, alone).statistic),
        "inherited, with cut and trained on": float(kendalltau(inherited, tuned).statistic),
        "parameters alone, with cut and trained on": float(kendalltau(sizes, tuned).statistic),
    }


def _whole(net: Supernet, at: Configuration) -> bool:
    try:
        net.member(at)
    except RecipeError:
        return False
    return True


def evenly(bed: Bed, share: float) -> str:
    """Return the recipe of the widest uniform network that has at most a share of the parameters."""
    low, high = 1, 100
    while high - low > 1:  # hundredths: the lower one is small enough, the higher one is not
        middle = (low + high) // 2
        fits = count(bed.made(_even(bed, middle))) <= share * count(bed.model)
        low, high = (middle, high) if fits else (low, middle)
    return _even(bed, low)


def _even(bed: Bed, hundredths: int) -> str:
    space = bed.space((f"{hundredths / 100:g}",))
    return recipe.write(Space(space.axes).recipe(tuple(int(axis.kind == WIDTH) for axis in space.axes)))


def cut_of(steps: str) -> str:
    """Return a recipe without the training at its end."""
    return steps.removesuffix(f" > {THEN}")


def liu(bed: Bed) -> dict[str, dict[str, np.ndarray]]:
    """Return, by how much was pruned, which test examples each of the networks has right."""
    found = {}
    for ratio in RATIOS:
        pruned = f"prune.structured(ratio={ratio}, round_to=1)"
        same = evenly(bed, count(bed.made(pruned)) / count(bed.model))
        arms = {
            "pruned, fine-tuned": f"{pruned} > train.finetune()",
            "pruned widths, from scratch": f"{pruned} > train.scratch(epochs=30)",
            "uniform widths, fine-tuned": f"{same} > train.finetune()",
            "uniform widths, from scratch": f"{same} > train.scratch(epochs=30)",
        }
        found[f"{ratio:.0%} of the channels"] = {name: tested(bed, steps) for name, steps in arms.items()}
    return found


def claim(bed: Bed, tried: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Return, by how small, which test examples the searched and the uniform network have right in each way."""
    found = {}
    for level, share in LEVELS.items():
        small = [steps for steps in tried if bed.measured(steps)[0] <= share]
        small = small or [min(tried, key=lambda steps: bed.measured(steps)[0])]
        best = max(small, key=lambda steps: (bed.accuracies(steps)[0], -bed.measured(steps)[0]))
        arms = {"searched": cut_of(best), "uniform": evenly(bed, max(share, bed.measured(best)[0]))}
        held = {f"{name}, pruned": tested(bed, f"{steps} > train.finetune()") for name, steps in arms.items()}
        for name, steps in arms.items():
            student = f"{steps} > train.scratch(epochs=0)"
            held[f"{name}, distilled"] = tested(bed, f"distill.logits(student={student!r})")
        found[level] = held
    return found


def tested(bed: Bed, steps: str) -> np.ndarray:
    """Return which test examples what a recipe makes has right."""
    return right(bed.measured(steps)[2], bed.task.test.targets)


def difference(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], *, exact: bool = False) -> Effect:
    """Return the effect over seeds and examples, or over seeds alone."""
    held = [[np.asarray(values, np.float64) for values in each] for each in (before, after)]
    return paired.effect(*held, summaries.mean, np.random.default_rng(0), exact=exact)


def told(label: str, found: Effect, **more: object) -> dict[str, Any]:
    """Return an effect as the record has it."""
    names = ("before", "after", "effect", "low", "high", "p")
    return {"label": label, **{name: round(getattr(found, name), 6) for name in names}, **more}


def strategies() -> list[str]:
    """Return the strategies that can run here."""
    found = []
    for name in registry.ours("strategies"):
        try:
            items.strategy(name)
        except MissingExtraError:
            print(f"{name} is left out: its extra is not installed", file=sys.stderr)
            continue
        found.append(name)
    return found


def judged(pairs: dict[str, Effect]) -> list[dict[str, Any]]:
    """Return effects on accuracy with their verdicts, corrected over all of them."""
    adjusted = multiplicity.holm([one.p for one in pairs.values()])
    return [
        told(
            label,
            one,
            margin=MARGIN,
            verdict=verdicts.decide(one, margin=MARGIN, better="higher", adjusted_p=float(p), distrust=()),
        )
        for (label, one), p in zip(pairs.items(), adjusted, strict=True)
    ]


def part(arena: str, seed: int) -> dict[str, Any]:
    """Return what is measured on one baseline.

    Args:
        arena: Which network.
        seed: Of everything.
    """
    begun, bed = time.process_time(), Bed(arena, seed)
    found: dict[str, Any] = {"searches": {}, "claims": {}, "tau": None, "pruning": None}
    for name in strategies():
        tried, seconds, search = searched(bed, name)
        found["searches"][name] = {
            "hypervolume": hypervolume(front(bed, tried), 1 / bed.task.classes),
            "smallest": smallest(bed, tried),
            "measured": len(tried),
            "seconds": seconds,
        }
        print(arena, seed, name, found["searches"][name], file=sys.stderr, flush=True)
        if name in CLAIMED and arena == "cnn":
            found["claims"][name] = claim(bed, tried)
        if name == "evolve" and arena == "cnn":
            found["tau"] = ranks(bed, search.net)
    if arena == "cnn":
        found["pruning"] = liu(bed)
    return {**found, "processor_seconds": time.process_time() - begun}


def parts(seeds: int, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what was measured on every baseline, made where it is not in the folder yet.

    Args:
        seeds: How many.
        folder: Where parts lie.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for arena, seed in ((arena, seed) for seed in range(seeds) for arena in ARENAS):
        place = folder / f"{arena}-{seed}.json"
        mark = folder / f"{arena}-{seed}.begun"
        if not place.exists() and not mark.exists():
            mark.touch()
            text = json.dumps(part(arena, seed), default=lambda held: held.tolist())
            place.with_suffix(".new").write_text(text, "utf-8")
            place.with_suffix(".new").rename(place)
    found = {a: [folder / f"{a}-{seed}.json" for seed in range(seeds)] for a in ARENAS}
    while not all(place.exists() for each in found.values() for place in each):
        time.sleep(5)  # another process makes them
    return {arena: [json.loads(place.read_text("utf-8")) for place in each] for arena, each in found.items()}


def assembled(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the record of all parts.

    Args:
        found: By arena, one a seed.
    """
    cnn = found["cnn"]
    each = {
        arena: {name: [one["searches"][name] for one in parts] for name in parts[0]["searches"]}
        for arena, parts in found.items()
    }
    volumes = {
        arena: {name: [[one["hypervolume"]] for one in held] for name, held in every.items()}
        for arena, every in each.items()
    }
    against = [
        told(f"{name} against {control}", difference(held[control], held[name], exact=True), arena=arena)
        for arena, held in volumes.items()
        for control in ("random", "uniform")
        for name in held
        if name != control
    ]
    claims = {
        f"{name}, {way}, {level} of the parameters": difference(
            *([one["claims"][name][level][f"{who}, {way}"] for one in cnn] for who in ("uniform", "searched"))
        )
        for name in CLAIMED
        for way in ("pruned", "distilled")
        for level in LEVELS
    }
    pairs = (
        ("pruned, fine-tuned", "pruned widths, from scratch"),
        ("pruned widths, from scratch", "uniform widths, from scratch"),
        ("pruned, fine-tuned", "uniform widths, fine-tuned"),
    )
    prunings = {
        f"{after} against {before}, {level}": difference(
            *([one["pruning"][level][arm] for one in cnn] for arm in (before, after))
        )
        for level in cnn[0]["pruning"]
        for after, before in pairs
    }
    how = {"seeds": len(cnn), "trials": TRIALS, "whatelse": whatelse.__version__, "torch": torch.__version__}
    seconds = sum(one["processor_seconds"] for parts in found.values() for one in parts)
    taus = [one["tau"] for one in cnn]
    return page.record(how, against, {"searches": each, "tau": taus}, judged(claims), judged(prunings), seconds)


def main(seeds: int, folder: Path | None) -> None:
    """Measure, and write what was found.

    Args:
        seeds: How many.
        folder: Where parts are kept and found again; a second process started with the same one takes other parts.
    """
    with tempfile.TemporaryDirectory() as own:
        record = assembled(parts(seeds, folder or Path(own)))
    KEPT.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] != ["page"]:
        given = sys.argv[1:]
        main(int(given[0]) if given else SEEDS, Path(given[1]) if given[1:] else None)
    PAGE.write_text(page.written(json.loads(KEPT.read_text("utf-8"))), "utf-8")
