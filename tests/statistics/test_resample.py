import tracemalloc

import numpy as np
import pytest

from whatelse.statistics import resample


@pytest.mark.known_answer
def test_counts_are_multinomial():
    n, draws = 20, 40_000
    counts = resample.counts(n, draws, np.random.default_rng(0)).astype(np.float64)
    assert counts.shape == (draws, n)
    assert (counts.sum(1) == n).all()
    # Mean 1, variance 1 - 1/n, covariance -1/n. Their standard errors are at most 1.4 / sqrt(draws) = .007.
    assert counts.mean(0) == pytest.approx(np.ones(n), abs=0.03)
    assert np.cov(counts.T) == pytest.approx(np.eye(n) - 1 / n, abs=0.035)


def test_counts_are_of_single_precision_and_repeat_with_the_generator():
    one, two, other = (resample.counts(30, 5, np.random.default_rng(s)) for s in (1, 1, 2))
    assert one.dtype == np.float32
    assert (one == two).all()
    assert (one != other).any()


@pytest.mark.known_answer
def test_clusters_are_drawn_whole():
    clusters = np.array(["b", "b", "a", "b", "c"])
    counts = resample.counts(5, 20_000, np.random.default_rng(0), clusters)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 0] == counts[:, 3]).all()
    assert (counts[:, [0, 2, 4]].sum(1) == 3).all()
    # The variance of a count of 3 clusters is 2/3; without clusters it would be 4/5. Standard error .01.
    assert counts.var(0) == pytest.approx(np.full(5, 2 / 3), abs=0.04)


@pytest.mark.known_answer
def test_the_jackknife_leaves_out_one_unit():
    assert np.concatenate(list(resample.left_out(3))).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    whole = np.concatenate(list(resample.left_out(3, np.array([7, 4, 7]))))
    assert whole.tolist() == [[1, 0, 1], [0, 1, 0]]


def test_blocks_cover_all_rows_once(monkeypatch):
    monkeypatch.setattr(resample, "BLOCK", 10)
    monkeypatch.setattr(resample, "_DRAWS", 1)
    cut = list(resample.blocks(7, 4))
    assert [i for s in cut for i in range(7)[s]] == list(range(7))
    assert all((s.stop - s.start) * 4 <= 10 for s in cut)
    assert list(resample.blocks(2, 99)) == [slice(0, 1), slice(1, 2)]
    monkeypatch.setattr(resample, "_DRAWS", 32)
    assert list(resample.blocks(40, 99)) == [slice(0, 32), slice(32, 40)], "a few draws however many columns"


def test_memory_beyond_the_answer_is_bounded():
    tracemalloc.start()
    counts = resample.counts(10_000, 1_000, np.random.default_rng(0))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Three arrays of 8 bytes for one block; 10 MB for the rest. All indices at once would take 80 MB.
    assert most < counts.nbytes + 3 * 8 * resample.BLOCK + 1e7


@pytest.mark.parametrize(
    ("n", "draws", "clusters", "said"),
    [
        (0, 5, None, "n=0; at least 1"),
        (5, 0, None, "draws=0"),
        (5, 5, np.zeros(4), r"clusters have the shape \(4,\); \(5,\) is needed"),
    ],
)
def test_bad_input_is_named(n, draws, clusters, said):
    with pytest.raises(ValueError, match=said):
        resample.counts(n, draws, np.random.default_rng(0), clusters)


@pytest.mark.known_answer
@pytest.mark.parametrize("n", [1, 2, 7, 1000, 9001, 40_000])
def test_the_faster_way_draws_what_numpy_draws(n):
    """Also where numpy holds half a word between two resamples, and where it draws anew."""
    drawn = [way(n, np.random.default_rng(5), None) for way in (resample._Drawing, resample._Alone)]
    for draws in (3, 1, 4):
        one, two = (way.rows(draws) for way in drawn)
        assert np.array_equal(one, two)


@pytest.mark.known_answer
def test_the_faster_way_draws_anew_where_numpy_does():
    size = 3 * 2**30  # a third of all bits falls short
    drawing = resample._Alone(7, np.random.default_rng(5), None)
    drawing.size, drawing.short = size, (2**32 - size) % size
    found = np.concatenate([drawing._more(1000) for _ in range(4)])
    assert 2000 < len(found) < 3800
    assert np.array_equal(found, np.random.default_rng(5).integers(0, size, len(found), np.uint32))


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.Philox])
def test_a_generator_in_use_or_of_another_kind_draws_in_the_usual_way(kind):
    one, two = (np.random.Generator(kind(3)) for _ in range(2))
    for rng in (one, two):
        rng.integers(0, 5, 3, np.uint32)  # leaves half a word
    sheets = resample.Resamples(11, 40, one, None).sheets()
    assert np.array_equal(np.concatenate(list(sheets)), resample.counts(11, 40, two))
