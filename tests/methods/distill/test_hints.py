import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.methods.distill import _features, hints, logits

PRUNED = "prune.magnitude(sparsity=0.6)"


def fresh():
    return torch.Generator().manual_seed(1)


@pytest.mark.known_answer
@pytest.mark.parametrize("shape", [(3, 4, 2, 2), (3, 5, 6), (3, 7)])
def test_the_first_loss_is_half_the_squared_distance_of_an_example(shape, rng):
    hint, guess = (torch.randn(shape, generator=rng) for _ in range(2))
    slow = sum((a - b) ** 2 / 2 for a, b in zip(hint.flatten().tolist(), guess.flatten().tolist(), strict=True)) / 3
    assert float(hints._distance(hint, guess)) == pytest.approx(slow, rel=1e-5)


@pytest.mark.known_answer
def test_the_second_loss_is_the_papers_and_lambda_falls_linearly(toy):
    # Equation 2 of the paper, example by example, and lambda from 4 to 1 over three passes over four examples.
    taught = torch.tensor([[2.0, -1.0], [0.5, 0.5], [1.0, 3.0], [0.0, -2.0]])
    student = torch.tensor([[1.0, 0.0], [-1.0, 3.0], [0.5, 0.0], [2.0, 1.0]])
    labels = torch.tensor([0, 1, 1, 0])
    config = hints.Config(epochs=3)
    task = toy.task_of(torch.arange(4.0)[:, None], labels)
    objective = hints._Second(toy.Canned(student), lambda batch: taught[batch], task, config)
    for step in range(6):
        batch = torch.tensor([0, 1]) if step % 2 == 0 else torch.tensor([2, 3])
        weight, slow = 4 - 3 * (2 * step) / 12, 0.0
        for i in batch.tolist():
            p, q = torch.softmax(taught[i] / 3, 0), torch.softmax(student[i] / 3, 0)
            soft = -sum(float(a * b.log()) for a, b in zip(p, q, strict=True))
            slow += (-float(torch.log_softmax(student[i], 0)[labels[i]]) + weight * soft) / 2
        assert float(objective(batch)) == pytest.approx(slow, rel=1e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize(("guided", "kernel"), [((3, 8, 6), (3, 1)), ((3, 6, 6), (1, 1)), ((5, 6, 6), None)])
def test_the_kernel_of_the_regressor_makes_the_sizes_equal(guided, kernel, rng):
    hint = _features.Point("hint", 0.5, (5, 6, 6))
    regressor = hints._regressor(_features.Point("guided", 0.5, guided), hint, nn.BatchNorm2d(5))
    assert getattr(regressor, "kernel_size", None) == kernel
    if kernel:
        assert regressor.to_empty(device="cpu")(torch.zeros(2, *guided)).shape == (2, 5, 6, 6)


def test_the_regressor_takes_the_hints_nonlinearity():
    tokens = _features.Point("hint", 0.5, (6, 5))
    regressor = hints._regressor(_features.Point("guided", 0.5, (6, 3)), tokens, nn.GELU())
    assert [type(part) for part in regressor] == [nn.Linear, nn.GELU]
    assert regressor(torch.zeros(2, 6, 3)).shape == (2, 6, 5)


@pytest.mark.parametrize(("student", "guided"), [("", ("conv1.", "conv2.")), (PRUNED, ("conv1.", "conv2."))])
def test_the_first_stage_trains_the_layers_up_to_the_guided_one_alone(student, guided, taught, shown):
    config = hints.Config(student=student, epochs=0, hint_epochs=3)
    start = hints.compress(taught.models["chain"], replace(config, hint_epochs=0), shown, fresh())
    after = hints.compress(taught.models["chain"], config, shown, fresh())
    moved = {n for n, p in after.named_parameters() if not torch.equal(p, start.get_parameter(n))}
    assert moved == {n for n, _ in after.named_parameters() if n.startswith(guided)}


def test_batch_norms_after_the_guided_layer_see_nothing_in_the_first_stage(taught, shown):
    teacher = taught.models["residual"]
    config = hints.Config(student=PRUNED, epochs=0, hint_epochs=2, layer="1")
    then, now = teacher.state_dict(), hints.compress(teacher, config, shown, fresh()).state_dict()
    seen = {n for n in then if n.endswith(("running_mean", "num_batches_tracked")) and not torch.equal(then[n], now[n])}
    assert seen == {f"1.norm{i}.{n}" for i in (1, 2) for n in ("running_mean", "num_batches_tracked")}


@pytest.mark.known_answer
def test_the_first_stage_finds_a_hint_that_can_be_matched(taught, shown):
    # Half of the hint's units are multiples of the other half: as many units of a student can give all of it back.
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Linear(4, 4), nn.Linear(4, 3)).requires_grad_(False)
    for p in teacher.parameters():
        p.uniform_(-0.5, 0.5, generator=fresh())
    teacher[1].weight[2:], teacher[1].bias[2:] = 2 * teacher[1].weight[:2], 0.5
    config = hints.Config(width=0.5, epochs=0, hint_epochs=200, layer="1", rate=0.1, batch=20)
    student = hints.compress(teacher, config, shown, fresh())
    assert student[1].weight.shape == (2, 64)
    hint, guided = (m[:2](taught.inputs) for m in (teacher, student))
    design = torch.cat([guided, torch.ones(len(guided), 1)], 1)
    left = hint - design @ torch.linalg.lstsq(design, hint).solution
    # Nearly all of the hint is a linear function of the guided layer; of random projections to two units, little is.
    assert float(left.var(0).sum() / hint.var(0).sum()) < 0.05


