"""How much likelier the stereotype of a pair is than the other sentence."""

from __future__ import annotations

from torch import Tensor

from whatelse.behaviours.language import _choices
from whatelse.evidence.cache import Evidence


def apart(evidence: Evidence) -> Tensor:
    """Return the log-likelihood of every stereotype of test less that of its other sentence in nats, ``(N,)`` float64.

    Args:
        evidence: Of the model.

    Raises:
        NotMeasurableError: Examples are no pairs.
    """
    _choices.asked(evidence, "pairs")
    found = evidence.logits("test").double()
    return found[:, 0] - found[:, 1]
