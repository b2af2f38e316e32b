"""Shapley values against their definition over all orders, the closed form of linear models, and Captum."""

import math
from itertools import permutations

import captum.attr
import numpy as np
import pytest
import torch

from whatelse.behaviours.attribution import agreement, deletion, infidelity
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.explainers import captum as _captum
from whatelse.explainers import kernel_shap
from whatelse.explainers import maps as _maps
from whatelse.models import subject
from whatelse.nets import transformer
from whatelse.tasks.task import Split, Task

ROWS = 6


def network(features, rng, classes=3):
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(features, 8), torch.nn.Tanh(), torch.nn.Linear(8, classes)
    )
    for p in net.parameters():
        torch.nn.init.normal_(p, 0, 0.7, generator=rng)
    return net


def maps(evidence, **settings):
    parts = list(_maps.chunks(evidence, _maps.Asked("kernel shap", **settings)))
    return torch.cat([m for _, m in parts]).view(-1, *evidence.task.shape)


def by_orders(worth, parts):
    """Shapley values from the definition: what a part adds, on the average over all orders in which parts join."""
    found, known = torch.zeros(parts, dtype=torch.float64), {}

    def of(held):
        key = tuple(held.tolist())
        known[key] = known[key] if key in known else worth(held)
        return known[key]

    for order in permutations(range(parts)):
        held = torch.zeros(parts, dtype=torch.bool)
        for part in order:
            before = of(held)
            held = held | (torch.arange(parts) == part)
            found[part] += of(held) - before
    return found / math.factorial(parts)


@pytest.fixture
def table(toy, rng):
    """Evidence of a network that only predicts, on a table of five columns."""
    inputs = torch.randn(ROWS, 5, generator=rng)
    task = toy.task_of(inputs, torch.arange(ROWS) % 3, classes=3)
    net = subject.Subject("m", network(5, rng).eval(), "k", without=frozenset({"differentiates", "opens"}))
    return Evidence(net, task)


@pytest.fixture
def images(toy, rng):
    def make(shape=(2, 17, 9), reference=None, width=None):
        inputs = torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(1))
        task = toy.task_of(inputs, torch.arange(ROWS) % 3, classes=3, bounds=(-10.0, 10.0))
        return toy.evidence_of(network(width or math.prod(shape), rng), task, reference=reference)

    return make


