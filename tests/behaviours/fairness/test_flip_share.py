import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, fisher_exact

from whatelse.behaviours.fairness import _groups, flip_share

TARGETS = [0, 1, 2, 0, 1, 2, 0, 1]
BEFORE = [0, 1, 2, 0, 1, 0, 0, 1]  # row 5 is wrong already and cannot be harmed
AFTER = [0, 0, 2, 1, 2, 1, 0, 1]
STYLE = [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.known_answer
def test_the_harm_of_the_worst_hit_group_by_hand(answers, toy, rng):
    baseline, candidate = (answers(said, TARGETS, {"style": STYLE}) for said in (BEFORE, AFTER))
    answer = flip_share.compare(baseline, candidate, flip_share.Config(least=1), rng)
    assert answer["harmed"].tolist() == [0, 1, 0, 1, 1, 0, 0, 0]
    assert answer["group style"].tolist() == STYLE
    assert flip_share.summarise(answer, flip_share.Config(), toy.ones(answer)) == pytest.approx([2 / 3 - 3 / 8])
    # Group 0 hit hardest in this resample: 2 of 3 against 3 of 8.
    counts = np.array([[1, 2, 0, 1, 0, 2, 1, 1]])
    assert flip_share.summarise(answer, flip_share.Config(), counts) == pytest.approx([2 / 3 - 3 / 8])
    # Three of eight are harmed: two or more of three with chance (3 * 5 + 1) / 56, one or more with 46 / 56.
    assert answer.notes == (
        "harmed: style 1 2 of 3 (p 0.29, adjusted 0.86), style 0 1 of 3 (p 0.82, adjusted 1), "
        "style 2 0 of 2 (p 1, adjusted 1)",
    )
    assert answer.parts.names == ("style 0", "style 1", "style 2")
    parts = flip_share.by_part(answer, flip_share.Config(), toy.ones(answer))[0]
    assert parts == pytest.approx([1 / 3 - 3 / 8, 2 / 3 - 3 / 8, -3 / 8])


def test_a_small_group_stays_in_the_overall_share(answers, toy, rng):
    baseline, candidate = (answers(said, TARGETS, {"style": STYLE}) for said in (BEFORE, AFTER))
    answer = flip_share.compare(baseline, candidate, flip_share.Config(least=3), rng)
    assert answer["group style"].tolist() == STYLE
    assert answer["large group style"].tolist() == [0, 0, 0, 1, 1, 1, -1, -1]
    assert flip_share.by_part(answer, flip_share.Config(), toy.ones(answer))[0, 2] == pytest.approx(-3 / 8), (
        "a part all the same"
    )
    outcomes = flip_share.outcomes(answer, flip_share.Config())
    assert np.isnan(outcomes[:, 0]).all()
    assert outcomes[:, 1:].T.tolist() == [STYLE, [0, 0, 0, 1, 1, 1, -1, -1]]
    assert flip_share.summarise(answer, flip_share.Config(), toy.ones(answer)) == pytest.approx([2 / 3 - 3 / 8])


def test_with_one_group_or_none_there_is_no_number(answers, toy, rng):
    for style in (STYLE, [-1] * 8):
        baseline, candidate = (answers(said, TARGETS, {"style": style}) for said in (BEFORE, AFTER))
        answer = flip_share.compare(baseline, candidate, flip_share.Config(least=4), rng)
        assert np.isnan(flip_share.summarise(answer, flip_share.Config(), toy.ones(answer))).all()
        assert np.isfinite(flip_share.by_part(answer, flip_share.Config(), toy.ones(answer))).all()


def test_even_harm_is_no_excess(answers, toy, rng):
    baseline = answers([0, 1, 0, 1], [0, 1, 0, 1], {"style": [0, 0, 1, 1]})
    candidate = answers([1, 1, 1, 1], [0, 1, 0, 1], {"style": [0, 0, 1, 1]})
    answer = flip_share.compare(baseline, candidate, flip_share.Config(least=1), rng)
    assert flip_share.summarise(answer, flip_share.Config(), toy.ones(answer)) == pytest.approx([0])


@pytest.mark.known_answer
def test_over_representation_is_fishers_exact_test_adjusted_over_groups(canned, rng):
    draw = np.random.default_rng(0)
    target, code = draw.integers(0, 2, 900), draw.choice([0, 1, 2, -1], 900)
    harmed = draw.random(900) < np.where(code == 1, 0.15, 0.05)
    base, mine = (canned(np.eye(2)[s], target, {"style": code}) for s in (target, np.where(harmed, 1 - target, target)))
    answer = flip_share.compare(base, mine, flip_share.Config(), rng)
    p = []
    for g in range(3):
        inside = code == g
        cells = [[np.sum(a & b) for b in (inside, ~inside)] for a in (harmed, ~harmed)]
        p.append(fisher_exact(cells, alternative="greater").pvalue)
    adjusted = false_discovery_control(p)
    assert adjusted[1] < 0.01
    assert answer.notes[-1].startswith(f"harmed: style 1 {np.sum(harmed & (code == 1))} of {np.sum(code == 1)} ")
    for g in range(3):
        assert f"(p {p[g]:.2g}, adjusted {adjusted[g]:.2g})" in answer.notes[-1]


@pytest.mark.known_answer
def test_without_bias_a_group_is_seldom_called_over_represented():
    draw = np.random.default_rng(1)
    code = torch.arange(400) % 4
    found = _groups.Grouping("style", code, ("a", "b", "c", "d"), (100,) * 4, 30)
    alarms = sum(
        float(flip_share._by_group(found, torch.from_numpy(draw.random(400) < 0.1)).split("adjusted ")[1].split(")")[0])
        <= 0.05
        for _ in range(200)
    )
    # At most 5 % on average, being discrete less: 200 draws stay under 10 % with a chance of 0.999.
    assert alarms <= 20
