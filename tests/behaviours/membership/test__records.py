import numpy as np
import pytest
import torch
from scipy.stats import beta, binomtest
from sklearn.metrics import roc_curve
from statsmodels.stats.proportion import proportion_confint

from whatelse.answer import Answer
from whatelse.behaviours.membership import _records
from whatelse.errors import NotMeasurableError


@pytest.mark.known_answer
@pytest.mark.parametrize(("found", "asked"), [(0, 10), (1, 10), (10, 10), (35, 1000), (3, 400), (1, 1)])
def test_the_interval_is_that_of_scipy_and_statsmodels(found, asked):
    low, high = _records.clopper_pearson(found, asked)
    assert (low, high) == pytest.approx(tuple(binomtest(found, asked).proportion_ci(0.95, method="exact")))
    assert (low, high) == pytest.approx(proportion_confint(found, asked, 0.05, method="beta"))
    if found:
        assert low == pytest.approx(beta.ppf(0.025, found, asked - found + 1))


@pytest.fixture
def scored():
    """Scores of 3,000 records, many of them tied, a third members."""
    draw = np.random.default_rng(2)
    member = (np.arange(3000) % 3 == 0).astype(float)
    return np.stack([draw.normal(size=3000).round(1) + member, member], 1)


@pytest.mark.known_answer
def test_points_are_those_of_scikit_learns_curve(scored):
    counts = np.random.default_rng(3).multinomial(3000, np.full(3000, 1 / 3000), size=8).astype(float)
    answer = Answer({"score": torch.from_numpy(scored[:, 0]), "member": torch.from_numpy(scored[:, 1])})
    for row, c in zip(_records.points(answer, counts), counts, strict=True):
        alarms, found, _ = roc_curve(scored[:, 1], scored[:, 0], sample_weight=c, drop_intermediate=False)
        assert row[0] == pytest.approx(found[alarms <= 0.01 + 1e-9].max())
        assert np.isnan(row[1])
        assert row[2] == pytest.approx((1 + (found - alarms).max()) / 2)


@pytest.mark.known_answer
def test_balanced_accuracy_by_hand():
    # Above 2: one of two members, no other; above 1: both members and one of two others.
    values = np.array([[3.0, 1], [2, 0], [2, 1], [1, 0]])
    counts = np.array([[1, 1, 1, 1], [1, 3, 1, 1], [0, 1, 1, 1], [0, 1, 0, 1]])
    assert _records.balanced_accuracy(values, counts) == pytest.approx([0.75, 0.75, 0.75, np.nan], nan_ok=True)
    assert _records.balanced_accuracy(values * [-1, 1], np.ones((1, 4))) == pytest.approx([0.5])
    assert _records.balanced_accuracy(values * [0, 1], np.ones((1, 4))) == pytest.approx([0.5])


@pytest.mark.parametrize(("others", "refused"), [(999, 2), (1000, 1), (9999, 1), (10_000, 0)])
def test_a_rate_of_less_than_ten_false_alarms_is_refused(records, others, refused):
    member = torch.arange(others + 50) < 50
    evidence = records(torch.eye(2)[member.long()], member.long(), members=50)
    answer = _records.answered(evidence, member.double(), member, "an attack")
    found = _records.points(answer, np.ones((1, len(answer))))[0]
    assert np.isnan(found).tolist() == [refused > 1, refused > 0, False]
    assert np.nanmin(found) == 1
    assert answer.parts.names == ("found at 1 % false alarms", "found at 0.1 % false alarms", "balanced accuracy")
    assert answer.notes[0] == "an attack"
    told = "\n".join(answer.notes)
    assert told.count("50 of 50 members, 95 % Clopper-Pearson interval 0.9289 to 1.0000") == 2 - refused
    assert ("refused" in told) == (refused > 0)
    assert ("at 1 % below 1,000 non-members and at 0.1 % below 10,000 non-members" in told) == (refused > 1)


def test_scores_that_are_no_numbers_get_no_interval():
    assert _records.how_sure(torch.full((20_000,), torch.nan), torch.arange(20_000) < 10_000) == []


def test_log_odds_are_those_at_the_temperatures(records, drawn, tempered):
    recorded, scores, shadows, inside = drawn
    evidence = records(scores, recorded, shadows, inside)
    cold = tempered(recorded, scores, shadows, inside)
    found = _records.odds(evidence, recorded), _records.shadow_odds(evidence, evidence.references(), recorded)
    for mine, said in zip(found, cold, strict=True):
        p = said.softmax(-1).gather(-1, recorded.expand(said.shape[:-1])[..., None])[..., 0]
        assert torch.allclose(mine, p.logit(), atol=1e-6)


def test_shadow_models_that_are_too_few_are_named(records, drawn):
    recorded, scores, shadows, inside = drawn
    few = records(scores, recorded, shadows[:4], inside[:4])
    assert _records.references(few, outside=2, within=2).inside.shape == (4, 40)
    with pytest.raises(NotMeasurableError, match="outside 3 shadow models or more of 4; 40 are outside fewer"):
        _records.references(few, outside=3)
    with pytest.raises(NotMeasurableError, match="inside 3 shadow models or more of 4; 40 are inside fewer"):
        _records.references(few, within=3)
