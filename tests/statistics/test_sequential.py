import itertools
import math

import numpy as np
import pytest

from whatelse.statistics import multiplicity, sequential, verdicts
from whatelse.statistics.effect import LEVELS
from whatelse.statistics.sequential import Watch

CELL = 1 / sequential._CELLS


def rng_of(seed):
    return np.random.default_rng(seed)


def flips(rng, n, up, down):
    return rng.choice([1.0, 0, -1], n, p=[up, 1 - up - down, down])


def watched(chunks, watch=None):
    """The watch after each look."""
    return list(itertools.accumulate(chunks, lambda seen, chunk: seen.saw(chunk), initial=watch or Watch()))[1:]


def ends(effect):
    return np.array([(low, high) for _, low, high in effect.tails])


# Known answers


def capital(xs, m):
    """The paper's hedged capital, one example and one bet at a time: of him who bets on more than m, and on less."""
    above = below = 0.0
    for bet, part in zip(sequential._BETS, sequential._PARTS, strict=True):
        up, down = part, part
        for x in xs:
            up *= 1 + bet / m * (x - m)
            down *= 1 - bet / (1 - m) * (x - m)
        above, below = above + up, below + down
    return above, below


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["flips", "continuous", "one side"])
def test_the_interval_is_that_of_a_slow_rewrite(kind):
    """Over a grid of candidates, and looks at 10, 20, 40 and 60 examples: apart by one step of either grid at most."""
    rng = rng_of(1)
    low, high, xs = {
        "flips": (-1.0, 1.0, flips(rng, 60, 0.3, 0.05)),
        "continuous": (-1.0, 1.0, rng.beta(2, 5, 60) - 0.2),
        "one side": (-0.5, 2.0, rng.exponential(0.2, 60) - 0.1),
    }[kind]
    looks = (10, 20, 40, 60)
    seen = watched(np.split(xs, looks[:-1]), Watch(low, high))
    grid = np.linspace(0, 1, 402)[1:-1]
    units = (xs - low) / (high - low)
    most = np.zeros((2, len(grid)))
    against_zero = 1.0
    for look, watch in zip(looks, seen, strict=True):
        most = np.maximum(most, np.transpose([capital(units[:look], m) for m in grid]))
        against_zero = max(against_zero, *capital(units[:look], -low / (high - low)))
        found = watch.effect(0.5)
        for level, bottom, top in found.tails:
            kept = low + (high - low) * grid[(most < 1 / level).all(0)]
            step = (high - low) * (1 / 401 + CELL)
            assert bottom <= kept[0] <= bottom + step
            assert top >= kept[-1] >= top - step
        assert found.p == pytest.approx(min(1, 2 / against_zero))
        assert found.effect == pytest.approx(xs[:look].mean())
        assert (found.low, found.high) == found.tails[1][1:]
        assert (found.low90, found.high90) == found.tails[0][1:]
    assert tuple(level for level, _, _ in found.tails) == LEVELS


@pytest.mark.known_answer
def test_one_bet_by_hand():
    """After x = 1 against 1/2 a fraction f has grown to 1 + f, after x = 0 shrunk to 1 - f; against 1/4 to 1 + 3 f."""
    mean = sequential._PARTS @ sequential._BETS
    grown = sequential.wealth(np.array([1.0]), np.ones(1), np.array([0.5, 0.25]))
    assert np.exp(grown) == pytest.approx([1 + mean, 1 + 3 * mean])
    assert np.exp(sequential.wealth(np.zeros(1), np.ones(1), np.array([0.5]))) == pytest.approx(1 - mean)
    found = Watch().saw(np.ones(1)).effect(0.25)
    assert found.p == 1
    assert (found.before, found.after, found.effect) == (0.25, 1.25, 1)
    # p is 2 / wealth, once that is more than 2: after four, (1 + f)^4 is 15.7 for the boldest.
    four = Watch().saw(np.ones(4)).effect(0)
    assert four.p == pytest.approx(2 / (sequential._PARTS @ (1 + sequential._BETS) ** 4))


