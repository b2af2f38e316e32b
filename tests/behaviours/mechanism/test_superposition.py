import math

import numpy as np
import pytest
import torch

from whatelse.behaviours.mechanism import dictionary, superposition
from whatelse.datasets import superposition as door
from whatelse.errors import NotMeasurableError
from whatelse.methods.prune import magnitude
from whatelse.methods.quantize import uniform
from whatelse.nets import cnn


def elhage(matrix):
    """The toy model: ``h = W x``, answered by ``W' h``; column ``i`` of the matrix is the direction of feature i."""
    matrix = torch.as_tensor(matrix, dtype=torch.float32)
    units, features = matrix.shape
    model = torch.nn.Sequential(torch.nn.Linear(features, units, bias=False), torch.nn.Linear(units, features))
    with torch.no_grad():
        model[0].weight.copy_(matrix)
        model[1].weight.copy_(matrix.T)
        model[1].bias.zero_()
    return model


def polygon(corners):
    angles = 2 * math.pi * torch.arange(corners) / corners
    return torch.stack([angles.cos(), angles.sin()])


def antipodal(pairs):
    return torch.cat([torch.eye(pairs), -torch.eye(pairs)], 1)


@pytest.fixture
def asked(toy, rng):
    def ask(model, features, **settings):
        task = door.load(door.Config(features=features, train=50, select=20, test=20))
        evidence = toy.evidence_of(model, task)
        config = superposition.Config(**settings)
        answer = superposition.measure(evidence, config, rng)
        return answer.matrix(), superposition.summarise(answer, config, np.ones((1, len(answer))))[0], answer.notes

    return ask


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("matrix", "interference", "share"),
    [
        (torch.eye(4), 0, 0),  # a dimension each
        (antipodal(3), 1, 1 / 2),  # pairs
        (polygon(3), 1 / 2, 1 / 3),  # triangles: dimensionality 2/3
        (polygon(5), 3 / 2, 3 / 5),  # pentagons: 2/5
    ],
)
def test_the_geometries_of_the_paper(asked, matrix, interference, share):
    values, found, _ = asked(elhage(3 * matrix), matrix.shape[1])
    assert values[:, 0] == pytest.approx(3, abs=1e-5)
    assert values[:, 1] == pytest.approx(9 * interference, abs=1e-4)
    assert found == pytest.approx(share, abs=1e-5)


@pytest.mark.known_answer
def test_it_is_the_slow_formula(asked, rng):
    matrix = torch.randn(5, 8, generator=rng)
    values, found, notes = asked(elhage(matrix), 8)
    w, shares = matrix.double().T.numpy(), []
    for i in range(8):
        way = w[i] / np.linalg.norm(w[i])
        others = sum(float(way @ w[j]) ** 2 for j in range(8) if j != i)
        assert values[i] == pytest.approx([np.linalg.norm(w[i]), others], abs=1e-4)
        shares.append(others / (w[i] @ w[i] + others))
    assert found == pytest.approx(np.mean(shares), abs=1e-5)
    assert notes == ("8 of 8 input features have a direction in the first layer",)


@pytest.mark.known_answer
def test_pruning_drops_the_weak_features_and_frees_their_partners(toy, asked, rng):
    """Feature i and i + 3 lie opposite; the last two are weak. Magnitude pruning takes just these."""
    matrix = antipodal(3) * torch.tensor([1.0, 1, 1, 1, 0.5, 0.4])
    task = door.load(door.Config(features=6, train=50, select=20, test=20))
    whole = elhage(matrix)
    with torch.no_grad():
        whole[1].weight.copy_(torch.ones(6, 3))  # nothing there for pruning to prefer
    entries = whole[0].weight.numel()
    config = magnitude.Config(sparsity=(entries - 4) / entries, scope="layer")
    pruned = magnitude.compress(whole, config, task, rng)
    values, found, notes = asked(pruned, 6)
    # Pair 0 is whole (interference 1 of 2); features 1 and 2 have their dimension; 4 and 5 are gone.
    assert values[:, 0] == pytest.approx([1, 1, 1, 1, 0, 0], abs=1e-6)
    assert values[:, 1] == pytest.approx([1, 0, 0, 1, 0, 0], abs=1e-6)
    assert found == pytest.approx((1 / 2 + 0 + 0 + 1 / 2) / 4)
    assert notes == ("4 of 6 input features have a direction in the first layer",)


