"""How loud a model speaks: the scale of its class scores, which anybody who holds the answers can change and undo.

Scores ``z``, ``s z`` and ``z + c(x)`` name the same classes in the same order. What is asked of them must not hang on
the scale ``s``, or a factor in the last layer would pass for robustness, for privacy, for a better explanation. Two
remedies: where a model stands alone, its scores are read at the *temperature* at which it is calibrated; where it is
held against its baseline, they are *matched* to the baseline's scale. Only what is about the scale itself, calibration
and likelihood, reads scores as they are.

Source:
    Guo et al., On calibration of modern neural networks, ICML 2017, arXiv:1706.04599 (temperature); one more example
    of which nothing is known, so that the temperature of a model that errs nowhere is not zero: after Platt,
    Probabilistic outputs for support vector machines, 1999.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from whatelse.evidence.shadows import APART
from whatelse.models.subject import log_odds
from whatelse.tasks.task import Split

# Temperatures that are looked at, in units of `spread`: sharper than any model that is right, flatter than any guess.
_RANGE = (0.01, 10.0)
_NUDGES, _EPS = 10, 1e-3  # draws and length of the noise
_HALVINGS, _MOST = 60, 4096  # of the range of inverse temperatures, to double precision; examples that are looked at


class Heard(Protocol):
    """What has class scores, and perhaps a baseline: `whatelse.evidence.cache.Evidence`."""

    @property
    def reference(self) -> Heard | None:
        """Evidence of the baseline; None of the baseline itself."""

    def logits(self, split: str = "test") -> Tensor:
        """Return the class scores of a split, ``(N, classes)``."""

    def split(self, name: str) -> Split:
        """Return the examples of a split."""

    def once(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return an observation, made on first use."""


def matched(heard: Heard, scores: Tensor) -> Tensor:
    """Return class scores as loud as the baseline's: those of the baseline as they are, others divided by a number.

    The number is how many times farther the scores of an example of select spread, in the geometric mean, than those of
    the baseline: no single example decides it.

    Args:
        heard: Evidence of the model.
        scores: Its class scores, ``(M, classes)``.
    """
    times = louder(heard)
    return scores if times == 1 else scores / times


def louder(heard: Heard) -> float:
    """Return how many times louder than the baseline's the class scores are; 1 of the baseline itself.

    Args:
        heard: Evidence of the model.
    """
    return 1.0 if heard.reference is None else ratio(_volume(heard), _volume(heard.reference))


def ratio(after: float, before: float) -> float:
    """Return how many times larger a spread is than another; 1 where one of them is none.

    Args:
        after: What `spread` returned of a model.
        before: The same of another.
    """
    return after / before if after > 0 and before > 0 else 1.0


def margin(heard: Heard, scores: Tensor, labels: Tensor) -> Tensor:
    """Return the log-odds of a class at the loudness of the baseline, ``(M,)``.

    Args:
        heard: Evidence of the model.
        scores: Its class scores, ``(M, classes)``.
        labels: The classes, ``(M,)``.
    """
    return log_odds(matched(heard, scores), labels)


def temperature(heard: Heard) -> float:
    """Return the temperature at which a model is calibrated on select, in units of its scores.

    Args:
        heard: Evidence of the model.
    """

    def make() -> dict[str, Tensor]:
        found = fitted(heard.logits("select"), heard.split("select").observed)
        return {"temperature": torch.tensor(found, dtype=torch.float64)}

    return float(heard.once(f"{APART}temperature on select", make)["temperature"])


def _volume(heard: Heard) -> float:
    def make() -> dict[str, Tensor]:
        return {"spread": torch.tensor(spread(heard.logits("select")), dtype=torch.float64)}

    return float(heard.once(f"{APART}spread on select", make)["spread"])


def moves(ask: Callable[[Tensor], Tensor], inputs: Tensor, scale: float, rng: torch.Generator) -> Tensor:
    """Return ``mean |p(x + eps u) - p(x)| / eps`` over ten draws of ``u ~ N(0, 1)``, ``(M, classes)``; ``eps = 1e-3``.

    Args:
        ask: From inputs to class scores.
        inputs: ``(M, ...)``.
        scale: Temperature of the probabilities p, whose differences are taken in double precision.
        rng: Source of the noise.
    """
    start = (ask(inputs).double() / scale).softmax(1)
    total = torch.zeros_like(start)
    for _ in range(_NUDGES):
        moved = (ask(inputs + _EPS * torch.randn(inputs.shape, generator=rng)).double() / scale).softmax(1)
        total += (moved - start).abs() / (_NUDGES * _EPS)
    return total.float()


def spread(scores: Tensor) -> float:
    """Return the standard deviation of the class scores of an example, the geometric mean; 0 where none has one.

    Args:
        scores: ``(N, classes)``.
    """
    found = log_spreads(scores).nanmean().exp()
    return float(found) if found.isfinite() else 0.0


def log_spreads(scores: Tensor) -> Tensor:
    """Return the log of the standard deviation of the class scores of each example, ``(N,)``.

    Classes that are ruled out, with a score of minus infinity, do not count. NaN where all others are alike, or some
    score is no number.

    Args:
        scores: ``(N, classes)``.
    """
    z = _centered(scores)
    found = (z.nan_to_num(0, 0, 0).square().sum(1) / z.isfinite().sum(1)).log() / 2
    return found.where(~_broken(z), torch.nan).nan_to_num(torch.nan, torch.nan, torch.nan)


def fitted(scores: Tensor, labels: Tensor) -> float:
    """Return the temperature ``T`` of least negative log-likelihood of ``softmax(scores / T)``; 1 of constant scores.

    A label stands for ``(N y + 1 / classes) / (N + 1)``: as if one more example had been of every class alike. The
    likelihood is convex in ``1 / T``; where its slope is zero is halved in on over a range in units of `spread`, so
    that ``T`` grows exactly as scores do.

    Args:
        scores: ``(N, classes)``; left out are examples beyond 4,096, and those with a score that is no number or whose
            label is ruled out.
        labels: ``(N,)``.
    """
    u, y = _centered(scores[:_MOST]), labels[:_MOST]
    kept = ~_broken(u) & u.gather(1, y[:, None])[:, 0].isfinite()
    unit, u, y = spread(scores[:_MOST][kept]), u[kept], y[kept]
    if not unit > 0:
        return 1.0
    u = u / unit
    meant = u.gather(1, y[:, None]).sum() / (len(u) + 1)  # of the classes alike nothing comes: u is centered
    known = u.nan_to_num(0, 0, 0)
    low, high = (1 / t for t in reversed(_RANGE))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        said = ((u * middle).softmax(1) * known).sum() / len(u)
        low, high = (middle, high) if said < meant else (low, middle)
    return unit * 2 / (low + high)


def _centered(scores: Tensor) -> Tensor:
    """Return scores in double precision less the mean of those that are finite, ``(N, classes)``."""
    z = scores.double()
    return z - z.nan_to_num(0, 0, 0).sum(1, keepdim=True) / z.isfinite().sum(1, keepdim=True)


def _broken(scores: Tensor) -> Tensor:
    return (scores.isnan() | scores.isposinf()).any(1)
