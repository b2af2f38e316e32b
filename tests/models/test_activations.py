import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse.models import activations
from whatelse.nets import resnet, transformer


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(functional.relu(self.two(functional.relu(self.one(x)))))


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def names(model):
    return [name for name, _ in activations.watched(model)]


def test_nonlinearities_come_first():
    assert names(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh())) == ["1", "3"]


@pytest.mark.parametrize("wrap", [0, 1, 2])
def test_blocks_stand_for_nonlinearities_that_are_functions(rng, wrap):
    net = resnet.build(resnet.Config(depth=8, width=2), (1, 8, 8), 2, rng)
    text = transformer.build(transformer.Config(vocabulary=9, width=8, heads=2, depth=3), (5,), 2, rng)
    for model, found in ((net, ["layer1.0", "layer2.0", "layer3.0"]), (text, ["blocks.0", "blocks.1", "blocks.2"])):
        whole = model
        for _ in range(wrap):
            whole = Wrapped(whole)
        assert names(whole) == ["inner." * wrap + n for n in found]


def test_without_blocks_all_linear_maps_but_the_last():
    assert names(Functional()) == ["one", "two"]


class Attending(nn.Module):
    """Patches of an image, or tokens behind one that stands for the whole, as a transformer has them."""

    def __init__(self, vocabulary=0):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 6) if vocabulary else nn.Linear(4, 6)
        self.act, self.head = nn.GELU(), nn.Linear(6, 2)

    def forward(self, x):
        h = self.embedding(x.long() if isinstance(self.embedding, nn.Embedding) else x.flatten(1).unflatten(1, (-1, 4)))
        return self.head(self.act(torch.cat([h[:, :1] * 0, h], 1)).mean(1))


def kept(model, x, told=None):
    with activations.keeping(model, told) as seen:
        model(x)
    return seen


@pytest.mark.known_answer
def test_units_are_last_of_three_dimensions_unless_there_are_signals(rng):
    model, x = Attending(), torch.randn(5, 1, 4, 4, generator=rng)
    h = torch.cat([torch.zeros(5, 1, 6), model.embedding(x.flatten(1).unflatten(1, (4, 4)))], 1)
    assert torch.allclose(kept(model, x)["layer 0000 act"], nn.functional.gelu(h).mean(1))
    ids = torch.randint(1, 9, (5, 7), generator=rng).float()
    assert kept(Attending(9), ids, ids != 0)["layer 0000 act"].shape == (5, 6), "one token more than ids"
    signal = nn.Sequential(nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    assert kept(signal, torch.randn(5, 1, 5, generator=rng))["layer 0000 1"].shape == (5, 3)


@pytest.mark.known_answer
def test_texts_are_averaged_over_tokens_that_are_not_padding(rng):
    model = nn.Sequential(nn.Embedding(9, 4), nn.ReLU())
    ids = torch.tensor([[1, 2, 0]])
    table = model[0].weight.relu()
    assert torch.allclose(kept(model, ids, ids != 0)["layer 0000 1"][0], (table[1] + table[2]) / 2)


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.head, self.relu = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2), nn.ReLU()

    def forward(self, x):
        return self.head(self.relu(self.two(self.relu(self.one(x)))))


