import numpy as np
import pytest
from scipy import sparse

from whatelse.statistics import asking, cells, ranks, resample, shared, summaries


def resamples(n, draws, clusters=None):
    return resample.Resamples(n, draws, np.random.default_rng(4), None, clusters)


def whole(found):
    return np.concatenate(list(found.sheets())).astype(np.float64)


RNG = np.random.default_rng(0)
N = 1_300  # more than one step of a product, and no multiple of it
VALUES = np.stack([RNG.normal(size=N), RNG.integers(0, 2, N), RNG.integers(0, 5, N)], 1)
MANY = RNG.integers(0, 90, N)


def of_means(counts):
    return (counts @ VALUES) / counts.sum(1, keepdims=True)


def of_some(counts):
    inside = VALUES[:, 2] == 3
    mine = counts[:, inside]
    return np.stack([mine @ VALUES[inside, 0] / mine.sum(1), counts[:, np.flatnonzero(inside)].sum(1)], 1)


def of_scaled(counts):
    return np.stack([(counts * VALUES[:, 1]).sum(1), (VALUES[:, 0] * counts) @ VALUES[:, 1]], 1)


def of_squares(counts):
    return (counts * counts) @ VALUES


def of_turned(counts):
    return (VALUES.T @ counts.T).T


def of_few_cells(counts):
    return cells.rates(VALUES[:, 0], VALUES[:, 2], counts)


def of_many_cells(counts):
    return cells.rates(VALUES[:, 0], MANY, counts)


def of_sparse_squares(counts):
    return (counts * counts) @ sparse.csr_array(np.eye(90)[MANY])


SUMS = [of_means, of_some, of_scaled, of_squares, of_turned, of_few_cells, of_many_cells, of_sparse_squares]


def of_medians(counts):
    return summaries.median(VALUES[:, 0], counts)[:, None]


def of_ranks(counts):
    values = VALUES[:, :2]
    found = [summaries.true_positive_rate(values, counts, at) for at in (0.01, 0.1)]
    return np.stack([summaries.auc(values, counts), summaries.balanced_accuracy(values, counts), *found], 1)


def of_the_counts_themselves(counts):
    return np.stack([(counts > 0).sum(1), np.sort(counts, 1)[:, -1]], 1)


def of_an_array(counts):
    return np.asarray(counts, np.float64)[:, :3]


OTHERS = [of_medians, of_ranks, of_the_counts_themselves, of_an_array]


