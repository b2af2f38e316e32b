import pytest
import torch

from whatelse.behaviours.leakage import _examples, _gradients


@pytest.mark.parametrize("name", ["whole", "pruned", "quantized", "factored"])
def test_the_quick_gradients_are_those_of_each_example_alone(zoo, toy, name):
    evidence = toy.evidence_of(zoo.models[name], zoo.task)
    shared = _gradients.shared(evidence)
    inputs, labels = zoo.task.test.inputs.double(), zoo.task.test.targets
    quick = _examples.gradients(shared, inputs, labels)
    assert quick.keys() == shared.tensors.keys()
    assert len(quick) == (15 if name == "factored" else 10)
    for i in range(3):
        alone = slow(shared, inputs[i : i + 1], labels[i : i + 1])
        for tensor, gradient in alone.items():
            withheld = (shared.tensors[tensor] == 0) & (name == "pruned" and gradient.dim() > 1)
            assert torch.allclose(quick[tensor][i], gradient.masked_fill(withheld, 0.0).flatten(), atol=1e-12)
    assert bool(shared.masks) is (name == "pruned")


def slow(shared, inputs, labels):
    tensors = {name: t.clone().requires_grad_() for name, t in shared.tensors.items()}
    loss = torch.nn.functional.cross_entropy(torch.func.functional_call(shared.model, tensors, (inputs,)), labels)
    return dict(zip(tensors, torch.autograd.grad(loss, list(tensors.values())), strict=True))


@pytest.mark.parametrize(
    "layers",
    [
        (torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 4, 3, groups=2), torch.nn.Flatten(), torch.nn.Linear(64, 3)),
        (torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(72, 3)),
        (torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten(), torch.nn.Linear(72, 3)),
    ],
    ids=["grouped", "norm", "in place"],
)
def test_any_layer_has_its_gradients(zoo, chain, toy, layers):
    evidence = toy.evidence_of(chain(*layers), zoo.task)
    shared = _gradients.shared(evidence)
    inputs, labels = zoo.task.test.inputs[:2].double(), zoo.task.test.targets[:2]
    quick = _examples.gradients(shared, inputs, labels)
    for i in range(2):
        alone = slow(shared, inputs[i : i + 1], labels[i : i + 1])
        assert quick.keys() == alone.keys()
        assert all(torch.allclose(quick[n][i], g.flatten()) for n, g in alone.items())


@pytest.mark.parametrize("name", ["whole", "quantized"])
def test_the_quick_gradients_are_differentiated_again_as_vmap_does(zoo, toy, name):
    shared = _gradients.shared(toy.evidence_of(zoo.models[name], zoo.task))
    labels, found = zoo.task.test.targets[:3], []
    for quick in (True, False):
        inputs = zoo.task.test.inputs[:3].double().requires_grad_()
        if quick:
            gradients = _examples.gradients(shared, inputs, labels)
        else:
            gradients = torch.func.vmap(shared.gradient())(inputs[:, None], labels[:, None])
        size = torch.stack([g.square().sum() for g in gradients.values()]).sum()
        found.append(torch.autograd.grad(size, inputs)[0])
    assert torch.allclose(*found, rtol=1e-9, atol=1e-15)
    assert found[0].abs().max() > 0


