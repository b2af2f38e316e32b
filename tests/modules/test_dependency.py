import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.modules import surgery
from whatelse.modules.dependency import groups, without


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
    assert torch.allclose(small(x), surgery.mask(model, cut)(x), atol=1e-5)


@pytest.mark.known_answer
def test_zeroing_a_channel_of_a_layer_norm_leaves_it_out_of_mean_and_variance(rng):
    model = fixed(nn.Sequential(nn.LayerNorm(5)))
    x = torch.randn(4, 5, generator=rng)
    out = surgery.mask(model, {("0", "out"): [1, 3]})(x)
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


class Crossed(nn.Module):
    """Channels change places on their way; which ones, no trace tells."""

    def __init__(self, how):
        super().__init__()
        self.a, self.b, self.c, self.how = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 3), how

    def forward(self, x):
        return self.c(self.b(self.how(self.a(x).relu())).relu().mean((2, 3)))


HOWS = {
    "rolled": lambda x: x.roll(1, 1),
    "turned": lambda x: x.flip(1),
    "shuffled": lambda x: x.view(len(x), 4, 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2),
    "by their size": lambda x: x.gather(1, x.mean((2, 3)).argsort(1)[:, :, None, None].expand_as(x)),
    "every other": lambda x: torch.cat([x[:, ::2], x[:, 1::2]], 1),
    "softmax": lambda x: x.softmax(1),
    "greatest": lambda x: x * (x == x.amax(1, keepdim=True)),
}


@pytest.mark.known_answer
@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("how", HOWS)
def test_channels_that_change_places_are_never_cut_wrongly(how, silent, rng):
    model, x = fixed(Crossed(HOWS[how])), torch.randn(40, 3, 6, 6, generator=rng)
    if silent:  # on the first inputs no channel says anything: only with other weights does a wrong cut show
        model.a.bias.fill_(-30.0)
    found, refused = groups(model, x, "test")
    assert "a" in refused or how == "greatest"
    fresh = 20 * torch.randn(60, 3, 6, 6, generator=rng)
    for group in found:
        cut = group.cut(range(0, len(group), 2))
        small, _ = without(model, x, [(group, range(0, len(group), 2))], "test")
        assert torch.allclose(small(fresh), surgery.mask(model, cut)(fresh), rtol=1e-4, atol=1e-4)


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["transposed", "signals", "volumes", "both ways"])
def test_convolutions_of_every_kind_are_cut(kind, rng):
    parts = {
        "transposed": [nn.ConvTranspose2d(3, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3)],
        "signals": [nn.Conv1d(3, 6, 2), nn.BatchNorm1d(6), nn.ReLU(), nn.ConvTranspose1d(6, 4, 3)],
        "volumes": [nn.Conv3d(3, 6, 2), nn.BatchNorm3d(6), nn.ReLU(), nn.ConvTranspose3d(6, 4, 2)],
        "both ways": [nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2, 2), nn.InstanceNorm2d(4)],
    }[kind]
    shape = {"signals": (3, 6), "volumes": (3, 3, 3, 3)}.get(kind, (3, 6, 6))
    x = torch.randn(5, *shape, generator=rng)
    model = fixed(nn.Sequential(*parts, nn.Flatten(), nn.Linear(nn.Sequential(*parts, nn.Flatten())(x).shape[1], 3)))
    found, refused = groups(model, x, "test")
    assert [group.name for group in found] == ["0", "2" if kind == "both ways" else "3"], refused
    small, undone = without(model, x, [(group, [0, 2]) for group in found], "test")
    assert not undone
    cut = {place: gone for group in found for place, gone in group.cut([0, 2]).items()}
    assert torch.allclose(small(x), surgery.mask(model, cut)(x), atol=1e-4)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.known_answer
def test_what_no_input_reaches_may_read_what_it_could(rng):
    class Exits(nn.Module):
        def __init__(self, wide):
            super().__init__()
            self.a, self.b, self.rare, self.c = (nn.Linear(*s) for s in ((5, 8), (8, 6), (wide, wide), (6, 3)))

        def forward(self, x):
            y = self.a(x).relu()
            y = self.rare(y) if float(x[:, 0].max()) > 99 else y
            return self.c(self.b(y).relu())

    x = torch.randn(9, 5, generator=rng)
    found, refused = groups(fixed(Exits(8)), x, "test")
    assert [group.name for group in found] == ["b"]
    assert refused["a"] == "rare.weight, which no input reached, may read its channels"
    x[8, 0] = 100.0  # reached by the last input alone: what comes out may go through, or past it
    found, refused = groups(fixed(Exits(8)), x, "test")
    assert [group.name for group in found] == ["b"]
    assert set(refused) == {"a", "rare", "c"}


def test_a_group_that_cannot_be_made_hinders_no_other(rng, monkeypatch):
    import torch_pruning

    whole = torch_pruning.DependencyGraph.get_pruning_group

    def broken(self, part, *rest):
        if part.out_channels == 6:
            raise IndexError("no such channel")
        return whole(self, part, *rest)

    monkeypatch.setattr(torch_pruning.DependencyGraph, "get_pruning_group", broken)
    model = fixed(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 3, 1), nn.Flatten(2)))
    found, refused = groups(model, torch.randn(3, 3, 4, 4, generator=rng), "test")
    assert [group.name for group in found] == ["0"]
    assert refused["2"] == "Torch-Pruning cannot follow its channels (no such channel)"
