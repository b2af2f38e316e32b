"""Who is taught: the teacher narrowed and drawn anew, or what a recipe makes of the teacher."""

from __future__ import annotations

import torch
from torch import nn

from whatelse import recipe
from whatelse.errors import RecipeError
from whatelse.modules.narrow import narrow
from whatelse.tasks.task import Task
from whatelse.training.initialize import initialize

_FEW = 256  # examples on which a narrower network is tried


def student(model: nn.Module, width: float, made_by: str, task: Task, rng: torch.Generator) -> nn.Module:
    """Return the untaught student.

    Args:
        model: The teacher.
        width: Share of the teacher's hidden widths, where no recipe is given; the student's weights are random.
        made_by: A recipe that makes the student out of the teacher, such as ``prune.magnitude(sparsity=0.9)``; the
            student keeps its weights, and its zeros stay zero.
        task: Gives the recipe its data, and the shape of the inputs.
        rng: Source of the student's weights.

    Raises:
        RecipeError: The teacher cannot be narrowed, or the recipe leaves nothing that can be trained.
    """
    if not made_by:
        small = narrow(model, width, task.train.inputs[:_FEW])
        initialize(small, rng)
        return small
    small = model
    for step in recipe.parse(made_by):
        small = recipe.apply(step, small, task, rng)
    if not list(small.parameters()):
        raise RecipeError(f"distill: the student made by {made_by!r} has no trainable parameters")
    return small
