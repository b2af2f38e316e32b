import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.prune import magnitude, sparsegpt
from whatelse.modules import calibration


@pytest.fixture
def wide(toy, rng):
    """A linear layer, and a task whose inputs are strongly correlated."""
    layer = torch.nn.Linear(24, 6)
    with torch.no_grad():
        layer.weight.uniform_(-1, 1, generator=rng)
    mixing = torch.randn(8, 24, generator=rng) + 0.3
    inputs = torch.randn(200, 8, generator=rng) @ mixing + 0.1 * torch.randn(200, 24, generator=rng)
    return layer, toy.task_of(inputs, torch.arange(200) % 6, classes=6)


def hessian(inputs, damping=0.01):
    gram = (inputs.double().T @ inputs.double()) / len(inputs)
    return gram + damping * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)


def chosen(scores, quotas):
    """Rows and columns of the lowest scores: of all, or of every row, as `quotas` has one number or one a row."""
    places = [[(r, k) for r in range(len(scores)) for k in range(scores.shape[1])]]
    if len(quotas) > 1:
        places = [[(r, k) for k in range(scores.shape[1])] for r in range(len(scores))]
    for these, quota in zip(places, quotas, strict=True):
        yield from sorted(these, key=lambda p: float(scores[p]))[:quota]


def slow(weight, damped, sparsity, block, fours):
    """Optimal brain surgeon over the columns still to come, each time with an inverse of its own."""
    weight = weight.detach().double().clone()
    rows, columns = weight.shape
    inverse = [torch.linalg.inv(damped[j:, j:]) for j in range(columns)]
    costs = torch.stack([m[0, 0] for m in inverse])
    gone, lost = torch.zeros(rows, columns, dtype=torch.bool), 0
    for j in range(columns):
        stop = min(j + (4 if fours else block), columns)
        if j % (4 if fours else block) == 0:
            quotas = [2] * rows if fours else [round(sparsity * rows * stop) - lost]
            lost += sum(quotas)
            for r, k in chosen(weight[:, j:stop] ** 2 / costs[j:stop], quotas):
                gone[r, j + k] = True
        for r in gone[:, j].nonzero().flatten().tolist():
            weight[r, j:] -= weight[r, j] / inverse[j][0, 0] * inverse[j][0]
            weight[r, j] = 0.0
    return weight.float()


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("sparsity", "block", "pattern"),
    [(0.5, 128, "any"), (0.7, 8, "any"), (0.3, 5, "any"), (0.5, 1, "any"), (0.5, 128, "2:4"), (0.5, 6, "2:4")],
)
def test_it_agrees_with_a_sweep_of_explicit_inverses(sparsity, block, pattern, wide, rng):
    layer, task = wide
    config = sparsegpt.Config(sparsity=sparsity, block=block, pattern=pattern)
    small = sparsegpt.compress(layer, config, task, rng)
    found = slow(layer.weight, hessian(task.calibration.inputs), sparsity, block, pattern == "2:4")
    assert torch.equal(small.weight == 0, found == 0)
    assert torch.allclose(small.weight, found, atol=1e-5)
    assert torch.equal(small.bias, layer.bias)
    assert int((small.weight == 0).sum()) == round(sparsity * 144)
    if pattern == "2:4":
        assert ((small.weight == 0).view(-1, 4).sum(1) == 2).all()


@pytest.mark.known_answer
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.75])
def test_the_outputs_change_less_than_under_magnitude_pruning(sparsity, wide, rng):
    layer, task = wide
    gram = calibration.grams(layer, {"": layer}, task.calibration.inputs)[""][0]
    errors = []
    for made in (
        sparsegpt.compress(layer, sparsegpt.Config(sparsity=sparsity), task, rng),
        magnitude.compress(layer, magnitude.Config(sparsity=sparsity), task, rng),
    ):
        change = (made.weight - layer.weight).detach().double()
        errors.append(float((change @ gram @ change.T).trace()))
    assert errors[0] < errors[1]


def network(rng):
    parts = [torch.nn.Conv2d(4, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()]
    parts += [torch.nn.Conv2d(8, 8, 3, groups=2), torch.nn.Conv2d(8, 8, 3, groups=8, padding=1)]
    model = torch.nn.Sequential(*parts, torch.nn.Flatten(), torch.nn.Linear(32, 3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1, 1, generator=rng)
    return model


@pytest.fixture
def images(toy):
    inputs = torch.rand(40, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    return toy.task_of(inputs, torch.arange(40) % 3, classes=3)


@pytest.mark.known_answer
def test_each_group_of_a_convolution_is_swept_with_its_own_inputs(images, rng):
    model = network(rng)
    small = sparsegpt.compress(model, sparsegpt.Config(sparsity=0.5, block=1000), images, rng)
    with torch.no_grad():
        x = small[:3](images.calibration.inputs)
    for group in range(2):
        patches = torch.nn.functional.unfold(x[:, 4 * group : 4 * group + 4], 3).mT.reshape(-1, 36)
        order = torch.arange(36).view(4, 9).T.flatten()  # channels first, then positions
        rows = slice(4 * group, 4 * group + 4)
        weight = model[3].weight[rows].flatten(1)[:, order]
        found = slow(weight, hessian(patches[:, order]), 0.5, 1000, fours=False)
        assert torch.allclose(small[3].weight[rows].flatten(1)[:, order], found, atol=1e-4)
    assert torch.equal(small[1].weight, model[1].weight)
    for layer in (small[0], small[3], small[4], small[6]):
        assert int((layer.weight == 0).sum()) == round(0.5 * layer.weight.numel())


def test_two_of_four_channels_go_at_each_position(images, rng):
    model = network(rng)
    small = sparsegpt.compress(model, sparsegpt.Config(pattern="2:4"), images, rng)
    for i in (0, 3, 6):
        assert ((small[i].weight == 0).movedim(1, -1).reshape(-1, 4).sum(1) == 2).all()
    assert torch.equal(small[4].weight, model[4].weight), "depthwise: one channel does not come in fours"


@pytest.mark.parametrize("block", [3, 128])
def test_zeros_that_were_there_stay_and_count(block, images, rng):
    once = magnitude.compress(network(rng), magnitude.Config(sparsity=0.4, scope="layer"), images, rng)
    twice = sparsegpt.compress(once, sparsegpt.Config(sparsity=0.6, block=block), images, rng)
    for i in (0, 3, 4, 6):
        before, after = once[i].weight == 0, twice[i].weight == 0
        assert bool(after[before].all())
        assert int(after.sum()) == round(0.6 * after.numel())


def test_inputs_that_are_always_zero_do_not_break_it(toy, rng):
    layer = torch.nn.Linear(4, 2)
    for inputs in (torch.zeros(6, 4), torch.eye(4)[[0, 1, 0, 1, 0, 1]]):
        small = sparsegpt.compress(layer, sparsegpt.Config(), toy.task_of(inputs, torch.arange(6) % 2), rng)
        assert bool(small.weight.isfinite().all())
        assert int((small.weight == 0).sum()) == 4


def test_nothing_to_prune_is_refused(task, rng):
    with pytest.raises(RecipeError, match="no convolution or linear"):
        sparsegpt.compress(torch.nn.ReLU(), sparsegpt.Config(), task, rng)


def test_two_of_four_with_another_sparsity_is_refused(images, rng):
    with pytest.raises(RecipeError, match="leave it at 0.5"):
        sparsegpt.compress(network(rng), sparsegpt.Config(sparsity=0.6, pattern="2:4"), images, rng)