@pytest.mark.parametrize("batch", [2, 3, 6])
@pytest.mark.parametrize("kind", ["whole", "pruned", "quantized", "norm"])
def test_a_batch_shares_the_gradient_of_its_mean_loss(zoo, chain, toy, kind, batch):
    normed = (torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(72, 3))
    model = chain(*normed) if kind == "norm" else zoo.models[kind]
    shared = _gradients.shared(toy.evidence_of(model, zoo.task))
    inputs, labels = zoo.task.test.inputs[:6].double(), zoo.task.test.targets[:6]
    for told in (labels, torch.nn.functional.one_hot(labels, 3).double() / 2 + 1 / 6):
        quick = _examples.gradients(shared, inputs, told, batch=batch)
        for i in range(6 // batch):
            rows = slice(i * batch, (i + 1) * batch)
            for name, gradient in slow(shared, inputs[rows], told[rows]).items():
                gradient = gradient * shared.masks.get(name, 1.0)
                assert torch.allclose(quick[name][i], gradient.flatten(), atol=1e-12)


@pytest.mark.known_answer
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_network_that_takes_a_batch_apart_has_the_same_gradients(zoo, chain, toy, size):
    class InPieces(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return torch.cat([self.inner(part) for part in x.split(size)])

    task = zoo.task
    entries = task.test.inputs[0].numel()
    model = chain(torch.nn.Flatten(), torch.nn.Linear(entries, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    inputs, labels = task.test.inputs[:6].double(), task.test.targets[:6]
    whole, parted = (
        _examples.gradients(_gradients.shared(toy.evidence_of(m, task)), inputs, labels)
        for m in (model, InPieces(model))
    )
    assert [g.shape for g in parted.values()] == [g.shape for g in whole.values()]
    for one, other in zip(whole.values(), parted.values(), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


class Chooses(torch.nn.Module):
    """A network whose way depends on its data, which vmap cannot run, or that reads a weight without a call."""

    def __init__(self, way):
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, 5), torch.nn.Linear(5, 3)
        self.way = way

    def forward(self, x):
        return self.way(self, x)


WAYS = {
    "a choice": lambda m, x: m.last(m.first(x).tanh() if x.sum().item() > -1e9 else m.first(x)),
    "no call": lambda m, x: torch.nn.functional.linear(m.first(x).tanh(), m.last.weight, m.last.bias),
    "a script": None,
}


@pytest.mark.known_answer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", WAYS)
def test_gradients_of_what_vmap_cannot_run_are_taken_in_turn(way, toy, rng):
    model = Chooses(WAYS[way])
    if way == "a script":
        plain = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
        model = torch.jit.script(plain)
    x, y = torch.rand(6, 4, generator=rng), torch.arange(6) % 3
    evidence = toy.evidence_of(model, toy.task_of(x, y, classes=3))
    found = _examples.gradients(_gradients.shared(evidence), x.double(), y)
    names = ["0.weight", "0.bias", "2.weight", "2.bias"] if way == "a script" else None
    parts = dict(model.named_parameters())
    names = names or ["first.weight", "first.bias", "last.weight", "last.bias"]
    first, bias, last, end = (parts[n].detach().double().requires_grad_() for n in names)
    for i in range(6):
        loss = torch.nn.functional.cross_entropy(
            (x[i : i + 1].double() @ first.T + bias).tanh() @ last.T + end, y[i : i + 1]
        )
        for name, want in zip(names, torch.autograd.grad(loss, (first, bias, last, end)), strict=True):
            assert torch.allclose(found[name][i], want.flatten(), atol=1e-10), name


@pytest.mark.known_answer
@pytest.mark.parametrize("masked", [False, True])
def test_an_outer_product_says_the_same_as_its_entries(rng, masked):
    rows, columns, other = (torch.randn(5, n, generator=rng, dtype=torch.float64) for n in (4, 7, 28))
    mask = (torch.rand(4, 7, generator=rng) < 0.5).double() if masked else None
    other = other * mask.flatten() if masked else other
    outer = _examples.Outer(rows, columns, mask)
    entries = torch.einsum("bi,bj->bij", rows, columns) * (mask if masked else 1.0)
    assert torch.allclose(outer.dense(), entries.flatten(1))
    assert torch.allclose(outer.dot(other), (entries.flatten(1) * other).sum(1))
    assert torch.allclose(outer.square(), entries.square().sum((1, 2)))


@pytest.mark.known_answer
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), ((2, 3), (1, 0), 1), (3, 2, (1, 2))])
def test_a_convolution_is_differentiated_twice_as_torch_does(rng, stride, padding, dilation):
    part = torch.nn.Conv2d(2, 3, (3, 2), stride, padding, dilation).double().requires_grad_(requires_grad=False)
    inputs, way = (torch.randn(2, 2, n, 11, generator=rng, dtype=torch.float64) for n in (10, 10))
    found = []
    for ask in (part, lambda x: _examples._Convolution.apply(x, part)):
        x = inputs.clone().requires_grad_()
        answer = ask(x)
        (slope,) = torch.autograd.grad(answer.square().sum(), x, create_graph=True)
        found.append((answer, slope, *torch.autograd.grad((slope * way).sum(), x)))
    assert all(torch.allclose(one, two) for one, two in zip(*found, strict=True))
    with _examples._twice([part]):
        assert torch.allclose(part(inputs), found[0][0])
        assert part(inputs.requires_grad_()).grad_fn.name() == "_ConvolutionBackward"
    assert "_conv_forward" not in vars(part)
