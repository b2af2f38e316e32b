"""Measure peak memory where data are large: the quick measurements of four families, and their effects.

    python bench/memory.py [table|images|methods]

200,000 rows of a table (40 features, 2 classes) and 20,000 images of 3x32x32, each in a child process that holds a
baseline and a pruned candidate: every behaviour of generalization, attribution, mechanism and fairness with its
default settings, then its effect with intervals from 250 resamples, part by part; more of them take longer in the same
memory. What stands in each row is the peak resident memory of the process while it worked on that behaviour, task and
kept evidence included; the first row is a process that has only imported torch. What keeps below 2 GB passes.

Then the methods that look at what enters layers, or at answers of a teacher, on a small convolutional network, each on
32 and on 256 examples in a process of its own: what the peak is above where it began. Eight times the examples may take
no more than 1.5 times the memory; half of the difference is the larger batches, which 32 examples do not fill.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from whatelse import items, recipe, registry
from whatelse.answer import Answer
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.nets import cnn, mlp
from whatelse.statistics import resample, sides
from whatelse.tasks.task import Split, Task
from whatelse.training import loop

FAMILIES = ("generalization", "attribution", "mechanism", "fairness")
LIMIT, DRAWS = 2e9, 250
FEW, MANY, TIMES = 32, 256, 1.5
METHODS = (
    *(
        "quantize.uniform()",
        "quantize.uniform(clip=0.2)",
        "quantize.gptq(bits=4)",
        "quantize.aware(epochs=1, batch=32)",
    ),
    *("prune.wanda()", "prune.sparsegpt()", "prune.obd()", "prune.structured(importance='taylor')"),
    *("decompose.svd(aware=True)", "distill.hints(epochs=1, hint_epochs=1, batch=32)"),
    *("distill.attention(epochs=1, batch=32)", "distill.attribution(epochs=1, batch=32)"),
)
SIZES = {"table": (200_000, 20_000), "images": (20_000, 5_000)}


def main() -> None:
    """Measure both data sets, or the named ones, each in a process of its own."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
        return
    if sys.argv[1:2] == ["--method"]:
        print(taken(sys.argv[2], int(sys.argv[3])))
        return
    over = []
    for kind in sys.argv[1:] or (*SIZES, "methods"):
        own = {**os.environ, "OMP_NUM_THREADS": "1"}
        if kind == "methods":
            over += grown(own)
            continue
        code = subprocess.run([sys.executable, __file__, "--child", kind], env=own, check=False).returncode
        over += [kind] if code else []
    if over:
        sys.exit(f"more than {LIMIT / 1e9:.0f} GB, grown {TIMES} times, or an error: {', '.join(over)}")


def grown(own: dict[str, str]) -> list[str]:
    """Print what each method takes for few and for many examples, and return those whose memory grows with them.

    Args:
        own: The environment of the processes.
    """
    over = []
    layer = MANY * 32 * 32 * 32 * 4
    print(f"\nmethods: peak above the start; the activations of one layer for {MANY} examples are {layer / 1e6:.0f} MB")
    for text in METHODS:
        calls = [[sys.executable, "-W", "ignore", __file__, "--method", text, str(n)] for n in (FEW, MANY)]
        few, many = (float(subprocess.run(c, env=own, check=True, capture_output=True).stdout) for c in calls)
        print(
            f"{text:52s} {few / 1e6:6.0f} MB for {FEW}, {many / 1e6:6.0f} MB for {MANY}: {many / few:.2f}", flush=True
        )
        over += [text] if many > TIMES * few + layer / 2 else []
    return over


def taken(text: str, count: int) -> float:
    """Return the peak of one step of a recipe above the memory before it, in bytes.

    Args:
        text: The step.
        count: Number of examples of every split.
    """
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    split = Split(torch.rand(count, 3, 32, 32, generator=rng), labels, labels)
    task = Task("methods", 2, (0.0, 1.0), dict.fromkeys(("train", "calibration", "select", "test"), split))
    parts = (nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2)).eval()
    model.requires_grad_(requires_grad=False)(split.inputs[:FEW])
    (step,) = recipe.parse(text)
    forget_peak()
    before = peak()
    recipe.apply(step, model, task, rng)
    return peak() - before


def child(kind: str) -> None:
    """Print the peak of every behaviour on one data set; exit with 1 where one is above the limit.

    Args:
        kind: ``table`` or ``images``.
    """
    imported = peak()
    rng = torch.Generator().manual_seed(0)
    test, train = SIZES[kind]
    task = task_of(kind, test, train, rng)
    print(f"\n{kind}: {test:,} test examples of shape {task.shape}, {train:,} of train, {DRAWS:,} resamples")
    print(f"{'after importing torch and whatelse':36s} {imported / 1e9:6.2f} GB")
    base = trained(kind, task, rng)
    prune = registry.load("methods", "prune.magnitude")
    small = prune.compress(base, prune.Config(sparsity=0.9), task, rng)
    before = evidence(base, "baseline", task)
    after = evidence(small, "candidate", task, before)
    print(f"{'with the task and both models':36s} {peak() / 1e9:6.2f} GB")
    highest = peak()
    for name in registry.names("behaviours"):
        if name.split(".")[0] in FAMILIES:
            highest = max(highest, row(name, before, after))
    print(f"{'highest':36s} {highest / 1e9:6.2f} GB; limit {LIMIT / 1e9:.0f} GB")
    sys.exit(int(highest > LIMIT))


