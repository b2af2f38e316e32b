import copy

import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.prune import lottery
from whatelse.training.initialize import initialize
from whatelse.training.loop import Schedule, fit, hard_labels


@pytest.fixture
def blobs(toy):
    rng = torch.Generator().manual_seed(3)
    targets = torch.arange(60) % 3
    return toy.task_of(torch.randn(60, 4, generator=rng) + targets[:, None], targets, classes=3)


@pytest.fixture
def net(rng):
    model = torch.nn.Sequential(torch.nn.Linear(4, 10), torch.nn.ReLU(), torch.nn.Linear(10, 10))
    model.extend([torch.nn.ReLU(), torch.nn.Linear(10, 3)])
    initialize(model, rng)
    return model


def seeded(seed=7):
    return torch.Generator().manual_seed(seed)


def masks(model):
    return [m.weight != 0 for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]


def slow_prune(weight, gone):
    """Keep what is above the ``gone``-th smallest."""
    return weight.abs() > weight.abs().flatten().sort().values[gone - 1]


@pytest.mark.known_answer
def test_it_is_the_loop_of_the_paper(net, blobs):
    config = lottery.Config(sparsity=0.75, rounds=2, epochs=3)
    found = lottery.compress(net, config, blobs, seeded())
    # A rate of a half a round for 40 and 100 weights, a quarter for the 30 of the output layer.
    rng, slow = seeded(), copy.deepcopy(net)
    initialize(slow, rng)
    start = copy.deepcopy(slow.state_dict())

    def train():
        fit(slow, blobs.train.inputs, hard_labels(blobs.train.observed), Schedule(3, 8e-3, 50), rng)

    for gone in ((20, 50, round(30 * 0.25)), (30, 75, round(30 * (1 - 0.75**2)))):
        train()
        kept = [slow_prune(slow[i].weight.detach(), n) for i, n in zip((0, 2, 4), gone, strict=True)]
        slow.load_state_dict(start)
        with torch.no_grad():
            for i, mask in zip((0, 2, 4), kept, strict=True):
                slow[i].weight.mul_(mask)
    train()
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), slow.parameters(), strict=True))
    assert [int((~m).sum()) for m in masks(found)] == [30, 75, 13]


@pytest.mark.known_answer
def test_untrained_survivors_are_the_initial_weights(net, blobs):
    found = lottery.compress(net, lottery.Config(sparsity=0.5, epochs=0, output_rate=1.0), blobs, seeded())
    initial = copy.deepcopy(net)
    initialize(initial, seeded())
    for i in (0, 2, 4):
        kept = slow_prune(initial[i].weight, round(0.5 * initial[i].weight.numel()))
        assert torch.equal(found[i].weight, initial[i].weight * kept)
        assert torch.equal(found[i].bias, initial[i].bias)


@pytest.mark.known_answer
@pytest.mark.parametrize("rewind", [0, 3, 4])
def test_survivors_go_back_to_the_weights_after_that_many_steps(rewind, net, blobs, monkeypatch):
    seen = []
    monkeypatch.setattr(lottery, "fit", lambda model, *rest: seen.append(copy.deepcopy(model)))
    # Two epochs of two steps: batches of 30.
    config = lottery.Config(sparsity=0.5, rounds=1, rewind=rewind, epochs=2, batch=30)
    lottery.compress(net, config, blobs, seeded())
    slow, rng, states = copy.deepcopy(net), seeded(), []
    initialize(slow, rng)
    hook = slow.register_forward_pre_hook(lambda m, _: states.append(copy.deepcopy(m.state_dict())))
    fit(slow, blobs.train.inputs, hard_labels(blobs.train.observed), Schedule(2, 8e-3, 30), rng)
    hook.remove()
    back = [*states, slow.state_dict()][rewind]
    (ticket,) = seen
    for i, mask in zip((0, 2, 4), masks(ticket), strict=True):
        assert torch.equal(mask, slow_prune(slow[i].weight, int((~mask).sum())))
        assert torch.equal(ticket[i].weight, back[f"{i}.weight"] * mask)
        assert torch.equal(ticket[i].bias, back[f"{i}.bias"])


def test_controls_share_the_mask_or_its_sizes(net, blobs):
    settings = {"sparsity": 0.7, "epochs": 2, "rounds": 2}
    made = {
        control: lottery.compress(net, lottery.Config(control=control, **settings), blobs, seeded())
        for control in ("ticket", "reinitialize", "random")
    }
    mine, anew, random = (masks(made[c]) for c in ("ticket", "reinitialize", "random"))
    assert all(torch.equal(a, b) for a, b in zip(mine, anew, strict=True))
    assert [int(m.sum()) for m in mine] == [int(m.sum()) for m in random]
    assert not any(torch.equal(a, b) for a, b in zip(mine, random, strict=True))
    assert not torch.equal(made["ticket"][0].weight, made["reinitialize"][0].weight)


def test_a_random_ticket_has_the_initial_weights(net, blobs):
    config = lottery.Config(sparsity=0.7, epochs=0, control="random")
    found = lottery.compress(net, config, blobs, seeded())
    initial = copy.deepcopy(net)
    initialize(initial, seeded())
    for i, mask in zip((0, 2, 4), masks(found), strict=True):
        assert torch.equal(found[i].weight, initial[i].weight * mask)


@pytest.mark.parametrize("control", ["ticket", "reinitialize", "random"])
def test_zeros_that_were_there_stay_and_count(control, net, blobs):
    with torch.no_grad():
        net[2].weight[:3] = 0.0
    found = lottery.compress(net, lottery.Config(sparsity=0.5, epochs=1, control=control), blobs, seeded())
    assert not found[2].weight[:3].any()
    assert int((found[2].weight == 0).sum()) == 50
    assert bool(found[2].weight[3:].any())


def test_norms_go_back_and_grouped_convolutions_are_pruned(toy, rng):
    parts = [torch.nn.Conv2d(2, 4, 3, groups=2), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 3)]
    model = torch.nn.Sequential(*parts).eval()
    task = toy.task_of(torch.rand(9, 2, 4, 4, generator=rng), torch.arange(9) % 3, classes=3)
    found = lottery.compress(model, lottery.Config(sparsity=0.5, epochs=1, rounds=2), task, seeded())
    assert int((found[0].weight == 0).sum()) == 18
    assert int(found[1].num_batches_tracked) == 1, "the norm's statistics are those of the last run alone"


@pytest.mark.parametrize(
    ("model", "settings", "match"),
    [
        (torch.nn.ReLU(), {}, "no convolution or linear"),
        (torch.nn.Linear(4, 3), {"rewind": 5, "epochs": 2}, "it has 4 steps"),
    ],
)
def test_what_cannot_be_done_is_refused(model, settings, match, blobs, rng):
    with pytest.raises(RecipeError, match=match):
        lottery.compress(model, lottery.Config(**settings), blobs, rng)


@pytest.mark.slow
def test_tickets_beat_random_masks_on_digits():
    from whatelse.datasets import digits

    task = digits.load(digits.Config())
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    means = {}
    for control in ("ticket", "reinitialize", "random"):
        config = lottery.Config(sparsity=0.95, rounds=4, epochs=12, control=control)
        right = 0
        for seed in range(3):
            made = lottery.compress(model, config, task, seeded(seed))
            right += int((made(task.test.inputs).argmax(1) == task.test.targets).sum())
        means[control] = right / 3 / len(task.test)
    assert means["ticket"] > means["random"] + 0.05
    assert means["ticket"] > means["reinitialize"]
