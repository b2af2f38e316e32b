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
    before = [verdicts.opened(inquiry, one) for one in compared]
    moves = [any(isinstance(c.outcome, Moved) and c.outcome.again for c in one.contrasts) for one in compared]
    if not any(move for move, one in zip(moves, compared, strict=True) if one.label in told):
        return tuple(judged)
    same = np.zeros(len(judged))
    for at in range(DRAWS):
        every = [
            verdicts.opened(inquiry, _redrawn(one, at, len(inquiry.seeds))) if move else was
            for one, was, move in zip(compared, before, moves, strict=True)
        ]
        numbered = [replace(o, finding=replace(o.finding, id=f"f{i}")) for i, o in enumerate(itertools.chain(*every))]
        found = verdicts.concluded(numbered, lambda finding: finding.leading and finding.label in told)
        for which, (claim, was) in enumerate(zip(inquiry.claims, judged, strict=True)):
            same[which] += claims.judge(claim, inquiry, found, models).outcome == was.outcome
    known = [bool(claim.expect) for claim in inquiry.claims]
    return tuple(
        replace(claim, settled=float(share / DRAWS)) if has else claim
        for claim, share, has in zip(judged, same, known, strict=True)
    )


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
