import numpy as np
import pytest
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from whatelse.statistics import multiplicity

FAMILIES = [
    [0.01, 0.04, 0.03, 0.005],
    [0.5],
    [0.2, 0.2, 0.2],
    [0.9, 0.001, 0.6, 1.0, 0.0],
    list(np.random.default_rng(0).random(50) ** 3),
]


@pytest.mark.known_answer
@pytest.mark.parametrize("family", FAMILIES)
def test_holm_is_statsmodels(family):
    assert multiplicity.holm(family) == pytest.approx(multipletests(family, method="holm")[1])


@pytest.mark.known_answer
@pytest.mark.parametrize("family", FAMILIES)
def test_benjamini_hochberg_is_that_of_scipy_and_statsmodels(family):
    found = multiplicity.benjamini_hochberg(family)
    assert found == pytest.approx(false_discovery_control(family))
    assert found == pytest.approx(multipletests(family, method="fdr_bh")[1])


@pytest.mark.known_answer
def test_by_hand():
    assert multiplicity.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert multiplicity.benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])


@pytest.mark.parametrize("adjust", [multiplicity.holm, multiplicity.benjamini_hochberg])
def test_what_could_not_be_asked_does_not_count(adjust):
    found = adjust([0.01, float("nan"), 0.04])
    assert np.isnan(found[1])
    assert found[[0, 2]] == pytest.approx(adjust([0.01, 0.04]))
    assert adjust([]).shape == (0,)


@pytest.mark.parametrize("adjust", [multiplicity.holm, multiplicity.benjamini_hochberg])
@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_what_is_no_probability_is_named(adjust, wrong):
    with pytest.raises(ValueError, match=rf"p={wrong} is outside \[0, 1\]"):
        adjust([0.5, wrong])


@pytest.mark.known_answer
def test_weights_share_the_level_by_hand():
    # Weights 1, 1/2, 1/2: p / w is .02, .01, .06; of 2 in all first .005 / .5 * 2, then .02 * 1.5, then .03 / .5 * .5.
    found = multiplicity.holm([0.02, 0.005, 0.03], [1, 0.5, 0.5])
    assert found == pytest.approx([0.03, 0.02, 0.03])
    assert multiplicity.holm([0.02, np.nan, 0.03], [1, 9, 1]) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)
    for family in FAMILIES:
        assert multiplicity.holm(family, [0.3] * len(family)) == pytest.approx(multiplicity.holm(family))
    with pytest.raises(ValueError, match="one above 0 for each of 2"):
        multiplicity.holm([0.1, 0.2], [1.0, 0.0])


def test_a_thousand_classes_do_not_silence_one_question():
    family, weights = [0.002] + [0.5] * 1000, [1.0] + [0.001] * 1000
    assert multiplicity.holm(family, weights)[0] == pytest.approx(0.004)
    assert multiplicity.holm(family)[0] == 1
