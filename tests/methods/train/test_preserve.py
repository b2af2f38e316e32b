import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse.errors import RecipeError, TaskError
from whatelse.methods._held import held_back
from whatelse.methods.prune import magnitude
from whatelse.methods.train import _terms as terms
from whatelse.methods.train import finetune, preserve
from whatelse.modules.notes import noted
from whatelse.training.adversary import Ball
from whatelse.training.initialize import initialize

PRUNED = "prune.magnitude(sparsity=0.5)"
NONE = {"labels": 0.0}
ALL = {"labels": 0.01, "attribution": 0.05, "groups": 0.02, "robustness": 0.03, "membership": 0.02, "least": 1}


def fresh():
    return torch.Generator().manual_seed(1)


def drawn(model, seed):
    initialize(model, torch.Generator().manual_seed(seed))
    return model.requires_grad_(requires_grad=False).eval()


def perceptron(seed):
    return drawn(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), seed)


@pytest.fixture
def examples(toy):
    """Sixty points of three classes in two groups, none of which is easy."""
    rng = torch.Generator().manual_seed(2)
    targets = torch.arange(60) % 3
    inputs = torch.randn(60, 4, generator=rng)
    inputs[torch.arange(60), targets] += 1.5
    return toy.task_of(
        inputs, targets, classes=3, bounds=(-9.0, 9.0), groups={"side": (torch.rand(60, generator=rng) < 0.3).long()}
    )


@pytest.fixture
def seen(examples):
    """Both models asked twelve examples, in double precision, with maps."""
    original, tuned = perceptron(3).double(), perceptron(4).double().requires_grad_()
    split = examples.train.take(torch.arange(12))
    split = type(split)(split.inputs.double(), split.targets, split.observed, split.groups)
    pair = terms.Pair(original, tuned, split, fresh(), maps=True)
    return pair, pair.seen(torch.arange(12), torch.arange(12))


def compressed(model, task, **given):
    return preserve.compress(model, preserve.Config(**given), task, fresh())


@pytest.mark.known_answer
@pytest.mark.parametrize("net", ["residual", "sentence"])
@pytest.mark.parametrize("student", ["", PRUNED])
def test_with_nothing_held_it_is_finetune_bit_for_bit(net, student, request):
    model, task = request.getfixturevalue(net)
    how = {"epochs": 2, "batch": 10, "decay": 0.1}
    mine = compressed(model, task, **NONE, student=student, **how)
    small = magnitude.compress(model, magnitude.Config(sparsity=0.5), task, fresh()) if student else model
    theirs = finetune.compress(small, finetune.Config(**how), task, fresh())
    pairs = zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not any(torch.equal(a, b) for a, b in zip(mine.parameters(), model.parameters(), strict=True))


@pytest.mark.known_answer
def test_labels_are_shares_and_hintons_loss(seen):
    _, both = seen
    term, slow, changed = terms.Labels(0.1, 12, 3.0), 0.0, 0
    for mine, theirs in zip(both.logits.detach(), both.told, strict=True):
        p, q = torch.softmax(theirs / 3, 0), torch.softmax(mine / 3, 0)
        slow += 9 * sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True)) / 12
        changed += int(mine.argmax() != theirs.argmax())
    assert float(term.penalty(both).detach()) == pytest.approx(slow, rel=1e-9)
    term.look(both)
    assert 0 < changed < 12
    assert float(term.values()) == pytest.approx(changed / 12)


def slow_map(model, x, picked):
    """Gradient times input of the log-odds of a class, by central differences."""

    def odds(point):
        p = torch.softmax(model(point[None])[0], 0)[picked]
        return float((p / (1 - p)).log().detach())

    steps = 1e-5 * torch.eye(len(x)).double()
    return [float(v) * (odds(x + s) - odds(x - s)) / 2e-5 for v, s in zip(x, steps, strict=True)]


@pytest.mark.known_answer
def test_attribution_is_the_cosine_of_the_maps_of_both_models(seen):
    pair, both = seen
    slow = []
    for x, theirs in zip(both.x.detach(), both.told, strict=True):
        a, b = (slow_map(model, x, int(theirs.argmax())) for model in (pair.tuned, pair.original))
        dot = sum(u * v for u, v in zip(a, b, strict=True))
        slow.append(1 - dot / math.sqrt(sum(u * u for u in a) * sum(v * v for v in b)))
    term = terms.Attribution(0.1, 12)
    assert float(term.penalty(both).detach()) == pytest.approx(sum(slow) / 12, rel=1e-6)
    with torch.no_grad():
        term.look(both)
    assert term.column.tolist() == pytest.approx(slow, rel=1e-5)


