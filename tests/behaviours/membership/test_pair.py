import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from whatelse.behaviours.membership import _records, pair, reference
from whatelse.errors import NotMeasurableError


@pytest.fixture
def two(records, drawn):
    """Evidence of two models that were asked of the same records, and what they say."""
    recorded, scores, shadows, inside = drawn
    rng = torch.Generator().manual_seed(13)
    other, others = (0.7 * s + 0.5 * torch.randn(s.shape, generator=rng) for s in (scores, shadows))
    said = [(scores, shadows), (other, others)]
    return [records(s, recorded, k, inside) for s, k in said], said, recorded, inside


def log_ratio(p, p_out, a):
    return np.log(p) - np.log(((1 + a) * p_out + 1 - a) / 2)


def slow(said, recorded, inside, a):
    """The definition by loops; the regression is scikit-learn's, with the penalty of ours."""
    learn, known, ask = [], [], []
    probabilities = [
        [torch.softmax(s.double(), -1).gather(-1, recorded.expand(s.shape[:-1])[..., None])[..., 0] for s in pair_]
        for pair_ in said
    ]
    for x in range(len(recorded)):
        row = []
        for target, shadows in probabilities:
            out = [float(shadows[k, x]) for k in range(len(inside)) if not inside[k, x]]
            row.append(log_ratio(float(target[x]), np.mean(out), a))
        ask.append(row)
        for k in range(len(inside)):
            rest = [j for j in range(len(inside)) if j != k and not inside[j, x]]
            if not rest:
                continue
            row = []
            for _, shadows in probabilities:
                row.append(log_ratio(float(shadows[k, x]), np.mean([float(shadows[j, x]) for j in rest]), a))
            learn.append(row)
            known.append(bool(inside[k, x]))
    learn, ask = np.array(learn), np.array(ask)
    scale = learn.std(0, ddof=1)
    model = LogisticRegression(C=1 / (1e-3 * len(learn)), tol=1e-12, max_iter=10_000).fit(learn / scale, known)
    return ask / scale @ model.coef_[0]


@pytest.mark.known_answer
def test_it_is_the_definition_by_loops_with_scikit_learns_regression(two, tempered, toy, rng):
    (base, mine), said, recorded, inside = two
    answer = pair.compare(base, mine, pair.Config(), rng)
    expected = slow([tempered(recorded, *each, inside) for each in said], recorded, inside, 0.3)
    assert answer.columns["score"].tolist() == pytest.approx(expected.tolist(), abs=2e-4)
    assert answer.columns["member"].tolist() == [1.0] * 20 + [0.0] * 20
    area = roc_auc_score(answer.columns["member"], expected)
    assert pair.summarise(answer, pair.Config(), toy.ones(answer)) == pytest.approx([area], abs=5e-3)
    assert answer.notes[0].startswith("weight of the baseline ")
    assert answer.parts.names == _records.POINTS
    points = pair.by_part(answer, pair.Config(), toy.ones(answer))[0]
    alarms, found, _ = roc_curve(answer.columns["member"], answer.columns["score"])
    assert points == pytest.approx([np.nan, np.nan, 0.5 + (found - alarms).max() / 2], nan_ok=True)


@pytest.mark.known_answer
def test_a_second_model_that_says_nothing_adds_nothing(records, rng):
    """Members stand out in the baseline only; the pair finds them as well as the reference attack on it alone."""
    count, draw = 400, torch.Generator().manual_seed(17)
    recorded = torch.zeros(count, dtype=torch.long)
    inside = torch.rand(8, count, generator=draw) < 0.5
    inside[1::2] = ~inside[::2]

    def scores(had, lift):
        odds = torch.randn(had.shape, generator=draw) + lift * had
        return torch.stack([odds, 0 * odds], -1)

    member = torch.arange(count) < count // 2
    base = records(scores(member, 1.5), recorded, scores(inside, 1.5), inside)
    mine = records(scores(member, 0.0), recorded, scores(inside, 0.0), inside)
    ones = np.ones((1, count))
    asked = reference.Config()
    alone, worse = (reference.summarise(reference.measure(e, asked, rng), asked, ones) for e in (base, mine))
    both = pair.summarise(pair.compare(base, mine, pair.Config(), rng), pair.Config(), ones)
    assert both == pytest.approx(alone, abs=0.03)
    assert worse == pytest.approx([0.5], abs=0.08)


def test_with_the_baseline_as_candidate_it_ranks_as_the_reference_attack(two, toy, rng):
    (base, _), _, _, _ = two
    answer = pair.compare(base, base, pair.Config(), rng)
    alone = reference.measure(base, reference.Config(), rng)
    ones = toy.ones(answer)
    # The score of the reference attack is a rank among 20, a coarser one.
    expected = reference.summarise(alone, reference.Config(), ones)
    assert pair.summarise(answer, pair.Config(), ones) == pytest.approx(expected, abs=0.03)


def test_two_independent_models_leak_more_than_one(records, rng):
    count, draw = 400, torch.Generator().manual_seed(19)
    recorded = torch.zeros(count, dtype=torch.long)
    inside = torch.rand(8, count, generator=draw) < 0.5
    inside[1::2] = ~inside[::2]
    member = torch.arange(count) < count // 2

    def model():
        odds = [torch.randn(had.shape, generator=draw) + 1.0 * had for had in (member, inside)]
        said = [torch.stack([o, 0 * o], -1) for o in odds]
        return records(said[0], recorded, said[1], inside)

    base, mine = model(), model()
    ones = np.ones((1, count))
    config = pair.Config()
    alone, both = (pair.summarise(pair.compare(base, m, config, rng), config, ones) for m in (base, mine))
    # One: Phi(1 / sqrt 2) = .760. Both: Phi(1) = .841.
    assert alone == pytest.approx([0.760], abs=0.04)
    assert both == pytest.approx([0.841], abs=0.04)


def test_the_targets_members_are_not_learnt_from(two, rng):
    (base, mine), _, _, _ = two
    before = pair.compare(base, mine, pair.Config(), rng)
    record = _records.members
    try:
        _records.members = lambda evidence, count: ~record(evidence, count)
        after = pair.compare(base, mine, pair.Config(), rng)
    finally:
        _records.members = record
    assert torch.equal(before.columns["score"], after.columns["score"])


def test_what_is_missing_is_said(two, records, drawn, rng):
    (base, _), _, _, _ = two
    recorded, scores, shadows, inside = drawn
    with pytest.raises(NotMeasurableError, match="there are none"):
        pair.compare(base, records(scores, recorded), pair.Config(), rng)
    with pytest.raises(NotMeasurableError, match="trained on the same records"):
        pair.compare(base, records(scores, recorded, shadows, ~inside), pair.Config(), rng)
    few = records(scores, recorded, shadows[:2], inside[:2])
    with pytest.raises(NotMeasurableError, match="four shadow models or more"):
        pair.compare(few, few, pair.Config(), rng)
