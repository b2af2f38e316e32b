import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from whatelse.answer import Parts
from whatelse.behaviours.leakage import _gradients, _inversion, _scores, inversion
from whatelse.errors import NotMeasurableError
from whatelse.layers.quantized import Quantized
from whatelse.methods.quantize import uniform
from whatelse.nets import cnn


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
    planted = {"images": images, "reconstructions": images + away, "norms": torch.ones(4), "named": torch.ones(4)}
    monkeypatch.setattr(_inversion, "reconstruct", lambda evidence, budget: planted)
    evidence = toy.evidence_of(zoo.models["whole"], zoo.task)
    answer = inversion.measure(evidence, inversion.Config(), rng)
    # -20 log10 of the error; 60 at most.
    assert answer["ratio"].tolist() == pytest.approx([20, 40, 60, 0], abs=1e-3)
    assert inversion.summarise(answer, inversion.Config(), toy.ones(answer)) == pytest.approx([30], abs=1e-3)
    counts = np.array([[2, 0, 0, 2], [0, 1, 0, 0]])
    assert inversion.summarise(answer, inversion.Config(), counts) == pytest.approx([10, 40], abs=1e-3)


@pytest.mark.known_answer
def test_inputs_of_a_linear_model_come_back(blobs, chain, toy, rng):
    """The gradient of its weights is the input times a vector: it gives the direction, the bounds the size."""
    evidence = toy.evidence_of(chain(torch.nn.Flatten(), torch.nn.Linear(64, 3)), blobs)
    answer = inversion.measure(evidence, inversion.Config(iterations=300, smooth=0.0), rng)
    assert answer.matrix().shape == (4, 3)
    assert answer["ratio"].min() > 35
    found = _inversion.reconstruct(evidence, _inversion.Budget(8, 300, 0.1, 0.0))
    assert torch.allclose(found["reconstructions"], blobs.test.inputs, atol=0.05)
    assert torch.equal(found["images"], blobs.test.inputs)
    assert "structural similarity 1.00, rank 1.00" in answer.notes[0]


def test_what_shares_nothing_is_not_rebuilt(blobs, chain, toy, rng):
    """With every weight pruned but the bias only the label is left."""
    model = chain(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    with torch.no_grad():
        model[1].weight.zero_()
    answer = inversion.measure(toy.evidence_of(model, blobs), inversion.Config(iterations=50), rng)
    assert np.isfinite(answer.matrix()).all()
    assert answer["ratio"].max() < 15


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


@pytest.mark.known_answer
def test_total_variation_by_hand():
    image = torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])
    assert _inversion.variation(image).tolist() == [(0 + 2) / 2 + (1 + 3) / 2]
    assert _inversion.variation(torch.ones(2, 5)).tolist() == [0, 0]


def test_inputs_that_are_not_images_are_rebuilt_too(chain, toy, rng):
    inputs = torch.rand(4, 10, generator=rng)
    task = toy.task_of(inputs, torch.arange(4) % 3, classes=3, bounds=(0.0, 1.0))
    evidence = toy.evidence_of(chain(torch.nn.Linear(10, 3)), task)
    assert inversion.measure(evidence, inversion.Config(iterations=200), rng)["ratio"].min() > 20


def test_inputs_outside_their_bounds_are_refused(chain, toy, rng):
    task = toy.task_of(torch.full((4, 10), 2.0), torch.arange(4) % 3, classes=3, bounds=(0.0, 1.0))
    with pytest.raises(NotMeasurableError, match="needs inputs in finite bounds"):
        inversion.measure(toy.evidence_of(chain(torch.nn.Linear(10, 3)), task), inversion.Config(), rng)


@pytest.fixture
def smooth(chain, toy):
    """A small network of sigmoids, as deep leakage asks for, and images like digits, no two of a class in a row."""
    rng = torch.Generator().manual_seed(41)
    inputs = torch.nn.functional.avg_pool2d(torch.rand(8, 1, 10, 10, generator=rng), 3, 1)
    inputs = ((inputs - 0.3) / 0.4).clamp(0, 1)
    task = toy.task_of(inputs, torch.arange(8) % 4, classes=4, bounds=(0.0, 1.0))
    layers = (torch.nn.Flatten(), torch.nn.Linear(64, 48), torch.nn.Sigmoid(), torch.nn.Linear(48, 4))
    return toy.evidence_of(chain(*layers), task)


