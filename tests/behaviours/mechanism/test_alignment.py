import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge

from whatelse.behaviours.mechanism import _layers, _linear, alignment
from whatelse.errors import NotMeasurableError


def answer_of(baseline, candidate, rng, **settings):
    return alignment.compare(baseline, candidate, alignment.Config(**settings), rng)


def score(baseline, candidate, rng, **settings):
    answer = answer_of(baseline, candidate, rng, **settings)
    return alignment.summarise(answer, alignment.Config(**settings), np.ones((1, len(answer))))[0]


def r2(predicted, truth, train):
    return 1 - ((truth - predicted) ** 2).sum() / ((truth - train.mean(0)) ** 2).sum()


@pytest.fixture
def two(toy, stack, gaussian):
    task = gaussian()
    return toy.evidence_of(stack(6, 5, 3), task), toy.evidence_of(stack(6, 4, 3, seed=1), task)


def hidden(evidence, split):
    return evidence.hidden(split).double().numpy()


@pytest.mark.known_answer
@pytest.mark.parametrize("way", ["from candidate", "from baseline"])
def test_ridge_is_scikit_learns(two, rng, way):
    source, target = two[::-1] if way == "from candidate" else two
    x, y = hidden(source, "train"), hidden(target, "train")
    level = 0.1 * ((x - x.mean(0)) ** 2).sum() / x.shape[1]
    fitted = Ridge(alpha=level).fit(x, y)
    expected = r2(fitted.predict(hidden(source, "test")), hidden(target, "test"), y)
    assert score(*two, rng, way=way, penalty=0.1) == pytest.approx(expected, abs=1e-5)


@pytest.mark.known_answer
def test_procrustes_is_scipys(toy, stack, gaussian, rng):
    task = gaussian()
    two = toy.evidence_of(stack(6, 5, 3), task), toy.evidence_of(stack(6, 5, 3, seed=1), task)
    y, x = hidden(two[0], "train"), hidden(two[1], "train")
    turn, size = orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    turn = turn * size / ((x - x.mean(0)) ** 2).sum()
    predicted = (hidden(two[1], "test") - x.mean(0)) @ turn + y.mean(0)
    expected = r2(predicted, hidden(two[0], "test"), y)
    assert score(*two, rng, kind="procrustes") == pytest.approx(expected, abs=1e-5)


@pytest.mark.known_answer
def test_values_are_errors_example_by_example(two, rng):
    values = answer_of(*two, rng).table("error in 1", "distance from the mean in 1")
    y, x = hidden(two[0], "train"), hidden(two[1], "train")
    level = 1e-3 * ((x - x.mean(0)) ** 2).sum() / x.shape[1]
    fitted = Ridge(alpha=level).fit(x, y)
    variance = ((y - y.mean(0)) ** 2).sum() / len(y)
    for i in (0, 7, 119):
        truth = hidden(two[0], "test")[i]
        left = ((truth - fitted.predict(hidden(two[1], "test")[[i]])[0]) ** 2).sum() / variance
        assert values[i].tolist() == pytest.approx([left, ((truth - y.mean(0)) ** 2).sum() / variance], rel=1e-4)


@pytest.mark.known_answer
def test_a_turn_and_a_scale_are_found_and_a_stretch_only_by_ridge(rng):
    x = torch.randn(200, 5, generator=rng)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=rng)).Q
    turned, stretched = 3 * x @ turn + 2, x * torch.tensor([1.0, 1, 1, 1, 9]) @ turn
    told = {}
    for name, y in (("turned", turned), ("stretched", stretched)):
        for kind, fitted in (("procrustes", _linear.procrustes(x, y)), ("ridge", _linear.ridge(x, y, 1e-6))):
            predicted = _linear.predict(fitted, x).numpy()
            told[name, kind] = r2(predicted, y.double().numpy(), y.double().numpy())
    assert told["turned", "procrustes"] == pytest.approx(1, abs=1e-9)
    assert told["turned", "ridge"] == pytest.approx(1, abs=1e-6)
    assert told["stretched", "ridge"] == pytest.approx(1, abs=1e-6)
    assert told["stretched", "procrustes"] < 0.8


