"""A value for every token of test, of a model beside its baseline; exactly nothing of the baseline beside itself."""

from __future__ import annotations

from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence


def divergence(candidate: Evidence) -> Tensor:
    """Return ``KL(baseline || candidate)`` of every token of test in nats, ``(T,)`` float64.

    Args:
        candidate: Evidence of the model, or of the baseline itself.

    Raises:
        NotMeasurableError: Examples are no documents, its tokens are not those of the baseline, or it gives no
            probability to what the baseline gives some.
    """
    tokens.alike(candidate)
    found = tokens.documents(candidate)
    if candidate.reference is None:
        return found["loss"] * 0
    wrong = int((~found["divergence"].isfinite()).sum())
    if wrong:
        told = f"rules out what the baseline expects, at {wrong} of {len(found['divergence'])} tokens"
        raise NotMeasurableError(f"needs a finite divergence; {candidate.subject.name} {told}")
    return found["divergence"]


def moved(candidate: Evidence) -> Tensor:
    """Return 1 for every token of test before which another one was likeliest than for the baseline, ``(T,)`` float64.

    Args:
        candidate: Evidence of the model, or of the baseline itself.

    Raises:
        NotMeasurableError: Examples are no documents, or its tokens are not those of the baseline.
    """
    tokens.alike(candidate)
    base = candidate.reference or candidate
    return (tokens.documents(candidate)["likeliest"] != tokens.documents(base)["likeliest"]).double()
