"""How much every option of every axis takes of what is to be made small: what it changes alone, as shares of all."""

from __future__ import annotations

import numpy as np
import torch

from whatelse import recipe
from whatelse.errors import RecipeError
from whatelse.search.layered import swapped
from whatelse.search.protocol import Problem
from whatelse.search.space import LAYER


def sizes(problem: Problem) -> list[np.ndarray]:
    """Return by axis what each option takes more than being left alone, ``(options,)``, as a share of the baseline.

    Exact for bytes, parameters and multiply-accumulates of layers, which add up; of times it is a guess.

    Args:
        problem: Gives model, space, parts and what is to be made small.
    """
    whole = problem.cost(problem.model)
    found = []
    for at, axis in enumerate(problem.space.axes):
        each = [0.0]
        for option in range(1, len(axis.options)):
            if axis.kind == LAYER:
                made = swapped(problem.model, {axis.name: problem.parts[at, option]})
                each.append(problem.cost(made) / whole - 1)
            else:
                each.append(_run(problem, at, option) / whole - 1)
        found.append(np.array(each))
    return found


def _run(problem: Problem, axis: int, option: int) -> float:
    chosen = list(problem.space.alone)
    chosen[axis] = option
    model = problem.model
    try:
        for step in problem.space.recipe(tuple(chosen)):
            if step not in problem.space.trained:
                model = recipe.apply(step, model, problem.task, torch.Generator().manual_seed(0))
    except RecipeError:
        return problem.cost(problem.model)
    return problem.cost(model)
