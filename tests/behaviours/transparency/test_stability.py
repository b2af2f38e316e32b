from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from whatelse.behaviours.transparency import stability


@pytest.fixture
def wave(toy):
    """A network whose answers no small tree can follow: three classes, four inputs without ties."""
    draw = torch.Generator().manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    for p in model.parameters():
        torch.nn.init.normal_(p, generator=draw)
    x, unseen = torch.randn(900, 4, generator=draw), torch.randn(30, 4, generator=draw)
    train = toy.split_of(x, torch.arange(900) % 3)
    return toy.evidence_of(model, toy.task_of(unseen, torch.arange(30) % 3, classes=3, train=train))


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_it_is_the_share_of_pairs_of_scikit_learns_trees_that_agree(wave, toy, rng, kind):
    config = stability.Config(depth=4, bootstraps=3, kind=kind)
    answer = stability.measure(wave, config, rng)
    assert answer.parts.names == ("2", "3", "4")
    x, z, unseen = wave.task.train.inputs, wave.logits("train"), wave.task.test.inputs
    z = z - z.mean(1, keepdim=True)  # what a model says does not depend on it
    for depth in (2, 3, 4):
        draw = torch.Generator().manual_seed(0)
        said, used = [], []
        for _ in range(3):
            picks = torch.randint(900, (900,), generator=draw)
            if kind == "regression":
                fitted = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(x[picks], z[picks])
                said.append(fitted.predict(unseen).argmax(1))
            else:
                fitted = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x[picks], z[picks].argmax(1))
                said.append(fitted.predict(unseen))
            used.append(set(np.flatnonzero(fitted.feature_importances_)))
        expected = np.mean([a == b for a, b in combinations(said, 2)], axis=0)
        np.testing.assert_allclose(answer[f"depth {depth}"], expected, rtol=1e-6)
    assert 0.3 < answer["depth 4"].mean() < 0.95, "a case in which trees differ"
    index = np.mean([len(a & b) / len(a | b) for a, b in combinations(used, 2)])
    assert answer.notes == (f"two trees share about {round(index, 1):.0%} of the inputs they split on (Jaccard index)",)
    means = stability.by_part(answer, config, toy.ones(answer))
    np.testing.assert_allclose(means, answer.table().mean(0, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(stability.summarise(answer, config, toy.ones(answer)), means[:, -1])


@pytest.mark.known_answer
def test_a_step_is_found_in_every_sample(toy, linear, rng):
    x = torch.stack([torch.tensor([-2.0, 2.0]).repeat_interleave(20), torch.linspace(-1, 1, 20).repeat(2)], 1)
    evidence = toy.evidence_of(linear, toy.task_of(x, (x[:, 0] > 0).long()))
    answer = stability.measure(evidence, stability.Config(), rng)
    assert answer.table().tolist() == [[1.0] * 4] * 40
    assert answer.notes == ("two trees share about 100% of the inputs they split on (Jaccard index)",)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("used", "expected"),
    [([{1, 2}, {2, 3}], 1 / 3), ([set(), set()], 1.0), ([{1}, {2}, {1}], 1 / 3), ([{1}, set()], 0.0)],
)
def test_the_jaccard_index_by_hand(used, expected):
    assert stability._shared(used) == pytest.approx(expected)
