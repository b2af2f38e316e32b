"""How well an input is rebuilt from the gradient that it caused: peak signal-to-noise ratio of the reconstruction.

A participant computes the cross-entropy's gradient of one example (batch 1, one step, evaluation mode) with respect to
all weights and biases; whoever receives it looks for an input whose gradient points the same way, by ``iterations``
steps of Adam on ``1 - cosine + smooth * total variation``. The attacker knows the model, its masks and scales
(gradients of pruned weights are not shared, those of quantized weights pass straight through the rounding), and the
label, which `leakage.labels` reads off. All models are attacked on the same images from the same random starts: what
differs is due to the model. Value of an image: ``10 log10(range^2 / MSE)`` in dB, at most 60.

The norm of the gradients is noted, and the structural similarity (one window, the whole image).

Reading:
    Higher means that more is given away. The pictures in the report show what a number looks like; read it beside
    the random model's.

Cost:
    For every image ``iterations`` passes forward and three times as many backward (the gradient, and two passes back
    through it), in double precision; reconstructions are kept with the evidence. Nothing else is shared.

Limits:
    The budget is fixed and small, so a low number says that this attack failed within it, not that none succeeds. A
    model that fits its data has small gradients, and the attack is harder there than at the start of training. Of 8
    images the interval is wide.

Source:
    Geiping et al., Inverting gradients: how easy is it to break privacy in federated learning?, NeurIPS 2020,
    arXiv:2003.14053; structural similarity: Wang et al., IEEE TIP 2004, doi:10.1109/TIP.2003.819861.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.leakage import _inversion
from whatelse.evidence import Evidence
from whatelse.settings import param
from whatelse.statistics import summaries

VERSION, UNIT, BETTER, NEEDS, OVER = (
    1,
    "dB",
    "lower",
    {"predicts", "differentiates", "opens", "inputs in bounds"},
    "test example",
)
_CAP = 60.0


@dataclass(frozen=True)
class Config:
    """Settings of the inversion."""

    images: int = param(8, "Test examples rebuilt, from the first.", low=1, high=1000)
    iterations: int = param(100, "Steps of Adam.", low=1, high=100_000)
    rate: float = param(0.1, "First step, as a share of the range of the inputs.", low=0.0, high=1.0)
    smooth: float = param(1e-3, "Weight of the total variation.", low=0.0, high=10.0)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the peak signal-to-noise ratio of each reconstruction in dB, ``(M,)``.

    Args:
        evidence: Gives the model and the images; takes a note of gradient norm and structural similarity.
        config: How hard to try.
        rng: Not used: the starts come from a fixed seed, so that baseline and candidates share them.

    Raises:
        NotMeasurableError: The model does not open or differentiate, or inputs leave their bounds.
    """
    del rng
    budget = _inversion.Budget(config.images, config.iterations, config.rate, config.smooth)
    found = _inversion.reconstruct(evidence, budget)
    evidence.show(found["images"], found["reconstructions"])
    low, high = evidence.bounds()
    images, rebuilt = found["images"].flatten(1).double(), found["reconstructions"].flatten(1).double()
    like = float(_similarity(images, rebuilt, high - low).mean())
    norm = float(found["norms"].median())
    evidence.note(f"trained model: median gradient norm {norm:.1e}; mean structural similarity {like:.2f}")
    return _ratio(images, rebuilt, high - low).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean ratio of every resample in dB, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(M,)``.
        counts: How often each image stands in each resample, ``(draws, M)``.
    """
    return summaries.mean(values, counts)


def _ratio(images: Tensor, rebuilt: Tensor, span: float) -> Tensor:
    error = (images - rebuilt).square().mean(1).clamp(min=span**2 * 10 ** (-_CAP / 10))
    return 10 * (span**2 / error).log10()


def _similarity(images: Tensor, rebuilt: Tensor, span: float) -> Tensor:
    ours, theirs = images.mean(1), rebuilt.mean(1)
    spread = images.var(1, correction=0), rebuilt.var(1, correction=0)
    together = ((images - ours[:, None]) * (rebuilt - theirs[:, None])).mean(1)
    light, contrast = (0.01 * span) ** 2, (0.03 * span) ** 2
    top = (2 * ours * theirs + light) * (2 * together + contrast)
    return top / ((ours**2 + theirs**2 + light) * (spread[0] + spread[1] + contrast))