@pytest.mark.known_answer
def test_rounding_moves_lengths_by_no_more_than_half_a_step(toy, asked, rng):
    matrix = torch.randn(5, 8, generator=rng)
    task = door.load(door.Config(features=8, train=50, select=20, test=20))
    rounded = uniform.compress(elhage(matrix), uniform.Config(bits=4, activation_bits=32), task, rng)
    before, _, _ = asked(elhage(matrix), 8)
    after, _, _ = asked(rounded, 8)
    step = float(matrix.abs().max()) / 7  # four bits: at the widest -7 to 7
    assert np.abs(after[:, 0] - before[:, 0]).max() <= math.sqrt(5) * step / 2 + 1e-6
    assert np.abs(after[:, 0] - before[:, 0]).max() > 1e-3


def test_scale_turn_order_and_factors_do_not_matter(asked, rng):
    matrix = torch.randn(5, 8, generator=rng)
    _, plain, _ = asked(elhage(matrix), 8)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=rng)).Q
    for other in (7 * matrix, turn @ matrix, matrix[:, torch.randperm(8, generator=rng)]):
        assert asked(elhage(other), 8)[1] == pytest.approx(plain, abs=1e-5)
    rectified = torch.nn.Sequential(
        torch.nn.Linear(8, 5), torch.nn.Linear(5, 5, bias=False), torch.nn.ReLU(), torch.nn.Linear(5, 8)
    )
    with torch.no_grad():
        rectified[0].weight.copy_(matrix)
        rectified[1].weight.copy_(turn)
    assert asked(rectified, 8)[1] == pytest.approx(plain, abs=1e-5)


@pytest.mark.known_answer
def test_pixels_overlap_by_the_kernel(toy, rng):
    x = torch.rand(4, 1, 8, 8, generator=rng)
    model = cnn.build(cnn.Config(width=2, hidden=4), (1, 8, 8), 2, rng)
    evidence = toy.evidence_of(model, toy.task_of(x, torch.arange(4) % 2))
    values = superposition.measure(evidence, superposition.Config(features=3), rng).table("length", "interference")
    kernel = model.conv1.weight.double()
    # Pixels 0, 32 and 63 are too far apart to meet; at a corner the kernel keeps four of its nine places.
    corner = kernel[:, :, :2, :2].square().sum().sqrt().item()
    assert values[0] == pytest.approx([corner, 0], abs=1e-5)
    assert values[2] == pytest.approx([kernel[:, :, 1:, 1:].square().sum().sqrt().item(), 0], abs=1e-5)
    assert not any(m._forward_hooks for m in model.modules())


def test_a_dead_layer_and_texts_have_none(asked, toy, rng):
    _, found, _ = asked(elhage(torch.zeros(3, 4)), 4)
    assert np.isnan(found)
    task = door.load(door.Config(features=4, train=50, select=20, test=20))
    object.__setattr__(task, "vocabulary", 9)
    evidence = toy.evidence_of(elhage(torch.eye(4)), task)
    with pytest.raises(NotMeasurableError, match="needs numbers as inputs; task superposition is of texts"):
        superposition.measure(evidence, superposition.Config(), rng)


@pytest.mark.known_answer
def test_a_dictionary_on_the_door_finds_the_features_that_pruning_took(toy, rng):
    """Planted: one hidden unit a feature. Without the first columns just the atoms of these features do not survive."""
    task = door.load(door.Config(features=6, rare=0.15, test=500))

    def without(columns):
        matrix = torch.eye(6)
        matrix[:, :columns] = 0
        return toy.evidence_of(torch.nn.Sequential(elhage(matrix)[0], torch.nn.ReLU(), torch.nn.Linear(6, 6)), task)

    baseline = without(0)
    for lost in (0, 1, 3):
        answer = dictionary.compare(baseline, without(lost), dictionary.Config(atoms=12), rng)
        before = answer.table(*(f"feature {i} before" for i in range(12)))
        found = np.corrcoef(before.T, task.test.inputs.numpy().T)[:12, 12:]
        clear, owner = found.max(1) > 0.95, found.argmax(1)
        assert sorted(set(owner[clear])) == list(range(6)), "the dictionary found the planted features"
        parts = dictionary.by_part(answer, dictionary.Config(atoms=12), np.ones((1, 500)))[0]
        assert (parts[clear & (owner < lost)] < 0.5).all()
        assert (parts[clear & (owner >= lost)] > 0.9).all()