@pytest.mark.known_answer
@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("chances", [(0.3, 0.6, 0.1), (0.02, 0.95, 0.03), (0.5, 0.0, 0.5)])
def test_against_the_true_mean_nobody_wins(n, chances):
    """Exactly, over all samples: wealth of 1 against the truth, less against more than it, more against less."""
    values = np.array([0.0, 0.5, 1])
    counts = np.array([c for c in itertools.product(range(n + 1), repeat=3) if sum(c) == n], float)
    ways = np.array([math.factorial(n) / math.prod(math.factorial(int(k)) for k in row) for row in counts])
    weights = ways * np.prod(np.array(chances) ** counts, 1)
    truth = float(np.array(chances) @ values)
    for sign, xs in ((1, values), (-1, 1 - values)):
        m = truth if sign > 0 else 1 - truth
        rich = np.exp(sequential.wealth(xs, counts.T, np.array([m, m * 1.05, m * 0.95])))
        exactly, less, more = rich @ weights
        assert exactly == pytest.approx(1)
        assert less < 1 < more


@pytest.mark.known_answer
def test_wealth_is_that_of_each_sample_alone():
    rng = rng_of(2)
    values, counts = rng.random(5), rng.integers(1, 9, (5, 3)).astype(float)
    means = np.array([0.3, 0.6])
    together = sequential.wealth(values, counts, means)
    alone = [sequential.wealth(np.repeat(values, c.astype(int)), np.ones(int(c.sum())), means) for c in counts.T]
    assert together == pytest.approx(np.transpose(alone))


@pytest.mark.known_answer
@pytest.mark.parametrize("margin", [0.01, 0.05])
def test_how_many_unmoved_examples_show_a_margin(margin):
    """Who stakes all he may against m grows by 1 / (1 - m) each time: log(20) / m examples, at most 30 % more here."""
    bound = math.log(20) / margin
    seen = watched(itertools.repeat(np.zeros(1), int(2 * bound)))
    first = next(n for n, watch in enumerate(seen, 1) if sequential.settled(watch.effect(0.9), margin))
    assert 0.95 * bound < first < 1.3 * bound


@pytest.mark.parametrize("margin", [0.01, 0.05, 0.1, 0.2])
def test_ten_unmoved_examples_settle_nothing(margin):
    for watch in watched(np.zeros((10, 1))):
        effect = watch.effect(0.9)
        assert not sequential.settled(effect, margin)
        assert (effect.effect, effect.p) == (0, 1)
        assert effect.se > 0


# False alarms, however often one looks


