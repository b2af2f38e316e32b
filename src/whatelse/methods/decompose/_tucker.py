"""The Tucker decomposition of a tensor, over all of its modes or some."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def unfold(tensor: Tensor, mode: int) -> Tensor:
    """Return the matrix whose rows run over one mode, ``(size of the mode, rest)``.

    Args:
        tensor: Any tensor.
        mode: Which mode.
    """
    return tensor.movedim(mode, 0).flatten(1)


def times(tensor: Tensor, matrix: Tensor, mode: int) -> Tensor:
    """Return the product of a tensor with a matrix along one mode.

    Args:
        tensor: Any tensor.
        matrix: ``(new size, size of the mode)``.
        mode: Which mode.
    """
    product: Tensor = torch.tensordot(matrix, tensor, dims=([1], [mode]))
    return product.movedim(0, mode)


def tucker(tensor: Tensor, ranks: Mapping[int, int], rounds: int) -> tuple[Tensor, dict[int, Tensor]]:
    """Return the core and, for every decomposed mode, a factor with orthonormal columns ``(size, rank)``.

    The truncated singular vectors of each unfolding (HOSVD), then rounds of higher-order orthogonal iteration: each
    factor in turn takes the leading left singular vectors of the tensor projected on all others, which never raises the
    error (De Lathauwer, De Moor & Vandewalle, SIAM J. Matrix Anal. Appl. 21(4), 2000).

    Args:
        tensor: What to decompose.
        ranks: The rank of every mode to decompose; modes that are not named stay whole.
        rounds: Rounds of iteration; 0 leaves the HOSVD.
    """
    factors = {mode: _leading(unfold(tensor, mode), rank) for mode, rank in ranks.items()}
    for _ in range(rounds):
        for mode, rank in ranks.items():
            factors[mode] = _leading(unfold(_project(tensor, factors, mode), mode), rank)
    return _project(tensor, factors, None), factors


def _project(tensor: Tensor, factors: Mapping[int, Tensor], left_out: int | None) -> Tensor:
    for mode, factor in factors.items():
        if mode != left_out:
            tensor = times(tensor, factor.mT, mode)
    return tensor


def _leading(matrix: Tensor, rank: int) -> Tensor:
    vectors: Tensor = torch.linalg.svd(matrix, full_matrices=matrix.shape[1] < rank).U
    return vectors[:, :rank]
