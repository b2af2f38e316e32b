import math
from typing import get_args

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from whatelse.statistics import paired, summaries, verdicts
from whatelse.statistics.effect import Effect


def made(low, high, low90=None, high90=None, p=0.01):
    middle = (low + high) / 2
    low90 = middle + (low - middle) * 0.84 if low90 is None else low90
    high90 = middle + (high - middle) * 0.84 if high90 is None else high90
    return Effect(0.5, 0.5 + middle, middle, low, high, low90, high90, p, (high - low) / 4)


def decide(effect, *, margin=1.0, better="higher", adjusted_p=0.01, distrust=()):
    return verdicts.decide(effect, margin=margin, better=better, adjusted_p=adjusted_p, distrust=distrust)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("low", "high", "better", "verdict"),
    [
        (0.5, 3.0, "higher", "improved"),
        (0.5, 3.0, "lower", "worsened"),
        (-3.0, -0.5, "higher", "worsened"),
        (-3.0, -0.5, "lower", "improved"),
        (-0.5, 3.0, "higher", "inconclusive"),
        (-0.5, 0.5, "higher", "unchanged"),
        (0.1, 0.5, "higher", "unchanged"),
        (-0.9, 2.0, "lower", "inconclusive"),
        (-2.0, 0.9, "lower", "inconclusive"),
    ],
)
def test_each_verdict(low, high, better, verdict):
    found = decide(made(low, high), better=better)
    assert found == verdict
    assert found in get_args(verdicts.Verdict)


def test_the_90_percent_interval_shows_equivalence_and_touching_does_not():
    assert decide(made(-1.1, 1.1, -0.99, 0.99)) == "unchanged"
    assert decide(made(-1.1, 1.1, -1.0, 0.5)) == "inconclusive"
    assert decide(made(-1.1, 1.1, -0.5, 1.0)) == "inconclusive"


def test_an_exact_zero_is_inside_a_margin_of_zero():
    assert decide(made(0.0, 0.0), margin=0.0, adjusted_p=1.0) == "unchanged"
    assert decide(made(-0.1, 0.1), margin=0.0, adjusted_p=1.0) == "inconclusive"


def test_the_corrected_p_value_decides():
    assert decide(made(0.5, 3.0), adjusted_p=0.049) == "improved"
    assert decide(made(0.5, 3.0), adjusted_p=0.05) == "inconclusive"


def test_doubts_come_first():
    assert decide(made(-0.5, 0.5), distrust=["gradients are masked"]) == "not trusted"


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("low", "high", "stands", "verdict"),
    [
        # What flatters the candidate leaves that it is worse, and nothing else; what flatters its control, the reverse.
        (-3.0, -0.5, "worsened", "worsened"),
        (0.5, 3.0, "worsened", "not trusted"),
        (-0.5, 0.5, "worsened", "not trusted"),
        (-0.5, 3.0, "worsened", "not trusted"),
        (0.5, 3.0, "improved", "improved"),
        (-3.0, -0.5, "improved", "not trusted"),
        (-3.0, -0.5, "", "not trusted"),
    ],
)
def test_doubts_that_flatter_leave_one_verdict(low, high, stands, verdict):
    found = verdicts.decide(
        made(low, high), margin=1.0, better="higher", adjusted_p=0.01, distrust=["masked"], verdict_if_one_sided=stands
    )
    assert found == verdict


@pytest.mark.parametrize("field", Effect._fields[: Effect._fields.index("tails")])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_trusted(field, value):
    assert decide(made(-0.5, 0.5)._replace(**{field: value})) == "not trusted"


def test_a_p_value_that_is_no_number_is_not_trusted():
    assert decide(made(-0.5, 0.5), adjusted_p=math.nan) == "not trusted"


@pytest.mark.known_answer
@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_equivalence_is_that_of_statsmodels(shift):
    """Both decide alike unless the p value is near .05: the bootstrap's noise is .15 standard errors at most."""
    rng = np.random.default_rng(int(100 * shift))
    before = rng.normal(size=2000)
    after = before + rng.normal(shift, 1, 2000)
    effect = paired.effect([before], [after], summaries.mean, rng)
    for margin in np.arange(0.02, 0.16, 0.02):
        p, _, _ = ttost_paired(after, before, -margin, margin)
        if p < 0.03 or p > 0.08:
            verdict = decide(effect, margin=margin, adjusted_p=effect.p)
            assert (verdict == "unchanged") == (p < 0.05), margin


@pytest.mark.parametrize(
    ("change", "said"), [({"better": "bigger"}, "better='bigger'"), ({"margin": -1.0}, "margin=-1.0")]
)
def test_bad_input_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        decide(made(0.0, 1.0), **change)
    with pytest.raises(ValueError, match="margin=nan"):
        decide(made(0.0, 1.0), margin=math.nan)
