import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from whatelse.behaviours.mechanism import _ablate, ablation
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.nets import cnn, transformer


def answer_of(baseline, candidate, rng, **settings):
    return ablation.compare(baseline, candidate, ablation.Config(**settings), rng)


def score(baseline, candidate, rng, **settings):
    answer = answer_of(baseline, candidate, rng, **settings)
    return ablation.summarise(answer, ablation.Config(**settings), np.ones((1, len(answer))))[0]


@pytest.fixture
def two(toy, stack):
    """Two classes: the margin is linear in the hidden layer."""
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(5))
    task = toy.task_of(x, (x[:, 0] > 0).long())
    return toy.evidence_of(stack(6, 9, 2), task), toy.evidence_of(stack(6, 9, 2, seed=1), task)


def by_hand(evidence, labels):
    """With two classes the margin is a difference of logits: a unit's effect is weight times distance from its mean."""
    h = evidence.hidden("test").double()
    way = (evidence.model[2].weight[1] - evidence.model[2].weight[0]).double()
    return ((2 * labels - 1)[:, None] * way * (h - h.mean(0))).numpy()


@pytest.mark.known_answer
def test_effects_are_the_closed_form(two, rng):
    labels = two[0].predictions("test")
    answer = answer_of(*two, rng)
    before, after = (answer.table(*(f"{when} 1[{unit}]" for unit in range(9))) for when in ("before", "after"))
    assert before == pytest.approx(by_hand(two[0], labels), abs=1e-4)
    assert after == pytest.approx(by_hand(two[1], labels), abs=1e-4)
    expected = spearmanr(before.mean(0), after.mean(0)).statistic
    assert score(*two, rng) == pytest.approx(expected)
    assert answer.notes[0] == "9 units of 1 layers held in turn on 80 examples: 800 forward passes a model"


@pytest.mark.known_answer
def test_a_subset_of_units_and_examples_lies_evenly(two, rng):
    labels = two[0].predictions("test")
    answer = answer_of(*two, rng, examples=5, units=3)
    values = answer.matrix()
    assert values.shape == (5, 6)
    rows, units = np.array([0, 20, 40, 59, 79]), np.array([0, 4, 8])
    assert answer.rows.tolist() == rows.tolist()
    assert values[:, 3:] == pytest.approx(by_hand(two[1], labels)[np.ix_(rows, units)], abs=1e-4)


@pytest.mark.known_answer
def test_resamples_and_layers_are_scipys(toy, stack, gaussian, rng):
    task = gaussian()
    pair = [toy.evidence_of(stack(6, 7, 5, 3, seed=s), task) for s in (0, 1)]
    answer, config = answer_of(*pair, rng), ablation.Config()
    values = answer.matrix()
    assert answer.parts.names == ("1", "3")
    draws = np.random.default_rng(0).multinomial(120, np.full(120, 1 / 120), size=10)
    whole, parts = ablation.summarise(answer, config, draws), ablation.by_part(answer, config, draws)
    for d in range(10):
        before, after = np.split(np.repeat(values, draws[d], 0).astype(float).mean(0), 2)
        assert whole[d] == pytest.approx(spearmanr(before, after).statistic)
        expected = [spearmanr(before[s], after[s]).statistic for s in (slice(0, 7), slice(7, 12))]
        assert parts[d] == pytest.approx(expected)


def test_the_same_model_is_one_and_its_units_in_another_order_are_refused(toy, stack, gaussian, shuffled, rng):
    task, plain = gaussian(), stack(6, 9, 3)
    baseline = toy.evidence_of(plain, task)
    same, moved = (toy.evidence_of(shuffled(plain, order), task) for order in (range(9), [*range(1, 9), 0]))
    assert score(baseline, baseline, rng) == pytest.approx(1)
    assert score(baseline, same, rng) == pytest.approx(1)
    with pytest.raises(NotMeasurableError, match="the units of layer 1 in another order: correlation .* 1.00 matched"):
        score(baseline, moved, rng)


def test_scaled_logits_change_no_rank(two, toy, stack, rng):
    hot = stack(6, 9, 2)
    with torch.no_grad():
        hot[2].weight.mul_(3)
        hot[2].bias.mul_(3)
    assert score(two[0], toy.evidence_of(hot, two[0].task), rng) == pytest.approx(1)