def test_after_the_first_stage_the_hint_is_closer_than_with_distill_logits(taught, shown):
    # The second stage may leave it again: the hint is where training starts.
    teacher, student = taught.models["chain"], "prune.magnitude(sparsity=0.8)"
    mine = hints.compress(teacher, hints.Config(student=student, epochs=0), shown, fresh())
    theirs = logits.compress(teacher, logits.Config(student=student, epochs=15), shown, fresh())
    hint, a, b = (_features.up_to(m, "relu2", taught.inputs) for m in (teacher, mine, theirs))
    assert 0 < float((hint - a).square().mean()) < 0.3 * float((hint - b).square().mean())


@pytest.mark.parametrize("kind", ["chain", "residual", "tokens", "perceptron"])
def test_every_kind_of_net_is_taught(kind, taught, shown, sound):
    teacher = taught.models[kind]
    before = copy.deepcopy(teacher.state_dict())
    student = hints.compress(teacher, hints.Config(student=PRUNED, epochs=20, batch=20), shown, fresh())
    sound(teacher, student, 0.55 if kind != "tokens" else 0.4)
    assert all(torch.equal(t, before[n]) for n, t in teacher.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "middle"), [("chain", "relu2"), ("residual", "1"), ("tokens", "blocks.0"), ("perceptron", "2")]
)
def test_the_hint_is_in_the_middle_at_the_end_of_a_block(kind, middle, taught):
    assert hints._hint(_features.points(taught.models[kind], taught.inputs), "").name == middle


def test_what_cannot_be_done_is_named(taught, shown, task, linear, rng):
    with pytest.raises(RecipeError, match="no hidden layer to take a hint from"):
        hints.compress(linear, hints.Config(student=PRUNED), task, rng)
    with pytest.raises(RecipeError, match="no hidden layer named 'relu9'; did you mean relu"):
        hints.compress(taught.models["chain"], hints.Config(layer="relu9"), shown, rng)
    hint, guided = _features.Point("hint", 0.5, (5, 6, 6)), _features.Point("guided", 0.5, (3, 4, 4))
    with pytest.raises(RecipeError, match=r"guided \(3, 4, 4\) of the student cannot be mapped to the hint"):
        hints._regressor(guided, hint, nn.ReLU())
