import copy
import math

import pytest
import torch
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods.prune import magnitude, membership
from whatelse.training.initialize import initialize
from whatelse.training.loop import Schedule, fit, hard_labels


def noisy(toy, *, clusters=None, count=120):
    """Points whose recorded label is wrong for three in ten: what a model knows of those, it has memorized."""
    rng = torch.Generator().manual_seed(3)

    def draw():
        targets = torch.arange(count) % 3
        wrong = torch.rand(count, generator=rng) < 0.3
        inputs = torch.randn(count, 8, generator=rng)
        inputs[:, 0] += 2.0 * targets
        return toy.split_of(inputs, targets, torch.where(wrong, (targets + 1) % 3, targets))

    train = draw()
    if clusters is not None:
        train = type(train)(train.inputs, train.targets, train.observed, clusters=clusters)
    test = draw()
    return toy.task_of(test.inputs, test.targets, classes=3, observed=test.observed, train=train)


@pytest.fixture
def net(rng):
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    initialize(model, rng)
    return model


def seeded(seed=7):
    return torch.Generator().manual_seed(seed)


@pytest.mark.known_answer
def test_the_gain_is_that_of_the_game():
    inside, outside = torch.tensor([1.0, -2.0, 0.3]), torch.tensor([-1.0, 4.0])

    def chance(odds):
        return 1 / (1 + math.exp(-odds))

    slow = sum(math.log(chance(float(a))) for a in inside) / 3 / 2
    slow += sum(math.log(1 - chance(float(a))) for a in outside) / 2 / 2
    assert float(membership._gain(inside, outside)) == pytest.approx(slow, rel=1e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize("start", ["random", "model"])
def test_without_strength_it_is_pruning_and_training_on_the_members(start, net, toy):
    task = noisy(toy)
    config = membership.Config(sparsity=0.6, strength=0.0, start=start, rounds=2, epochs=2)
    found = membership.compress(net, config, task, seeded())
    rng, slow = seeded(), copy.deepcopy(net)
    members, others = membership._halves(task.train, rng)
    torch.randint(2**62, (), generator=rng)
    if start == "random":
        initialize(slow, rng)
    for sparsity in [0.0] * (start == "random") + [0.6 - 0.6 / 8, 0.6]:
        slow = magnitude.compress(slow, magnitude.Config(sparsity=sparsity), task, rng)
        fit(slow, members.inputs, hard_labels(members.observed), Schedule(2, 8e-3, 50), rng)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), slow.parameters(), strict=True))
    assert sum(int((found[i].weight == 0).sum()) for i in (0, 2)) == round(0.6 * (8 * 32 + 32 * 3))
    both = torch.cat([members.inputs, others.inputs])
    assert len(members) == len(others) == 60
    assert torch.equal(both.sort(0).values, task.train.inputs.sort(0).values)


@pytest.mark.known_answer
def test_a_step_of_the_game_is_that_of_nasr(net, toy):
    task, rng = noisy(toy), seeded()
    members, others = membership._halves(task.train, rng)
    config = membership.Config(strength=3.0)
    objective = membership._game(net, members, others, 3, config, seeded(1))
    batch = torch.arange(10)
    value = objective(batch)
    # The same by hand: one step of Adam that raises the gain, then the loss with the new adversary.
    aside = seeded(1)
    adversary = membership._adversary(3, aside)
    adam = torch.optim.Adam(adversary.parameters(), membership._RATE)
    picks = torch.randint(60, (10,), generator=aside)
    logits, held = net(members.inputs[batch]), net(others.inputs[picks])

    def chance(scores, labels):
        return torch.sigmoid(adversary(torch.cat([scores, functional.one_hot(labels, 3)], 1)))[:, 0]

    before = chance(logits, members.observed[batch]).log().mean() / 2
    gain = before + (1 - chance(held, others.observed[picks])).log().mean() / 2
    (-gain).backward(inputs=list(adversary.parameters()), retain_graph=True)
    adam.step()
    loss = functional.cross_entropy(logits, members.observed[batch])
    after = chance(logits, members.observed[batch]).log().mean() / 2
    assert value.item() == pytest.approx((loss + 3 * after).item(), rel=1e-5)
    assert after.item() != pytest.approx(before.item(), rel=1e-4)


def test_records_held_back_are_never_fitted(net, toy):
    # A huge outlier among the records held back would show in the weights if any gradient came from it.
    task = noisy(toy)
    members, _ = membership._halves(task.train, seeded())
    task.train.inputs[~(task.train.inputs[:, None] == members.inputs).all(2).any(1)] = float("nan")
    config = membership.Config(strength=0.0, rounds=1, epochs=1)
    found = membership.compress(net, config, task, seeded())
    assert all(bool(p.isfinite().all()) for p in found.parameters())


def test_copies_of_one_example_fall_on_one_side(toy):
    clusters = torch.arange(120) // 3
    task = noisy(toy, clusters=clusters)
    members, others = membership._halves(task.train, seeded())
    assert len(members) == 60
    assert not set(members.clusters.tolist()) & set(others.clusters.tolist())


def test_zeros_stay_and_norms_are_asked_as_deployed(toy):
    task = noisy(toy)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    )
    with torch.no_grad():
        model[0].weight[:2] = 0.0
    found = membership.compress(model, membership.Config(sparsity=0.3, rounds=2, epochs=1), task, seeded())
    assert not found[0].weight[:2].any()
    # Two steps in each of three rounds; the adversary's questions leave the running statistics alone.
    assert int(found[1].num_batches_tracked) == 6
    assert not found.training


@pytest.mark.parametrize(("count", "match"), [(3, "it needs four"), (12, "no convolution or linear")])
def test_what_cannot_be_done_is_refused(count, match, toy, rng):
    model = torch.nn.Linear(8, 3) if count == 3 else torch.nn.ReLU()
    with pytest.raises(RecipeError, match=match):
        membership.compress(model, membership.Config(), noisy(toy, count=count), rng)


def advantage(model, members, others):
    """How often a member's recorded label is likelier than a non-member's: the area under the curve."""
    with torch.no_grad():
        scores = [model(s.inputs).log_softmax(1).gather(1, s.observed[:, None]) for s in (members, others)]
    return float((scores[0] > scores[1].T).double().mean())


@pytest.mark.slow
def test_strength_hides_members():
    """Averaged over three seeds on digits with wrong labels, members are told from test records less often."""
    from whatelse.datasets import digits

    task = digits.load(digits.Config(noise=0.3))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    found = []
    for strength in (0.0, 3.0):
        config = membership.Config(strength=strength, epochs=12)
        areas = []
        for seed in range(3):
            made = membership.compress(model, config, task, seeded(seed))
            members, _ = membership._halves(task.train, seeded(seed))
            areas.append(advantage(made, members, task.test))
        found.append(sum(areas) / 3)
    assert found[1] < found[0] - 0.03
