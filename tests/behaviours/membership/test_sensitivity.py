import math

import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from whatelse.behaviours.membership import sensitivity
from whatelse.errors import NotMeasurableError

SHADOWS = 6


def halves(count, rng):
    inside = torch.rand(SHADOWS, count, generator=rng) < 0.5
    inside[1::2] = ~inside[::2]
    return inside


@pytest.fixture
def gaussian(planted):
    """Members' log sensitivity is shifted; at the quantiles of a normal for the target, drawn for the shadows."""

    def make(shift, theirs=None, count=500):
        draw = torch.Generator().manual_seed(23)
        at = torch.as_tensor(norm.ppf((torch.arange(count) + 0.5) / count)).float()
        inside = halves(2 * count, draw)
        moved = torch.randn(SHADOWS, 2 * count, generator=draw) + (shift if theirs is None else theirs) * inside
        tables = [t.exp()[..., None] * torch.tensor([0.5, 0.5]) for t in (torch.cat([at + shift, at]), moved)]
        said = torch.zeros(2 * count, 2), torch.zeros(SHADOWS, 2 * count, 2)
        return planted(said[0], tables[0], [0] * 2 * count, said[1], tables[1], inside)

    return make


@pytest.mark.known_answer
@pytest.mark.parametrize("shift", [-1.5, -0.5, 0.5, 1.5])
def test_gaussian_log_sensitivity_shifted_by_mu_gives_phi_of_mu_over_root_two(gaussian, toy, rng, shift):
    evidence = gaussian(shift)
    answer = sensitivity.measure(evidence, sensitivity.Config(), rng)
    # The quantiles of 500 points leave out the tails: 1 in 1000.
    expected = norm.cdf(abs(shift) / math.sqrt(2))
    assert sensitivity.summarise(answer, sensitivity.Config(), toy.ones(answer)) == pytest.approx([expected], abs=2e-3)
    assert answer.columns["member"].tolist() == [1.0] * 500 + [0.0] * 500
    points = sensitivity.by_part(answer, sensitivity.Config(), toy.ones(answer))[0]
    # Halfway between two normals, Phi(mu / 2) of either are told right.
    assert points[2] == pytest.approx(norm.cdf(abs(shift) / 2), abs=2e-3)
    way = "more" if shift > 0 else "less"
    assert answer.notes[0] == f"lower bound: one threshold; members are taken to move {way}"


@pytest.mark.known_answer
def test_it_is_how_far_a_logistic_model_moves(toy, hot, rng):
    """Of ``p = sigmoid(w x / T)`` the move is ``2 p (1 - p) |w u| / T`` over both classes, with each split's noise."""
    draw = torch.Generator().manual_seed(4)
    weight = torch.tensor([1.0, -2.0, 0.5])
    model = torch.nn.Linear(3, 2, bias=False)
    model.weight.data = torch.stack([torch.zeros(3), weight])
    train, test = (toy.split_of(2 * torch.rand(12, 3, generator=draw), torch.arange(12) % 2) for _ in range(2))
    task = toy.task_of(test.inputs, test.targets, train=train)
    inside = halves(24, draw)
    found = torch.rand(SHADOWS, 24, 2, generator=draw) * (1 - 0.5 * inside.float())[..., None]
    given = toy.References(torch.zeros(SHADOWS, 24, 2), inside, found)
    evidence = toy.evidence_of(model, task, shadows=lambda: given)
    answer = sensitivity.measure(evidence, sensitivity.Config(), rng)
    expected = []
    scale = hot(torch.stack([torch.zeros(12), test.inputs @ weight], 1), test.observed)
    for split in (train, test):
        noise = torch.Generator().manual_seed(2022)
        moves = torch.stack([(torch.randn(12, 3, generator=noise) @ weight).abs() for _ in range(10)]).mean(0)
        p = (split.inputs @ weight / scale).sigmoid()
        expected += (-(2 * p * (1 - p) * moves / scale).log()).tolist()
    # Single precision sees moves of 6e-8 / 1e-3 in about 0.1; the rest is curvature, of the order of 1e-3.
    assert answer.columns["score"].tolist() == pytest.approx(expected, abs=1e-2)
    area = roc_auc_score(answer.columns["member"], expected)
    assert sensitivity.summarise(answer, sensitivity.Config(), toy.ones(answer)) == pytest.approx([area], abs=0.01)