@pytest.mark.known_answer
def test_deep_leakage_converges_to_the_image(smooth, rng):
    config = inversion.Config(attack="dlg", images=4, iterations=120)
    answer = inversion.measure(smooth, config, rng)
    assert answer["ratio"].min() > 40  # a mean squared error below 1e-4
    assert torch.allclose(answer.shown[0].tensors["made"], smooth.task.test.inputs[:4], atol=0.05)


@pytest.mark.known_answer
def test_deep_leakage_finds_labels_too(smooth, rng):
    config = inversion.Config(attack="dlg", images=4, iterations=150, labels="joint")
    answer = inversion.measure(smooth, config, rng)
    assert answer["ratio"].min() > 40
    assert answer.notes[0].endswith("labels found 1.00")


@pytest.mark.known_answer
@pytest.mark.parametrize("attack", ["dlg", "cosine"])
def test_a_batch_of_four_comes_back_image_by_image(smooth, rng, attack):
    steps = {"dlg": 150, "cosine": 300}[attack]
    config = inversion.Config(attack=attack, images=4, batch=4, iterations=steps, rate=0.05, smooth=0.0)
    answer = inversion.measure(smooth, config, rng)
    assert answer.matrix().shape == (4, 3)
    assert answer["ratio"].min() > {"dlg": 40, "cosine": 20}[attack]
    assert "rank 1.00" in answer.notes[0]
    (rebuilt,) = answer.shown
    assert rebuilt.kind == "rebuilt"
    assert torch.equal(rebuilt.tensors["shown"], smooth.task.test.inputs[:4])


def test_images_that_do_not_fill_a_batch_are_left_out(smooth, rng):
    quick = {"iterations": 1, "batch": 3}
    assert len(inversion.measure(smooth, inversion.Config(images=8, **quick), rng)) == 6
    with pytest.raises(NotMeasurableError, match="needs a batch of 3 images; test has 8, images=2"):
        inversion.measure(smooth, inversion.Config(images=2, **quick), rng)


@pytest.mark.known_answer
def test_one_attack_serves_every_score(smooth, toy, rng):
    answer = inversion.measure(smooth, inversion.Config(iterations=20, pool=6), rng)
    assert smooth.passes.backward == 8 + 3 * 8 * 20
    images, made = (answer.shown[0].tensors[name].double() for name in ("shown", "made"))
    pool = smooth.task.test.inputs[:6].double()
    want = [_scores.psnr(images, made, 1.0), _scores.ssim(images, made, 1.0), _scores.rank(images, made, pool)]
    assert answer.matrix().tolist() == torch.stack(want, 1).float().tolist()
    parts = inversion.by_part(answer, inversion.Config(), toy.ones(answer))[0]
    assert parts == pytest.approx([float(w.mean()) for w in want[1:]], abs=1e-6)
    assert answer.parts == Parts(("structural similarity", "re-identification rank"), unit="index")
    assert answer.ends == {"blind": pytest.approx(float(_scores.unrelated(made, pool, 1.0).mean()))}


@pytest.mark.parametrize("attack", ["cosine", "dlg"])
@pytest.mark.parametrize("gradient", ["top-k", "8 bit"])
def test_gradients_made_small_still_tell(smooth, rng, gradient, attack):
    config = inversion.Config(attack=attack, images=4, iterations=80, smooth=0.0, gradient=gradient, keep=0.3)
    assert inversion.measure(smooth, config, rng)["ratio"].mean() > 25


def test_signs_of_a_convolution_tell_the_outlines(smooth, toy, rng):
    """Of a first linear layer that sees positive inputs alone signs tell next to nothing."""
    evidence = toy.evidence_of(cnn.build(cnn.Config(), (1, 8, 8), 4, rng), smooth.task)
    config = inversion.Config(iterations=40, gradient="sign")
    start = inversion.measure(evidence, replace(config, rate=0.0, iterations=1), rng)["structural similarity"]
    gains = [inversion.measure(e, config, rng)["structural similarity"] - start for e in (evidence, smooth)]
    assert gains[0].mean() > 0.3
    assert gains[1].mean() < 0.2


