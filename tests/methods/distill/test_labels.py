from types import SimpleNamespace

import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.distill import labels, logits

PRUNED = "prune.magnitude(sparsity=0.6)"


def fresh():
    return torch.Generator().manual_seed(1)


@pytest.fixture
def slow():
    """Logits of four examples, and the three parts of the loss from their formulas, example by example."""
    taught = torch.tensor([[2.0, -1.0, 0.0], [0.5, 0.5, -3.0]])
    student = torch.tensor([[1.0, 0.0, 0.3], [-1.0, 3.0, 0.0]])
    classes = torch.tensor([0, 2])
    parts = [0.0, 0.0, 0.0]
    for z_t, z_s, y in zip(taught, student, classes, strict=True):
        p, q = torch.softmax(z_t / 3, 0), torch.softmax(z_s / 3, 0)
        parts[0] -= float(torch.log_softmax(z_s, 0)[y]) / 2
        parts[1] += 9 * sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True)) / 2
        parts[2] += sum((float(a) - float(b)) ** 2 for a, b in zip(z_t, z_s, strict=True)) / 2
    return SimpleNamespace(taught=taught, student=student, classes=classes, parts=parts)


@pytest.mark.known_answer
def test_the_three_parts_are_those_of_the_formulas(slow):
    found = labels._parts(slow.student, slow.taught, slow.classes, 3.0)
    assert found.tolist() == pytest.approx(slow.parts, rel=1e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize("s", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0)])
def test_learned_weights_are_kendalls(slow, s):
    s = torch.tensor(s)
    expected = sum(part / (2 * float(x) ** 2) + float(x.log()) for part, x in zip(slow.parts, s, strict=True))
    found = labels._learned(torch.tensor(slow.parts), s.square().log())
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.known_answer
def test_the_best_uncertainty_is_the_part_itself(slow):
    # d/ds (L / (2 s^2) + log s) = 0 at s^2 = L.
    parts = torch.tensor(slow.parts)
    spread = parts.log().requires_grad_()
    (slope,) = torch.autograd.grad(labels._learned(parts, spread), spread)
    assert torch.allclose(slope, torch.zeros(3), atol=1e-6)


@pytest.mark.known_answer
def test_fixed_weights_are_a_plain_sum(slow):
    config = labels.Config(mix=0.7, pairing=0.2)
    expected = 0.3 * slow.parts[0] + 0.7 * slow.parts[1] + 0.2 * slow.parts[2]
    assert float(labels._fixed(torch.tensor(slow.parts), config)) == pytest.approx(expected, rel=1e-5)


def test_the_default_student_is_the_pruned_model(taught, shown):
    student = labels.compress(taught.models["chain"], labels.Config(epochs=2), shown, fresh())
    weights = torch.cat([p.flatten() for p in student.parameters() if p.dim() > 1])
    assert float((weights == 0).float().mean()) == pytest.approx(0.8, abs=0.01)


def test_an_empty_recipe_is_a_narrower_net(taught, shown):
    student = labels.compress(taught.models["chain"], labels.Config(student="", width=0.5), shown, fresh())
    assert student.conv1.weight.shape[0] == 2


@pytest.mark.parametrize("weights", ["learned", "fixed"])
def test_the_logits_stay_closer_than_with_distill_logits(weights, taught, shown):
    teacher = taught.models["chain"]
    common = {"student": PRUNED, "epochs": 30}
    mine = labels.compress(teacher, labels.Config(**common, weights=weights), shown, fresh())
    theirs = logits.compress(teacher, logits.Config(**common), shown, fresh())
    near, far = (float((m(taught.inputs) - teacher(taught.inputs)).square().mean()) for m in (mine, theirs))
    assert mine is not teacher
    assert 0 < near < 0.8 * far


def test_fixed_without_pairing_it_is_distill_logits(taught, shown):
    teacher, common = taught.models["residual"], {"student": PRUNED, "epochs": 2}
    mine = labels.compress(teacher, labels.Config(**common, weights="fixed", pairing=0.0), shown, fresh())
    theirs = logits.compress(teacher, logits.Config(**common), shown, fresh())
    assert torch.allclose(mine(taught.inputs), theirs(taught.inputs), atol=1e-4)


@pytest.mark.parametrize("kind", ["chain", "residual", "tokens", "perceptron"])
def test_every_kind_of_net_is_taught(kind, taught, shown, sound):
    student = labels.compress(taught.models[kind], labels.Config(student=PRUNED, batch=20), shown, fresh())
    sound(taught.models[kind], student, 0.55 if kind != "tokens" else 0.4)


def test_a_student_that_cannot_be_trained_is_refused(taught, shown, rng):
    with pytest.raises(RecipeError, match="no trainable parameters"):
        labels.compress(taught.models["perceptron"], labels.Config(student="quantize.uniform()"), shown, rng)


@pytest.mark.known_answer
def test_the_uncertainties_start_at_the_parts_of_the_untaught_student(taught, shown, monkeypatch):
    seen = []
    monkeypatch.setattr(labels, "_learned", lambda parts, spread: seen.append(spread.detach().clone()) or parts.sum())
    teacher = taught.models["perceptron"]
    labels.compress(teacher, labels.Config(student=PRUNED, epochs=1, rate=0.0), shown, fresh())
    untaught = labels.compress(teacher, labels.Config(student=PRUNED, epochs=0), shown, fresh())
    parts = labels._parts(untaught(taught.inputs), teacher(taught.inputs), taught.targets, 4.0)
    assert torch.allclose(seen[0], parts.clamp(min=0.01).log(), atol=1e-5)
