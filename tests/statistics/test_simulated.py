"""Simulations of what the intervals promise, on the real code.

A simulation of R samples with D draws, shared by all samples, has the standard error sqrt(p (1 - p) (1 / R + 1 / D));
tolerances are 3.3 of these. For outcomes of 0 and 1 an error below the level is allowed: p values come in steps.
"""

import math

import numpy as np
import pytest
from scipy import stats

from whatelse.statistics import paired, power, resample, summaries, verdicts


def opaque(values, counts):
    """A mean that is not known to be one."""
    return counts @ values / counts.sum(1)


def rng_of(seed):
    return np.random.default_rng(seed)


def verdict(effect, margin):
    return verdicts.decide(effect, margin=margin, better="higher", adjusted_p=effect.p, distrust=())


DRAWS = 1000


def tolerance(p, samples, draws=DRAWS):
    return 3.3 * math.sqrt(p * (1 - p) * (1 / samples + 1 / draws))


def binary(rng, n, seeds, seed_sd, shift=0.0, discordance=0.06):
    """Right or wrong, before and after: a fifth of the examples respond alike under all seeds."""
    shared = rng.random(n)
    before, after = [], []
    for extra in rng.normal(shift, seed_sd, seeds):
        u = np.where(rng.random(n) < 0.2, shared, rng.random(n))
        up, down = (np.clip((discordance + sign * extra) / 2, 0, 1) for sign in (1, -1))
        change = (u < up) * 1.0 - (u > 1 - down)
        was = np.where(change == 0, rng.random(n) < 0.9, change < 0) * 1.0
        before.append(was)
        after.append(was + change)
    return before, after


def skewed(rng, n, seeds, seed_sd, shift=0.0):
    """Differences of a skewed quantity of variance 1, a fifth of which all seeds share."""
    base, shared = rng.exponential(size=n), rng.exponential(size=n) - 1
    own = rng.exponential(size=(seeds, n)) - 1
    extra = rng.normal(shift, seed_sd, seeds)[:, None]
    return [base] * seeds, list(base + math.sqrt(0.2) * shared + math.sqrt(0.8) * own + extra)


KINDS = {"0/1": (binary, 0.06), "skewed": (skewed, 1.0)}


def effects(kind, n, seeds, samples, *, seed_effect=0.0, shift=0.0, seed=0):
    """Effects of many samples; a seed effect is in units of the standard error of one seed's mean."""
    make, variance = KINDS[kind]
    rng = rng_of(seed)
    counts = resample.counts(n, DRAWS, rng).astype(np.float64)
    for _ in range(samples):
        before, after = make(rng, n, seeds, seed_effect * math.sqrt(variance / n), shift)
        yield paired.effect(before, after, summaries.mean, rng, resamples=counts)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [100, 900])
@pytest.mark.parametrize(("seeds", "seed_effect"), [(1, 0.0), (5, 0.0), (5, 1.0)])
def test_false_alarms_and_coverage(kind, n, seeds, seed_effect):
    samples = 500
    found = list(effects(kind, n, seeds, samples, seed_effect=seed_effect, seed=n + seeds))
    alarms = np.mean([e.p < 0.05 for e in found])
    covered = np.mean([e.low <= 0 <= e.high for e in found])
    covered90 = np.mean([e.low90 <= 0 <= e.high90 for e in found])
    assert alarms < 0.05 + tolerance(0.05, samples)
    assert covered > 0.95 - tolerance(0.95, samples)
    assert covered90 > 0.9 - tolerance(0.9, samples)
    if kind == "skewed" or seeds > 1:
        assert alarms > 0.05 - tolerance(0.05, samples), "too careful"
        assert covered90 < 0.9 + tolerance(0.9, samples), "too wide"


@pytest.mark.slow
def test_the_distribution_over_seeds_is_not_normal():
    """Where seeds vary much, the error of a normal interval would be .12, of one without the seeds more than .6."""
    samples = 1500
    found = list(effects("skewed", 100, 5, samples, seed_effect=6.0, seed=5))
    assert np.mean([e.p < 0.05 for e in found]) == pytest.approx(0.05, abs=tolerance(0.05, samples))


