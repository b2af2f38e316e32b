import re

import numpy as np
import pytest
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _features, dictionary
from whatelse.errors import NotMeasurableError


def reads(matrix):
    """A model whose hidden layer is ``relu(matrix x)``."""
    matrix = torch.as_tensor(matrix).float()
    model = torch.nn.Sequential(
        torch.nn.Linear(matrix.shape[1], len(matrix), bias=False),
        torch.nn.ReLU(),
        torch.nn.Linear(len(matrix), 2),
    )
    with torch.no_grad():
        model[0].weight.copy_(matrix)
        model[2].weight.copy_(torch.arange(2.0 * len(matrix)).view(2, -1))
        model[2].bias.zero_()
    return model


@pytest.fixture
def task(toy):
    """Four planted features, each on in a third of the examples."""
    draw = np.random.default_rng(0)
    codes = draw.uniform(1, 2, (300, 4)) * (draw.random((300, 4)) < 1 / 3)
    return toy.task_of(torch.tensor(codes, dtype=torch.float32), torch.arange(300) % 2)


@pytest.fixture
def turn():
    """Where the planted features lie among six hidden units: orthogonal directions that stay non-negative."""
    matrix = torch.zeros(6, 4)
    matrix[[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 2, 3]] = torch.tensor([1.0, 1.0, 1.0, 0.5, 1.0, 1.0])
    return matrix


def survival(baseline, candidate, rng, atoms=4):
    config = dictionary.Config(atoms=atoms)
    answer = dictionary.compare(baseline, candidate, config, rng)
    return dictionary.summarise(answer, config, np.ones((1, len(answer))))[0]


def answer_of(codes):
    """What is answered of codes before and after, ``(N, 2 * atoms)``."""
    names = tuple(f"feature {i}" for i in range(codes.shape[1] // 2))
    columns = zip(dictionary._columns(names), torch.as_tensor(codes).unbind(1), strict=True)
    return Answer(dict(columns), parts=Parts(names))


@pytest.mark.known_answer
def test_the_dictionary_finds_planted_features(toy, task, turn, rng):
    baseline = toy.evidence_of(reads(turn), task)
    codes = dictionary.compare(baseline, baseline, dictionary.Config(atoms=4), rng).matrix()[:, :4]
    truth = task.test.inputs.numpy()
    r = np.corrcoef(codes.T, truth.T)[:4, 4:]
    assert sorted(r.argmax(1)) == [0, 1, 2, 3]
    assert (r.max(1) > 0.9).all()


@pytest.mark.known_answer
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_planted_damage_is_the_share_of_features_lost(toy, task, turn, rng, lost):
    broken = turn.clone()
    broken[:, :lost] = 0
    baseline = toy.evidence_of(reads(turn), task)
    assert survival(baseline, toy.evidence_of(reads(broken), task), rng) == pytest.approx(1 - lost / 4)


@pytest.mark.known_answer
def test_values_are_codes_of_the_frozen_encoder(toy, task, turn, rng):
    baseline = toy.evidence_of(reads(turn), task)
    candidate = toy.evidence_of(reads(turn * 0.8 + 0.01), task)
    values = dictionary.compare(baseline, candidate, dictionary.Config(atoms=5), rng).matrix()
    frozen = baseline.once(
        f"dictionary {dictionary.VERSION} atoms=5", lambda: pytest.fail("it is kept with the baseline")
    )
    for i in (0, 17, 299):
        expected = []
        for evidence in (baseline, candidate):
            h = evidence.hidden("test")[i] / frozen["scale"] - frozen["center"]
            expected += [max(0.0, float(w @ h + c)) for w, c in zip(frozen["encoder"], frozen["bias"], strict=True)]
        assert values[i].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.known_answer
def test_survival_is_numpys_correlation_above_the_threshold():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 6)) + 40  # far from zero, where sums of squares would cancel
    x[:, 4] = 3.0  # never varies: not a feature
    y = x + draw.normal(size=(80, 6)) * np.array([0.1, 0.3, 0.49, 2, 0.1, 0.1])
    y[:, 5] = 1.0  # silenced
    counts = np.concatenate([np.ones((1, 80), int), draw.multinomial(80, np.full(80, 1 / 80), size=30)])
    answer, config = answer_of(np.concatenate([x, y], 1)), dictionary.Config(atoms=6)
    slow, parts = [], dictionary.by_part(answer, config, counts)
    for c, part in zip(counts, parts, strict=True):
        a, b = np.repeat(x, c, 0), np.repeat(y, c, 0)
        each = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in (0, 1, 2, 3)]
        assert part[:4] == pytest.approx(each)
        assert np.isnan(part[4])
        assert part[5] == 0
        slow.append(sum(r > 0.9 for r in each) / 5)
    assert dictionary.summarise(answer, config, counts) == pytest.approx(slow)
    assert len(set(slow)) > 1


