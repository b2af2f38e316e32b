import numpy as np
import pytest
import torch

from whatelse.behaviours.leakage import _examples, _gradients, _inversion, inversion
from whatelse.errors import NotMeasurableError


@pytest.fixture
def blobs(toy):
    """Images of one bright square on gray, and the task of telling where it is."""
    inputs = torch.full((4, 1, 8, 8), 0.2)
    for i, (row, column) in enumerate(((0, 0), (0, 4), (4, 0), (3, 3))):
        inputs[i, 0, row : row + 3, column : column + 4] = 1.0
    return toy.task_of(inputs, torch.tensor([0, 1, 2, 0]), classes=3, bounds=(0.0, 1.0))


@pytest.mark.known_answer
def test_the_ratio_of_known_reconstructions_in_decibels(zoo, toy, rng, monkeypatch):
    images = torch.rand(4, 1, 8, 8, generator=rng)
    away = torch.tensor([0.1, 0.01, 0.0, 1.0])[:, None, None, None]
    planted = {"images": images, "reconstructions": images + away, "norms": torch.ones(4)}
    monkeypatch.setattr(_inversion, "reconstruct", lambda evidence, budget: planted)
    evidence = toy.evidence_of(zoo.models["whole"], zoo.task)
    values = inversion.measure(evidence, inversion.Config(), rng)
    # -20 log10 of the error; 60 at most.
    assert values.tolist() == pytest.approx([20, 40, 60, 0], abs=1e-3)
    assert inversion.summarise(values.numpy(), toy.ones(values)) == pytest.approx([30], abs=1e-3)
    counts = np.array([[2, 0, 0, 2], [0, 1, 0, 0]])
    assert inversion.summarise(values.numpy(), counts) == pytest.approx([10, 40], abs=1e-3)


@pytest.mark.known_answer
def test_the_ratio_is_of_the_range_of_the_inputs():
    images = torch.zeros(1, 4, dtype=torch.float64)
    assert inversion._ratio(images, images + 0.5, 5.0).tolist() == pytest.approx([20])


@pytest.mark.known_answer
def test_structural_similarity_by_hand():
    a, b = torch.full((1, 16), 0.5, dtype=torch.float64), torch.full((1, 16), 0.25, dtype=torch.float64)
    assert inversion._similarity(a, a, 1.0).tolist() == pytest.approx([1])
    assert inversion._similarity(a, b, 1.0).tolist() == pytest.approx([(0.25 + 1e-4) / (0.3125 + 1e-4)])
    # An image and its negative about 1/2: same mean, covariance minus the variance.
    c = torch.tensor([[0.0, 1.0] * 8], dtype=torch.float64)
    assert inversion._similarity(c, 1 - c, 1.0).tolist() == pytest.approx([(-0.5 + 9e-4) / (0.5 + 9e-4)])


@pytest.mark.known_answer
def test_inputs_of_a_linear_model_come_back(blobs, chain, toy, rng):
    """The gradient of its weights is the input times a vector: it gives the direction, the bounds the size."""
    evidence = toy.evidence_of(chain(torch.nn.Flatten(), torch.nn.Linear(64, 3)), blobs)
    values = inversion.measure(evidence, inversion.Config(iterations=300, smooth=0.0), rng)
    assert values.shape == (4,)
    assert values.min() > 35
    found = _inversion.reconstruct(evidence, _inversion.Budget(8, 300, 0.1, 0.0))
    assert torch.allclose(found["reconstructions"], blobs.test.inputs, atol=0.05)
    assert torch.equal(found["images"], blobs.test.inputs)
    assert "structural similarity 1.00" in evidence.notes[0]


