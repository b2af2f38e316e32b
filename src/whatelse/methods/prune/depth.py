"""Take whole layers or residual blocks out: what entered one is what comes out.

``layers`` names parts of the model, such as ``layer2.1; layer3.1``. A part can be taken out where each of its calls
returns a tensor of the shape that it was given first, and where the model then answers as it does with these calls
returning it, on the whole calibration split: proved by running, refused otherwise. Of a saved model, which is a graph
of calls, a block goes as the stretch of its calls, from one tensor to another of the same shape.

Where nothing is named, the share ``share`` of the model's blocks goes, rounded: those that turn what passes them least,
by ``1 - mean cos(entering, leaving)`` over the tokens (or positions) of the calibration split, all ranked on the whole
model at once. Blocks are the members of a list or chain of parts of one kind, each with layers inside it. Of a language
model what is left is a shorter one, its blocks numbered anew.

Source:
    Blocks of least influence: Men et al., ShortGPT: layers in large language models are more redundant than you expect,
    2024, arXiv:2403.03853. Removal of layers: Ashok et al., N2N learning, ICLR 2018, arXiv:1709.06030. Blocks of
    residual networks hardly need each other: Veit et al., NeurIPS 2016, arXiv:1605.06431.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.modules.skip import blocks, influences, skip
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings of taking layers out."""

    layers: str = param("", "Names of layers or blocks that go, as 'name; name'.")
    share: float = param(0.0, "Share of the blocks that go where none is named.", low=0.0, high=0.95)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy without the named parts.

    Args:
        model: Any module.
        config: Which parts go.
        task: Its calibration split ranks blocks, and serves to try the removal out.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: Nothing is named, a name is wrong or stands twice, or a part cannot be taken out; or there are no
            blocks to choose from.
    """
    del rng
    names = [name.strip() for name in config.layers.split(";") if name.strip()]
    if names and config.share:
        raise RecipeError(f"prune.depth: layers={config.layers!r} and share={config.share}; give one of them")
    if not names and not config.share:
        raise RecipeError("prune.depth: layers is empty; give 'name; name', or a share of the blocks")
    inputs = task.calibration.inputs
    return skip(model, names or _least(model, config.share, inputs), inputs, "prune.depth")


def _least(model: nn.Module, share: float, inputs: Tensor) -> list[str]:
    """Return the blocks that turn what passes them least.

    Raises:
        RecipeError: There are none, or the share is of none of them.
    """
    known = influences(model, blocks(model), inputs)
    count = round(share * len(known))
    if not count:
        raise RecipeError(f"prune.depth: share={share} of {len(known)} blocks is none; give more, or name layers")
    return sorted(known, key=lambda name: known[name])[:count]
