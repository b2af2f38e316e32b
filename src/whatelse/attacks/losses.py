"""What attacks raise: losses of class scores that say how wrong a model is, each ``(M,)`` and larger where it is worse.

None is the cross-entropy, whose gradient underflows in single precision where scores are large.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690 (DLR, section 4).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from whatelse.models import subject

# From scores (M, classes), true classes (M,) and target classes (M,).
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

_TINY = 1e-12


def log_odds(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-odds margin of the true class, whose gradient no scale of the scores hides.

    Args:
        logits: Class scores, ``(M, classes)``.
        labels: True classes, ``(M,)``.
        targets: Not used.
    """
    del targets
    return -subject.log_odds(logits, labels)


def dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the difference of logits ratio, ``-(z_y - max_{i != y} z_i) / (z_(1) - z_(3))``, of three classes or more.

    Args:
        logits: Class scores, ``(M, classes)``.
        labels: True classes, ``(M,)``.
        targets: Not used.
    """
    del targets
    rest = logits.scatter(1, labels[:, None], float("-inf")).amax(1)
    top = logits.topk(3, 1).values
    return (rest - _of(logits, labels)) / (top[:, 0] - top[:, 2] + _TINY)


def toward(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return by how much the target class leads the true one: the log-odds between those two, ``(M,)`` or ``(M, k)``.

    Args:
        logits: Class scores, ``(M, classes)``.
        labels: True classes, ``(M,)``.
        targets: Target classes, ``(M,)``, or some of each example, ``(M, k)``.
    """
    return _of(logits, targets) - _of(logits, labels if targets.dim() == 1 else labels[:, None])


def toward_or_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return `toward` of a target, and `dlr` where that is the true class itself, ``(M,)``; of three classes or more.

    Args:
        logits: Class scores, ``(M, classes)``.
        labels: True classes, ``(M,)``.
        targets: Target classes, ``(M,)``.
    """
    return torch.where(targets == labels, dlr(logits, labels, targets), toward(logits, labels, targets))


def rivals(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """Return the wrong classes with the largest scores, the largest first, ``(M, k)``, k at most ``most``.

    Args:
        logits: Class scores of the clean inputs, ``(M, classes)``.
        labels: True classes, ``(M,)``.
        most: How many at most.
    """
    rest = logits.scatter(1, labels[:, None], float("-inf"))
    return rest.topk(min(most, logits.shape[1] - 1), 1).indices


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1) if classes.dim() == 1 else logits.gather(1, classes)
