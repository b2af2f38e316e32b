"""Seeds drawn again: whether the outcome of a claim is that of these seeds alone.

A claim rests on many verdicts, and every verdict on the same few seeds. How sure its outcome is, no single interval
tells; drawing the seeds again, with replacement and the same for all measurements, does: verdicts are given anew from
the effects under the drawn seeds, with their intervals, corrections and noise floors, and the claim is judged anew.
Seeds that stand twice in a draw are counted as two, so that its intervals are a little short: a share near 1 says that
no few seeds carry the outcome, not that it holds with that chance.

Source:
    Efron & Tibshirani, An introduction to the bootstrap, 1993, chapter 8, with clusters, here seeds, as units.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from whatelse.auditing import claims, verdicts
from whatelse.auditing.effects import Contrast, Moved
from whatelse.auditing.inquiry import Inquiry
from whatelse.auditing.redraws import DRAWS, picks
from whatelse.auditing.verdicts import Compared
from whatelse.findings.record import Candidate, Claim
from whatelse.statistics.effect import Effect


def settled(
    inquiry: Inquiry, compared: Sequence[Compared], models: Sequence[Candidate], judged: Sequence[Claim]
) -> tuple[Claim, ...]:
    """Return claims, each with the share of draws of seeds in which it has the same outcome, where that is known.

    Args:
        inquiry: What was asked.
        compared: The effects of every measurement; those that claims speak of, and that these are corrected with, as
            drawn again.
        models: Says of which family each candidate is.
        judged: The claims of the inquiry with their outcomes, in its order.
    """
    told = {e.label for claim in inquiry.claims for e in claim.expect}
    moves = [any(isinstance(c.outcome, Moved) and c.outcome.again for c in one.contrasts) for one in compared]
    if not any(move for move, one in zip(moves, compared, strict=True) if one.label in told):
        return tuple(judged)
    names = (f"f{at}" for at in itertools.count())
    before = [[_named(o, next(names)) for o in verdicts.opened(inquiry, one)] for one in compared]
    still = [o for each, move in zip(before, moves, strict=True) if not move for o in each]
    moved = [(one, each) for one, each, move in zip(compared, before, moves, strict=True) if move]
    same = np.zeros(len(judged))
    for at in range(DRAWS):
        every = list(still)
        for one, was in moved:
            new = verdicts.opened(inquiry, _redrawn(one, at, len(inquiry.seeds)))
            every += [_named(o, old.finding.id) for o, old in zip(new, was, strict=True)]
        found = verdicts.concluded(every, lambda finding: finding.leading and finding.label in told)
        for which, (claim, first) in enumerate(zip(inquiry.claims, judged, strict=True)):
            same[which] += claims.judge(claim, inquiry, found, models).outcome == first.outcome
    known = [bool(claim.expect) for claim in inquiry.claims]
    return tuple(
        replace(claim, settled=float(share / DRAWS)) if has else claim
        for claim, share, has in zip(judged, same, known, strict=True)
    )


def _named(contrast: verdicts.Open, name: str) -> verdicts.Open:
    return replace(contrast, finding=replace(contrast.finding, id=name))


def _redrawn(compared: Compared, at: int, seeds: int) -> Compared:
    return replace(compared, contrasts=[_drawn(one, at, seeds) for one in compared.contrasts])


def _drawn(contrast: Contrast, at: int, seeds: int) -> Contrast:
    """Return a contrast as one draw of seeds has it; as it is where that was not drawn."""
    moved = contrast.outcome
    if not isinstance(moved, Moved) or not moved.again:
        return contrast
    which = picks(seeds)[at]
    effect = Effect(*moved.again[at])
    per_seed, held = (tuple(each[seed] for seed in which) for each in (moved.per_seed, moved.held))
    return replace(contrast, outcome=replace(moved, effect=effect, per_seed=per_seed, held=held, again=()))