def row(name: str, before: Evidence, after: Evidence) -> float:
    """Measure one behaviour on both models, compute its effect, print a row and return the highest peak in bytes.

    Args:
        name: The behaviour.
        before: Evidence of the baseline.
        after: Evidence of the candidate.
    """
    item = items.behaviour(name)
    forget_peak()
    started = time.perf_counter()
    try:
        answers = [observed(item, before, e) for e in (before, after)]
    except NotMeasurableError as error:
        print(f"{name:36s} {peak() / 1e9:6.2f} GB  not measurable: {error}")
        return peak()
    seconds, measuring = time.perf_counter() - started, peak()
    forget_peak()
    started = time.perf_counter()
    low, high = interval(item, answers)
    spent, analyzing = time.perf_counter() - started, peak()
    shape = f"{len(answers[1])}x{len(answers[1].columns)}"
    print(
        f"{name:36s} {measuring / 1e9:6.2f} GB measuring {seconds:6.1f} s, {analyzing / 1e9:6.2f} GB effects "
        f"{spent:6.1f} s; values {shape}; change {low:+.4f} to {high:+.4f}",
        flush=True,
    )
    return max(measuring, analyzing)


def observed(item: items.Behaviour, base: Evidence, mine: Evidence) -> Answer:
    """Return what is answered of one model, as a study asks for it.

    Args:
        item: The behaviour.
        base: Evidence of the baseline.
        mine: Evidence of the model.
    """
    return item.answer(base, mine, item.config(), torch.Generator().manual_seed(1))


def interval(item: items.Behaviour, answers: list[Answer]) -> tuple[float, float]:
    """Return the 95 % interval of the effect, after that of all parts, as a study computes them.

    Args:
        item: The behaviour.
        answers: Of the control and of the candidate.
    """
    rng, config, like = np.random.default_rng(0), item.config(), answers[0]
    drawn = None if item.unit_of_analysis == "layer" else resample.resamples(len(like), DRAWS, rng)
    values = [answer.matrix() for answer in answers]
    old, new = (sides.side([v], lambda v, w: item.summarise(like.over(v), config, w), drawn) for v in values)
    if (by_part := item.by_part) is not None:
        each = (sides.parts([v], lambda v, w: by_part(like.over(v), config, w), drawn) for v in values)
        for b, a in zip(*each, strict=True):
            sides.contrast(b, a, rng, draws=DRAWS)
    effect = sides.contrast(old, new, rng, draws=DRAWS)
    return effect.low, effect.high


def task_of(kind: str, test: int, train: int, rng: torch.Generator) -> Task:
    """Return a task whose classes a small network can learn, with groups, wrong labels and, for images, masks.

    Args:
        kind: ``table`` or ``images``.
        test: Number of test examples.
        train: Number of train examples.
        rng: Source of the examples.
    """
    classes = 2 if kind == "table" else 10
    teacher = torch.randn(40, classes, generator=rng)

    def split(count: int) -> Split:
        if kind == "table":
            inputs = torch.randn(count, 40, generator=rng)
            targets = (inputs @ teacher + torch.randn(count, classes, generator=rng)).argmax(1)
            masks = None
        else:
            inputs = torch.rand(count, 3, 32, 32, generator=rng)
            targets = torch.randint(classes, (count,), generator=rng)
            masks = torch.zeros(count, 3, 32, 32, dtype=torch.bool)
            for label in range(classes):
                place = (slice(None), slice(3 * label, 3 * label + 3), slice(8, 24))
                rows = (targets == label).nonzero().flatten()
                inputs[(rows, *place)] *= 0.5
                masks[(rows, *place)] = True
        wrong = torch.rand(count, generator=rng) < 0.1
        observed = torch.where(wrong, (targets + 1) % classes, targets)
        groups = {n: torch.randint(k, (count,), generator=rng) for n, k in (("sex", 2), ("age", 5))}
        return Split(inputs, targets, observed, groups, masks)

    seen = split(train)
    some = seen.take(torch.arange(1000))
    splits = {"train": seen, "calibration": some, "select": some, "test": split(test)}
    bounds = None if kind == "table" else (0.0, 1.0)
    names = {"sex": ("f", "m"), "age": tuple(f"{20 * i}+" for i in range(5))}
    return Task(kind, classes, bounds, splits, names)


def trained(kind: str, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a small network that was trained for a short while.

    Args:
        kind: ``table`` or ``images``.
        task: Gives the examples.
        rng: Source of weights and batches.
    """
    if kind == "table":
        model = mlp.build(mlp.Config(), task.shape, task.classes, rng)
    else:
        model = cnn.build(cnn.Config(), task.shape, task.classes, rng)
    labels = loop.hard_labels(task.train.observed)
    loop.fit(model, task.train.inputs, labels, loop.Schedule(2, 0.001, 128), rng)
    return model


def evidence(model: nn.Module, name: str, task: Task, reference: Evidence | None = None) -> Evidence:
    """Return evidence of a model that is held in memory.

    Args:
        model: The model.
        name: How messages call it.
        task: The examples.
        reference: Evidence of the baseline, for a candidate.
    """
    of = subject.of(model, name, name, task.test.inputs[:4], torch.Generator().manual_seed(2))
    return Evidence(of, task, reference=reference)


def peak() -> float:
    """Return the highest resident memory of this process since the last call of `forget_peak`, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def forget_peak() -> None:
    """Let `peak` begin anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


if __name__ == "__main__":
    main()
