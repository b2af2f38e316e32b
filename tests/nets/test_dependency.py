import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.nets import _surgery
from whatelse.nets._dependency import groups, without


class Dense(nn.Module):
    """Two convolutions whose channels are concatenated, with a squeeze-and-excitation gate and a loose parameter."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.shift = nn.Parameter(torch.randn(8, generator=torch.Generator().manual_seed(2)))
        self.squeeze, self.excite = nn.Linear(14, 4), nn.Linear(4, 14)
        self.norm, self.head = nn.LayerNorm(14), nn.Linear(14, 3)

    def forward(self, x):
        a = (self.a(x).relu().permute(0, 2, 3, 1) + self.shift).permute(0, 3, 1, 2)
        mean = torch.cat([a, self.b(a).relu()], 1).mean((2, 3))
        return self.head(self.norm(mean * self.excite(self.squeeze(mean).relu()).sigmoid()))


def fixed(model, seed=3):
    rng = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data.uniform_(-1, 1, generator=rng)
    return model.eval().requires_grad_(requires_grad=False)


@pytest.mark.known_answer
def test_a_channel_of_a_concatenation_is_found_in_every_reader(rng):
    model, x = fixed(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))), None
    x = torch.randn(2, 3, 8, 8, generator=rng)
    (group,), refused = groups(model, x, "test")
    assert (group.name, group.block, len(group)) == ("0", 1, 4)
    assert group.cut([1]) == {("0", "out"): [1], ("3", "in"): list(range(36, 72))}
    assert refused == {"3": "its channels are the outputs of the model"}


@pytest.mark.known_answer
def test_removal_equals_zeroing_through_gates_norms_and_concatenations(rng):
    model, x = fixed(Dense()), torch.randn(5, 3, 6, 6, generator=rng)
    found, _ = groups(model, x, "test")
    names = [group.name for group in found]
    assert "squeeze" in names
    chosen = [(group, [0, 2]) for group in found]
    small, undone = without(model, x, chosen, "test")
    assert not undone
    fewer = sum(p.numel() for p in small.parameters())
    assert fewer < sum(p.numel() for p in model.parameters())
    assert all(not p.requires_grad for p in small.parameters())
    cut = {place: gone for group, units in chosen for place, gone in group.cut(units).items()}
    assert torch.allclose(small(x), _surgery.mask(model, cut)(x), atol=1e-5)


@pytest.mark.known_answer
def test_zeroing_a_channel_of_a_layer_norm_leaves_it_out_of_mean_and_variance(rng):
    model = fixed(nn.Sequential(nn.LayerNorm(5)))
    x = torch.randn(4, 5, generator=rng)
    out = _surgery.mask(model, {("0", "out"): [1, 3]})(x)
    rest = x[:, [0, 2, 4]]
    slow = (rest - rest.mean(1, keepdim=True)) / (rest.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(out[:, [0, 2, 4]], slow * model[0].weight[[0, 2, 4]] + model[0].bias[[0, 2, 4]], atol=1e-6)
    assert not bool(out[:, [1, 3]].any())


def test_neither_the_model_nor_the_process_is_touched(rng, capsys):
    model, x = fixed(Dense()), torch.randn(2, 3, 6, 6, generator=rng)
    before, state = {n: t.clone() for n, t in model.state_dict().items()}, torch.get_rng_state()
    found, _ = groups(model, x, "test")
    without(model, x, [(found[0], [1])], "test")
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    assert capsys.readouterr() == ("", "")


def test_softmax_over_channels_is_found_out(rng):
    # A zeroed channel still takes its share of a softmax: removing it is another function.
    model = fixed(nn.Sequential(nn.Linear(3, 6), nn.Softmax(1), nn.Linear(6, 3)))
    found, refused = groups(model, torch.randn(3, 3, generator=rng), "test")
    assert not found
    assert refused["0"] == "its answers are not those with these channels set to zero"


def test_a_model_that_returns_no_logits_is_refused(rng):
    with pytest.raises(RecipeError, match="test: this LSTM does not return one tensor"):
        groups(nn.LSTM(3, 4), torch.randn(2, 5, 3, generator=rng), "test")
