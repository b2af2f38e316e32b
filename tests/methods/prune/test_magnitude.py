import copy

import pytest
import torch
from torch.nn.utils import prune

from whatelse.errors import RecipeError
from whatelse.methods.prune import _mask, magnitude
from whatelse.training import loop


def layered():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1, -3.0], [2.0, 0.2]]))
        model[1].weight.copy_(torch.tensor([[5.0, -0.3], [0.4, -6.0]]))
    return model


def convolutional(rng):
    """A plain, a depthwise and a grouped convolution, a norm and a linear layer."""
    parts = [torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 8, 3, groups=8)]
    parts += [torch.nn.Conv2d(8, 4, 1, groups=2), torch.nn.Flatten(), torch.nn.Linear(64, 3)]
    model = torch.nn.Sequential(*parts).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1, 1, generator=rng)
    return model


def weights(model):
    return [part.weight for part in model.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]


@pytest.mark.known_answer
def test_smallest_weights_go_first_over_all_layers(task, rng):
    small = magnitude.compress(layered(), magnitude.Config(sparsity=0.5), task, rng)
    assert small[0].weight.tolist() == [[0.0, -3.0], [2.0, 0.0]]
    assert small[1].weight.tolist() == [[5.0, 0.0], [0.0, -6.0]]


def test_biases_stay(task, rng):
    model = layered()
    small = magnitude.compress(model, magnitude.Config(sparsity=1.0), task, rng)
    assert not any(bool(layer.weight.any()) for layer in small)
    assert all(torch.equal(a.bias, b.bias) for a, b in zip(small, model, strict=True))


def test_nothing_to_prune_is_refused(task, rng):
    with pytest.raises(RecipeError, match="prune before quantize"):
        magnitude.compress(torch.nn.ReLU(), magnitude.Config(), task, rng)


@pytest.mark.known_answer
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.77, 1.0])
def test_it_agrees_with_torchs_own_pruning(scope, sparsity, task, rng):
    model, oracle = convolutional(rng), convolutional(torch.Generator().manual_seed(0))
    small = magnitude.compress(model, magnitude.Config(sparsity=sparsity, scope=scope), task, rng)
    parts = [(m, "weight") for m in oracle.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    if scope == "global":
        prune.global_unstructured(parts, prune.L1Unstructured, amount=sparsity)
    else:
        for part, name in parts:
            prune.l1_unstructured(part, name, sparsity)
    assert all(torch.equal(a, b) for a, b in zip(weights(small), weights(oracle), strict=True))
    assert torch.equal(small[1].weight, oracle[1].weight), "a norm was pruned"


def test_zeros_that_were_there_count(task, rng):
    model = layered()
    with torch.no_grad():
        model[1].weight[1, 1] = 0.0
    small = magnitude.compress(model, magnitude.Config(sparsity=0.5), task, rng)
    assert sum(int((w == 0).sum()) for w in weights(small)) == 4
    assert small[1].weight.tolist() == [[5.0, 0.0], [pytest.approx(0.4), 0.0]]


@pytest.mark.known_answer
def test_two_of_every_four_inputs_go_and_the_largest_stay(task, rng):
    model = convolutional(rng)
    small = magnitude.compress(model, magnitude.Config(pattern="2:4"), task, rng)
    # A grouped convolution sees its group's channels: the first three do not come in fours, the third does.
    assert [torch.equal(a, b) for a, b in zip(weights(small), weights(model), strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    for before, after in zip(weights(model)[2:], weights(small)[2:], strict=True):
        rows = before.detach().flatten(2).mT if before.dim() == 4 else before.detach()
        slow = torch.zeros_like(rows).reshape(-1, 4)
        for i, four in enumerate(rows.reshape(-1, 4)):
            for j in sorted(range(4), key=lambda j, four=four: -abs(float(four[j])))[:2]:
                slow[i, j] = four[j]
        slow = slow.view_as(rows)
        assert torch.equal(after, (slow.mT if before.dim() == 4 else slow).reshape(after.shape))


@pytest.mark.known_answer
def test_the_gradual_schedule_is_cubic_and_ends_each_round_with_training(task):
    config = magnitude.Config(sparsity=0.75, schedule="gradual", rounds=3, epochs=2)
    model = layered()
    small = magnitude.compress(model, config, task, torch.Generator().manual_seed(5))
    slow, rng = copy.deepcopy(model), torch.Generator().manual_seed(5)
    # 0.75 - 0.75 * (1 - r / 3)**3 of eight weights: 4.2, 5.8, 6
    for gone in (4, 6, 6):
        size = torch.cat([w.detach().flatten().abs() for w in weights(slow)])
        edge = size.sort().values[gone - 1]
        with torch.no_grad():
            for weight in weights(slow):
                weight[weight.abs() <= edge] = 0.0
        schedule = loop.Schedule(2, 8e-3, 50)
        loop.fit(slow, task.train.inputs, loop.hard_labels(task.train.observed), schedule, rng)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), slow.parameters(), strict=True))
    assert sum(int((w == 0).sum()) for w in weights(small)) == 6
    assert _mask.cubic(0.75, 3) == pytest.approx([0.75 * 19 / 27, 0.75 * 26 / 27, 0.75])


def test_tied_weights_and_attention_are_left_alone(task, rng):
    model = torch.nn.ModuleDict(
        {"one": torch.nn.Linear(4, 4), "two": torch.nn.Linear(4, 4), "free": torch.nn.Linear(4, 4)}
    )
    model["two"].weight = model["one"].weight
    model["attention"] = torch.nn.MultiheadAttention(4, 2)
    small = magnitude.compress(model, magnitude.Config(), task, rng)
    changed = {n for n, p in small.named_parameters() if not torch.equal(p, model.get_parameter(n))}
    assert changed == {"free.weight"}
    assert small["one"].weight is small["two"].weight


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"pattern": "2:4", "sparsity": 0.7}, "leave it at 0.5"),
        ({"pattern": "2:4", "schedule": "gradual"}, "no gradual schedule"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, match, task, rng):
    with pytest.raises(RecipeError, match=match):
        magnitude.compress(convolutional(rng), magnitude.Config(**settings), task, rng)


def test_two_of_four_needs_inputs_in_fours(task, rng):
    with pytest.raises(RecipeError, match="come in fours"):
        magnitude.compress(layered(), magnitude.Config(pattern="2:4"), task, rng)
