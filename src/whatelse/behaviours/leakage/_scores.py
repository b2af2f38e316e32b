"""How close reconstructions come: in decibels, in structure, and whether they find their own image among others.

Source:
    Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 2004,
    doi:10.1109/TIP.2003.819861.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

CAP = 60.0
_GAUSSIAN, _SIGMA, _BOX = 11, 1.5, 7
_LIGHT, _CONTRAST = 0.01, 0.03


def match(images: Tensor, rebuilt: Tensor, batch: int) -> Tensor:
    """Return which reconstruction is taken for each image, ``(M,)``: in every batch the best assignment by error.

    Args:
        images: ``(M, ...)``, M a multiple of ``batch``.
        rebuilt: Of the same shape.
        batch: Images that shared one gradient.
    """
    rows = torch.arange(len(images)).view(-1, batch)
    if batch == 1:
        return rows.flatten()
    from scipy.optimize import linear_sum_assignment  # takes half a second

    taken = []
    for own in rows:
        errors = torch.cdist(images[own].flatten(1), rebuilt[own].flatten(1)).square()
        taken.append(own[torch.from_numpy(linear_sum_assignment(errors.numpy())[1].astype(np.int64))])
    return torch.cat(taken)


def psnr(images: Tensor, rebuilt: Tensor, span: float) -> Tensor:
    """Return ``10 log10(span^2 / MSE)`` of each image in dB, at most `CAP`, ``(M,)``.

    Args:
        images: ``(M, ...)``.
        rebuilt: Of the same shape.
        span: Range of the values.
    """
    error = (images - rebuilt).flatten(1).square().mean(1).clamp(min=span**2 * 10 ** (-CAP / 10))
    return 10 * (span**2 / error).log10()


def ssim(images: Tensor, rebuilt: Tensor, span: float) -> Tensor:
    """Return the structural similarity of each image, at most 1, ``(M,)``: the mean over all windows and channels.

    Windows are Gaussian, 11 pixels wide with standard deviation 1.5, as in the source; in images too small for that
    7 x 7 squares of equal weights, or as large as fit. What is no image is one window.

    Args:
        images: ``(M, channels, height, width)`` or ``(M, ...)``.
        rebuilt: Of the same shape.
        span: Range of the values.
    """
    if images.dim() != 4:
        images, rebuilt = images.flatten(1)[:, None, None], rebuilt.flatten(1)[:, None, None]
        window = torch.full((1, 1, 1, images.shape[-1]), 1 / images.shape[-1], dtype=images.dtype)
    else:
        window = _window(min(images.shape[-2:]), images.dtype)
    a, b = (x.flatten(0, 1)[:, None] for x in (images, rebuilt))
    seen = functional.conv2d(torch.cat([a, b, a * a, b * b, a * b], 1), window.expand(5, 1, -1, -1), groups=5)
    ours, theirs, spread, other, both = seen.unbind(1)
    light, contrast = (_LIGHT * span) ** 2, (_CONTRAST * span) ** 2
    top = (2 * ours * theirs + light) * (2 * (both - ours * theirs) + contrast)
    like = top / ((ours**2 + theirs**2 + light) * (spread - ours**2 + other - theirs**2 + contrast))
    return like.view(len(images), -1).mean(1)


def _window(side: int, dtype: torch.dtype) -> Tensor:
    if side < _GAUSSIAN:
        wide = min(side, _BOX)
        return torch.full((1, 1, wide, wide), 1 / wide**2, dtype=dtype)
    line = (-((torch.arange(_GAUSSIAN, dtype=dtype) - _GAUSSIAN // 2) ** 2) / (2 * _SIGMA**2)).exp()
    return torch.outer(line, line)[None, None] / line.sum() ** 2


def rank(images: Tensor, rebuilt: Tensor, pool: Tensor) -> Tensor:
    """Return the share of other images that lie farther from a reconstruction than its own, ``(M,)``; ties count half.

    Args:
        images: ``(M, ...)``.
        rebuilt: Of the same shape.
        pool: Other images, ``(P, ...)``; its row i is left out for image i, as it is that image.
    """
    flat = rebuilt.flatten(1)
    mode = "donot_use_mm_for_euclid_dist"  # the fast way cancels, and would break ties
    apart = torch.cdist(flat, pool.flatten(1), compute_mode=mode)
    own = torch.cdist(flat[:, None], images.flatten(1)[:, None], compute_mode=mode).view(-1, 1)
    others = 1 - torch.eye(len(images), len(pool), dtype=apart.dtype)
    return (((apart > own) + 0.5 * (apart == own)) * others).sum(1) / others.sum(1)


def unrelated(rebuilt: Tensor, pool: Tensor, span: float) -> Tensor:
    """Return the mean ratio in dB of each reconstruction to images that it is not of, ``(M,)``: what knows nothing has.

    Args:
        rebuilt: ``(M, ...)``.
        pool: Other images, ``(P, ...)`` with P at least 2; its row i is left out for reconstruction i.
        span: Range of the values.
    """
    ratios = torch.stack([psnr(pool, one.expand_as(pool), span) for one in rebuilt])
    others = 1 - torch.eye(len(rebuilt), len(pool), dtype=ratios.dtype)
    return (ratios * others).sum(1) / others.sum(1)
