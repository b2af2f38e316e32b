"""Take whole layers or residual blocks out: what entered one is what comes out.

``layers`` names parts of the model, such as ``layer2.1; layer3.1``. A part can be taken out where each of its calls
returns a tensor of the shape that it was given first, and where the model then answers as it does with these calls
returning it, on the whole calibration split: proved by running, refused otherwise. Of a saved model, which is a graph
of calls, a block goes as the stretch of its calls, from one tensor to another of the same shape.

Source:
    Removal of layers: Ashok et al., N2N learning, ICLR 2018, arXiv:1709.06030. Blocks of residual networks hardly need
    each other: Veit et al., NeurIPS 2016, arXiv:1605.06431.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.modules.skip import skip
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings of taking layers out."""

    layers: str = param("", "Names of layers or blocks that go, as 'name; name'.")


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy without the named parts.

    Args:
        model: Any module.
        config: Which parts go.
        task: Its calibration split serves to try the removal out.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: Nothing is named, a name is wrong or stands twice, or a part cannot be taken out.
    """
    del rng
    names = [name.strip() for name in config.layers.split(";") if name.strip()]
    if not names:
        raise RecipeError("prune.depth: layers is empty; give 'name; name'")
    return skip(model, names, task.calibration.inputs, "prune.depth")