def test_what_shares_nothing_is_not_rebuilt(blobs, chain, toy, rng):
    """With every weight pruned but the bias only the label is left."""
    model = chain(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    with torch.no_grad():
        model[1].weight.zero_()
    values = inversion.measure(toy.evidence_of(model, blobs), inversion.Config(iterations=50), rng)
    assert values.isfinite().all()
    assert values.max() < 15


def test_all_models_start_alike_and_results_are_kept(zoo, toy):
    config = inversion.Config(images=3, iterations=1, rate=0.0)
    found = []
    for seed, name in enumerate(zoo.models):
        evidence = toy.evidence_of(zoo.models[name], zoo.task)
        inversion.measure(evidence, config, torch.Generator().manual_seed(seed))
        found.append(_inversion.reconstruct(evidence, _inversion.Budget(3, 1, 0.0, 1e-3)))
        assert found[-1]["norms"].shape == (3,)
        spent = evidence.passes.backward
        inversion.measure(evidence, config, torch.Generator())
        assert evidence.passes.backward == spent
    assert all(torch.equal(f["reconstructions"], found[0]["reconstructions"]) for f in found)


@pytest.mark.parametrize("name", ["whole", "pruned", "quantized", "factored"])
def test_the_quick_gradients_are_those_of_each_example_alone(zoo, toy, name):
    evidence = toy.evidence_of(zoo.models[name], zoo.task)
    shared = _gradients.shared(evidence)
    inputs, labels = zoo.task.test.inputs.double(), zoo.task.test.targets
    quick = _examples.gradients(shared, inputs, labels)
    assert quick.keys() == shared.tensors.keys()
    assert len(quick) == (15 if name == "factored" else 10)
    for i in range(3):
        alone = slow(shared, inputs[i : i + 1], labels[i : i + 1])
        for tensor, gradient in alone.items():
            withheld = (shared.tensors[tensor] == 0) & (name == "pruned" and gradient.dim() > 1)
            assert torch.allclose(quick[tensor][i], gradient.masked_fill(withheld, 0.0).flatten(), atol=1e-12)
    assert bool(shared.masks) is (name == "pruned")


def slow(shared, inputs, labels):
    tensors = {name: t.clone().requires_grad_() for name, t in shared.tensors.items()}
    loss = torch.nn.functional.cross_entropy(torch.func.functional_call(shared.model, tensors, (inputs,)), labels)
    return dict(zip(tensors, torch.autograd.grad(loss, list(tensors.values())), strict=True))


@pytest.mark.parametrize(
    "layers",
    [
        (torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 4, 3, groups=2), torch.nn.Flatten(), torch.nn.Linear(64, 3)),
        (torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(72, 3)),
        (torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten(), torch.nn.Linear(72, 3)),
    ],
    ids=["grouped", "norm", "in place"],
)
def test_any_layer_has_its_gradients(zoo, chain, toy, layers):
    evidence = toy.evidence_of(chain(*layers), zoo.task)
    shared = _gradients.shared(evidence)
    inputs, labels = zoo.task.test.inputs[:2].double(), zoo.task.test.targets[:2]
    quick = _examples.gradients(shared, inputs, labels)
    for i in range(2):
        alone = slow(shared, inputs[i : i + 1], labels[i : i + 1])
        assert quick.keys() == alone.keys()
        assert all(torch.allclose(quick[n][i], g.flatten()) for n, g in alone.items())


@pytest.mark.parametrize("name", ["whole", "quantized"])
def test_the_quick_gradients_are_differentiated_again_as_vmap_does(zoo, toy, name):
    shared = _gradients.shared(toy.evidence_of(zoo.models[name], zoo.task))
    labels, found = zoo.task.test.targets[:3], []
    for quick in (True, False):
        inputs = zoo.task.test.inputs[:3].double().requires_grad_()
        if quick:
            gradients = _examples.gradients(shared, inputs, labels)
        else:
            gradients = torch.func.vmap(shared.gradient())(inputs[:, None], labels[:, None])
        size = torch.stack([g.square().sum() for g in gradients.values()]).sum()
        found.append(torch.autograd.grad(size, inputs)[0])
    assert torch.allclose(*found, rtol=1e-9, atol=1e-15)
    assert found[0].abs().max() > 0


@pytest.mark.known_answer
def test_total_variation_by_hand():
    image = torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])
    assert _inversion._variation(image).tolist() == [(0 + 2) / 2 + (1 + 3) / 2]
    assert _inversion._variation(torch.ones(2, 5)).tolist() == [0, 0]


def test_inputs_that_are_not_images_are_rebuilt_too(chain, toy, rng):
    inputs = torch.rand(4, 10, generator=rng)
    task = toy.task_of(inputs, torch.arange(4) % 3, classes=3, bounds=(0.0, 1.0))
    evidence = toy.evidence_of(chain(torch.nn.Linear(10, 3)), task)
    assert inversion.measure(evidence, inversion.Config(iterations=200), rng).min() > 20


def test_inputs_outside_their_bounds_are_refused(chain, toy, rng):
    task = toy.task_of(torch.full((4, 10), 2.0), torch.arange(4) % 3, classes=3, bounds=(0.0, 1.0))
    with pytest.raises(NotMeasurableError, match="needs inputs in finite bounds"):
        inversion.measure(toy.evidence_of(chain(torch.nn.Linear(10, 3)), task), inversion.Config(), rng)
