import numpy as np
import pytest
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _layers, cka
from whatelse.errors import NotMeasurableError


def net(*widths, seed=0):
    """Linear layers with a ReLU after each but the last."""
    rng, parts = torch.Generator().manual_seed(seed), []
    for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
        parts += [torch.nn.ReLU()] * (i > 0) + [torch.nn.Linear(a, b)]
    for p in torch.nn.Sequential(*parts).parameters():
        torch.nn.init.normal_(p, generator=rng)
    return torch.nn.Sequential(*parts)


@pytest.fixture
def pair(toy):
    def make(before, after, n=30, seed=5):
        x = torch.randn(n, before[0].in_features, generator=torch.Generator().manual_seed(seed))
        task = toy.task_of(x, torch.arange(n) % 2)
        return toy.evidence_of(before, task), toy.evidence_of(after, task)

    return make


def score(baseline, candidate, rng, **settings):
    config = cka.Config(**settings)
    answer = cka.compare(baseline, candidate, config, rng)
    return cka.summarise(answer, config, np.ones((1, len(answer))))[0]


def slow_hsic(x, y):
    """Unbiased HSIC as the mean of products of U-centered matrices (Szekely & Rizzo 2014), entry by entry."""
    n = len(x)

    def centered(z):
        k = z @ z.T
        np.fill_diagonal(k, 0)
        u = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                if i != j:
                    u[i, j] = k[i, j] - (k[i].sum() + k[:, j].sum()) / (n - 2) + k.sum() / ((n - 1) * (n - 2))
        return u

    return (centered(x) * centered(y)).sum() / (n * (n - 3))


def hidden(evidence):
    return evidence.hidden("test").double().numpy()


def answer_of(x, y):
    """What `compare` returns of a single layer."""
    a, b = cka._scaled(torch.as_tensor(x)), cka._scaled(torch.as_tensor(y))
    triple = [cka._pseudo(a, b), cka._pseudo(a, a), cka._pseudo(b, b)]
    return Answer(dict(zip(cka._columns("1"), triple, strict=True)), parts=Parts(("1",)))


def scaled(x):
    x = x - x.mean(0)
    return x / np.sqrt((x**2).sum(1).mean())


@pytest.mark.known_answer
def test_it_is_the_slow_formula(pair, rng):
    baseline, candidate = pair(net(4, 6, 2), net(4, 5, 2, seed=1))
    x, y = hidden(baseline), hidden(candidate)
    slow = slow_hsic(x, y) / np.sqrt(slow_hsic(x, x) * slow_hsic(y, y))
    assert score(baseline, candidate, rng) == pytest.approx(slow, abs=1e-6)