def test_a_unit_that_another_took_over_is_seen_at_equal_answers(toy, rng):
    """Two units carry the same: which of them the head reads cannot be told from the answers."""
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    task = toy.task_of(x, (x[:, 0] > 0).long())
    models = [torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)) for _ in range(2)]
    with torch.no_grad():
        for model, read in zip(models, ([3.0, 0.0, 1.0, -0.2], [0.0, 3.0, 1.0, -0.2]), strict=True):
            model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0]]))
            model[0].bias.zero_()
            model[2].weight.copy_(torch.tensor([[-r for r in read], read]))
            model[2].bias.fill_(0.1)
    baseline, candidate = (toy.evidence_of(m, task) for m in models)
    assert torch.allclose(baseline.logits(), candidate.logits(), atol=1e-6)
    assert score(baseline, candidate, rng) < 0.5


@pytest.mark.known_answer
def test_a_channel_is_held_all_over_the_image(toy, rng):
    x = torch.rand(6, 1, 8, 8, generator=rng)
    model = cnn.build(cnn.Config(width=2, hidden=4), (1, 8, 8), 2, rng)
    evidence = toy.evidence_of(model, toy.task_of(x, torch.arange(6) % 2))
    mean, labels = _ablate.means(evidence, "test"), torch.arange(6) % 2
    found = _ablate.margins(evidence, x, labels, [("relu2", 1), ("relu2", 3)], mean)
    h = model.relu2(model.conv2(model.relu1(model.conv1(x))))
    for channel in (1, 3):
        h[:, channel] = h[:, channel].mean()
    logits = model[4:](h)
    expected = (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.known_answer
def test_a_feature_is_held_at_every_token(toy, rng):
    ids = torch.tensor([[1.0, 2, 3, 0], [3, 1, 0, 0], [2, 2, 1, 3], [1, 3, 0, 0]])
    config = transformer.Config(vocabulary=4, width=4, heads=2, depth=2, hidden=8)
    model, labels = transformer.build(config, (4,), 2, rng), torch.arange(4) % 2
    task = dataclasses.replace(toy.task_of(ids, labels, bounds=None), vocabulary=4)
    evidence = Evidence(subject.of(model, "model", "key", ids, rng, tokens=True), task)
    mean = _ablate.means(evidence, "test")
    first = next(iter(mean))
    found = _ablate.margins(evidence, ids, labels, [(first, 2)], mean)

    def hold(module, inputs, output):
        output[:, :, 2] = mean[first][2]

    hook = model.get_submodule(first).register_forward_hook(hold)
    with torch.no_grad():
        logits = model(ids)
    hook.remove()
    assert found.tolist() == pytest.approx(((logits[:, 1] - logits[:, 0]) * (2 * labels - 1)).tolist(), abs=1e-5)
    assert not torch.allclose(found.float(), _ablate.margins(evidence, ids, labels, (), mean).float())


class Sequence(torch.nn.Module):
    """Reads four tokens, or four patches, of width five behind a token of its own, and answers by their mean."""

    def __init__(self):
        super().__init__()
        self.enter, self.act, self.head = torch.nn.Embedding(9, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)

    def forward(self, x):
        x = self.enter(x.long()) if x.dim() == 2 else x[:, 0]
        return self.head(self.act(torch.cat([torch.ones(len(x), 1, 5), x], 1)).mean(1))


@pytest.mark.known_answer
@pytest.mark.parametrize("vocabulary", [0, 9])
def test_a_feature_is_held_at_every_patch_and_at_every_token_behind_a_first(toy, rng, vocabulary):
    """A sequence of five by five, longer than the ids: the units are the last axis."""
    model = Sequence()
    x = torch.randint(1, 9, (6, 4), generator=rng).float() if vocabulary else torch.randn(6, 1, 4, 5, generator=rng)
    task = dataclasses.replace(toy.task_of(x, torch.arange(6) % 2, bounds=None), vocabulary=vocabulary)
    evidence = Evidence(subject.of(model, "model", "key", x, rng, tokens=bool(vocabulary)), task)
    labels, mean = task.test.targets, {"act": torch.arange(5.0)}
    found = _ablate.margins(evidence, x, labels, [("act", 2)], mean)
    with torch.no_grad():
        inside = model.enter(x.long()) if vocabulary else x[:, 0]
        h = model.act(torch.cat([torch.ones(6, 1, 5), inside], 1))
        h[:, :, 2] = 2
        logits = model.head(h.mean(1))
    assert found.tolist() == pytest.approx(((logits[:, 1] - logits[:, 0]) * (2 * labels - 1)).tolist(), abs=1e-5)


@pytest.mark.known_answer
def test_a_channel_is_held_all_along_a_signal(toy, rng):
    """Four channels at four places."""
    model = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 6)), torch.nn.Conv1d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten()
    )
    model.append(torch.nn.Linear(16, 2))
    x, labels = torch.randn(5, 6, generator=rng), torch.arange(5) % 2
    evidence = toy.evidence_of(model, toy.task_of(x, labels))
    found = _ablate.margins(evidence, x, labels, [("2", 1)], {"2": torch.arange(4.0)})
    with torch.no_grad():
        h = model[:3](x)
        h[:, 1] = 1
        logits = model[3:](h)
    assert found.tolist() == pytest.approx(((logits[:, 1] - logits[:, 0]) * (2 * labels - 1)).tolist(), abs=1e-5)


