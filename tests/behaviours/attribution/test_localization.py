import re

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from whatelse.behaviours.attribution import localization
from whatelse.errors import NotMeasurableError


def values_of(evidence, config, rng):
    return localization.measure(evidence, config, rng).columns["score"]


@pytest.fixture
def seen(toy):
    def make(weight, inputs, masks):
        """A linear model of two classes: the gradient of the margin is the weight, up to its sign."""
        weight, inputs = torch.as_tensor(weight).float(), torch.as_tensor(inputs).float()
        head = torch.nn.Linear(weight.numel(), 2, bias=False)
        with torch.no_grad():
            head.weight.copy_(torch.stack([-weight.flatten() / 2, weight.flatten() / 2]))
        masks = None if masks is None else torch.as_tensor(masks)
        task = toy.task_of(inputs, torch.arange(len(inputs)) % 2, masks=masks)
        return toy.evidence_of(torch.nn.Sequential(torch.nn.Flatten(), head), task)

    return make


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["gradient x input", "gradient"])
def test_auc_is_scikit_learns(seen, toy, rng, kind):
    draw = np.random.default_rng(0)
    weight, inputs = np.round(draw.normal(size=(2, 3, 4)), 1), np.round(draw.normal(size=(7, 2, 3, 4)), 1)
    masks = draw.random((7, 2, 3, 4)) < 0.4
    config = localization.Config(map=kind)
    answer = localization.measure(seen(weight, inputs, masks), config, rng)
    # In float32 like the model, so that what ties there ties here.
    factor = inputs.astype(np.float32) if kind == "gradient x input" else np.ones_like(inputs)
    maps = np.abs(weight.astype(np.float32) * factor)
    expected = [roc_auc_score(m.ravel(), a.ravel()) for m, a in zip(masks, maps, strict=True)]
    assert answer["score"].tolist() == pytest.approx(expected, abs=1e-6)
    assert localization.summarise(answer, config, toy.ones(answer)) == pytest.approx([np.mean(expected)])


@pytest.mark.known_answer
def test_each_score_by_hand(seen, rng):
    inputs = [[3.0, 1.0, -2.0, 0.0], [1.0, 4.0, 4.0, 1.0], [1.0, 2.0, 1.0, 2.0]]
    masks = [[True, True, False, False], [True, True, False, False], [True, False, True, False]]
    evidence = seen([1.0, 1.0, 1.0, 1.0], inputs, masks)

    def score(name):
        return values_of(evidence, localization.Config(score=name), rng).tolist()

    # Pairs inside > outside: {3, 1} against {2, 0}: 3 of 4; {1, 4} against {4, 1}: 1 and two halves; {1, 1}: none.
    assert score("auc") == pytest.approx([3 / 4, 2 / 4, 0])
    assert score("pointing") == pytest.approx([1, 1 / 2, 0])
    assert score("energy") == pytest.approx([4 / 6, 5 / 10, 2 / 6])


def test_an_empty_map_scores_zero_and_is_counted(seen, rng):
    inputs = [[1.0, 0.5], [0.0, 0.0], [1.0, 0.5]]
    evidence = seen([1.0, 1.0], inputs, [[True, False]] * 3)
    for score in ("auc", "pointing"):
        answer = localization.measure(evidence, localization.Config(score=score), rng)
        assert answer["score"].tolist() == [1, 0, 1]
        assert answer.notes == ("1 of 3 maps are all zero or not finite: scored 0",)
        assert answer.ends == {"blind": 0.5}


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (None, "needs masks of where the evidence lies; task toy has none"),
        ([[True, False], [True, True]], "needs masks with an inside and an outside; row 1 lacks one"),
    ],
)
def test_masks_that_cannot_serve_are_refused(seen, rng, masks, message):
    with pytest.raises(NotMeasurableError, match=re.escape(message)):
        values_of(seen([1.0, 1.0], [[1.0, 2.0], [2.0, 1.0]], masks), localization.Config(), rng)


@pytest.mark.known_answer
def test_only_what_the_baseline_gets_right_counts_if_so_asked(seen, toy, rng):
    inputs = [[3.0, 1.0], [1.0, 3.0], [1.0, 2.0], [2.0, 4.0]]
    baseline = seen([1.0, -1.0], inputs, [[True, False]] * 4)  # says 1, 0, 0, 0; true are 0, 1, 0, 1
    mine = seen([1.0, 1.0], inputs, [[True, False]] * 4)  # alone gets others right
    mine.reference = baseline
    config = localization.Config(score="energy", of="baseline right")
    for evidence in (baseline, mine):
        answer = localization.measure(evidence, config, rng)
        assert answer["score"].tolist() == pytest.approx([3 / 4, 1 / 4, 1 / 3, 1 / 3])
        assert answer["counts"].tolist() == [0, 0, 1, 0]
        assert localization.summarise(answer, config, toy.ones(answer)) == pytest.approx([1 / 3])
    few = localization.measure(mine, localization.Config("energy", of="baseline right", examples=3), rng)
    assert (few.matrix() == answer.matrix()[:3]).all()
    weights = np.array([[1.0, 2, 0, 1]])
    assert np.isnan(localization.summarise(answer, config, weights)).all()


def test_a_baseline_that_gets_nothing_right_is_refused(seen, rng):
    evidence = seen([1.0, 1.0], [[3.0, 1.0], [-1.0, -3.0]], [[True, False]] * 2)
    with pytest.raises(NotMeasurableError, match="the baseline gets right; of 2 there are none"):
        values_of(evidence, localization.Config(of="baseline right"), rng)


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["integrated gradients", "smoothgrad", "occlusion"])
def test_of_a_linear_model_every_map_is_known(seen, rng, kind):
    draw = np.random.default_rng(1)
    weight, inputs = draw.normal(size=(1, 3, 4)), draw.normal(size=(7, 1, 3, 4))
    masks = draw.random((7, 1, 3, 4)) < 0.4
    values = values_of(seen(weight, inputs, masks), localization.Config(map=kind), rng)
    maps = np.abs(weight * (np.ones_like(inputs) if kind == "smoothgrad" else inputs))
    expected = [roc_auc_score(m.ravel(), a.ravel()) for m, a in zip(masks, maps, strict=True)]
    assert values.tolist() == pytest.approx(expected, abs=1e-6)
