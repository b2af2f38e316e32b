import copy
import dataclasses

import numpy as np
import pytest
import torch

from whatelse.behaviours.fairness import _curvature, diagnostics
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.nets import transformer


@pytest.fixture
def regression(toy):
    """A linear softmax regression with a bias, whose derivatives are known in closed form."""

    def make(n=60, *, scale=1.0, first=1.0, classes=3, seed=0):
        draw = torch.Generator().manual_seed(seed)
        model = torch.nn.Linear(4, classes)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draw))
        inputs = torch.randn(n, 4, generator=draw)
        code = torch.arange(n) % 2
        inputs[code == 1] *= scale
        inputs[:, 0] *= first
        targets = torch.randint(0, classes, (n,), generator=draw)
        task = toy.task_of(inputs, targets, classes=classes, groups={"style": code})
        return toy.evidence_of(model, task), inputs, targets, code

    return make


def closed_form(evidence, inputs, targets):
    """Gradient and Hessian of the mean loss: (p - y) x' and (diag(p) - p p') kron x x', in double precision."""
    x = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    p = evidence.answers(inputs).double().softmax(1)
    gradient = torch.einsum("nc,nf->ncf", p - torch.nn.functional.one_hot(targets, p.shape[1]), x).flatten(1)
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    hessian = torch.einsum("ncd,nf,ng->cfdg", bend, x, x) / len(x)
    return gradient, hessian.reshape(gradient.shape[1], -1)


@pytest.mark.known_answer
def test_closeness_by_hand(canned, toy, rng):
    evidence = canned(np.log([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3], [0.5, 0.5, 0.0001]]), [0, 1, 2], {"style": [0, 0, 1]})
    answer = diagnostics.measure(evidence, diagnostics.Config(least=1), rng)
    assert answer["factor"][:2].tolist() == pytest.approx([0.5, 0.9])
    assert answer["group"].tolist() == [0, 0, 1]
    assert diagnostics.by_part(answer, diagnostics.Config(), toy.ones(answer))[0] == pytest.approx([0.7, 1])
    assert diagnostics.summarise(answer, diagnostics.Config(), toy.ones(answer)) == pytest.approx([1])
    assert answer.parts.names == ("style 0", "style 1")


@pytest.mark.known_answer
def test_the_gradient_norm_is_that_of_softmax_regression(regression, toy, rng):
    evidence, inputs, targets, code = regression()
    answer = diagnostics.measure(evidence, diagnostics.Config(what="gradient"), rng)
    for g in range(2):
        each, _ = closed_form(evidence, inputs[code == g], targets[code == g])
        mean = each.mean(0)
        assert answer["factor"][answer["group"] == g].tolist() == pytest.approx(
            (each @ mean / mean.norm()).tolist(), abs=1e-5
        )
        norm = diagnostics.by_part(answer, diagnostics.Config(), toy.ones(answer))[0, g]
        assert norm == pytest.approx(float(mean.norm()), rel=1e-5)


@pytest.mark.known_answer
def test_the_eigenvalue_is_that_of_softmax_regression(regression, toy, rng, monkeypatch):
    monkeypatch.setattr(diagnostics, "_TOLERANCE", 1e-5)
    evidence, inputs, targets, code = regression()
    answer = diagnostics.measure(evidence, diagnostics.Config(what="hessian", steps=500), rng)
    expected = [
        float(torch.linalg.eigvalsh(closed_form(evidence, inputs[code == g], targets[code == g])[1])[-1])
        for g in range(2)
    ]
    # A step that changes the value by 1e-5 may still be some 1e-4 away.
    assert diagnostics.by_part(answer, diagnostics.Config(), toy.ones(answer))[0] == pytest.approx(expected, rel=1e-3)
    assert diagnostics.summarise(answer, diagnostics.Config(), toy.ones(answer)) == pytest.approx(
        [max(expected)], rel=1e-3
    )