def ever(values, chances, samples, n, seed, block=20):
    """Log of the most that each gambler against the true mean ever had, looking at every example: (2, samples)."""
    rng, k = rng_of(seed), len(values)
    truth, out = float(values @ chances), []
    for _ in range(samples // block):
        drawn = rng.choice(k, (block, n), p=chances)
        counts = (drawn[..., None] == np.arange(k)).cumsum(1, dtype=float).reshape(-1, k).T
        sides = [(values, truth), (1 - values, 1 - truth)]
        out.append([sequential.wealth(v, counts, np.array([m]))[0].reshape(block, n).max(1) for v, m in sides])
    return np.concatenate(out, 1)


def law(kind):
    if kind == "skewed":
        values = np.linspace(0, 1, 21)
        chances = np.exp(-9 * values)
        return values, chances / chances.sum()
    up, down = {"rare": (0.01, 0.01), "moved": (0.01, 0.04), "often": (0.3, 0.1)}[kind]
    return np.array([0, 0.5, 1]), np.array([down, 1 - up - down, up])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rare", "moved", "often", "skewed"])
def test_false_alarms_at_a_look_after_every_example(kind):
    """Up to 10,000 examples (2,000 where there are many values); tolerance 3.3 binomial standard errors."""
    samples, n = (200, 2000) if kind == "skewed" else (400, 10_000)
    most = ever(*law(kind), samples, n, seed=3)
    for level in (0.05, 0.2):
        tolerance = 3.3 * math.sqrt(level * (1 - level) / samples)
        assert np.mean((most >= math.log(2 / level)).any(0)) < level + tolerance
        for side in most:
            assert np.mean(side >= math.log(1 / level)) < level + tolerance
    # It bets: one who never wins is never wrong either.
    assert np.mean(most >= math.log(5)) > 0.02


@pytest.mark.slow
def test_the_truth_stays_inside_at_every_look():
    """Continuous and skewed, with a mean that is not 0, 25 looks; and a fixed interval does not keep it."""
    rng, samples = rng_of(4), 200
    ours = fixed = 0
    for _ in range(samples):
        xs = 0.8 * rng.beta(0.5, 4, 500) - 0.1
        truth = 0.8 * 0.5 / 4.5 - 0.1
        found = [watch.effect(0.0) for watch in watched(xs.reshape(25, 20))]
        ours += not all(e.low <= truth <= e.high for e in found)
        fixed += any(abs(xs[:n].mean() - truth) > 1.96 * xs[:n].std(ddof=1) / math.sqrt(n) for n in range(20, 501, 20))
    assert ours / samples < 0.05 + 3.3 * math.sqrt(0.05 * 0.95 / samples)
    assert fixed / samples > 0.2


@pytest.mark.slow
@pytest.mark.parametrize(("up", "down", "n"), [(0.01, 0.01, 10_000), (0.05, 0.05, 1000), (0.25, 0.25, 10_000)])
def test_the_price_of_looking_is_less_than_twice_the_width(up, down, n):
    rng, ratios = rng_of(5), []
    for _ in range(40):
        xs = flips(rng, n, up, down)
        found = watched(xs.reshape(-1, 100))[-1].effect(0.5)
        ratios.append((found.high - found.low) / (2 * 1.96 * xs.std() / math.sqrt(n)))
    assert 1.2 < np.median(ratios) < 1.9


# Looks


@pytest.mark.parametrize("kind", ["flips", "continuous"])
def test_looks_only_exclude_more(kind):
    rng = rng_of(6)
    xs = flips(rng, 600, 0.1, 0.05) if kind == "flips" else rng.beta(0.5, 3, 600) - 0.1
    found = [watch.effect(0.5) for watch in watched(xs.reshape(-1, 20))]
    for before, after in itertools.pairwise(found):
        assert (ends(after)[:, 0] >= ends(before)[:, 0]).all()
        assert (ends(after)[:, 1] <= ends(before)[:, 1]).all()
        assert after.p <= before.p
    assert (np.diff(ends(found[-1])[:, 0]) <= 0).all()
    assert (np.diff(ends(found[-1])[:, 1]) >= 0).all()
    assert (ends(found[-1]) != ends(found[0])).all()


def test_the_order_within_a_look_does_not_matter_and_more_looks_exclude_as_much():
    xs = flips(rng_of(7), 500, 0.06, 0.02)
    singly = watched(xs[:, None])[-1].effect(0.5)
    chunks = xs.reshape(5, 100)
    again = watched(x[None] for chunk in chunks for x in chunk)[-1].effect(0.5)
    assert singly == again
    whole = watched(chunks)[-1].effect(0.5)
    mixed = watched(rng_of(8).permuted(chunks, axis=1))[-1].effect(0.5)
    assert ends(mixed) == pytest.approx(ends(whole), abs=3 * CELL)
    assert mixed.p == pytest.approx(whole.p)
    assert (ends(singly)[:, 0] >= ends(whole)[:, 0]).all()
    assert (ends(singly)[:, 1] <= ends(whole)[:, 1]).all()
    assert singly.p <= whole.p


def test_a_watch_is_not_changed_by_what_comes_after():
    first = Watch().saw(np.array([0.0, 1, 0]))
    kept = first.effect(0.5)
    first.saw(np.ones(50))
    assert first.effect(0.5) == kept


def test_p_agrees_with_the_interval():
    """Once 0 is excluded at 95 %, and no more than a cell sooner."""
    seen = watched(flips(rng_of(9), 400, 0.15, 0.05)[:, None])
    for effect in (watch.effect(0.5) for watch in seen):
        assert (effect.p <= 0.05) == (effect.low >= 0 or effect.high <= 0)
    assert seen[0].effect(0).p == 1
    assert effect.p < 0.05


def test_a_mirror():
    xs = rng_of(10).beta(1, 3, 200) * 0.7 - 0.2
    found, mirrored = (Watch().saw(sign * xs).effect(0.0) for sign in (1, -1))
    assert ends(mirrored) == pytest.approx(-ends(found)[:, ::-1], abs=3 * CELL)
    assert mirrored.p == pytest.approx(found.p)


@pytest.mark.known_answer
def test_the_standard_error_is_that_of_a_fixed_number():
    xs = rng_of(11).normal(0.1, 0.2, 2000).clip(-1, 1)
    assert Watch().saw(xs).effect(0).se == pytest.approx(xs.std() / math.sqrt(2000), rel=0.01)


# When to stop


@pytest.mark.parametrize(("up", "down", "said"), [(0.0, 0.0, "unchanged"), (0.2, 0.05, "improved")])
def test_a_settled_effect_gets_its_verdict(up, down, said):
    xs = flips(rng_of(12), 3000, up, down)
    for watch in watched(xs.reshape(-1, 50)):
        effect = watch.effect(0.6)
        found = verdicts.decide(effect, margin=0.02, better="higher", adjusted_p=effect.p, distrust=())
        assert sequential.settled(effect, 0.02) == (found != "inconclusive")
    assert found == said


def test_what_is_settled_for_a_family_survives_holm():
    """Whatever the others are: with p just under .05 / 5, the adjusted p of the last to be asked."""
    seen = watched(flips(rng_of(13), 1500, 0.12, 0.04).reshape(-1, 5))
    for family in (1, 5, 20):
        first = next(e for e in (w.effect(0.5) for w in seen) if sequential.settled(e, 0.01, family=family))
        assert 0.002 / family < first.p < 0.05 / family
        for other in (1e-9, first.p, 1.0):
            assert multiplicity.holm([first.p, *[other] * (family - 1)])[0] < 0.05
    assert not sequential.settled(first, 0.01, family=10_000)


def test_where_no_mean_is_left_the_last_look_counts():
    """Eight ones exclude a mean of .1 at 5 %, but not at .0005; the many that follow leave only what is near 0."""
    rest = np.tile([1.0, -1], 2000)
    early, late = (watch.effect(0.5) for watch in watched([np.ones(8), rest]))
    alone = Watch().saw(np.concatenate([np.ones(8), rest])).effect(0.5)
    assert early.low90 > 0.1 > late.high90
    assert (ends(late) == ends(alone)).all()
    assert late.low90 < late.effect < late.high90
    assert late.p == early.p < 0.05 < alone.p


def test_a_mean_that_moves_is_not_trusted():
    """First all lose a half, then all win it: every mean is excluded, and no interval is left."""
    watch = Watch().saw(np.full(200, -0.5)).saw(np.full(2000, 0.5))
    effect = watch.effect(0.5)
    assert effect.effect == pytest.approx(0.4091, abs=1e-4)
    assert math.isnan(effect.low)
    assert math.isnan(effect.p)
    assert effect.tails == ()
    assert not sequential.settled(effect, 0.5)
    assert verdicts.decide(effect, margin=0.5, better="higher", adjusted_p=effect.p, distrust=()) == "not trusted"


# What is refused


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        (np.array([0.1, 1.5, 0]), r"a difference is 1\.5; \[-1\.0, 1\.0\] is allowed"),
        (np.array([0.1, -1.01]), r"a difference is -1\.01; \[-1\.0, 1\.0\]"),
        (np.array([-np.inf]), r"a difference is -inf; \[-1\.0, 1\.0\]"),
        (np.array([0.1, np.nan]), "1 of 2 differences are NaN"),
        (np.zeros(0), r"shape \(0,\); \(n,\) with n of at least 1"),
        (np.zeros((3, 2)), r"shape \(3, 2\); \(n,\)"),
    ],
)
def test_differences_that_are_refused(differences, said):
    with pytest.raises(ValueError, match=said):
        Watch().saw(differences)


def test_other_refusals():
    with pytest.raises(ValueError, match="average the differences over each cluster"):
        Watch().saw(np.zeros(4), clusters=np.arange(4))
    for low, high in ((0.0, 1.0), (-1.0, 0.0), (-math.inf, 1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="low < 0 < high"):
            Watch(low, high)
    with pytest.raises(ValueError, match="nothing was seen"):
        Watch().effect(0.5)
    effect = Watch().saw(np.zeros(5)).effect(0.5)
    with pytest.raises(ValueError, match="family=0"):
        sequential.settled(effect, 0.01, family=0)
    with pytest.raises(ValueError, match="margin=-1"):
        sequential.settled(effect, -1)


def test_rounding_of_a_bound_is_allowed():
    just = np.array([np.nextafter(np.float32(1), np.float32(2)), -1], np.float32)
    assert Watch().saw(just).effect(0).effect == pytest.approx(0, abs=1e-6)