@pytest.mark.known_answer
def test_every_use_of_a_module_is_a_layer_of_its_own(rng):
    model, x = Reused(), torch.randn(4, 2, generator=rng)
    first = model.one(x).relu()
    for _ in range(2):  # the uses are counted anew in every pass
        seen = kept(model, x)
        assert list(seen) == ["layer 0000 relu", "layer 0001 relu #2"]
        assert torch.equal(seen["layer 0000 relu"], first)
        assert torch.equal(seen["layer 0001 relu #2"], model.two(first).relu())
    with activations.editing(model, {"relu #2": lambda h: h * 0}):
        assert torch.equal(model(x), model.head(torch.zeros(4, 3)))
        assert torch.equal(model(x), model.head(torch.zeros(4, 3)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Stateful(nn.Module):
    def forward(self, x):
        return x, "state"


@pytest.mark.known_answer
def test_an_edit_changes_the_tensor_and_leaves_what_comes_with_it():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.ModuleDict({"x": Stateful()}), nn.ReLU()

    model = Holder()
    model.forward = lambda x: (model.b(x), "more")
    with activations.editing(model, {"b": lambda h: h * 0}):
        out, more = model(torch.ones(2))
    assert out.tolist() == [0, 0]
    assert more == "more"


def test_the_embedding_is_the_one_that_is_called_with_the_ids(rng):
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.positions, self.words, self.head = nn.Embedding(7, 4), nn.Embedding(20, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head((self.words(x.long()) + self.positions(torch.arange(7))).mean(1))

    ids = torch.randint(8, 20, (7, 7), generator=rng).float()  # as many texts as tokens
    assert activations.entrance(Text(), ids) == "words"
    assert activations.entrance(nn.Sequential(nn.Linear(7, 2)), ids) is None


def test_the_hook_of_the_embedding_is_gone_after_an_error():
    model = nn.Sequential(nn.Embedding(3, 2))
    with pytest.raises(ValueError, match="broken"), activations.entering(model, "0"):
        raise ValueError("broken")
    assert not model[0]._forward_hooks


class InPieces(nn.Module):
    def __init__(self, inner, size):
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, x):
        return torch.cat([self.inner(part) for part in x.split(self.size)])


@pytest.mark.known_answer
@pytest.mark.parametrize("size", [1, 2, 3, 7, 9])
def test_a_network_that_takes_a_batch_apart_is_looked_into_as_the_whole(rng, size):
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2))
    pieces, x = InPieces(model, size), torch.randn(7, 4, generator=rng)
    whole, seen = kept(model, x), kept(pieces, x)
    assert list(seen) == ["layer 0000 inner.1", "layer 0001 inner.3"]
    for one, other in zip(whole.values(), seen.values(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    with activations.editing(pieces, {"inner.3": lambda h: h * 0}):
        assert torch.allclose(pieces(x), model[4].bias.expand(7, 2))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_module_that_is_used_again_in_pieces_is_left_out(rng, size):
    assert not kept(InPieces(Reused(), size), torch.randn(7, 2, generator=rng))


def test_a_layer_without_a_row_for_every_example_is_left_out(rng):
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.tanh = nn.ReLU(), nn.Tanh()

        def forward(self, x):
            return self.tanh(self.relu(x.reshape(-1, 2)).reshape(len(x), -1))

    assert list(kept(Folded(), torch.randn(5, 6, generator=rng))) == ["layer 0001 tanh"]


@pytest.mark.filterwarnings("ignore")  # torch says of all of this that something newer is coming
def test_packed_layers_count_where_they_hold_the_nonlinearity_and_scripts_do_not(rng):
    from torch.ao import quantization

    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()
    with torch.no_grad():  # its own first weights are those of a lucky or an unlucky run
        for parameter in plain.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=rng))
    x = torch.rand(5, 1, 6, 6, generator=rng)
    fused = quantization.fuse_modules(plain, [["0", "1"]])
    packed = nn.Sequential(quantization.QuantStub(), *fused, quantization.DeQuantStub()).eval()
    packed.qconfig = quantization.get_default_qconfig("x86")
    quantization.prepare(packed, inplace=True)(x)
    quantization.convert(packed, inplace=True)
    assert [name for name, _ in activations.watched(packed)] == ["1"]
    with activations.keeping(packed, None) as seen:
        packed(x)
    want = torch.relu(plain[0](x)).mean((2, 3))
    (found,) = seen.values()
    assert torch.allclose(found, want, atol=0.05)  # of 8 bits
    with activations.editing(packed, {"1": lambda h: torch.zeros_like(h)}):
        held = packed(x)
    assert torch.allclose(held, plain[3].bias.expand(5, 2), atol=0.05)
    assert activations.watched(torch.jit.script(plain)) == []