def test_of_many_starts_the_nearest_is_taken(zoo, toy):
    budget = _inversion.Budget(3, 3, attack="dlg")
    evidence = toy.evidence_of(zoo.models["whole"], zoo.task)
    searches = []

    class Watched(_inversion._Search):
        def __init__(self, *args):
            super().__init__(*args)
            searches.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_inversion, "_Search", Watched)
        one, four = (_inversion.reconstruct(evidence, replace(budget, restarts=r)) for r in (1, 4))
    starts = _inversion._starts(
        one["images"].double(), 3, replace(budget, restarts=4), (0.0, 1.0), evidence.draws(_inversion._START)
    )
    ends = [searches[0]._descend(searches[0]._point(*start)) for start in starts]
    apart = torch.stack([searches[0].ask(end)[0] for end in ends])
    assert len(set(apart.argmin(0).tolist())) > 1
    best = torch.stack(ends)[apart.argmin(0), torch.arange(3)].clamp(0, 1).view(3, 1, 8, 8)
    assert torch.equal(four["reconstructions"], best.float())
    assert torch.equal(one["reconstructions"], ends[0].clamp(0, 1).view(3, 1, 8, 8).float())


@pytest.mark.parametrize("attack", ["cosine", "dlg"])
def test_many_images_are_attacked_piece_by_piece(zoo, toy, monkeypatch, attack):
    budget = _inversion.Budget(6, 3, attack=attack, batch=2)
    whole = _inversion.reconstruct(toy.evidence_of(zoo.models["whole"], zoo.task), budget)
    monkeypatch.setattr(_inversion, "_TOGETHER", 2)
    parts = _inversion.reconstruct(toy.evidence_of(zoo.models["whole"], zoo.task), budget)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-5) for name in whole)


@pytest.mark.parametrize("setting", [{}, {"restarts": 3}, {"batch": 4}, {"state": "early", "steps": 2}])
@pytest.mark.parametrize("attack", ["cosine", "dlg"])
@pytest.mark.parametrize("labels", ["known", "joint"])
def test_no_more_is_spent_than_was_said(zoo, toy, rng, setting, attack, labels):
    evidence = toy.evidence_of(zoo.models["pruned"], zoo.task)
    config = inversion.Config(iterations=4, attack=attack, labels=labels, **setting)
    inversion.measure(evidence, config, rng)
    spent = evidence.passes.forward + evidence.passes.backward
    assert 0.5 < spent / inversion.effort(config, zoo.task) <= 1


def test_a_model_whose_kernels_have_no_gradients_is_not_called_safe(zoo, toy, rng):
    evidence = toy.evidence_of(zoo.models["whole"], zoo.task)
    evidence.subject = replace(evidence.subject, surrogate=evidence.model)
    with pytest.raises(NotMeasurableError, match="those in kernels of few bits have none"):
        inversion.measure(evidence, inversion.Config(), rng)


@pytest.mark.known_answer
def test_guesses_leave_the_rounding_of_activations_out(zoo, toy):
    rng = torch.Generator().manual_seed(5)
    whole, images, labels = zoo.models["whole"], zoo.task.test.inputs[:4].double(), zoo.task.test.targets[:4]
    coarse = uniform.compress(whole, uniform.Config(bits=8, activation_bits=2), zoo.task, rng)
    evidence = toy.evidence_of(coarse, zoo.task)
    shared = _gradients.shared(evidence)
    plain = copy.deepcopy(whole).double()
    layers = [m for m in plain.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    for layer, tight in zip(layers, (m for m in coarse.modules() if isinstance(m, Quantized)), strict=True):
        layer.weight = torch.nn.Parameter(tight.weight.double())
    guess = shared.unrounded().gradient()(images, labels)
    told = torch.autograd.grad(torch.nn.functional.cross_entropy(plain(images), labels), list(plain.parameters()))
    assert all(torch.allclose(a.flatten(), b.flatten()) for a, b in zip(guess.values(), told, strict=True))
    real = shared.gradient()(images, labels)
    assert not all(torch.allclose(a, real[n], rtol=1e-3) for n, a in guess.items()), "what is shared is rounded"

    search = _inversion._Search(shared, images, labels, _inversion.Budget(4, 1), (0.0, 1.0), evidence)
    first = shared.gradient()(images[:1], labels[:1])
    assert all(torch.allclose(g[0], first[n].flatten()) for n, g in search.sent.items()), "what is sought is rounded"
    far, slope = search.ask(images.flatten(1))
    assert far.min() > 0
    assert bool((slope != 0).flatten(1).any(1).all())
