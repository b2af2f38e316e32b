import copy
import math

import pytest
import torch
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.methods.prune import obd
from whatelse.nets import cnn
from whatelse.training import loop
from whatelse.training.initialize import initialize


@pytest.fixture
def blobs(toy):
    rng = torch.Generator().manual_seed(3)
    targets = torch.arange(24) % 3
    return toy.task_of(torch.randn(24, 4, generator=rng) + targets[:, None], targets, classes=3)


@pytest.fixture
def small_net(rng):
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1, 1, generator=rng)
    return model


def curvature(model, inputs, rng, kind="gauss-newton"):
    return obd._curvature(model, dict(obd.prunable(model, "")), inputs, kind, rng)


def slow_gauss_newton(model, inputs, name):
    """The diagonal of mean J^T (diag(p) - p p^T) J, with J by autograd, one example at a time."""
    weight = model.get_parameter(name).requires_grad_()
    total = torch.zeros(weight.numel())
    for x in inputs:
        logits = model(x[None])[0]
        rows = [torch.autograd.grad(z, weight, retain_graph=True)[0].flatten() for z in logits]
        jacobian, p = torch.stack(rows), logits.detach().softmax(0)
        total += (jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian).diagonal()
    return (total / len(inputs)).view_as(weight)


@pytest.mark.known_answer
def test_the_curvature_of_the_last_layer_is_the_hessian_of_autograd(small_net, blobs, rng):
    # The logits are linear in the last layer's weights, so that Gauss-Newton and Hessian agree there exactly.
    inputs, labels = blobs.train.inputs, blobs.train.observed

    def loss(weight):
        return functional.cross_entropy(small_net[:2](inputs) @ weight.T + small_net[2].bias, labels)

    hessian = torch.autograd.functional.hessian(loss, small_net[2].weight.detach())
    exact = torch.einsum("ijij->ij", hessian)
    assert torch.allclose(curvature(small_net, inputs, rng)["2"], exact, rtol=1e-4, atol=1e-6)


@pytest.mark.known_answer
def test_the_curvature_of_every_layer_is_gauss_newton(small_net, blobs, rng, monkeypatch):
    monkeypatch.setattr(obd, "_ROOM", 35 * 7)  # seven examples at a time
    found = curvature(small_net, blobs.train.inputs, rng)
    for name in ("0", "2"):
        slow = slow_gauss_newton(copy.deepcopy(small_net), blobs.train.inputs, f"{name}.weight")
        assert torch.allclose(found[name], slow, rtol=1e-4, atol=1e-6)


@pytest.mark.known_answer
def test_convolutions_of_any_kind_have_a_curvature(rng):
    parts = [torch.nn.Conv2d(2, 4, 3, groups=2), torch.nn.BatchNorm2d(4), torch.nn.ReLU(inplace=True)]
    model = torch.nn.Sequential(*parts, torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
    inputs = torch.rand(5, 2, 4, 4, generator=rng)
    found = curvature(model, inputs, rng)
    for name in ("0", "4"):
        slow = slow_gauss_newton(copy.deepcopy(model), inputs, f"{name}.weight")
        assert torch.allclose(found[name], slow, rtol=1e-4, atol=1e-7)


@pytest.mark.known_answer
def test_the_fisher_of_drawn_labels_comes_to_gauss_newton(small_net, blobs, rng):
    inputs = blobs.train.inputs.repeat(500, 1)
    fisher, exact = (curvature(small_net, inputs, rng, kind) for kind in ("fisher", "gauss-newton"))
    # 12,000 draws: the relative standard error is a few per cent.
    assert all(torch.allclose(fisher[n], exact[n], rtol=0.1, atol=1e-3) for n in exact)
    assert not torch.equal(fisher["0"], exact["0"])


@pytest.mark.known_answer
def test_the_saliency_is_the_growth_of_the_loss_at_a_minimum(toy, rng):
    # Inputs are unit vectors, so that weights of different inputs do not meet; labels occur as often as the model says,
    # so that the gradient is zero. Row 0 of the weights alone, as the softmax couples rows.
    model = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[math.log(110 / 90), math.log(105 / 95)], [0, 0]]))
    inputs = torch.eye(2).repeat_interleave(200, 0)
    labels = torch.tensor([0] * 110 + [1] * 90 + [0] * 105 + [1] * 95)
    curved = curvature(model, inputs, rng)[""]
    weight = model.weight.detach()
    # The third-order term is w * (1 - 2 p) / 3 of the second: below 0.7 %.
    base = functional.cross_entropy(inputs @ weight.T, labels)
    for j in range(2):
        cut = weight.clone()
        cut[0, j] = 0.0
        growth = float(functional.cross_entropy(inputs @ cut.T, labels) - base)
        assert growth == pytest.approx(float(curved[0, j] * weight[0, j] ** 2 / 2), rel=0.01)
    # The smaller of the two goes, after the two that are zero already.
    small = obd.compress(model, obd.Config(sparsity=0.75), toy.task_of(inputs, labels), rng)
    assert small.weight.tolist() == [[pytest.approx(float(weight[0, 0])), 0.0], [0.0, 0.0]]


