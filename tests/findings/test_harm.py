"""Harm in multiples of the margin: the same whatever the unit, and worst first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from whatelse.findings.harm import harm, worst
from whatelse.findings.record import Finding
from whatelse.findings.roles import Role
from whatelse.testing import surfaces

BASE = surfaces.findings().findings[0]


def several(n: int = 30, seed: int = 0) -> list[Finding]:
    rng = np.random.default_rng(seed)
    made = []
    for at in range(n):
        effect, half, margin = rng.normal(), rng.uniform(0.1, 2), rng.uniform(0.1, 3)
        better = ("higher", "lower")[at % 2]
        ends = {"low": effect - half, "high": effect + half}
        made.append(replace(BASE, id=f"f{at}", effect=effect, **ends, margin=margin, better=better, primary=False))
    return made


def order(found: list[Finding]) -> list[str]:
    return [f.id for f in worst(replace(surfaces.findings(), findings=tuple(found), claims=()))]


@pytest.mark.known_answer
def test_ten_points_lost_where_two_count_as_none_are_five_margins() -> None:
    moved = harm(BASE)
    assert moved is not None
    assert (moved.value, moved.least, moved.most) == pytest.approx((5, 3, 7))


@pytest.mark.known_answer
def test_findings_come_by_the_least_harm_that_is_shown() -> None:
    def least(f: Finding) -> float:
        ends = [f.low / f.margin, f.high / f.margin]
        return min(ends if f.better == "lower" else [-end for end in ends])

    found = several()
    assert order(found) == [f.id for f in sorted(found, key=least, reverse=True)]


def test_no_unit_and_no_direction_changes_the_order() -> None:
    found = several()
    scaled = [
        replace(f, **{k: getattr(f, k) * 10.0 ** (at % 7 - 3) for k in ("effect", "low", "high", "margin")})
        for at, f in enumerate(found)
    ]
    other = {"higher": "lower", "lower": "higher"}
    turned = [replace(f, effect=-f.effect, low=-f.high, high=-f.low, better=other[f.better]) for f in found]
    assert order(found) == order(scaled) == order(turned)


def test_what_has_no_scale_or_no_trust_or_is_no_candidate_stands_nowhere() -> None:
    doubted = {"verdict": "not trusted", "doubts": ("too weak",)}
    found = [
        replace(BASE, id="kept"),
        replace(BASE, id="exact", margin=0.0, primary=False),
        replace(BASE, id="nothing", effect=None, low=None, high=None, primary=False),
        replace(BASE, id="doubted", **doubted, primary=False),
        replace(BASE, id="at least so bad", **doubted, verdict_if_one_sided="worsened", primary=False),
        replace(BASE, id="another control", leading=False, primary=False),
        replace(BASE, id="control", candidate="baseline", control="zero", primary=False),
    ]
    assert order(found) == ["kept", "at least so bad"]


def test_an_effect_without_an_interval_comes_after_all_that_is_shown() -> None:
    found = [replace(BASE, id="bare", effect=-9.0, low=None, high=None, primary=False), replace(BASE, id="shown")]
    assert order(found) == ["shown", "bare"]


def test_so_many_are_given_as_are_asked_for() -> None:
    found = replace(surfaces.findings(), findings=tuple(several()), claims=())
    assert found.worst(3) == worst(found)[:3]
    assert {c.role for c in found.candidates} == {Role.BASELINE, Role.CANDIDATE}
