import math

import numpy as np
import pytest

from whatelse.statistics import seeds


@pytest.mark.known_answer
def test_by_hand():
    # t(.975) is 12.7062 with 1 and 2.57058 with 5 degrees of freedom.
    assert seeds.floor([0.2]) == pytest.approx(12.7062 * 0.2, rel=1e-5)
    assert seeds.floor([1, -1, 1, -1, 1]) == pytest.approx(2.57058, rel=1e-5)
    assert seeds.floor([0, 0, 0]) == 0


@pytest.mark.known_answer
@pytest.mark.parametrize("count", [1, 5, 10])
def test_one_more_retraining_stays_below_it_19_times_in_20(count):
    """By simulation, 4,000 studies of normal twins: 3.3 standard errors of .0034."""
    rng = np.random.default_rng(0)
    below = [abs(rng.normal()) < seeds.floor(rng.normal(size=count)) for _ in range(4000)]
    assert np.mean(below) == pytest.approx(0.95, abs=0.0115)


def test_nothing_known_is_no_floor():
    assert math.isnan(seeds.floor([0.1, math.nan]))
    with pytest.raises(ValueError, match="effects_per_seed is empty"):
        seeds.floor([])


def test_seeds_dominate_where_they_make_the_width():
    each = [0.1, -0.1, 0.3, -0.3, 0.0]
    # Standard deviation .2236, five seeds, t = 2.776: half a width of .2776.
    assert seeds.dominate(each, -0.28, 0.28)
    assert not seeds.dominate(each, -0.5, 0.5)
    assert not seeds.dominate([0.1], -1, 1)
