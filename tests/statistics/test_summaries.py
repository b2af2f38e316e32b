import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from whatelse.statistics import resample, summaries


@pytest.fixture(params=["ties", "no ties"])
def scores(request):
    rng = np.random.default_rng(4)
    member = rng.random(60) < 0.4
    score = rng.normal(size=60) + member
    if request.param == "ties":
        score = score.round()
    return np.stack([score, member], 1), resample.counts(60, 40, rng).astype(int)


def expanded(values, counts):
    """Each resample written out, row by row."""
    return [np.repeat(values, row, axis=0) for row in counts]


@pytest.mark.known_answer
def test_mean_is_that_of_the_repeated_values():
    values, counts = np.array([1.0, 2.0, 6.0]), np.array([[1, 1, 1], [3, 0, 0], [0, 2, 2]])
    assert summaries.mean(values, counts) == pytest.approx([3, 1, 4])


@pytest.mark.known_answer
@pytest.mark.parametrize("q", [0, 0.1, 0.25, 0.5, 0.9, 1])
def test_quantile_is_numpys(scores, q):
    values, counts = scores[0][:, 0], scores[1]
    slow = [np.quantile(v, q, method="averaged_inverted_cdf") for v in expanded(values, counts)]
    assert summaries.quantile(values, counts, q) == pytest.approx(slow)


@pytest.mark.known_answer
def test_median_is_numpys(scores):
    values, counts = scores[0][:, 0], scores[1]
    assert summaries.median(values, counts) == pytest.approx([np.median(v) for v in expanded(values, counts)])


@pytest.mark.known_answer
def test_auc_is_scikit_learns(scores):
    slow = [roc_auc_score(v[:, 1], v[:, 0]) for v in expanded(*scores)]
    assert summaries.auc(*scores) == pytest.approx(slow)


@pytest.mark.known_answer
@pytest.mark.parametrize("at", [0, 0.01, 0.1, 0.5])
def test_true_positive_rate_is_scikit_learns(scores, at):
    slow = []
    for v in expanded(*scores):
        wrong, right, _ = roc_curve(v[:, 1], v[:, 0], drop_intermediate=False)
        slow.append(right[wrong <= at + 1e-9].max())
    assert summaries.true_positive_rate(*scores, at=at) == pytest.approx(slow)


@pytest.mark.known_answer
def test_true_positive_rate_by_hand():
    # Of 4 non-members one may be accused at .25: the threshold lies above 2, which leaves members 3 and 5.
    values = np.array([[5, 1], [3, 1], [2, 1], [1, 1], [4, 0], [2, 0], [0, 0], [0, 0]], float)
    ones = np.ones((1, 8))
    assert summaries.true_positive_rate(values, ones, at=0.25) == pytest.approx([0.5])
    assert summaries.true_positive_rate(values, ones) == pytest.approx([0.25])


def test_counts_of_any_type_do(scores):
    values, counts = scores
    assert summaries.auc(values, counts.astype(np.float32)) == pytest.approx(summaries.auc(values, counts))


@pytest.mark.parametrize("summary", [summaries.auc, summaries.true_positive_rate])
def test_a_resample_without_one_side_has_no_answer(summary):
    values = np.array([[2.0, 1], [1.0, 0]])
    found = summary(values, np.array([[1, 1], [2, 0], [0, 2]]))
    assert found[0] == 1
    assert np.isnan(found[1:]).all()
    assert np.isnan(summary(values[:1], np.ones((1, 1)))).all()
    assert np.isnan(summary(values[1:], np.ones((1, 1)))).all()


def test_an_empty_resample_has_no_answer():
    nothing = np.zeros((1, 3))
    assert np.isnan(summaries.mean(np.arange(3.0), nothing)).all()
    assert np.isnan(summaries.median(np.arange(3.0), nothing)).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: summaries.quantile(np.ones(2), np.ones((1, 2)), 1.5), "q=1.5"),
        (lambda: summaries.true_positive_rate(np.ones((2, 2)), np.ones((1, 2)), at=1), "at=1"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