@pytest.mark.known_answer
def test_of_few_columns_they_are_the_mean_over_all_orders(table):
    blank, y = table.split("train").inputs.mean(0), table.predictions()
    expected = []
    for x, label in zip(table.split("test").inputs, y, strict=True):

        def worth(held, x=x, label=label):
            scores = table.answers(torch.where(held, x, blank)[None]).double()
            return subject.log_odds(scores, label[None])[0]

        expected.append(by_orders(worth, 5))
    assert torch.allclose(maps(table), torch.stack(expected), atol=1e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize("coalitions", [0, 60])
def test_of_a_linear_model_they_are_weight_times_distance_from_the_mean(toy, rng, coalitions):
    # 60 of the 1,022 coalitions of ten columns: of a linear model any that tell columns apart suffice.
    weight = torch.randn(10, generator=rng)
    net = torch.nn.Linear(10, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.stack([-weight / 2, weight / 2]))
    x = torch.randn(8, 10, generator=rng)
    evidence = toy.evidence_of(net, toy.task_of(x, torch.arange(8) % 2, bounds=None))
    side = evidence.predictions()[:, None] * 2 - 1
    assert torch.allclose(maps(evidence, coalitions=coalitions).float(), side * (x - x.mean(0)) * weight, atol=1e-5)


@pytest.mark.known_answer
def test_they_are_captums_kernel_shap(table):
    x, y = table.split("test").inputs, table.predictions()

    def ask(inputs, label):
        return subject.log_odds(table.answers(inputs), label.view(-1).expand(len(inputs)))

    blank = table.split("train").inputs.mean(0, keepdim=True)
    method = captum.attr.KernelShap(ask)
    expected = [
        method.attribute(a[None], blank, additional_forward_args=b[None], n_samples=2000, perturbations_per_eval=500)
        for a, b in zip(x[:2], y, strict=False)
    ]
    # Captum draws from the generator of the process: at 2,000 samples it misses by some hundredths.
    found = maps(table)[:2].float()
    assert torch.allclose(found, torch.cat(expected), atol=0.03 * float(found.abs().max()))


@pytest.mark.known_answer
def test_they_add_up_and_more_coalitions_come_nearer_the_exact_values(toy, rng):
    inputs = torch.randn(ROWS, 12, generator=rng)
    evidence = toy.evidence_of(network(12, rng), toy.task_of(inputs, torch.arange(ROWS) % 3, classes=3))
    y = evidence.predictions()
    blank = inputs.mean(0, keepdim=True)
    whole = subject.log_odds(evidence.logits(), y) - subject.log_odds(evidence.answers(blank).expand(ROWS, -1), y)
    exact = maps(evidence, coalitions=2**12 - 2)
    off = []
    for coalitions in (64, 512, 2048):
        found = maps(evidence, coalitions=coalitions)
        assert torch.allclose(found.sum(1).float(), whole, atol=1e-5)
        off.append(float((found - exact).norm() / exact.norm()))
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.05


@pytest.mark.known_answer
@pytest.mark.parametrize("parts", [2, 3, 6, 7])
def test_all_coalitions_have_the_weights_of_the_kernel(parts, rng):
    kept, weights = kernel_shap.coalitions(parts, 2**parts - 2, rng)
    assert len({tuple(row) for row in kept.tolist()}) == len(kept) == 2**parts - 2
    sizes = kept.sum(1).tolist()
    kernel = torch.tensor([(parts - 1) / (math.comb(parts, s) * s * (parts - s)) for s in sizes]).double()
    assert torch.allclose(weights, kernel / kernel.sum(), rtol=1e-6)


@pytest.mark.known_answer
def test_of_many_parts_outer_sizes_are_whole_and_the_rest_is_drawn_in_pairs_as_the_kernel_has_it(rng):
    kept, weights = kernel_shap.coalitions(20, 4000, rng)
    sizes = kept.sum(1)
    assert len(kept) == 4000
    assert [int((sizes == s).sum()) for s in (1, 2, 18, 19)] == [20, 190, 190, 20]
    drawn = kept[(sizes > 3) & (sizes < 17)]
    assert torch.equal(drawn[::2], ~drawn[1::2])
    share = np.array([1 / (s * (20 - s)) for s in range(1, 20)])
    found = np.array([float(weights[sizes == s].sum()) for s in range(1, 20)])
    assert found == pytest.approx(share / share.sum(), abs=0.01)
    assert float(weights.sum()) == pytest.approx(1)


@pytest.mark.known_answer
def test_patches_are_those_of_occlusion_and_what_is_blank_is_worth_nothing(images, rng):
    evidence = images()
    inputs = evidence.split("test").inputs
    inputs[:, :, 4:6] = 0  # a row of patches that are what would stand in their place
    found = maps(evidence)
    # An eighth of 17 is 2, of 9 is 1: 9 x 9 patches, one value each.
    corner = found[:, :, ::2]
    assert torch.equal(found, corner.repeat_interleave(2, 2)[:, :, :17])
    assert torch.equal(found[:, :, 4:6], torch.zeros(ROWS, 2, 2, 9).double())
    y = evidence.predictions()
    whole = subject.log_odds(evidence.logits(), y)
    whole = whole - subject.log_odds(evidence.answers(_captum.start(evidence)[None]).expand(ROWS, -1), y)
    assert torch.allclose(corner[:, 0].flatten(1).sum(1).float(), whole, atol=1e-4)


def test_they_do_not_depend_on_chunks_and_batches_and_are_counted(images, monkeypatch, rng):
    first = images()
    first.predictions()
    before = first.passes.forward
    whole = maps(first)
    # Eight a part, the inputs themselves and the empty one.
    assert first.passes.forward - before == ROWS * (8 * 81 + 1) + 1
    assert first.passes.forward - before == _maps.effort(_maps.Asked("kernel shap"), first.task)
    for room in (_maps, kernel_shap):
        monkeypatch.setattr(room, "_VALUES", 700)
    again = Evidence(first.subject, first.task, batch=5)
    assert torch.allclose(maps(again), whole, atol=1e-5)
    assert torch.allclose(maps(Evidence(first.subject, first.task), examples=2), whole[:2], atol=1e-5)


def test_the_same_coalitions_serve_every_model_and_the_maps_serve_every_item(images, rng):
    base = images()
    mine = Evidence(base.subject, base.task, reference=base)
    config = agreement.Config(map="kernel shap")
    answer = agreement.compare(base, mine, config, rng)
    assert answer["agreement"] == pytest.approx(np.ones(ROWS), abs=1e-6)
    for item in (deletion, infidelity):
        config = item.Config(map="kernel shap", coalitions=400)
        assert np.isfinite(item.summarise(item.measure(base, config, rng), config, np.ones((1, ROWS)))).all()


def test_too_few_coalitions_are_refused(images):
    with pytest.raises(NotMeasurableError, match="kernel shap of 81 parts needs 324 coalitions; it is given 100"):
        maps(images(), coalitions=100)


@pytest.mark.known_answer
def test_of_texts_padding_is_worth_nothing_and_the_rest_is_exact(rng):
    ids = torch.randint(1, 20, (4, 5), generator=rng).float()
    ids[:2, 3:] = 0
    split = Split(ids, torch.arange(4) % 2, torch.arange(4) % 2)
    task = Task("texts", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split), vocabulary=20)
    net = transformer.build(transformer.Config(vocabulary=20, width=8, heads=2), (5,), 2, rng)
    texts = Evidence(subject.of(net, "m", "k", ids, rng, tokens=True), task)
    y = texts.predictions()
    if not bool(texts.answers(torch.zeros(1, 5)).isfinite().all()):
        with pytest.raises(NotMeasurableError, match="has no finite answer to inputs with hidden parts"):
            maps(texts)
        return
    found = maps(texts)
    assert torch.equal(found[:2, 3:], torch.zeros(2, 2).double())
    for x, label, row in zip(ids, y, found, strict=True):
        expected = by_orders(
            lambda held, x=x, b=label: subject.log_odds(texts.answers((x * held)[None]), b[None])[0], 5
        )
        assert torch.allclose(row, expected, atol=1e-4)