@pytest.mark.known_answer
@pytest.mark.parametrize("clusters", [None, np.arange(N) // 7])
@pytest.mark.parametrize("summary", [*SUMS, *OTHERS])
def test_a_summary_of_shared_resamples_is_that_of_their_counts(summary, clusters):
    found = resamples(N, 300, clusters)
    counts = whole(found)
    assert len(counts) == 300
    later = shared.Shared(found).group().ask(summary)
    assert later.drawn() == pytest.approx(np.array(summary(counts)), rel=1e-12, abs=1e-12, nan_ok=True)


@pytest.mark.known_answer
@pytest.mark.parametrize("clusters", [None, np.arange(N) // 7])
@pytest.mark.parametrize("summary", [*SUMS, *OTHERS])
def test_a_summary_without_one_unit_is_that_of_the_others(summary, clusters):
    unit = resample.units(N, clusters)[1]
    out = np.array([0, 3, 150])
    later = shared.Shared(resamples(N, 10, clusters)).group().ask(summary)
    left = 1.0 - (out[:, None] == unit)
    assert later.without(out, unit) == pytest.approx(np.array(summary(left)), rel=1e-11, abs=1e-11, nan_ok=True)


@pytest.mark.parametrize("summary", SUMS)
def test_what_is_a_function_of_sums_asks_for_no_counts(summary):
    asked = shared.asked_by(summary, N)
    assert asked.whole is None
    assert not asked.blocks


@pytest.mark.parametrize("summary", OTHERS[2:])
def test_what_is_none_gets_blocks_of_counts(summary):
    assert shared.asked_by(summary, N).whole is not None


def test_a_summary_that_asks_for_other_sums_each_time_gets_blocks():
    draw = np.random.default_rng(0)

    def moody(counts):
        return counts @ draw.normal(size=(N, 1))

    assert shared.asked_by(moody, N).whole is not None


def test_a_summary_that_looks_at_whether_counts_are_ones_is_not_believed():
    def other(counts):
        mean = counts @ VALUES[:, :1] / N
        return mean if isinstance(counts, asking.Counts) else mean + (counts.max(1, keepdims=True) > 1)

    found = resamples(N, 50)
    later = shared.Shared(found).group().ask(other)
    assert later.drawn() == pytest.approx(other(whole(found)))


def test_sums_do_not_depend_on_who_else_asks():
    """To the last digit: a run that was cut, and one that was not, say the same."""
    alone = shared.Shared(resamples(N, 300)).group().ask(of_means).drawn()
    together = shared.Shared(resamples(N, 300))
    every = [together.group().ask(summary) for summary in (of_squares, of_few_cells, of_means, of_scaled, of_ranks)]
    assert np.array_equal(every[2].drawn(), alone)


@pytest.mark.known_answer
@pytest.mark.parametrize("most", [1, 128, 129, 1999, 2**20 + 1])
def test_sums_of_whole_numbers_are_exact(most):
    """Also where all counts are the largest that a byte holds, and just beyond what single precision would hold."""
    column = np.full(N, most)
    column[::7] -= 1

    def summed(counts):
        return np.stack([counts @ column, (counts * counts) @ column], 1)

    counts = np.full((3, N), 255, np.uint8)
    counts[1:] = RNG.integers(0, 256, (2, N))
    asked = shared.asked_by(summed, N)
    assert asked.whole is None
    found = shared.replayed(summed, None, shared.collect([asked], [counts], 3)[0])
    each = counts.astype(np.int64)
    assert np.array_equal(found, np.stack([each @ column, (each * each) @ column], 1))


@pytest.mark.parametrize(("sheet", "most"), [(1, 1), (2 * N, 3), (70 * N, 256), (10**9, 10**6)])
def test_resamples_do_not_depend_on_the_size_of_blocks(monkeypatch, sheet, most):
    usual = [shared.Shared(resamples(N, 130)).group().ask(summary).drawn() for summary in (of_means, of_ranks)]
    counts = whole(resamples(N, 130))
    monkeypatch.setattr(resample, "SHEET", sheet)
    monkeypatch.setattr(resample, "_MOST", most)
    monkeypatch.setattr(resample, "_DRAWS", 1)
    assert max(map(len, resamples(N, 130).sheets())) == min(130, most, max(1, sheet // N))
    assert np.array_equal(whole(resamples(N, 130)), counts)
    again = [shared.Shared(resamples(N, 130)).group().ask(summary).drawn() for summary in (of_means, of_ranks)]
    for one, other in zip(usual, again, strict=True):
        assert one == pytest.approx(other, rel=1e-13, abs=1e-13)


def test_resamples_are_drawn_once_for_all_that_wait(monkeypatch):
    sheets, times = resample.Resamples.sheets, []
    monkeypatch.setattr(resample.Resamples, "sheets", lambda self: times.append(self.n) or sheets(self))
    pool = shared.Pool(40, np.random.default_rng(0))
    first, second = pool.of(N).group(), pool.of(N).group()
    asked = [first.ask(of_means), first.ask(of_ranks), second.ask(of_few_cells)]
    assert pool.of(N) is pool.of(N)
    assert pool.of(N, np.arange(N)) is not pool.of(N)
    drawn = [one.drawn() for one in asked]
    assert times == [N]
    more = second.ask(of_means)
    assert np.array_equal(more.drawn(), drawn[0])
    assert times == [N, N], "what is asked afterwards gets the same, drawn once more"


def test_what_waits_is_bounded(monkeypatch):
    pool = shared.Pool(40, np.random.default_rng(0))
    pool.of(N).group().ask(of_means, holds=1_000)
    assert not pool.heavy()
    monkeypatch.setattr(shared, "_HELD", 1_000)
    assert pool.heavy()
    pool.of(N).draw()
    assert not pool.heavy(), "once drawn, what was summed is let go"
    group = pool.of(N).group()
    wide = group.ask(of_means)
    assert wide.asked.whole is not None, "columns that are too many are not held: blocks of counts are asked for"


def test_a_summary_that_raises_fails_alone():
    def broken(counts):
        if len(counts) > 2:
            raise ValueError("no such resample")
        return np.sort(counts, 1)[:, :1]

    together = shared.Shared(resamples(N, 300))
    bad, good = together.group().ask(broken), together.group().ask(of_means)
    assert np.isfinite(good.drawn()).all()
    with pytest.raises(ValueError, match="no such resample"):
        bad.drawn()


@pytest.mark.known_answer
@pytest.mark.parametrize("ties", [0, 7, 200])
@pytest.mark.parametrize("n", [2, 31, 32, 33, 1_024, 1_025, 2_500])
def test_ranks_of_a_block_are_those_of_its_counts(n, ties):
    """Chunks of 32 rows and of 1,024, with and without ties: the very numbers of sorting each resample."""
    draw = np.random.default_rng(n + ties)
    score = draw.integers(0, ties, n).astype(float) if ties else draw.normal(size=n)
    values = np.stack([score, np.arange(n) % 2], 1)
    found = resamples(n, 70)
    counts = whole(found)
    counts[0, values[:, 1] == 1] = 0  # a resample without a member
    block = asking.Block(counts.astype(np.uint8))
    ranked = ranks.Ranked(values)
    area, balance = ranked.area_and_balance(block).T
    with np.errstate(all="ignore"):
        assert np.array_equal(area, summaries.auc(values, counts), equal_nan=True)
        assert balance == pytest.approx(summaries.balanced_accuracy(values, counts), abs=1e-12, nan_ok=True)
        for at in (0.0, 0.01, 0.3, 0.99):
            rate = summaries.true_positive_rate(values, counts, at)
            assert np.array_equal(ranked.found_at(at)(block), rate, equal_nan=True)


def test_ranks_without_anybody_on_a_side_are_no_number():
    values = np.stack([np.arange(5.0), np.ones(5)], 1)

    def summary(counts):
        return np.stack([summaries.auc(values, counts), summaries.true_positive_rate(values, counts)], 1)

    with np.errstate(all="ignore"):
        assert np.isnan(shared.Shared(resamples(5, 9)).group().ask(summary).drawn()).all()
