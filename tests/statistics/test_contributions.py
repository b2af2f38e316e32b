import numpy as np
import pytest

from whatelse.statistics import resample, summaries
from whatelse.statistics.contributions import contributions

RNG = np.random.default_rng(0)
TRIED = resample.counts(50, 2, RNG).astype(float)


def ratio(values, counts):
    return counts @ values[:, 0] / (counts @ values[:, 1])


@pytest.mark.known_answer
def test_a_mean_of_a_column_is_its_values():
    values = RNG.normal(size=50)
    assert contributions(values, summaries.mean, TRIED) == pytest.approx(values)


@pytest.mark.known_answer
def test_a_mean_of_several_columns_is_asked_of_each_example():
    values = RNG.normal(size=(50, 3))
    found = contributions(values, lambda v, c: summaries.mean(v[:, 0] + v[:, 1] - v[:, 2], c), TRIED)
    assert found == pytest.approx(values[:, 0] + values[:, 1] - values[:, 2])


@pytest.mark.parametrize("summarise", [ratio, lambda v, c: summaries.median(v[:, 0], c)])
def test_what_is_no_mean_has_none(summarise):
    values = RNG.random((50, 2)) + 0.5
    assert contributions(values, summarise, TRIED) is None
    assert contributions(values[:, 0], lambda v, c: summaries.median(v, c), TRIED) is None


def test_an_area_under_a_curve_has_none_as_one_example_has_no_area():
    values = np.stack([RNG.normal(size=50), np.arange(50) % 2], 1)
    assert contributions(values, summaries.auc, TRIED) is None