def test_the_same_dictionary_for_every_candidate(toy, task, turn, rng):
    first, second = (toy.evidence_of(reads(turn), task) for _ in range(2))
    other = torch.Generator().manual_seed(99)
    state = torch.get_rng_state()
    one = dictionary.compare(first, first, dictionary.Config(atoms=4), rng)
    two = dictionary.compare(second, second, dictionary.Config(atoms=4), other)
    assert (one.matrix() == two.matrix()).all()
    assert torch.equal(state, torch.get_rng_state())


def test_another_width_has_no_shared_basis(toy, task, turn, rng):
    baseline, student = toy.evidence_of(reads(turn), task), toy.evidence_of(reads(turn[:3]), task, name="student")
    message = "needs the baseline's basis; student has 3 units in layer 1, not 6"
    with pytest.raises(NotMeasurableError, match=re.escape(message)):
        dictionary.compare(baseline, student, dictionary.Config(), rng)


def test_a_student_with_fewer_layers_has_no_shared_basis_at_the_same_width(toy, task, turn, rng):
    deep = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), *reads(turn))
    baseline, student = toy.evidence_of(deep, task), toy.evidence_of(reads(turn), task, name="student")
    with pytest.raises(NotMeasurableError, match="needs the baseline's basis; student has 1 layers, not 2"):
        dictionary.compare(baseline, student, dictionary.Config(), rng)


def test_it_says_how_much_the_dictionary_explains(toy, task, turn, rng):
    baseline, candidate = (toy.evidence_of(reads(turn), task) for _ in range(2))
    note, _ = dictionary.compare(baseline, candidate, dictionary.Config(atoms=4), rng).notes
    before, after = re.fullmatch(
        r"the dictionary explains (\d+)% and (\d+)% of the variance, before and after", note
    ).groups()
    assert before == after
    assert int(before) > 85


def test_it_counts_the_survivors_and_relates_them_to_frequency():
    """The rarer a planted feature, the less noise it gets: survival must fall with frequency."""
    draw = np.random.default_rng(0)
    often = np.array([0.1, 0.3, 0.5, 0.7])
    codes = torch.tensor(draw.uniform(1, 2, (400, 4)) * (draw.random((400, 4)) < often), dtype=torch.float32)
    noise = torch.tensor(draw.normal(size=(400, 4)) * [0.01, 0.15, 0.7, 2.5], dtype=torch.float32)
    told = "of 4 features 2 survived, 1 blurred, 1 were damaged; rank correlation of survival with frequency -1.00"
    assert _features.survived(torch.cat([codes, codes + noise], 1).numpy()) == told


def test_every_feature_is_a_part_and_the_lost_one_is_named(toy, task, turn, rng):
    broken = turn.clone()
    broken[:, 2] = 0
    baseline, candidate = toy.evidence_of(reads(turn), task), toy.evidence_of(reads(broken), task)
    answer = dictionary.compare(baseline, candidate, dictionary.Config(atoms=4), rng)
    parts = dictionary.by_part(answer, dictionary.Config(atoms=4), np.ones((1, 300)))[0]
    names = ("feature 0", "feature 1", "feature 2", "feature 3")
    assert answer.parts == Parts(names, unit="correlation")
    before = answer.table(*(f"{name} before" for name in names))
    planted = np.corrcoef(before.T, task.test.inputs.numpy().T)[:4, 4:].argmax(1)
    assert [names[i] for i in np.flatnonzero(parts < 0.5)] == [f"feature {int(np.argmax(planted == 2))}"]
    assert (parts[planted != 2] > 0.9).all()


def test_no_active_feature_is_not_a_number():
    values = np.concatenate([np.zeros((10, 2)), np.arange(20.0).reshape(10, 2)], 1)
    assert np.isnan(dictionary.summarise(answer_of(values), dictionary.Config(), np.ones((1, 10)))).all()


def test_codes_that_are_constant_but_for_their_last_digits_follow_nothing():
    before = torch.rand(300, 1, generator=torch.Generator().manual_seed(0))
    after = 0.7 + 1e-8 * before
    values = torch.cat([before, after], 1).float().double() + torch.cat([before * 0, 1e-8 * before], 1).double()
    assert dictionary.by_part(answer_of(values.numpy()), dictionary.Config(), np.ones((1, 300))).tolist() == [[0.0]]
