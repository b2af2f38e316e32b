"""Matrix products that are written out by hand count as what they compute; scales, norms and gates never do."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse.behaviours.efficiency import macs
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models.subject import Subject

LINEAR, TAPS = 3 * 8, 3 * 6 * 5  # 8 numbers to 3; three taps at 6 of 8 places of 5 channels


class Written(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        rng = torch.Generator().manual_seed(0)
        for name, shape in {"w": (3, 8), "taps": (5, 3), "gain": (8,), "bias": (8,), "channels": (5, 1)}.items():
            self.register_parameter(name, nn.Parameter(torch.rand(shape, generator=rng) + 0.1))
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 3, bias=False)
        self.mix = nn.Linear(5, 5)

    def forward(self, x):
        return self.function(self, x)


def counted(function, toy, shape):
    inputs = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1))
    task = toy.task_of(inputs, torch.arange(4) % 2, bounds=(0, 1))
    model = Written(function).eval().requires_grad_(False)
    evidence = Evidence(Subject("small", model, "k", without=frozenset({"differentiates"})), task)
    return model, inputs, int(macs.measure(evidence, macs.Config(), torch.Generator())["macs"].sum())


def added(s, x):
    total = torch.zeros(len(x), 3)
    for i in range(8):
        total += x[:, i : i + 1] * s.w[:, i]
    return total


def onto(s, x):
    total = torch.zeros(3)
    for i in range(8):
        total = torch.addcmul(total, x[:, i : i + 1], s.w[:, i])
    return total


def over(s, x):
    total = torch.zeros(3)
    for i in range(8):
        total = torch.addcdiv(total, x[:, i : i + 1], 1 / s.w[:, i])
    return total


def in_place(s, x):
    spread = x[:, None].expand(-1, 3, -1).clone()
    spread *= s.w
    return spread.sum(-1)


def into_parts(s, x):
    made = torch.empty(len(x), 3, 8)
    for row in range(3):
        made[:, row] = x * s.w[row]
    return made.sum(-1)


def indexed(s, x):
    where = torch.arange(3).repeat_interleave(8)
    return torch.zeros(len(x), 3).index_add(1, where, (x[:, None] * s.w).flatten(1))


def scattered(s, x):
    where = torch.arange(3).repeat_interleave(8).expand(len(x), -1)
    return torch.zeros(len(x), 3).scatter_add(1, where, (x[:, None] * s.w).flatten(1))


# The product of 8 numbers with a matrix of 3 rows, in many hands.
LINEARS = {
    "sum": lambda s, x: (x[:, None] * s.w).sum(-1),
    "mean": lambda s, x: (x[:, None] * s.w).mean(-1) * 8,
    "sum without missing": lambda s, x: (x[:, None] * s.w).nansum(-1),
    "running sum": lambda s, x: (x[:, None] * s.w).cumsum(-1)[..., -1],
    "row by row, onto a residual": (
        lambda s, x: torch.stack([(x * s.w[j] + x).sum(1) - x.sum(1) for j in range(3)], 1)),
    "a list of bags": lambda s, x: torch.cat([
        functional.embedding_bag(torch.arange(24).view(3, 8), (row * s.w).view(24, 1), mode="sum").T for row in x]),
    "area": lambda s, x: functional.interpolate(x[:, None] * s.w, size=1, mode="area")[..., 0] * 8,
    "sum of sums": lambda s, x: (x[:, None] * s.w).view(-1, 3, 2, 4).sum(-1).sum(-1),
    "pooled": lambda s, x: functional.avg_pool1d(x[:, None] * s.w, 8)[..., 0] * 8,
    "row by row": lambda s, x: torch.stack([(x * s.w[j]).sum(1) for j in range(3)], 1),
    "columns added": added,
    "columns added in one": onto,
    "columns divided and added": over,
    "slices added": lambda s, x: sum((x[:, None] * s.w).unbind(-1)),
    "number by number": lambda s, x: torch.stack([sum(x[:, i] * s.w[j, i] for i in range(8)) for j in range(3)], 1),
    "in place": in_place,
    "into parts": into_parts,
    "by index": indexed,
    "scattered": scattered,
    "divided": lambda s, x: (x[:, None] / (1 / s.w)).sum(-1),
    "divided by the input": lambda s, x: (s.w / (1 / x[:, None])).sum(-1),
    "weights made of constants": lambda s, x: (x[:, None] * (torch.ones(3, 8) * s.w)).sum(-1),
    "scaled": lambda s, x: (x[:, None] * s.w * 2).sum(-1) / 2,
    "in another precision": lambda s, x: (x[:, None].double() * s.w).sum(-1).float(),
    "interpolated": lambda s, x: torch.lerp(torch.zeros(()), x[:, None], s.w).sum(-1),
}  # fmt: skip
# Three taps a channel, slid along.
CONVOLUTIONS = {
    "shifts": lambda s, x: sum(x[:, :, k : k + 6] * s.taps[:, k, None] for k in range(3)),
    "shifts stacked": lambda s, x: torch.stack([x[:, :, k : k + 6] * s.taps[:, k, None] for k in range(3)]).sum(0),
    "windows": lambda s, x: (x.unfold(2, 3, 1) * s.taps[:, None]).sum(-1),
    "rolled": lambda s, x: sum(torch.roll(x, -k, 2)[..., :6] * s.taps[:, k, None] for k in range(3)),
}


@pytest.mark.known_answer
@pytest.mark.parametrize("name", LINEARS)
def test_a_matrix_product_written_out_costs_what_it_is(name, toy):
    model, x, done = counted(LINEARS[name], toy, (8,))
    torch.testing.assert_close(model(x), x @ model.w.T)
    assert done == LINEAR


@pytest.mark.known_answer
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_written_out_costs_what_it_is(name, toy):
    model, x, done = counted(CONVOLUTIONS[name], toy, (5, 8))
    torch.testing.assert_close(model(x), functional.conv1d(x, model.taps[:, None], groups=5))
    assert done == TAPS


def norm(s, x):
    apart = x - x.mean(-1, keepdim=True)
    return apart / (apart.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * s.gain + s.bias


def norm_at_once(s, x):
    spread, middle = torch.var_mean(x, -1, correction=0, keepdim=True)
    return torch.addcmul(s.bias, (x - middle) * torch.rsqrt(spread + 1e-5), s.gain)


def rms(s, x):
    return s.gain * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


def batch(s, x):
    c = s.channels
    return (x - c) / (c + 1e-5).sqrt() * c + c


def block(s, x):
    """One of a transformer or a ConvNeXt: a norm, a layer, its gain, the residual."""
    return x + s.gain * s.body(norm(s, x))


def squeezed(s, x):
    return x * torch.sigmoid(s.mix(x.mean(2)))[..., None]


SCALES = {
    "gain": (lambda s, x: s.head(x * s.gain), 5 * 8 * 3),
    "gain, then pooled": (lambda s, x: s.head((x * s.gain).mean(1)), 8 * 3),
    "gain of maps, then pooled": (lambda s, x: s.mix((x * s.channels).mean(2)), 25),
    "gain of maps, repeated": (lambda s, x: s.mix((x * s.channels.expand(5, 8)).sum(2)), 25),
    "gain of maps, adaptive": (lambda s, x: s.mix(functional.adaptive_avg_pool1d(x * s.channels, 1)[..., 0]), 25),
    "batch norm, then pooled": (lambda s, x: s.mix(batch(s, x).mean(2)), 25),
    "batch norm, function": (
        lambda s, x: s.mix(functional.batch_norm(x, *[s.channels[:, 0]] * 4).mean(2)), 25),
    "layer norm": (lambda s, x: s.head(norm(s, x)), 5 * 8 * 3),
    "layer norm, then pooled": (lambda s, x: s.head(norm(s, x).mean(1)), 8 * 3),
    "layer norms in a row": (lambda s, x: s.head(norm(s, norm(s, x))), 5 * 8 * 3),
    "layer norm after the residual": (
        lambda s, x: s.head(norm(s, norm(s, x) + s.body(norm(s, x)))), 5 * (64 + 24)),
    "layer norms at once": (
        lambda s, x: s.head(norm_at_once(s, norm_at_once(s, x) + s.body(norm_at_once(s, x)))), 5 * (64 + 24)),
    "attention of gained tokens": (lambda s, x: s.head((x * s.gain * x).sum(1)), 24),
    "root mean square": (lambda s, x: s.head(rms(s, rms(s, x))), 5 * 24),
    "blocks": (lambda s, x: s.head(norm(s, block(s, block(s, x))).mean(1)), 2 * 5 * 64 + 24),
    "scaled residual": (lambda s, x: s.head(norm(s, x * s.bias + s.gain * s.body(norm(s, x)))), 5 * (64 + 24)),
    "gate": (lambda s, x: s.mix(squeezed(s, x).mean(2)), 2 * 25),
    "gate after a norm": (lambda s, x: s.mix(squeezed(s, batch(s, x)).mean(2)), 2 * 25),
    "positions": (lambda s, x: s.head((x + s.gain).mean(1)), 24),
    "standardized": (lambda s, x: s.head((x - s.bias) / s.gain), 5 * 24),
}  # fmt: skip


@pytest.mark.known_answer
@pytest.mark.parametrize("name", SCALES)
def test_scales_norms_and_gates_stay_uncounted(name, toy):
    function, want = SCALES[name]
    assert counted(function, toy, (5, 8))[2] == want


def test_lists_of_products_are_not_measurable_by_name(toy):
    def listed(s, x):
        return s.head(x) + torch.stack([p.sum(1) for p in torch._foreach_mul([x, x, x], list(s.w.unbind()))], 1)

    with pytest.raises(NotMeasurableError, match="runs aten::_foreach_mul"):
        counted(listed, toy, (8,))