@pytest.mark.parametrize("kind", ["ridge", "procrustes"])
@pytest.mark.parametrize("way", ["from candidate", "from baseline"])
def test_the_order_of_hidden_units_does_not_matter(toy, stack, gaussian, shuffled, rng, kind, way):
    task, plain = gaussian(), stack(6, 5, 3)
    baseline = toy.evidence_of(plain, task)
    same, moved = (toy.evidence_of(shuffled(plain, order), task) for order in ([0, 1, 2, 3, 4], [3, 0, 4, 1, 2]))
    # Ridge takes at most a quarter of its penalty.
    assert score(baseline, same, rng, kind=kind, way=way) == pytest.approx(1, abs=2.5e-4)
    assert score(baseline, moved, rng, kind=kind, way=way) == pytest.approx(1, abs=2.5e-4)


def test_a_dropped_unit_is_seen_one_way_only(toy, stack, gaussian, shuffled, rng):
    task, plain = gaussian(), stack(6, 5, 3)
    baseline, narrow = toy.evidence_of(plain, task), toy.evidence_of(shuffled(plain, [0, 1, 3, 4]), task)
    assert score(baseline, narrow, rng, way="from baseline") > 0.999
    assert score(baseline, narrow, rng, way="from candidate") < 0.98
    assert score(baseline, narrow, rng, kind="procrustes", way="from baseline") > 0.999


def test_every_layer_is_a_part(toy, stack, gaussian, rng):
    task = gaussian()
    baseline, candidate = (toy.evidence_of(stack(6, 7, 5, 3, seed=s), task) for s in (0, 1))
    answer = answer_of(baseline, candidate, rng)
    draws = np.random.default_rng(0).multinomial(120, np.full(120, 1 / 120), size=20)
    parts = alignment.by_part(answer, alignment.Config(), draws)
    assert answer.parts.names == ("1", "3")
    assert parts.shape == (20, 2)
    for d in (0, 19):
        sums = np.repeat(answer.matrix(), draws[d], 0).astype(float).sum(0)
        left, around = sums[[0, 2]], sums[[1, 3]]
        assert parts[d] == pytest.approx(1 - left / around)
    assert alignment.summarise(answer, alignment.Config(), draws) == pytest.approx(parts[:, 1])


def test_a_constant_layer_tells_nothing_and_cannot_be_told(toy, stack, gaussian, rng):
    dead = stack(6, 5, 3)
    with torch.no_grad():
        dead[0].weight.zero_()
        dead[0].bias.fill_(2.7)
    task = gaussian()
    alive, silent = toy.evidence_of(stack(6, 5, 3), task), toy.evidence_of(dead, task)
    for kind in ("ridge", "procrustes"):
        assert score(alive, silent, rng, kind=kind) < 0.01
        assert np.isnan(score(silent, alive, rng, kind=kind))


def test_chunks_of_rows_change_nothing_and_short_training_is_said(two, rng, monkeypatch):
    whole = score(*two, rng)
    assert not answer_of(*two, rng).notes
    monkeypatch.setattr(_layers, "CHUNK", 7)
    assert score(*two, rng) == pytest.approx(whole, abs=1e-9)


def test_short_training_is_said_and_a_model_without_layers_refused(toy, stack, gaussian, rng):
    task = gaussian(n=20)
    candidate = toy.evidence_of(stack(6, 5, 3, seed=1), task)
    answer = answer_of(toy.evidence_of(stack(6, 5, 3), task), candidate, rng)
    assert answer.notes == ("fitted on 20 train examples for 5 units: R2 falls by overfitting",)
    flat = toy.evidence_of(stack(6, 3), task)
    with pytest.raises(NotMeasurableError, match="needs a hidden layer"):
        answer_of(flat, candidate, rng)