@pytest.mark.slow
def test_clusters():
    """Ten examples of each cluster alike: without clusters two false alarms in five samples."""
    samples, clusters = 500, np.arange(900) // 10
    rng = rng_of(6)
    counts = {name: resample.counts(900, DRAWS, rng, given) for name, given in (("no", None), ("yes", clusters))}
    alarms = {"no": 0, "yes": 0}
    for _ in range(samples):
        before = rng.normal(size=900)
        after = before + rng.normal(size=90)[clusters] + 0.3 * rng.normal(size=900)
        for name, given in counts.items():
            found = paired.effect(
                [before], [after], summaries.mean, rng, resamples=given, clusters=clusters if name == "yes" else None
            )
            alarms[name] += found.p < 0.05
    assert alarms["yes"] / samples == pytest.approx(0.05, abs=tolerance(0.05, samples))
    assert alarms["no"] / samples > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seeds", [1, 5])
def test_at_the_margin_no_equivalence_is_claimed(kind, seeds):
    """Two one-sided tests at 5 %; beyond that, a margin of several standard errors is shown where the truth is 0."""
    samples, n = 500, 900
    margin = 0.03 if kind == "0/1" else 0.15
    claimed = [
        verdict(e, margin) == "unchanged"
        for e in effects(kind, n, seeds, samples, seed_effect=1.0 * (seeds > 1), shift=margin, seed=7)
    ]
    assert np.mean(claimed) < 0.05 + tolerance(0.05, samples)
    shown = [
        verdict(e, margin) == "unchanged" for e in effects(kind, n, seeds, 100, seed_effect=1.0 * (seeds > 1), seed=8)
    ]
    assert np.mean(shown) > 0.75


@pytest.mark.slow
def test_at_the_margin_few_examples_claim_nothing():
    """50 examples of which 4 % get worse: none is seen in 13 % of the samples, and unchanged is not claimed of them."""
    rng, samples = rng_of(9), 1000
    claimed = 0
    for _ in range(samples):
        before = (rng.random(50) < 0.9) * 1.0
        after = np.where(rng.random(50) < 0.04, before - 1, before)
        claimed += verdict(paired.effect([before], [after], opaque, rng, draws=500), 0.04) == "unchanged"
    assert claimed / samples < 0.05 + tolerance(0.05, samples, draws=math.inf)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seeds", [1, 5])
def test_the_detectable_effect_is_found_four_times_in_five(kind, seeds):
    """The standard error of one sample in 5 seeds is itself uncertain by a third: .06 more for them."""
    samples, n, spread = 500, 900, 1.0 * (seeds > 1)
    typical = np.sqrt(np.mean([e.se**2 for e in effects(kind, n, seeds, 100, seed_effect=spread, seed=10)]))
    shift = power.detectable(typical)
    found = [e.p < 0.05 for e in effects(kind, n, seeds, samples, seed_effect=spread, shift=shift, seed=11)]
    assert np.mean(found) == pytest.approx(0.8, abs=tolerance(0.8, samples) + 0.06 * (seeds > 1))


@pytest.mark.slow
def test_the_auc_is_covered():
    """Scores of members are shifted by .5, after by .9: the area is Phi(shift / sqrt 2)."""
    rng, samples, n = rng_of(12), 500, 120
    member = np.arange(n) % 2
    counts = resample.counts(n, DRAWS, rng)
    truth = stats.norm.cdf(0.9 / math.sqrt(2)) - stats.norm.cdf(0.5 / math.sqrt(2))
    covered = 0
    for _ in range(samples):
        noise = rng.normal(size=n)
        before = np.stack([noise + 0.5 * member, member], 1)
        after = np.stack([0.8 * noise + 0.6 * rng.normal(size=n) + 0.9 * member, member], 1)
        found = paired.effect([before], [after], summaries.auc, rng, resamples=counts)
        covered += found.low <= truth <= found.high
    assert covered / samples == pytest.approx(0.95, abs=tolerance(0.95, samples))