@pytest.mark.known_answer
def test_groups_are_the_harm_above_that_of_all_and_their_cross_entropy(seen):
    _, both = seen
    inside = {"a": torch.arange(12) < 4, "b": torch.arange(12) >= 9}
    term = terms.Groups(0.1, inside, torch.arange(12))
    harmed = [
        int(theirs.argmax() == y and mine.argmax() != y)
        for mine, theirs, y in zip(both.logits, both.told, both.labels, strict=True)
    ]
    losses = [-float(torch.log_softmax(z, 0)[y]) for z, y in zip(both.logits.detach(), both.labels, strict=True)]
    term.look(both)
    assert sum(harmed)
    expected = [sum(harmed[:4]) / 4 - sum(harmed) / 12, sum(harmed[9:]) / 3 - sum(harmed) / 12]
    assert term.values().tolist() == pytest.approx(expected, abs=1e-6)
    assert term.penalty(both).detach().tolist() == pytest.approx([sum(losses[:4]) / 12, sum(losses[9:]) / 12])


@pytest.mark.known_answer
def test_robustness_is_asked_at_the_worst_corner_where_the_model_is_linear(toy):
    # Of two classes the worst point of a linear model is the corner of the ball against w_y - w_other.
    rng = torch.Generator().manual_seed(6)
    original, tuned = (drawn(nn.Linear(3, 2), seed) for seed in (7, 8))
    x, y = torch.randn(40, 3, generator=rng), torch.arange(40) % 2
    pair = terms.Pair(original, tuned, toy.task_of(x, y, bounds=(-9.0, 9.0)).train, rng, maps=False)
    term = terms.Robustness(0.1, 40, pair, Ball(0.2, 0.5, 8, (-9.0, 9.0)), 1.0)
    corner = x - 0.2 * (tuned.weight[y] - tuned.weight[1 - y]).sign()
    both = pair.seen(torch.arange(40), torch.arange(40))
    harmed = (original(corner).argmax(1) == y) & (tuned(corner).argmax(1) != y)
    term.look(both)
    assert harmed.any()
    assert float(term.values()) == pytest.approx(float(harmed.float().mean()))
    q = original(corner).softmax(1)
    slow = (q * (q.log() - tuned(corner).log_softmax(1))).sum(1).mean()
    assert float(term.penalty(both)) == pytest.approx(float(slow), rel=1e-4)


def test_robustness_bounds_the_fall_of_accuracy_under_the_same_attack(toy):
    # Exactly so for linear models, whose worst point PGD finds.
    rng = torch.Generator().manual_seed(9)
    x, y = torch.randn(200, 3, generator=rng), torch.arange(200) % 2
    task = toy.task_of(x, y, bounds=(-9.0, 9.0))
    for seed in range(6):
        models = [drawn(nn.Linear(3, 2), 2 * seed + k) for k in (0, 1)]
        pair = terms.Pair(*models, task.train, rng, maps=False)
        term = terms.Robustness(0.1, 200, pair, Ball(0.1, 0.5, 8, (-9.0, 9.0)), 1.0)
        term.look(pair.seen(torch.arange(200), torch.arange(200)))
        stand = []
        for model in models:
            corner = x - 0.1 * (model.weight[y] - model.weight[1 - y]).sign()
            stand.append(float((model(corner).argmax(1) == y).float().mean()))
        assert stand[0] - stand[1] <= float(term.values()) + 1e-6


@pytest.mark.known_answer
def test_membership_is_the_area_beside_the_originals_and_the_gap_of_the_losses(seen):
    pair, both = seen
    rows = torch.arange(6)
    term = terms.Membership(0.1, 6, pair, torch.arange(6, 12))
    term.look(pair.seen(rows, rows))

    def odds(logits, y):
        p = torch.softmax(logits, 0)[y]
        return float((p / (1 - p)).log())

    areas, gaps = [], []
    for logits in (both.logits, both.told):
        score = [odds(z, y) for z, y in zip(logits.detach(), both.labels, strict=True)]
        wins = [(a > b) + (a == b) / 2 for a, b in itertools.product(score[6:], score[:6])]
        areas.append(sum(wins) / 36)
        losses = [math.log1p(math.exp(-s)) for s in score]
        gaps.append(sum(losses[:6]) / 6 - sum(losses[6:]) / 6)
    assert float(term.values()) == pytest.approx(areas[0] - areas[1], abs=1e-6)
    late = pair.seen(torch.arange(6, 12), torch.arange(6, 12))
    assert float(term.penalty(late).detach()) == pytest.approx(max(0.0, gaps[0] - gaps[1]), rel=1e-5)
    early = pair.seen(rows, rows)
    assert float(term.penalty(early).detach()) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.known_answer
