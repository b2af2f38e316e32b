import re

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier

from whatelse.behaviours.mechanism import _layers, probe
from whatelse.errors import NotMeasurableError


def answer_of(baseline, candidate, rng, **settings):
    return probe.compare(baseline, candidate, probe.Config(**settings), rng)


def values_of(baseline, candidate, rng, **settings):
    return answer_of(baseline, candidate, rng, **settings).matrix()


def score(baseline, candidate, rng, **settings):
    answer = answer_of(baseline, candidate, rng, **settings)
    return probe.summarise(answer, probe.Config(**settings), np.ones((1, len(answer))))[0]


@pytest.fixture
def two(toy, stack, gaussian):
    task = gaussian()
    return toy.evidence_of(stack(6, 7, 5, 3), task), toy.evidence_of(stack(6, 7, 5, 3, seed=1), task)


def peers(x, labels, penalty=1e-3):
    level = penalty * ((x - x.mean(0)) ** 2).sum() / x.shape[1]
    return RidgeClassifier(alpha=level).fit(x, labels)


def layer_of(evidence, split, i):
    return list(evidence.activations(split).values())[i].double().numpy()


@pytest.mark.known_answer
@pytest.mark.parametrize("of", ["class", "side"])
@pytest.mark.parametrize("which", ["moved", "lost"])
def test_it_is_scikit_learns_ridge_classifier(two, rng, of, which):
    answer = answer_of(*two, rng, score=which, of=of)
    assert list(answer.columns) == ["hit in 1", "hit in 3", "counts"]
    values = answer.matrix()
    owner = two[0] if which == "moved" else two[1]
    train, test = (
        (s.targets if of == "class" else s.groups[of]).numpy() for s in (owner.split("train"), owner.split("test"))
    )
    for i in (0, 1):
        right = peers(layer_of(owner, "train", i), train).predict(layer_of(two[1], "test", i)) == test
        assert (values[:, i][test >= 0] == right[test >= 0]).all()
    assert (values[:, 2] == (test >= 0)).all()
    expected = right[test >= 0].mean()
    assert probe.summarise(answer, probe.Config(), np.ones((1, 120)))[0] == pytest.approx(expected)


@pytest.mark.known_answer
def test_selectivity_takes_off_what_a_probe_memorizes(two, rng):
    plain, less = (values_of(*two, rng, score="lost", selectivity=s) for s in (False, True))
    labels = probe._shuffled(two[0].split("test").targets)
    assert sorted(labels.tolist()) == sorted(two[0].split("test").targets.tolist())
    for i in (0, 1):
        x = layer_of(two[1], "test", i)
        memorized = peers(x, labels.numpy()).predict(x) == labels.numpy()
        assert (plain[:, i] - less[:, i] == memorized).all()
    assert memorized.mean() > 1 / 3


def test_units_in_another_order_are_not_lost_and_the_frozen_probe_is_refused(toy, stack, gaussian, shuffled, rng):
    task, plain = gaussian(n=300), stack(6, 12, 3)
    order = [*range(1, 12), 0]
    baseline, moved = toy.evidence_of(plain, task), toy.evidence_of(shuffled(plain, order), task)
    here = score(baseline, baseline, rng)
    assert here == score(baseline, baseline, rng, score="lost")
    assert score(baseline, moved, rng, score="lost") == pytest.approx(here, abs=1e-12)
    with pytest.raises(NotMeasurableError, match="the units of layer 1 in another order"):
        score(baseline, moved, rng, score="moved")
    assert torch.allclose(baseline.logits(), moved.logits(), atol=1e-5), "the function is the same"


def test_a_feature_removed_at_equal_accuracy_is_seen(toy, rng):
    """Unit 2 carries the group and no weight of the answer: accuracy cannot see that it is gone."""
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(200, 3, generator=draw)
    task = toy.task_of(x, (x[:, 0] > x[:, 1]).long(), groups={"mark": (x[:, 2] > 0.5).long()})
    models = [torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)) for _ in range(2)]
    with torch.no_grad():
        for model, kept in zip(models, (1.0, 0.0), strict=True):
            model[0].weight.copy_(torch.diag(torch.tensor([1.0, 1.0, kept])))
            model[2].weight.copy_(torch.tensor([[-1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]))
            model[0].bias.zero_()
            model[2].bias.zero_()
    baseline, candidate = (toy.evidence_of(m, task) for m in models)
    assert torch.equal(baseline.logits(), candidate.logits())
    assert score(baseline, candidate, rng) == pytest.approx(score(baseline, baseline, rng), abs=0.02)
    for which in ("moved", "lost"):
        assert score(baseline, baseline, rng, of="mark", score=which) > 0.95
        assert score(baseline, candidate, rng, of="mark", score=which) < 0.7


def test_parts_are_means_over_those_that_count(two, rng):
    answer = answer_of(*two, rng, of="side", selectivity=True)
    values = answer.matrix()
    draws = np.random.default_rng(0).multinomial(120, np.full(120, 1 / 120), size=20)
    parts = probe.by_part(answer, probe.Config(), draws)
    assert answer.parts.names == ("1", "3")
    assert answer.ends == {"worst": -1.0, "blind": 0.0}
    for d in (0, 19):
        rows = np.repeat(values, draws[d], 0)
        assert parts[d] == pytest.approx(rows[rows[:, 2] == 1, :2].mean(0))
    assert probe.summarise(answer, probe.Config(), draws) == pytest.approx(parts[:, 1])
    assert np.isnan(probe.by_part(answer.over(values * [1, 1, 0]), probe.Config(), draws)).all()


def test_the_frozen_probe_is_kept_and_rows_go_in_chunks(two, rng, monkeypatch):
    whole = values_of(*two, rng)
    kept = two[0].once("probe 2 of=class penalty=0.001 layers=2", lambda: pytest.fail("it is kept with the baseline"))
    assert kept["1 weight"].shape == (5, 3)
    monkeypatch.setattr(_layers, "CHUNK", 7)
    two[0]._held.pop("probe 2 of=class penalty=0.001 layers=2")
    answer = answer_of(*two, rng)
    assert (answer.matrix() == whole).all()
    assert answer.notes[0] == f"always answering the most frequent class scores {share(two[0]):.1%}"


def share(evidence):
    return evidence.split("test").targets.bincount().max() / 120


def test_what_cannot_be_read_is_said(toy, stack, gaussian, rng):
    task = gaussian()
    baseline, narrow = toy.evidence_of(stack(6, 5, 3), task), toy.evidence_of(stack(6, 4, 3), task, name="student")
    with pytest.raises(NotMeasurableError, match="needs the baseline's basis; student has 4 units in layer 1, not 5"):
        values_of(baseline, narrow, rng)
    assert 0 <= score(baseline, narrow, rng, score="lost") <= 1
    deeper = toy.evidence_of(stack(6, 5, 5, 3), task, name="student")
    with pytest.raises(NotMeasurableError, match="student has 2 layers, not 1"):
        values_of(baseline, deeper, rng)
    with pytest.raises(NotMeasurableError, match=re.escape("needs the grouping 'sides'; did you mean side")):
        values_of(baseline, baseline, rng, of="sides")
    one = toy.task_of(task.test.inputs, task.test.targets, classes=3, groups={"g": torch.zeros(120, dtype=torch.long)})
    alone = toy.evidence_of(stack(6, 5, 3), one)
    with pytest.raises(NotMeasurableError, match="needs two groups or more of g in train"):
        values_of(alone, alone, rng, of="g")
