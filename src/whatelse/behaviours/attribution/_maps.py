"""Attribution maps of the log-odds margin and ranks inside them: what the items of this family share."""

from __future__ import annotations

import torch
from torch import Tensor

from whatelse.evidence import Evidence


def gradient(evidence: Evidence, *, times_input: bool = True) -> Tensor:
    """Return the signed attribution map of every test example, flattened ``(N, features)``, in double precision.

    The explained class is the baseline's prediction, for the baseline and the candidate alike.

    Args:
        evidence: Gives the gradient of the log-odds margin.
        times_input: Whether the gradient is multiplied by the input.
    """
    slope = evidence.margin_gradient("test")
    found = slope * evidence.split("test").inputs if times_input else slope
    return found.flatten(1).double()


def useless(maps: Tensor) -> Tensor:
    """Return whether a map says nothing: all zero, or not finite somewhere, ``(N,)``.

    Args:
        maps: ``(N, features)``.
    """
    return (maps == 0).all(1) | ~maps.isfinite().all(1)


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value in its row, from 1, ties at their average, ``(N, features)``.

    Args:
        values: Finite, ``(N, features)``.
    """
    from scipy.stats import rankdata  # takes a second to import: not for a listing or a finished study

    return torch.from_numpy(rankdata(values.numpy(), axis=1)).to(values)
