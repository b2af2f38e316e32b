"""One axis as it is laid out: what its options cost, and what they make of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from whatelse.searching.space import ALONE, Axis


@dataclass(frozen=True, eq=False)
class Laid:
    """An axis with what is known of its options.

    Attributes:
        axis: Its options, the largest first.
        sizes: What each costs more than being left alone, ``(options,)``, as a share of the whole model.
        parts: What each but the first makes of the layer; none of other kinds of axis.
    """

    axis: Axis
    sizes: np.ndarray
    parts: tuple[nn.Module, ...] = ()


def laid_out(
    kind: str, name: str, options: Sequence[tuple[float, str]], whole: float, parts: Sequence[nn.Module] = ()
) -> Laid:
    """Return an axis with its options in the order of their size, the largest first.

    Args:
        kind: Of the axis.
        name: Of the axis.
        options: What the model costs with each, and the option.
        whole: What the model costs.
        parts: What each makes of the layer; empty for other kinds of axis.
    """
    order = sorted(range(len(options)), key=lambda at: -options[at][0])
    sizes = np.array([0.0, *(options[at][0] / whole - 1 for at in order)])
    return Laid(
        Axis(kind, name, (ALONE, *(options[at][1] for at in order))), sizes, tuple(parts[at] for at in order if parts)
    )