@pytest.mark.known_answer
def test_values_are_the_pseudo_values_of_leaving_one_out(pair, rng):
    baseline, candidate = pair(net(4, 6, 2), net(4, 5, 2, seed=1), n=12)
    answer = cka.compare(baseline, candidate, cka.Config(), rng)
    assert list(answer.columns) == ["H(K, L) of 1", "H(K, K) of 1", "H(L, L) of 1"]
    values = answer.matrix()
    x, y = scaled(hidden(baseline)), scaled(hidden(candidate))
    for column, (a, b) in enumerate([(x, y), (x, x), (y, y)]):
        left = [slow_hsic(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(12)]
        expected = [12 * slow_hsic(a, b) - 11 * h for h in left]
        assert values[:, column] == pytest.approx(expected, abs=1e-5)
        assert values[:, column].mean() == pytest.approx(slow_hsic(a, b), abs=1e-6)


def test_rotation_scale_and_order_of_units_do_not_matter(pair, toy, rng):
    plain = net(4, 6, 2)
    baseline, _ = pair(plain, plain)
    h = baseline.hidden("test")
    turn = torch.linalg.qr(torch.randn(6, 6, generator=rng)).Q
    for other in (h @ turn, 7 * h, h[:, torch.randperm(6, generator=rng)], h + 3):
        answer = answer_of(h, other)
        assert cka.summarise(answer, cka.Config(), toy.ones(answer)) == pytest.approx([1], abs=1e-6)


def test_independent_representations_score_zero_on_average():
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        x, y = (rng.normal(size=(25, 40)) for _ in range(2))  # plain CKA is about .6 here
        found.append(cka.summarise(answer_of(x, y), cka.Config(), np.ones((1, 25)))[0])
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(200)


def test_resampling_gives_the_spread_over_samples():
    rng, found, told = np.random.default_rng(0), [], []
    mix = rng.normal(size=(8, 8))
    counts = rng.multinomial(150, np.full(150, 1 / 150), size=300)
    for i in range(250):
        x = np.maximum(rng.normal(size=(150, 8)), 0)
        y = np.maximum(x @ mix + rng.normal(size=(150, 8)), 0)
        answer = answer_of(x, y)
        found.append(cka.summarise(answer, cka.Config(), np.ones((1, 150)))[0])
        if i < 30:
            told.append(cka.summarise(answer, cka.Config(), counts).std())
    # The standard deviation of 250 draws is itself known to 1 / sqrt(500) = 4.5 %.
    assert np.mean(told) == pytest.approx(np.std(found), rel=0.2)


@pytest.mark.known_answer
def test_the_mean_matches_layers_by_depth(pair, rng):
    baseline, candidate = pair(net(4, 6, 5, 3, 2), net(4, 5, 3, 2, seed=1))
    before = [h.double().numpy() for h in baseline.activations("test").values()]
    after = [h.double().numpy() for h in candidate.activations("test").values()]
    slow = []
    for x, y in [(before[0], after[0]), (before[1], after[0]), (before[2], after[1])]:
        slow.append(slow_hsic(x, y) / np.sqrt(slow_hsic(x, x) * slow_hsic(y, y)))
    assert score(baseline, candidate, rng, layer="mean") == pytest.approx(np.mean(slow), abs=1e-5)
    assert score(baseline, candidate, rng) == pytest.approx(slow[-1], abs=1e-5)
    answer = cka.compare(baseline, candidate, cka.Config(), rng)
    assert cka.by_part(answer, cka.Config(), np.ones((1, 30)))[0] == pytest.approx(slow, abs=1e-5)
    assert answer.parts.names == tuple(baseline.activations("test"))


def test_a_single_layer_stands_beside_the_last(pair, rng):
    baseline, candidate = pair(net(4, 6, 2), net(4, 5, 3, 2, seed=1))
    x, y = hidden(baseline), hidden(candidate)
    slow = slow_hsic(x, y) / np.sqrt(slow_hsic(x, x) * slow_hsic(y, y))
    for layer in ("hidden", "mean"):
        assert score(baseline, candidate, rng, layer=layer) == pytest.approx(slow, abs=1e-5)


def test_permuted_hidden_units_change_nothing_in_any_layer(pair, rng):
    plain, moved = net(4, 6, 5, 2), net(4, 6, 5, 2)
    order = torch.randperm(6, generator=rng)
    with torch.no_grad():
        moved[0].weight.copy_(plain[0].weight[order])
        moved[0].bias.copy_(plain[0].bias[order])
        moved[2].weight.copy_(plain[2].weight[:, order])
    answer = cka.compare(*pair(plain, moved), cka.Config(), rng)
    assert cka.by_part(answer, cka.Config(), np.ones((1, 30))) == pytest.approx(np.ones((1, 2)), abs=1e-6)


def test_chunks_of_rows_change_nothing(pair, rng, monkeypatch):
    baseline, candidate = pair(net(4, 6, 2), net(4, 5, 2, seed=1))
    whole = cka.compare(baseline, candidate, cka.Config(), rng).matrix()
    monkeypatch.setattr(_layers, "CHUNK", 7)
    # Sums in another order: pseudo-values of size 1 to 10 agree to a few units of float32.
    assert np.allclose(whole, cka.compare(baseline, candidate, cka.Config(), rng).matrix(), atol=1e-5)


def test_a_dead_layer_scores_zero_and_a_dead_baseline_nothing(pair, rng):
    dead = net(4, 6, 2)
    with torch.no_grad():
        dead[0].weight.zero_()
        dead[0].bias.fill_(2.5)
    alive, candidate = pair(net(4, 6, 2), dead)
    assert score(alive, candidate, rng) == 0
    answer = cka.compare(alive, candidate, cka.Config(), rng)
    assert answer.notes == ("a hidden layer is constant: its similarity counts as 0 (beside 1)",)
    with pytest.raises(
        NotMeasurableError, match="needs a layer that tells inputs apart; 1 of the baseline is constant"
    ):
        score(candidate, alive, rng)


def test_what_cannot_be_compared_is_said(pair, rng):
    with pytest.raises(NotMeasurableError, match="needs a hidden layer; none is called in model"):
        cka.compare(*pair(net(4, 2), net(4, 2)), cka.Config(), rng)
    with pytest.raises(NotMeasurableError, match="needs 5 test examples or more; there are 4"):
        cka.compare(*pair(net(4, 3, 2), net(4, 3, 2), n=4), cka.Config(), rng)