@pytest.mark.known_answer
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_least_salient_weights_go(scope, small_net, blobs, rng):
    small = obd.compress(small_net, obd.Config(sparsity=0.6, scope=scope), blobs, rng)
    names = ["0.weight", "2.weight"]
    slow = {n: slow_gauss_newton(copy.deepcopy(small_net), blobs.train.inputs, n) for n in names}
    scores = {n: (slow[n] * small_net.get_parameter(n).detach() ** 2 / 2).flatten() for n in names}
    if scope == "global":
        edge = dict.fromkeys(names, torch.cat(list(scores.values())).sort().values[21])  # 0.6 * 35 = 21
    else:
        edge = {n: s.sort().values[round(0.6 * len(s))] for n, s in scores.items()}
    for n in names:
        before, after = small_net.get_parameter(n), small.get_parameter(n)
        assert torch.equal(after, before.where((scores[n] >= edge[n] * (1 - 1e-5)).view_as(before), 0.0))
    assert torch.equal(small[0].bias, small_net[0].bias)


def test_recorded_labels_do_not_matter_without_retraining(small_net, blobs, toy, rng):
    other = toy.task_of(blobs.train.inputs, (blobs.train.targets + 1) % 3, classes=3)
    config = obd.Config(curvature="fisher")
    one, two = (obd.compress(small_net, config, t, torch.Generator().manual_seed(1)) for t in (blobs, other))
    assert torch.equal(one[0].weight, two[0].weight)
    three = obd.compress(small_net, config, blobs, torch.Generator().manual_seed(2))
    assert not torch.equal(one[0].weight, three[0].weight), "labels are drawn"


@pytest.mark.known_answer
def test_rounds_delete_and_retrain_in_turn(small_net, blobs):
    config = obd.Config(sparsity=0.75, rounds=2, epochs=2)
    small = obd.compress(small_net, config, blobs, torch.Generator().manual_seed(5))
    # Half of 35 goes, then half of what is left: 18, then 26.
    slow, rng = copy.deepcopy(small_net), torch.Generator().manual_seed(5)
    for share in (18 / 35, 26 / 35):
        slow = obd.compress(slow, obd.Config(sparsity=share), blobs, rng)
        loss = loop.hard_labels(blobs.train.observed)
        loop.fit(slow, blobs.train.inputs, loss, loop.Schedule(2, 8e-3, 50), rng)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), slow.parameters(), strict=True))
    assert sum(int((small[i].weight == 0).sum()) for i in (0, 2)) == 26


def test_its_sparsity_is_exact_on_convolutions(toy, rng):
    inputs = torch.rand(6, 1, 8, 8, generator=rng)
    net = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
    small = obd.compress(net, obd.Config(sparsity=0.9), toy.task_of(inputs, torch.arange(6) % 3, classes=3), rng)
    kept = [m.weight != 0 for m in small.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    count = sum(mask.numel() for mask in kept)
    assert sum(int(mask.sum()) for mask in kept) == count - round(0.9 * count)


class Attentive(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.block(x).mean(1))


@pytest.mark.known_answer
def test_it_holds_inside_transformers_and_leaves_attention_alone(toy, rng):
    model = Attentive().eval().requires_grad_(requires_grad=False)
    initialize(model, rng)
    inputs = torch.rand(6, 8, 8, generator=rng)
    found = curvature(model, inputs, rng)
    assert set(found) == {"block.linear1", "block.linear2", "head"}
    for name, h in found.items():
        slow = slow_gauss_newton(copy.deepcopy(model), inputs, f"{name}.weight")
        assert torch.allclose(h, slow, rtol=1e-3, atol=1e-7)
    small = obd.compress(model, obd.Config(), toy.task_of(inputs, torch.arange(6) % 3, classes=3), rng)
    assert torch.equal(small.block.self_attn.in_proj_weight, model.block.self_attn.in_proj_weight)
    assert not any(p.requires_grad for p in small.parameters())


class Branching(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x) if float(x.sum()) > 0 else self.layer(-x)


@pytest.mark.parametrize(
    ("model", "match"), [(torch.nn.ReLU(), "no convolution or linear"), (Branching(), "vmap cannot run this model")]
)
def test_what_cannot_be_pruned_is_refused(model, match, blobs, rng):
    with pytest.raises(RecipeError, match=match):
        obd.compress(model, obd.Config(), blobs, rng)
