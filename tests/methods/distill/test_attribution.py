import copy

import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.methods.distill import _features, attribution, logits

PRUNED = "prune.magnitude(sparsity=0.6)"


def fresh():
    return torch.Generator().manual_seed(1)


def slow_map(tail, activation, kind, picked, kept):
    """The map of one example ``(channels, rows, columns)`` from the formulas; slopes by finite differences."""
    channels, rows, columns = activation.shape
    places = [(i, j) for i in range(rows) for j in range(columns)]
    if kind == "equal":
        return [sum(float(activation[k, i, j]) ** 2 for k in range(channels)) / channels for i, j in places]
    weights, step = [], 1e-5
    for k in range(channels):
        total = 0.0
        for i, j in places:
            up, down = activation.clone(), activation.clone()
            up[k, i, j] += step
            down[k, i, j] -= step
            total += float(tail(up[None])[0, picked] - tail(down[None])[0, picked]) / (2 * step)
        weights.append(total)
    return [max(0.0, sum(weights[k] * float(activation[k, i, j]) for k in kept)) for i, j in places]


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["sensitivity", "equal"])
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_the_loss_is_that_of_the_formulas(kind, drop, taught):
    teacher, student = (copy.deepcopy(taught.models["chain"]).double() for _ in range(2))
    inputs, config = taught.inputs[:4].double(), attribution.Config(kind=kind, drop=drop)
    with torch.no_grad():
        student.conv2.weight.mul_(torch.linspace(0.2, 2.0, 8).view(8, 1, 1, 1))
    out = torch.randperm(8, generator=fresh())[: int(8 * drop)].tolist() if kind == "sensitivity" else []
    top = teacher(inputs).argmax(1)
    slow = 0.0
    for x, c in zip(inputs, top.tolist(), strict=True):
        maps = []
        for model, missing in ((teacher, out), (student, [])):
            kept = [k for k in range(8) if k not in missing]
            q = slow_map(model[6:], model[:6](x[None])[0], kind, c, kept)
            length = sum(v**2 for v in q) ** 0.5
            maps.append([v / length for v in q])
        slow += sum((a - b) ** 2 for a, b in zip(*maps, strict=True)) / 4
    known, theirs = attribution._parts(teacher, "relu3", inputs, None, kind)
    target = attribution._map(attribution._dropped(theirs, config, fresh()), kind)
    _, mine = attribution._parts(student, "relu3", inputs, known.argmax(1), kind)
    found = attribution._distance(attribution._map(mine, kind), target)
    assert float(found.detach()) == pytest.approx(slow, rel=1e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("net", "layer", "weight"),
    [("chain", "relu3", "conv1"), ("tokens", "blocks", "blocks.0.mix"), ("tokens", "embed", "blocks.0.mix")],
)
def test_the_gradient_through_the_map_agrees_with_finite_differences(net, layer, weight, taught):
    teacher, student = (copy.deepcopy(taught.models[net]).double() for _ in range(2))
    inputs = taught.inputs[:6].double()
    values = student.get_submodule(weight).weight
    with torch.no_grad():
        values.add_(torch.randn(values.shape, generator=fresh()) * 0.05)

    def loss():
        known, theirs = attribution._parts(teacher, layer, inputs, None, "sensitivity")
        _, mine = attribution._parts(student, layer, inputs, known.argmax(1), "sensitivity")
        maps = (attribution._map(parts, "sensitivity") for parts in (mine, theirs.detach()))
        return attribution._distance(*maps)

    values.requires_grad_()
    (slope,) = torch.autograd.grad(loss(), values)
    values.requires_grad_(requires_grad=False)
    way = torch.randn(values.shape, generator=fresh()).double()
    step, ends = 1e-6, []
    for sign in (1, -1):
        values.add_(sign * step * way)
        ends.append(float(loss().detach()))
        values.sub_(sign * step * way)
    assert float(slope.abs().sum()) > 0
    # Central differences: an error of order step^2 beside rounding of order 1e-16 / step.
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((slope * way).sum()), rel=1e-4)


def test_a_draw_leaves_out_the_named_share_and_no_more(rng):
    parts = torch.ones(2, 10, 3, 3)
    config = attribution.Config(drop=0.3)
    one, two = (attribution._dropped(parts, config, rng) for _ in range(2))
    assert [int((x[0].sum((1, 2)) == 0).sum()) for x in (one, two)] == [3, 3]
    assert not torch.equal(one, two)
    assert torch.equal(parts, torch.ones(2, 10, 3, 3))


@pytest.mark.parametrize("kind", ["sensitivity", "equal"])
@pytest.mark.parametrize("student", ["", PRUNED])
def test_the_maps_come_closer_than_with_distill_logits(kind, student, taught, shown):
    teacher = taught.models["chain"]
    common = {"student": student, "epochs": 40, "batch": 20}
    mine = attribution.compress(teacher, attribution.Config(**common, kind=kind, drop=0.0, weight=1.0), shown, fresh())
    theirs = logits.compress(teacher, logits.Config(**common), shown, fresh())
    assert mine.conv1.weight.shape[0] == (4 if student else 2)
    top = teacher(taught.inputs).argmax(1)
    target, a, b = (
        attribution._map(attribution._parts(m, "relu3", taught.inputs, top, kind)[1], kind)
        for m in (teacher, mine, theirs)
    )
    near, far = (float(attribution._distance(q, target).detach()) for q in (a, b))
    assert near < 0.8 * far


def test_without_weight_it_is_distill_logits(taught, shown):
    teacher, common = taught.models["residual"], {"student": PRUNED, "epochs": 2}
    mine = attribution.compress(teacher, attribution.Config(**common, weight=0.0, drop=0.0), shown, fresh())
    theirs = logits.compress(teacher, logits.Config(**common), shown, fresh())
    assert torch.allclose(mine(taught.inputs), theirs(taught.inputs), atol=1e-4)


@pytest.mark.parametrize(
    ("net", "kind"), [("chain", "equal"), *((net, "sensitivity") for net in ("chain", "residual", "tokens"))]
)
def test_every_kind_of_net_is_taught(net, kind, taught, shown, sound):
    config = attribution.Config(student=PRUNED, kind=kind, epochs=40, batch=20)
    student = attribution.compress(taught.models[net], config, shown, fresh())
    sound(taught.models[net], student, 0.55 if net != "tokens" else 0.4)


def test_what_cannot_be_done_is_named(taught, shown, rng):
    with pytest.raises(RecipeError, match="the model has no inner maps or sequences"):
        attribution.compress(taught.models["perceptron"], attribution.Config(), shown, rng)
    maps, tokens = _features.Point("a", 0.5, (2, 3, 3)), _features.Point("b", 0.5, (9, 2))
    with pytest.raises(RecipeError, match="the student has no map like the model's"):
        attribution._layers([maps], [tokens])
    aside = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    aside[1].register_forward_hook(lambda module, given, output: output.detach())
    with pytest.raises(RecipeError, match="the logits do not depend on 0"):
        attribution._parts(aside, "0", taught.inputs, None, "sensitivity")
