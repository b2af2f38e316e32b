"""The loss of plain distillation, to which the other items of this folder add their own."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def divergence(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Return ``T^2 * KL(p_teacher^T || p_student^T)``, averaged over the examples, and over their places.

    Args:
        logits: Of the student, ``(B, classes, ...)``.
        taught: Logits of the teacher, of the same shape.
        temperature: ``T``; ``p^T = softmax(z / T)``.
    """
    told, soft = (functional.log_softmax(z / temperature, 1) for z in (logits, taught))
    each = told.numel() // told.shape[1]
    return functional.kl_div(told, soft, reduction="sum", log_target=True) / each * temperature**2


def hinton(logits: Tensor, taught: Tensor, labels: Tensor, temperature: float, mix: float) -> Tensor:
    """Return ``mix * T^2 * KL(p_teacher^T || p_student^T) + (1 - mix) * CE(y, p_student)``.

    Args:
        logits: Of the student, ``(B, classes, ...)``.
        taught: Logits of the teacher, of the same shape.
        labels: ``(B, ...)``.
        temperature: ``T``.
        mix: Weight of the teacher's predictions.
    """
    hard = functional.cross_entropy(logits, labels)
    return mix * divergence(logits, taught, temperature) + (1 - mix) * hard