def test_ties_count_half_in_the_area():
    assert float(terms.area(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0, 3.0]))) == pytest.approx(3.5 / 6)


@pytest.mark.known_answer
@pytest.mark.parametrize("name", ["labels", "attribution", "groups", "robustness", "membership"])
def test_the_gradient_of_every_penalty_agrees_with_finite_differences(name, seen):
    pair, _ = seen
    rows, last = torch.arange(12), torch.arange(6, 12)
    term = {
        "labels": lambda: terms.Labels(0.1, 12, 2.0),
        "attribution": lambda: terms.Attribution(0.1, 12),
        "groups": lambda: terms.Groups(0.1, {"a": rows < 4, "b": rows >= 2}, rows),
        # A step of zero length: the points stay where the generator put them, the same at every call.
        "robustness": lambda: terms.Robustness(0.1, 12, pair, Ball(0.1, 0.0, 1, (-9.0, 9.0)), 2.0),
        "membership": lambda: terms.Membership(0.1, 6, pair, last),
    }[name]()
    if name == "membership":
        term.look(pair.seen(torch.arange(6), torch.arange(6)))

    def loss():
        pair.rng.manual_seed(5)
        return term.penalty(
            pair.seen(last if name == "membership" else rows, rows[: 6 if name == "membership" else 12])
        ).sum()

    weight = pair.tuned[0].weight
    (slope,) = torch.autograd.grad(loss(), weight)
    way, ends = torch.randn(weight.shape, generator=fresh()).double(), []
    with torch.no_grad():
        for sign in (1, -2):
            weight.add_(sign * 1e-6 * way)
            ends.append(float(loss().detach()))
    assert float(slope.abs().sum()) > 0
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float((slope * way).sum()), rel=1e-4)


@pytest.mark.known_answer
def test_it_is_the_game_written_out(examples, adam):
    # Full batches, so that no order matters: labels are held, in double precision, step by step.
    model, rng = perceptron(3), fresh()
    mine = compressed(
        model, examples, labels=0.1, held=0.3, epochs=30, rate=0.05, batch=60, temperature=2.0, student=PRUNED
    )
    fitted, held = held_back(examples.train, 0.3, rng)
    assert len(held) == 18
    slow = magnitude.compress(model, magnitude.Config(sparsity=0.5), examples, rng).double()
    masks = [(p, p != 0) for p in slow.parameters() if p.dim() > 1]
    slow.requires_grad_(requires_grad=True)
    x, y = examples.train.inputs.double(), examples.train.observed
    told, multiplier = copy.deepcopy(model).double()(x), 0.0

    def objective():
        nonlocal multiplier
        share = float((slow(x[held]).argmax(1) != told[held].argmax(1)).double().mean())
        multiplier = max(0.0, multiplier + 10 / 30 * (share - 0.1) / (share + 0.1))
        p, q = (functional.log_softmax(z[fitted] / 2, 1) for z in (told, slow(x)))
        divergence = 4 * (p.exp() * (p - q)).sum(1).mean()
        return functional.cross_entropy(slow(x[fitted]), y[fitted]) + multiplier * divergence

    def keep():
        with torch.no_grad():
            for p, mask in masks:
                p.mul_(mask)

    adam(list(slow.parameters()), objective, 30, 0.05, keep)
    assert multiplier > 0
    assert all(
        torch.allclose(a.double(), b, atol=1e-4) for a, b in zip(mine.parameters(), slow.parameters(), strict=True)
    )
    assert f"multiplier {multiplier:.3g}" in noted(mine)[1][0]


