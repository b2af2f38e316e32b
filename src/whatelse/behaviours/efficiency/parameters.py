"""Number of weights that are not zero.

One value a tensor, convolutions, linear layers, norms and biases alike; the weight of a quantized layer counts by its
nonzero codes, its scales do not count. Tensors that layers share count once. So do weights that no layer lists as
parameters: packed ones, constants of a script, buffers that are multiplied by. A weight that is made of others counts
as made where a mask leaves fewer. What an exported program keeps and its graph never reads, such as the floats that
quantization left behind, does not count. Of a model in a file of another format they are those that the file stores.
The number is exact.

Reading:
    Compare it with the baseline's: their ratio is the compression in weights. Zeros save neither bytes nor time by
    themselves: read it beside `bytes` and `latency`.

Cost:
    Every tensor is counted once, and a pass forward of each of four examples shows what no layer lists.

Limits:
    A zero by chance counts as pruned. What a weight costs is not asked: one of 4 bits counts as much as one of 32. A
    weight of a packed kind whose numbers cannot be read makes it not measurable.

Source:
    Han et al., Learning both weights and connections for efficient neural networks, NeurIPS 2015, arXiv:1506.02626;
    to be reported beside bytes and operations: Blalock et al., MLSys 2020, arXiv:2003.03033.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from whatelse.answer import Answer
from whatelse.behaviours.efficiency import _pass
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.layers.compressed import CompressedLayer
from whatelse.modules import plain, programs
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 3, "parameters", "lower", {"opens"}, "layer"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """The number of parameters has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``weights``: the number of those of every tensor that are not zero.

    Args:
        evidence: Gives the model, and test examples for a pass.
        config: Not used.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The subject does not open, or it holds no weights that can be found and read.
    """
    del config, rng
    if (stores := evidence.subject.stores) is not None:
        return Answer({"weights": torch.tensor(list(stores.stored_weights()), dtype=torch.float64)})
    seen = _pass.weights_of(evidence)
    left = programs.unread(evidence.model)
    tensors = {key: t for part in evidence.model.modules() for key, t in _weights(part).items() if key not in left}
    found = [plain.nonzero(t) for t in (*tensors.values(), *seen.packed, *seen.unlisted.values())]
    if not found:
        raise NotMeasurableError(f"needs weights that can be found; {evidence.subject.name} shows none")
    extra = len(seen.packed) + len(seen.unlisted)
    note = f"{extra} tensors of {evidence.subject.name} that no layer lists as parameters count as weights"
    return Answer({"weights": torch.tensor(found, dtype=torch.float64)}, notes=(note,) if extra else ())


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the number of nonzero weights, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each tensor counts, ``(draws, tensors)``.
    """
    del config
    total: np.ndarray = weights @ answer["weights"].astype(np.float64)
    return total


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Not used.
        task: Gives the number of test examples.
    """
    del config
    return 2 * min(_pass.EXAMPLES, len(task.test))


@torch.no_grad()
def _weights(part: nn.Module) -> dict[int, Tensor]:
    """Return the weights of one module, by the tensor that is stored for each."""
    if isinstance(part, CompressedLayer):
        return {id(t): t for t in part.weights()}
    own = dict(part.named_parameters(recurse=False))
    if isinstance(part, ParametrizationList):
        made = part()
        if plain.nonzero(made) < sum(map(plain.nonzero, own.values())):
            return {id(part): made}
    masks = dict(part.named_buffers(recurse=False))
    found = {}
    for name, tensor in own.items():  # masks are what torch.nn.utils.prune leaves behind
        mask = masks.get(f"{name.removesuffix('_orig')}_mask") if name.endswith("_orig") else None
        found[id(tensor)] = tensor if mask is None else tensor * mask
    return found
