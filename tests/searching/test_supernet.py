import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.searching import small
from whatelse import recipe
from whatelse.errors import RecipeError
from whatelse.modules.skip import skippable
from whatelse.nets import resnet
from whatelse.searching.space import DEPTH, WIDTH, Axis, Space
from whatelse.searching.supernet import Supernet
from whatelse.testing.samples import split_of, task_of


def supernet(given):
    return Supernet(given.space, given.model, given.task)


@pytest.mark.known_answer
def test_before_training_a_member_is_what_the_methods_make_of_the_baseline(rng):
    given = small.problem()
    net = supernet(given)
    x = given.task.train.inputs
    for chosen in itertools.product((0, 1), (0, 2, 3), (0, 2), (0, 1)):
        if chosen[0] and chosen[2]:
            continue  # a recipe leaves out the widths of a layer that goes; see below
        inherited = net.inherited(chosen, rng)
        assert torch.allclose(inherited(x), small.made(given, chosen)(x), atol=1e-6), chosen
    assert torch.allclose(net.inherited((1, 2, 2, 1), rng)(x), small.made(given, (1, 2, 2, 1))(x), atol=1e-6)


@pytest.mark.slow
@pytest.mark.known_answer
def test_members_of_a_residual_net_are_what_the_methods_make_of_it(rng):
    model = resnet.build(resnet.Config(depth=14, width=4), (2, 8, 8), 3, rng)
    model.eval().requires_grad_(requires_grad=False)
    task = task_of(split_of(torch.randn(20, 2, 8, 8, generator=rng), torch.arange(20) % 3), classes=3)
    assert "layer1.1" in skippable(model, task.calibration.inputs)
    axes = (Axis(DEPTH, "layer1.1", ("", "drop")), *(Axis(WIDTH, n, ("", "0.5")) for n in ("conv1", "layer1.1.conv1")))
    net = Supernet(Space(axes), model, task)
    for chosen in itertools.product((0, 1), repeat=3):
        member = net.member(chosen)
        member.model.load_state_dict(net._weights(member), strict=False)
        theirs = model
        for step in net.space.recipe(chosen):
            theirs = recipe.apply(step, theirs, task, rng)
        x = task.train.inputs
        assert torch.allclose(member.model.eval()(x), theirs(x), atol=1e-5), chosen


@pytest.mark.known_answer
def test_a_step_goes_by_the_mean_gradient_of_the_members_that_share_the_weights():
    given = small.problem()
    net = supernet(given)
    members = [(0, 2, 0, 0), (0, 3, 1, 0)]
    net.net.requires_grad_(requires_grad=True)
    x, y = given.task.train.inputs, given.task.train.observed
    losses = [functional.cross_entropy(net._answers(net.member(m), x), y) for m in members]
    torch.stack(losses).mean().backward()
    # By hand: each member is a network of its own, whose gradients are put back where its weights came from.
    total = torch.zeros(8, 8)
    for chosen in members:
        own = small.made(given, chosen).requires_grad_(requires_grad=True)
        functional.cross_entropy(own(x), y).backward()
        rows = [int((given.model[2].bias == b).nonzero()) for b in own[2].bias]
        columns = [int((given.model[0].bias == b).nonzero()) for b in own[0].bias]
        total[torch.tensor(rows)[:, None], torch.tensor(columns)] += own[2].weight.grad / 2
    assert torch.allclose(net.net[2].weight.grad, total, atol=1e-6)


def test_training_moves_shared_weights_repeats_and_leaves_the_baseline_alone(rng):
    given = small.problem(then="train.finetune(epochs=1)")
    before = [p.clone() for p in given.model.parameters()]
    nets = [supernet(given) for _ in range(2)]
    members = [(0, 1, 1, 0), (0, 2, 2, 0), (1, 2, 0, 0)]
    for net in nets:
        net.train(members, 2, 1e-2, 20, 2, torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(*(net.net.parameters() for net in nets), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(given.model.parameters(), before, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(nets[0].net.parameters(), before, strict=True))
    alone = nets[0].inherited((0, 0, 0, 0), rng)
    assert torch.equal(alone[0].weight, nets[0].net[0].weight)


def test_batch_norms_of_a_member_are_counted_anew(rng):
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).eval()
    model.requires_grad_(requires_grad=False)
    inputs = torch.randn(40, 4, generator=rng) + 3
    task = task_of(split_of(inputs, torch.arange(40) % 3), classes=3)
    net = Supernet(Space((Axis(WIDTH, "0", ("", "0.5")),)), model, task)
    half = net.inherited((1,), rng)
    assert torch.allclose(half[1].running_mean, half[0](inputs).mean(0), atol=1e-5)
    assert torch.allclose(half[1].running_var, half[0](inputs).var(0), atol=1e-4)
    assert not half[1].training


def test_a_group_that_another_layer_takes_over_is_not_cut_in_silence(rng):
    # Without layer 2 its units are gone; a width for them is left out as in the recipe, one of no group is refused.
    axes = (Axis(DEPTH, "2", ("", "drop")), Axis(WIDTH, "0", small.SHARES), Axis(WIDTH, "9", small.SHARES))
    given = small.problem(axes)
    net = supernet(given)
    assert net.known() == [True, True, False]
    with pytest.raises(RecipeError, match="there is no group '9'"):
        net.member((0, 0, 1))
    with pytest.raises(RecipeError, match="without 2 there is no group '9'"):
        net.member((1, 0, 1))
