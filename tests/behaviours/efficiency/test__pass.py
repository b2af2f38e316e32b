"""What a pass shows of models of every kind, against counts made by hand."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune

from whatelse.behaviours.efficiency import bytes as size
from whatelse.behaviours.efficiency import macs, memory, parameters
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.layers.kernel import Kernel
from whatelse.layers.quantized import Quantized
from whatelse.layers.soft_tree import SoftTree
from whatelse.layers.tensor import TensorLayer
from whatelse.layers.tree import Tree
from whatelse.models import subject
from whatelse.models.subject import Subject

ITEMS = {"macs": macs, "parameters": parameters, "bytes": size, "memory": memory}


def evidence_of(model, toy, shape, inputs=None):
    inputs = torch.rand(6, *shape, generator=torch.Generator().manual_seed(1)) if inputs is None else inputs
    task = toy.task_of(inputs, torch.arange(len(inputs)) % 2, bounds=(0, 1))
    return Evidence(Subject("small", model, "k", without=frozenset({"differentiates"})), task)


def measured(what, model, toy, shape, inputs=None):
    evidence = evidence_of(model, toy, shape, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own prototypes and deprecated packages
        answer = ITEMS[what].measure(evidence, ITEMS[what].Config(), torch.Generator())
    return int(answer.table().sum())


class Called(nn.Module):
    """Computes a function, with tensors that are parameters, buffers, or listed nowhere."""

    def __init__(self, function, **tensors):
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            setattr(self, name, tensor)

    def forward(self, x):
        return self.function(self, x)


def weight(*shape):
    return nn.Parameter(torch.ones(shape), requires_grad=False)


E, T, HEADS, HIDDEN = 8, 6, 2, 16
ATTENTION = T * 4 * E * E + 2 * T * T * E
ENCODER = ATTENTION + 2 * T * E * HIDDEN
LSTM = T * 4 * 5 * (E + 5)

# What it is, the shape of an example, its multiply-accumulates by hand.
BY_HAND = {
    "conv1d": (lambda: nn.Conv1d(4, 32, 3, padding=1), (4, 10), 32 * 4 * 3 * 10),
    "conv1d of words": (lambda: nn.Conv1d(4, 6, 3, padding="same", dilation=2), (4, 10), 6 * 4 * 3 * 10),
    "conv3d": (lambda: nn.Conv3d(1, 4, 3), (1, 5, 5, 5), 27 * 4 * 27),
    "grouped": (lambda: nn.Conv2d(4, 8, 3, groups=2), (4, 8, 8), 36 * 8 * 2 * 9),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (4, 8, 8), 36 * 4 * 9),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (4, 5, 5), 25 * 4 * 6 * 9),
    "transposed grouped": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (4, 5), 5 * 4 * 3 * 3),
    "linear of tokens": (lambda: nn.Linear(8, 3), (6, 8), 6 * 8 * 3),
    "embedding": (lambda: Called(lambda s, x: s.table(x.long()[:, :, 0]), table=nn.Embedding(2, 5)), (6, 8), None),
    "bilinear": (lambda: Called(lambda s, x: s.pair(x, x), pair=nn.Bilinear(8, 8, 3)), (8,), 3 * 64),
    "matmul": (lambda: Called(lambda s, x: x @ s.w, w=weight(8, 3)), (6, 8), 6 * 8 * 3),
    "matrix times vector": (lambda: Called(lambda s, x: x[0] @ s.w, w=weight(8)), (6, 8), 6 * 8),
    "einsum": (lambda: Called(lambda s, x: torch.einsum("bij,kj->bik", x, s.w), w=weight(3, 8)), (6, 8), 6 * 8 * 3),
    "attention by hand": (lambda: Called(lambda s, x: (x @ x.mT).softmax(-1) @ x), (T, E), 2 * T * T * E),
    "attention": (lambda: Called(lambda s, x: s.a(x, x, x)[0], a=nn.MultiheadAttention(E, HEADS, batch_first=True)),
                  (T, E), ATTENTION),
    "attention without weights": (
        lambda: Called(
            lambda s, x: s.a(x, x, x, need_weights=False)[0],
            a=nn.MultiheadAttention(E, HEADS, batch_first=True, add_zero_attn=False).requires_grad_(True),
        ),
        (T, E), ATTENTION),
    "attention function": (
        lambda: Called(lambda s, x: functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])),
        (T, E), 2 * T * T * E),
    "encoder": (lambda: nn.TransformerEncoderLayer(E, HEADS, HIDDEN, batch_first=True), (T, E), ENCODER),
    "encoder, tokens first": (lambda: Called(lambda s, x: s.e(x.transpose(0, 1)),
                              e=nn.TransformerEncoderLayer(E, HEADS, HIDDEN)), (T, E), ENCODER),
    "lstm": (lambda: Called(lambda s, x: s.r(x)[0], r=nn.LSTM(E, 5, batch_first=True)), (T, E), LSTM),
    "lstm both ways, two layers": (
        lambda: Called(lambda s, x: s.r(x)[0], r=nn.LSTM(E, 5, 2, batch_first=True, bidirectional=True)),
        (T, E), 2 * LSTM + 2 * T * 4 * 5 * (10 + 5)),
    "gru": (lambda: Called(lambda s, x: s.r(x)[0], r=nn.GRU(E, 5, batch_first=True)), (T, E), T * 3 * 5 * (E + 5)),
    "by hand": (lambda: Called(lambda s, x: (x[:, None] * s.w).sum(-1), w=weight(3, 8)), (8,), 24),
    "spectral norm": (lambda: parametrize.register_parametrization(nn.Linear(8, 3, bias=False), "weight", Half()),
                      (8,), 24),
    "quantized": (lambda: Quantized.of(nn.Conv2d(2, 3, 3), 4, 8), (2, 5, 5), 9 * 3 * 18),
    "soft tree": (lambda: SoftTree(8, 3, 2, mixture=True), (8,), 3 * 8 + 4 * 3),
    "tensor layer": (lambda: TensorLayer([2, 4], 5, [2, 3, 2], bias=True), (8,), 8 * 2 + 8 * 3 + 6 * 2 + 10),
    "sparse": (lambda: Called(lambda s, x: (s.w @ x.T).T, w=torch.eye(8)[:3].to_sparse()), (8,), 3),
    "sparse by rows": (lambda: Called(lambda s, x: functional.linear(x, s.w), w=csr(torch.eye(8)[:3])), (8,), 3),
}  # fmt: skip


def csr(matrix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is a prototype of torch's
        return matrix.to_sparse_csr()


class Half(nn.Module):
    def forward(self, w):
        return w / 2


@pytest.mark.known_answer
@pytest.mark.parametrize("name", BY_HAND)
def test_multiply_accumulates_by_hand(name, toy):
    make, shape, want = BY_HAND[name]
    if want is None:  # it multiplies nothing, which cannot be told from arithmetic that is not seen
        with pytest.raises(NotMeasurableError, match="small runs no matrix product and no convolution"):
            measured("macs", make(), toy, shape)
    else:
        assert measured("macs", make().eval(), toy, shape) == want


IMAGE, MACS, WEIGHTS = (2, 8, 8), 36 * 54 + 27 * 16, 54 + 3 + 27 * 16 + 16


def net():
    """A filter of 18 weights for each of 3 maps of 36 places, then 27 numbers to 16; every weight is 1."""
    made = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 16))
    for parameter in made.parameters():
        nn.init.ones_(parameter)
    return made.eval().requires_grad_(False)


def exported(model, batch=6, **how):
    return torch.export.export(model, (torch.rand(batch, *IMAGE),), **how).module()


def warm(model, backend):
    compiled = torch.compile(model, backend=backend)
    with torch.no_grad():
        compiled(torch.rand(1, *IMAGE))
        compiled(torch.rand(1, *IMAGE))
    return compiled


def functions(self, x):
    x = functional.avg_pool2d(functional.conv2d(x, self.a, self.b).relu(), 2)
    return functional.linear(x.flatten(1), self.c, self.d)


def hidden():
    tensors = [t.detach() for t in net().parameters()]
    return Called(lambda s, x: functions(Tensors(*tensors), x))


class Tensors:
    def __init__(self, a, b, c, d):
        self.a, self.b, self.c, self.d = a, b, c, d


def buffers():
    made = Called(functions)
    for name, tensor in zip("abcd", net().parameters(), strict=True):
        made.register_buffer(name, tensor.detach())
    return made


DYNAMIC = ({0: torch.export.Dim.DYNAMIC},)
# The same network in other forms: the same arithmetic, the same weights, the same bytes.
FORMS = {
    "layers": net,
    "exported": lambda: exported(net(), dynamic_shapes=DYNAMIC),
    "exported for pairs": lambda: exported(net(), 2),
    "decomposed": lambda: torch.export.export(net(), (torch.rand(1, *IMAGE),)).run_decompositions().module(),
    "traced": lambda: torch.jit.trace(net(), torch.rand(1, *IMAGE)),
    "scripted": lambda: torch.jit.script(net()),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(net())),
    "compiled": lambda: warm(net(), "eager"),
    "parallel": lambda: nn.DataParallel(net()),
    "functions": lambda: Called(functions, **dict(zip("abcd", net().parameters(), strict=True))),
    "attributes": hidden,
    "buffers": buffers,
}


@pytest.mark.known_answer
@pytest.mark.parametrize("name", FORMS)
def test_one_network_costs_the_same_in_every_form(name, toy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scripts, which torch calls deprecated
        model = FORMS[name]()
    found = {what: measured(what, model, toy, IMAGE) for what in ("macs", "parameters", "bytes")}
    assert found == {"macs": MACS, "parameters": WEIGHTS, "bytes": 4 * WEIGHTS}


def test_what_a_script_runs_past_the_dispatcher_is_not_measurable(toy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.optimize_for_inference(torch.jit.script(net()))
    if measured_or_why("macs", model, toy, IMAGE) != MACS:
        for what in ITEMS:
            assert "PyTorch does not show some of small" in measured_or_why(what, model, toy, IMAGE)


def measured_or_why(what, model, toy, shape):
    try:
        return measured(what, model, toy, shape)
    except NotMeasurableError as error:
        return str(error)


def perceptron():
    made = nn.Sequential(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 16))
    for parameter in made.parameters():
        nn.init.ones_(parameter)
    return made.eval().requires_grad_(False)


def dynamic(model, kind, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        return torch.ao.quantization.quantize_dynamic(model, {kind}, dtype)


def static():
    from torch.ao import quantization
    from torch.ao.quantization import quantize_fx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.rand(6, *IMAGE)
        made = quantize_fx.prepare_fx(net(), quantization.get_default_qconfig_mapping("x86"), (x,))
        made(x)
        return quantize_fx.convert_fx(made)


def torchao(name):
    pytest.importorskip("torchao", reason="kernels of few bits need torchao")
    from whatelse.layers.kernel import _quiet

    with _quiet():
        from torchao import quantization

        made = perceptron()
        quantization.quantize_(made, getattr(quantization, name)())
    return made


def kernel(mode):
    pytest.importorskip("torchao", reason="kernels of few bits need torchao")
    made = perceptron()
    made[1] = Kernel.of(made[1], mode)
    return made


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layer = kind(64, 5, batch_first=True)
        for parameter in self.parameters():
            nn.init.ones_(parameter)

    def forward(self, x):
        return self.layer(x.flatten(2))[0].mean(1)


CODES, BIASES = 128 * 64 + 64 * 16, 64 + 16
CELL = 64 + 5  # of each of the 5 units of a gate, with two biases beside
# A packed one, its multiply-accumulates, its weights and its bytes, all by hand.
PACKED = {
    "dynamic int8": (lambda: dynamic(perceptron(), nn.Linear, torch.qint8), CODES, CODES + BIASES,
                     CODES + 4 * BIASES + 2 * (4 + 8)),
    "dynamic half": (lambda: dynamic(perceptron(), nn.Linear, torch.float16), CODES, CODES + BIASES,
                     4 * (CODES + BIASES)),  # halves in memory, floats in a file
    "dynamic int8, traced": (lambda: torch.jit.trace(dynamic(perceptron(), nn.Linear, torch.qint8),
                             torch.rand(1, *IMAGE)), CODES, CODES + BIASES, CODES + 4 * BIASES + 2 * (4 + 8)),
    "static int8": (static, MACS, WEIGHTS, None),
    "dynamic lstm": (lambda: dynamic(Recurrent(nn.LSTM), nn.LSTM, torch.qint8), 2 * 20 * CELL, 20 * (CELL + 2), None),
    "dynamic gru": (lambda: dynamic(Recurrent(nn.GRU), nn.GRU, torch.qint8), 2 * 15 * CELL, 15 * (CELL + 2), None),
    "int8 weights": (lambda: torchao("Int8WeightOnlyConfig"), CODES, CODES + BIASES,
                     CODES + 4 * BIASES + (64 + 16) * (4 + 1)),
    "int8 activations": (lambda: torchao("Int8DynamicActivationInt8WeightConfig"), CODES, CODES + BIASES,
                         CODES + 4 * BIASES + (64 + 16) * (4 + 1)),
    "float8 weights": (lambda: torchao("Float8WeightOnlyConfig"), CODES, CODES + BIASES,
                       CODES + 4 * BIASES + (64 + 16) * 4),
    "own int8": (lambda: kernel("int8_dynamic"), CODES, CODES + BIASES, None),
    "own float8": (lambda: kernel("float8_weight"), CODES, CODES + BIASES, None),
}  # fmt: skip


@pytest.mark.known_answer
@pytest.mark.parametrize("name", PACKED)
def test_packed_weights_count_by_what_they_are(name, toy):
    make, done, weights, taken = PACKED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        model = make()
    assert measured("macs", model, toy, IMAGE) == done
    assert measured("parameters", model, toy, IMAGE) == weights
    found = measured("bytes", model, toy, IMAGE)
    assert found == taken if taken else found < 4 * weights
    assert measured("memory", model, toy, IMAGE) > found / 2


def masked():
    made = net()
    for layer in (made[0], made[4]):
        prune.random_unstructured(layer, "weight", amount=0.5)
    return made.requires_grad_(False)


class Mask(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, w):
        return w * self.mask


def parametrized():
    made = net()
    parametrize.register_parametrization(made[4], "weight", Mask(torch.arange(27).remainder(3).eq(0).float()))
    return made


def normalized(register):
    made = net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older way is deprecated
        register(made[4])
    return made


@pytest.mark.known_answer
def test_a_mask_leaves_fewer_weights_and_all_of_the_bytes(toy):
    assert measured("parameters", masked(), toy, IMAGE) == 27 + 3 + 216 + 16
    # What is saved of it holds the weights whole, and masks as a bit each with their ones.
    assert measured("bytes", masked(), toy, IMAGE) == 4 * WEIGHTS + 4 * 27 + 7 + 4 * 216 + 54
    assert measured("parameters", parametrized(), toy, IMAGE) == WEIGHTS - 18 * 16
    assert measured("macs", masked(), toy, IMAGE) == MACS


@pytest.mark.known_answer
def test_normalized_weights_are_never_lost(toy):
    with_lengths = 4 * (WEIGHTS + 16)
    for register in (nn.utils.parametrizations.weight_norm, nn.utils.weight_norm):
        assert measured("bytes", normalized(register), toy, IMAGE) == with_lengths
        assert WEIGHTS <= measured("parameters", normalized(register), toy, IMAGE) <= WEIGHTS + 16


@pytest.mark.known_answer
def test_sparse_weights_count_what_they_store(toy):
    matrix = torch.eye(8)[:3]
    for kept, extra in ((matrix.to_sparse(), 2 * 3 * 8), (csr(matrix), 4 * 8 + 3 * 8)):
        model = Called(lambda s, x: (s.w @ x.T).T, w=nn.Parameter(kept, requires_grad=False))
        assert measured("parameters", model, toy, (8,)) == 3
        assert measured("bytes", model, toy, (8,)) == 3 * 4 + extra
        assert measured("memory", model, toy, (8,)) > 3 * 4 + extra


def test_codes_in_buffers_count_as_the_weights_that_they_make(toy):
    def unpacked(self, x):
        return functional.linear(x, (self.codes.float() - 8) * self.scale)

    model = Called(unpacked)
    model.register_buffer("codes", torch.full((3, 8), 9, dtype=torch.uint8))
    model.register_buffer("scale", torch.ones(3, 1))
    assert measured("parameters", model, toy, (8,)) == 24
    assert measured("bytes", model, toy, (8,)) == 24 + 12


@pytest.mark.known_answer
def test_a_condition_takes_one_way(toy):
    layers = nn.Linear(8, 4), nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    model = Called(lambda s, x: torch.cond(x.sum() > 99, s.small, s.large, (x,)), small=layers[0], large=layers[1])
    assert measured("macs", model.requires_grad_(False), toy, (8,)) == 8 * 8 + 8 * 4
    assert measured("memory", model, toy, (8,)) > 4 * sum(p.numel() for p in model.parameters())


@torch.library.custom_op("whatelse_test::product", mutates_args=())
def product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x @ w


def early(self, x):
    return self.head(x) if x.sum() > 4 else self.head(self.body(x))


REFUSED = {
    "an operation of others": (
        lambda: Called(lambda s, x: torch.ops.whatelse_test.product(x, s.w), w=weight(8, 3)),
        "small runs whatelse_test::product"),
    "a transform": (lambda: Called(lambda s, x: torch.fft.rfft(x).abs() @ s.w, w=weight(5, 3)), "runs aten::_fft_r2c"),
    "another way an example": (
        lambda: Called(early, head=nn.Linear(8, 3), body=nn.Linear(8, 8)), "small does 24 to 88"),
    "out of sight": (
        lambda: Called(lambda s, x: s.head(torch.from_numpy(x.numpy() @ s.far)), head=nn.Linear(3, 2),
                       far=torch.ones(8, 3).numpy()), "PyTorch does not show some of small"),
    "elementwise alone": (lambda: Called(lambda s, x: x * s.w, w=weight(8)), "no matrix product and no convolution"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_arithmetic_that_is_not_seen_is_never_saved(name, toy):
    make, why = REFUSED[name]
    inputs = torch.eye(8)[:6] * torch.tensor([1.0, 9.0, 1.0, 1.0, 1.0, 1.0])[:, None]
    with pytest.raises(NotMeasurableError, match=why):
        measured("macs", make().requires_grad_(False), toy, (8,), inputs)


def test_a_tree_multiplies_nothing_and_that_is_known(toy):
    assert measured("macs", Tree(leaves=1, classes=2, depth=0), toy, (8,)) == 0


def test_weights_that_nobody_can_read_are_not_measurable(toy):
    codes = nn.Parameter(torch.ones(3, 8, dtype=torch.uint8), requires_grad=False)
    model = Called(lambda s, x: functional.linear(x, s.codes.float()), codes=codes)
    with pytest.raises(NotMeasurableError, match=r"holds weights as torch.uint8, packed codes"):
        measured("parameters", model, toy, (8,))
    assert measured("macs", model, toy, (8,)) == 24
    nothing = Called(lambda s, x: x + 1)
    for what in ("macs", "parameters", "bytes"):
        with pytest.raises(NotMeasurableError, match="small"):
            measured(what, nothing, toy, (8,))


def test_counts_are_exact_where_single_precision_is_not(toy):
    table = nn.Embedding.from_pretrained(torch.ones(2**24 + 1, 1))
    model = Called(lambda s, x: s.head(s.table(x.long())[..., 0]), table=table, head=nn.Linear(8, 1, bias=False))
    nn.init.ones_(model.head.weight)
    assert measured("parameters", model.requires_grad_(False), toy, (8,)) == 2**24 + 1 + 8


class Squeezed(nn.Module):
    """Loses the dimension of one example on the way, as models that squeeze do."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)).squeeze())


@pytest.mark.known_answer
def test_an_example_that_is_asked_twice_over_is_counted_once(toy, rng):
    inputs = torch.rand(6, 1, 5, 5, generator=rng)
    task = toy.task_of(inputs, torch.arange(6) % 3, classes=3, bounds=(0, 1))
    seen = Evidence(subject.of(Squeezed(), "mine", "k", inputs, rng, classes=3), task)
    assert seen.subject.least == 2
    answer = macs.measure(seen, macs.Config(), rng)
    assert int(answer.table().sum()) == 4 * 9 * 9 + 4 * 3, "nine places of a kernel of nine, and the head"