@pytest.mark.known_answer
@pytest.mark.parametrize("what", ["gradient", "hessian"])
def test_resamples_follow_the_true_factor_of_the_resample(regression, rng, what):
    # One feature is wider, so that the largest eigenvalue stands alone: else its direction turns on a resample.
    evidence, inputs, targets, code = regression(400, first=3.0)
    answer = diagnostics.measure(evidence, diagnostics.Config(what=what, steps=500), rng)
    draw = np.random.default_rng(0)
    counts = np.stack([draw.multinomial(400, np.full(400, 1 / 400)) for _ in range(60)])
    order = np.argsort(code.numpy(), kind="stable")  # the rows that came back are sorted by group
    ours = diagnostics.by_part(answer, diagnostics.Config(), counts[:, order])[:, 0]
    true = []
    for c in counts:
        rows = torch.from_numpy(np.repeat(np.arange(400), c))
        rows = rows[code[rows] == 0]
        each, hessian = closed_form(evidence, inputs[rows], targets[rows])
        true.append(float(each.mean(0).norm() if what == "gradient" else torch.linalg.eigvalsh(hessian)[-1]))
    assert np.corrcoef(ours, true)[0, 1] > 0.95
    assert np.std(ours) == pytest.approx(np.std(true), rel=0.15)


@pytest.mark.known_answer
def test_the_largest_eigenvalue_is_found_beside_a_larger_negative_one(regression):
    evidence, inputs, targets, _ = regression()
    model, _ = _curvature.opened(evidence)

    class Saddle(_curvature.Loss):
        def times_hessian(self, direction):
            scales = [torch.linspace(-3, 1, p.numel()).reshape(p.shape) for p in self.parameters]
            return tuple(s * d for s, d in zip(scales, direction, strict=True))

    loss = Saddle(evidence, model, tuple(model.parameters()), inputs, targets)
    value, _, settled = _curvature.top(loss, 2000, 1e-7, torch.Generator().manual_seed(0))
    assert settled
    assert value == pytest.approx(1, rel=1e-2)


@pytest.mark.known_answer
def test_products_and_bends_agree_with_the_whole_hessian_of_a_network(toy):
    draw = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    inputs, targets = torch.randn(7, 3, generator=draw), torch.arange(7) % 2
    evidence = toy.evidence_of(model, toy.task_of(inputs, targets, groups={"style": targets}))
    evidence.batch = 12  # three examples at a time
    opened, _ = _curvature.opened(evidence)
    parameters = tuple(opened.parameters())
    loss = _curvature.Loss(evidence, opened, parameters, inputs, targets)
    names, shapes = zip(*[(n, p.shape) for n, p in opened.named_parameters()], strict=True)
    flat = torch.cat([p.detach().flatten() for p in parameters])

    def each(theta):
        parts = torch.split(theta, [s.numel() for s in shapes])
        given = {n: t.reshape(s) for n, t, s in zip(names, parts, shapes, strict=True)}
        logits = torch.func.functional_call(opened, given, (inputs,))
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    whole = torch.stack([torch.autograd.functional.hessian(lambda t, i=i: each(t)[i], flat) for i in range(7)])
    slopes = torch.autograd.functional.jacobian(each, flat)
    v = torch.randn(len(flat), generator=draw)
    direction = tuple(t.reshape(s) for t, s in zip(torch.split(v, [s.numel() for s in shapes]), shapes, strict=True))
    product = torch.cat([t.flatten() for t in loss.times_hessian(direction)])
    assert product.tolist() == pytest.approx((whole.mean(0) @ v).tolist(), abs=1e-5)
    assert loss.bends(direction).tolist() == pytest.approx((whole @ v @ v).tolist(), abs=1e-4)
    assert loss.slopes(direction).tolist() == pytest.approx((slopes @ v).tolist(), abs=1e-5)