def test_it_costs_what_it_says_and_only_once(toy, rng):
    model = torch.nn.Linear(3, 2)
    draw = torch.Generator().manual_seed(4)
    train, test = (toy.split_of(torch.rand(n, 3, generator=draw), torch.arange(n) % 2) for n in (12, 8))
    task = toy.task_of(test.inputs, test.targets, train=train)
    inside = halves(20, draw)
    given = toy.References(torch.zeros(SHADOWS, 20, 2), inside, torch.rand(SHADOWS, 20, 2, generator=draw))
    evidence = toy.evidence_of(model, task, shadows=lambda: given)
    evidence.logits("train"), evidence.logits("test"), evidence.logits("select")
    before = evidence.passes.forward
    for _ in range(2):
        sensitivity.measure(evidence, sensitivity.Config(), rng)
        assert evidence.passes.forward - before == sensitivity.effort(sensitivity.Config(), task) == 11 * 20


def test_without_a_difference_it_is_a_guess(planted, toy, rng):
    draw = torch.Generator().manual_seed(9)
    tables = [torch.rand(*shape, 400, 3, generator=draw) for shape in ((), (SHADOWS,))]
    said = torch.zeros(400, 3), torch.zeros(SHADOWS, 400, 3)
    evidence = planted(said[0], tables[0], [0] * 400, said[1], tables[1], halves(400, draw))
    answer = sensitivity.measure(evidence, sensitivity.Config(), rng)
    # The area of 200 against 200 without a difference has a standard error of .029.
    assert sensitivity.summarise(answer, sensitivity.Config(), toy.ones(answer)) == pytest.approx(
        [0.5], abs=1.96 * 0.029
    )


def test_the_sign_comes_from_the_shadow_models_alone(gaussian, toy, rng):
    answer = sensitivity.measure(gaussian(1.5, theirs=-1.5), sensitivity.Config(), rng)
    assert sensitivity.summarise(answer, sensitivity.Config(), toy.ones(answer)) < 0.2


def test_moves_that_round_to_nothing_are_ties(planted, toy, rng):
    said = torch.zeros(4, 2), torch.zeros(2, 4, 2)
    inside = [[True, False] * 2, [False, True] * 2]
    evidence = planted(said[0], torch.zeros(4, 2), [0] * 4, said[1], torch.zeros(2, 4, 2), inside)
    answer = sensitivity.measure(evidence, sensitivity.Config(), rng)
    assert answer.columns["score"].isfinite().all()
    assert sensitivity.summarise(answer, sensitivity.Config(), toy.ones(answer)) == [0.5]


def test_what_is_missing_is_said(planted, records, rng):
    said = torch.zeros(4, 2), torch.zeros(2, 4, 2)
    inside = torch.tensor([[True, False] * 2, [False, True] * 2])
    with pytest.raises(NotMeasurableError, match="there are none"):
        sensitivity.measure(records(said[0], [0] * 4), sensitivity.Config(), rng)
    without = planted(said[0], said[0], [0] * 4, said[1], None, inside)
    with pytest.raises(NotMeasurableError, match="sensitivity to tiny noise was kept"):
        sensitivity.measure(without, sensitivity.Config(), rng)
    inside = torch.tensor([[False] * 4, [False, True] * 2])
    lone = planted(said[0], said[0], [0] * 4, said[1], said[1], inside)
    with pytest.raises(NotMeasurableError, match="1 have not"):
        sensitivity.measure(lone, sensitivity.Config(), rng)