@pytest.fixture
def texts(toy):
    """Evidence of small transformers on sequences of different lengths."""
    ids = torch.randint(1, 9, (30, 6), generator=torch.Generator().manual_seed(1)).float()
    ids[::2, 4:] = 0
    task = dataclasses.replace(toy.task_of(ids, torch.arange(30) % 2, bounds=None), vocabulary=9)

    def make(seed, heads=2):
        config = transformer.Config(vocabulary=9, width=8, heads=heads, depth=2, hidden=8)
        model = transformer.build(config, (6,), 2, torch.Generator().manual_seed(seed))
        return Evidence(subject.of(model, "model", f"{seed}", ids, torch.Generator(), tokens=True), task)

    return make


@pytest.mark.known_answer
def test_heads_are_units_too(texts, rng):
    baseline, candidate = texts(0), texts(1)
    baseline.batch = 7  # means are taken over batches
    answer = answer_of(baseline, candidate, rng)
    assert answer.parts.names == ("blocks.0", "blocks.1", "blocks.0 heads", "blocks.1 heads")
    assert answer.matrix().shape == (30, 2 * (8 + 8 + 2 + 2))
    assert ablation.by_part(answer, ablation.Config(), np.ones((1, 30))).shape == (1, 4)
    assert score(baseline, baseline, rng) == pytest.approx(1)
    model, ids = baseline.model, baseline.split("test").inputs
    labels, block = baseline.predictions("test"), model.blocks[1]
    seen = []
    hook = block.out.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        whole = model(ids)
    hook.remove()
    mean = seen[0][ids != 0].mean(0)

    def hold(module, given):
        return (torch.cat([given[0][..., :4], mean[4:].expand(30, 6, 4)], 2),)

    hook = block.out.register_forward_pre_hook(hold)
    with torch.no_grad():
        held = model(ids)
    hook.remove()
    margin = lambda z: (z[:, 1] - z[:, 0]) * (2 * labels - 1)  # noqa: E731
    assert answer["before blocks.1 heads[1]"] == pytest.approx((margin(whole) - margin(held)).numpy(), abs=1e-5)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_fewer_heads_are_another_basis(texts, rng):
    with pytest.raises(NotMeasurableError, match="model has other attention heads"):
        answer_of(texts(0), texts(1, heads=4), rng)


def test_effects_that_are_all_equal_rank_nothing(two, rng):
    answer = answer_of(*two, rng)
    silent = answer.matrix().copy()
    silent[:, 9:] = 0
    assert ablation.summarise(answer.over(silent), ablation.Config(), np.ones((1, 80))) == 0
    silent[:, :9] = 0
    assert np.isnan(ablation.summarise(answer.over(silent), ablation.Config(), np.ones((1, 80))))


def test_another_width_is_refused(two, toy, stack, rng):
    student = toy.evidence_of(stack(6, 4, 2), two[0].task, name="student")
    with pytest.raises(NotMeasurableError, match="needs the baseline's basis; student has 4 units in layer 1, not 9"):
        answer_of(two[0], student, rng)
