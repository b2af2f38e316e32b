"""A small problem that search strategies are tried on, and how its configurations do."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from whatelse import recipe
from whatelse.errors import WhatElseError
from whatelse.modules import codec
from whatelse.searching.protocol import Problem, Score
from whatelse.searching.space import LAYER, Axis, Configuration, Space
from whatelse.testing import samples

# Every kind of option that a layer takes, milder ones first.
OPTIONS = (
    "",
    "quantize.uniform()",
    "prune.magnitude(sparsity=0.6)",
    "decompose.svd(rank=0.4)",
    "prune.magnitude() > quantize.uniform(bits=4)",
    "quantize.uniform(bits=2)",
)
LAYERS = Space((Axis(LAYER, "conv2", OPTIONS), Axis(LAYER, "linear", OPTIONS), Axis(LAYER, "head", OPTIONS[:2])))
TRAINED = replace(LAYERS, then="train.finetune(epochs=1)")

_MOST = {"accuracy": 0.02, "flips": 0.05, "steadiness": 0.5}  # the harm that each budget accepts
_STEP = 0.05  # how far inputs are moved
_TRIALS = 40


class SampleJudge:
    """Holds scores against two budgets, on accuracy and on flips; a third one is not seen in scores.

    Args:
        before: Scores of the baseline on all of select, ``(n, classes)``.
        inputs: The examples, ``(n, ...)``.
        targets: The true classes, ``(n,)``.
    """

    of_scores = True

    def __init__(self, before: Tensor, inputs: Tensor, targets: Tensor) -> None:
        self.before, self.inputs, self.targets = before, inputs, targets
        self.names = tuple(_MOST)
        self.rows = torch.arange(len(targets))
        self.seen = np.array([name != "steadiness" for name in self.names])

    @torch.no_grad()
    def ask(self, model: nn.Module) -> Tensor:
        """Return class scores of a model, ``(n, classes)``.

        Args:
            model: Any classifier.
        """
        said: Tensor = model(self.inputs)
        return said

    def over(self, scores: Sequence[Tensor]) -> np.ndarray:
        """Return by how much each budget is exceeded, as a share of it, ``(M, budgets)``.

        Args:
            scores: Class scores of M models, ``(n, classes)`` each.
        """
        said = self.before.argmax(1)
        rows = []
        for after in scores:
            now = after.argmax(1)
            lost = (said == self.targets).double().mean() - (now == self.targets).double().mean()
            harm = {"accuracy": float(lost), "flips": float((now != said).double().mean())}
            rows.append([harm.get(name, float("nan")) / _MOST[name] - 1 for name in self.names])
        return np.array(rows).reshape(len(rows), len(self.names))


def problem(space: Space = LAYERS) -> Problem:
    """Return a problem of a small network that learned the sample images; new each time.

    Args:
        space: Of a network with the layers conv1, conv2, conv3, linear and head.
    """
    model, task = samples.learned(0).eval().requires_grad_(requires_grad=False), samples.images().on("select")
    test = task.test
    parts: dict[tuple[int, int], nn.Module] = {}
    sizes = []
    for at, axis in enumerate(space.axes):
        made = [copy.deepcopy(_alone(axis, option)) for option in range(len(axis.options))]
        sizes.append(np.array([_bytes(one) for one in made]) / _bytes(model) - 1)
        if axis.kind == LAYER:
            parts |= {(at, option): one.get_submodule(axis.name) for option, one in enumerate(made) if option}
    judge = SampleJudge(model(test.inputs), test.inputs, test.targets)
    return Problem(space, model, task, judge, _bytes, parts, sizes, _TRIALS)


@torch.no_grad()
def scored(given: Problem, tried: Configuration) -> Score:
    """Return how a configuration does: made and measured, as a search does it.

    Args:
        given: As `problem` returns it.
        tried: One of its configurations.
    """
    made, rng = given.model, torch.Generator().manual_seed(0)
    try:
        for step in given.space.recipe(tried):
            with torch.enable_grad():
                made = recipe.apply(step, made, given.task, rng)
    except WhatElseError as error:
        return Score(float("inf"), why=str(error))
    inputs = given.task.test.inputs
    scores = made(inputs)
    over = dict(zip(given.judge.names, given.judge.over([scores])[0].tolist(), strict=True))
    moved = [(model(inputs + _STEP) - model(inputs)).abs().mean() for model in (given.model, made)]
    over["steadiness"] = float(moved[1] / moved[0] - 1) / _MOST["steadiness"] - 1
    return Score(given.cost(made) / given.cost(given.model), over, scores)


@cache
def _alone(axis: Axis, option: int) -> nn.Module:
    """Return the sample network with one option of one axis."""
    made, rng = samples.learned(0).eval().requires_grad_(requires_grad=False), torch.Generator().manual_seed(0)
    for step in Space((axis,)).recipe((option,)):
        made = recipe.apply(step, made, samples.images(), rng)
    return made


def _bytes(model: nn.Module) -> float:
    return float(sum(t.numel() * t.element_size() for t in codec.encode(model)[0].values()))