@pytest.mark.parametrize("what", ["gradient", "hessian"])
def test_a_group_whose_loss_is_steeper_and_more_bent_is_found(regression, toy, rng, what):
    evidence, *_ = regression(200, scale=4.0)
    answer = diagnostics.measure(evidence, diagnostics.Config(what=what), rng)
    calm, exposed = diagnostics.by_part(answer, diagnostics.Config(), toy.ones(answer))[0]
    assert exposed > 2 * calm


@pytest.mark.parametrize("what", ["gradient", "hessian"])
def test_the_subject_is_left_alone_and_examples_are_picked_evenly(regression, rng, what):
    evidence, *_ = regression()
    before = copy.deepcopy(evidence.model.state_dict())
    answer = diagnostics.measure(evidence, diagnostics.Config(what=what, examples=5), rng)
    assert answer["group"].tolist() == [0] * 5 + [1] * 5
    assert answer.rows.tolist() == [0, 14, 28, 44, 58, 1, 15, 29, 45, 59]
    assert all(torch.equal(before[k], v) for k, v in evidence.model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in evidence.model.parameters())
    assert answer.notes[0] == "derivatives with respect to 15 parameters"


def test_a_step_too_few_is_noted(regression, rng):
    evidence, *_ = regression()
    answer = diagnostics.measure(evidence, diagnostics.Config(what="hessian", steps=1), rng)
    assert "did not settle in 1 steps" in answer.notes[-1]


def test_a_candidate_with_other_parameters_is_noted(regression, toy, rng):
    evidence, *_ = regression()
    narrow = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Linear(1, 3))
    mine = toy.evidence_of(narrow, evidence.task, reference=evidence)
    answer = diagnostics.measure(mine, diagnostics.Config(what="gradient"), rng)
    assert answer.notes[0] == "derivatives with respect to 11 parameters, 15 in the baseline: sizes are not comparable"


@pytest.mark.parametrize("without", [{"differentiates", "opens"}, {"differentiates"}, {"opens"}])
def test_closeness_asks_answers_only_and_derivatives_an_open_model(regression, rng, without):
    evidence, *_ = regression()
    assert "opens" not in diagnostics.NEEDS
    whole = diagnostics.measure(evidence, diagnostics.Config(), rng)
    evidence.subject = dataclasses.replace(evidence.subject, without=frozenset(without))
    assert np.array_equal(diagnostics.measure(evidence, diagnostics.Config(), rng).table(), whole.table())
    for what in ("gradient", "hessian"):
        with pytest.raises(NotMeasurableError, match="needs a model that"):
            diagnostics.measure(evidence, diagnostics.Config(what=what), rng)


def test_a_model_without_parameters_is_refused(toy, rng):
    inputs = torch.randn(60, 2, generator=rng)
    task = toy.task_of(inputs, torch.arange(60) % 2, groups={"style": torch.arange(60) % 2})
    evidence = toy.evidence_of(torch.nn.Tanh(), task)
    with pytest.raises(NotMeasurableError, match="needs floating-point parameters; model has none"):
        diagnostics.measure(evidence, diagnostics.Config(what="gradient"), rng)


@pytest.mark.parametrize("what", ["gradient", "hessian"])
def test_attention_over_tokens_can_be_differentiated_twice(toy, rng, what):
    model = transformer.build(transformer.Config(vocabulary=20, width=8, heads=2, depth=1, hidden=8), (5,), 2, rng)
    inputs = torch.randint(1, 20, (12, 5), generator=rng).float()
    task = toy.task_of(inputs, torch.arange(12) % 2, bounds=None, groups={"style": torch.arange(12) % 2})
    task = dataclasses.replace(task, vocabulary=20)
    of = subject.of(model, "text", "key", inputs[:4], rng, tokens=True)
    answer = diagnostics.measure(Evidence(of, task), diagnostics.Config(what=what, least=1, steps=3), rng)
    assert np.isfinite(answer.table()).all()
    assert np.abs(answer["factor"]).max() > 0