@pytest.mark.known_answer
def test_where_no_budget_is_broken_it_is_finetune_without_what_is_held_back(residual):
    # Batch norms and dropout, which must not notice that the model is asked what it says of examples held back.
    model, task = residual
    mine = compressed(model, task, labels=1.0, held=0.3, epochs=3, batch=8)
    rng = fresh()
    fitted, _ = held_back(task.train, 0.3, rng)
    torch.randint(2**62, (), generator=rng)
    fewer = task.with_train(task.train.take(fitted), task.calibration)
    theirs = finetune.compress(model, finetune.Config(epochs=3, batch=8), fewer, rng)
    pairs = zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_is_held_is_kept_better_than_by_plain_training(examples):
    model = finetune.compress(perceptron(3), finetune.Config(epochs=60, batch=20), examples, fresh())
    plain = compressed(model, examples, **NONE, student=PRUNED, epochs=40, batch=20)
    held = compressed(model, examples, labels=0.0, attribution=0.01, student=PRUNED, epochs=40, batch=20)
    x = examples.train.inputs.clone().requires_grad_()
    classes = model(x).argmax(1)
    maps = [terms.gradient_times_input(x, m(x), classes, keep=False) for m in (model, plain, held)]
    apart = [float((1 - functional.cosine_similarity(m, maps[0])).mean().detach()) for m in maps[1:]]
    assert apart[1] < 0.8 * apart[0]


def test_a_budget_that_is_kept_leaves_the_multiplier_at_zero(examples):
    made = compressed(perceptron(3), examples, labels=1.0, epochs=3)
    assert noted(made)[1][0].endswith("multiplier 0")
    assert noted(made)[1][0].startswith("labels: kept, ")


@pytest.mark.parametrize("net", ["residual", "examples"])
def test_all_of_it_at_once_on_every_kind_of_net(net, request):
    model, task = (perceptron(3), request.getfixturevalue(net)) if net == "examples" else request.getfixturevalue(net)
    given = {**ALL, "groups": 0.02 * (net == "examples")}
    one, two = (compressed(model, task, **given, student=PRUNED, epochs=2, batch=20, held=0.3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not any(part.training for part in one.modules())
    assert one(task.test.inputs).isfinite().all()
    said = [line.split(": ")[0] for line in noted(one)[1]]
    groups = ["groups, side side 0", "groups, side side 1"] if net == "examples" else []
    assert said == ["labels", "attribution", *groups, "robustness", "membership"]
    zeros = [int((p == 0).sum()) for p in one.parameters() if p.dim() > 1]
    assert sum(zeros) >= 0.45 * sum(p.numel() for p in one.parameters() if p.dim() > 1)


def test_examples_of_one_cluster_are_held_back_together(examples):
    split = examples.train
    clustered = type(split)(split.inputs, split.targets, split.observed, {}, None, torch.arange(60) // 3)
    inside, outside = held_back(clustered, 0.25, fresh())
    assert len(outside) == 15
    assert not set((inside // 3).tolist()) & set((outside // 3).tolist())


def test_what_cannot_be_held_is_refused_in_a_line(examples, toy, sentence, rng):
    bare = toy.task_of(examples.train.inputs, examples.train.targets, classes=3, bounds=None)
    model, held = perceptron(3), {"labels": 0.0}
    with pytest.raises(RecipeError, match=r"groups=0\.1, and task toy has no groups; use groups=0"):
        compressed(model, bare, **held, groups=0.1)
    with pytest.raises(RecipeError, match=r"no grouping 'sied'; did you mean side"):
        compressed(model, examples, **held, groups=0.1, group="sied")
    with pytest.raises(RecipeError, match=r"no group of side has 50 of the 6 examples held back; lower least"):
        compressed(model, examples, **held, groups=0.1, least=50)
    with pytest.raises(RecipeError, match=r"robustness=0\.1 with eps=0 attacks nothing"):
        compressed(model, examples, **held, robustness=0.1, eps=0.0)
    with pytest.raises(TaskError, match="its inputs have no bounds"):
        compressed(model, bare, **held, robustness=0.1)
    with pytest.raises(RecipeError, match=r"train\.preserve, attribution: the inputs are torch\.int64"):
        compressed(*sentence, **held, attribution=0.1)
    with pytest.raises(RecipeError, match=r"train\.preserve, attribution: the model has no gradient"):
        compressed(nn.Sequential(Rounded(), nn.Linear(4, 3)), examples, **held, attribution=0.1)
    with pytest.raises(RecipeError, match=r"of 60 examples held=0\.01 leaves fewer than 2 a side"):
        compressed(model, examples, held=0.01)
    for budgets in (NONE, {}):
        with pytest.raises(RecipeError, match=r"train\.preserve: the model has no trainable parameters"):
            preserve.compress(nn.Flatten(), preserve.Config(**budgets), examples, rng)


class Rounded(nn.Module):
    def forward(self, x):
        return x.detach().round()
