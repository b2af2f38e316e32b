import collections
import dataclasses
import math
import types
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse.errors import NotMeasurableError, TaskError
from whatelse.models import subject
from whatelse.models.asked import asked, channels_last


@dataclasses.dataclass
class Record:
    """What many libraries answer with."""

    loss: float
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


Pair = collections.namedtuple("Pair", "loss logits")


class Packs(nn.Module):
    """A linear classifier whose answer is made of its scores."""

    def __init__(self, pack, classes=3, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.linear = nn.Linear(4, classes).to(dtype)
        with torch.no_grad():
            for parameter in self.linear.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.pack = pack

    def forward(self, x):
        return self.pack(self.linear(x))


@pytest.fixture
def x(rng):
    return torch.randn(24, 4, generator=rng)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    "pack",
    [
        lambda z: Record(0.5, z, torch.ones(len(z), 3)),
        lambda z: Pair(z.sum(), z),
        lambda z: types.SimpleNamespace(logits=z),
        lambda z: {"out": (z.sum(), {"scores": z})},
        lambda z: {"logits": z, "other": z + 1},
        lambda z: {"aux": z + 1, "head": {"logits": z}},
        lambda z: [torch.ones(len(z), 3, 2), z],
        lambda z: z[:, :, None, None],
        lambda z: z[:, None],
    ],
)
def test_scores_are_found_where_they_are_and_at_a_batch_of_any_size(pack, x):
    model = Packs(pack)
    made, remarks = asked(model, "mine", x, 3)
    assert len(remarks) == 1
    for part in (x, x[:1], x[:3]):  # three examples of three classes
        assert torch.equal(made(part), model.linear(part))


@pytest.mark.known_answer
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_are_converted_to_the_type_of_the_model(dtype, x):
    model = Packs(lambda z: z, dtype=dtype)
    made, remarks = asked(model, "mine", x, 3)
    assert made(x).dtype == torch.float32
    assert torch.equal(made(x), model(x.to(dtype)).float())
    assert str(dtype).removeprefix("torch.") in remarks[0]
    # In double precision the weights are those of the model, whatever its own type is.
    weight, bias = (p.double() for p in model.linear.parameters())
    assert torch.allclose(subject.precise(made, x)(x.double()), x.double() @ weight.T + bias)


def test_a_model_that_casts_by_itself_is_asked_as_it_is(x):
    class Casts(Packs):
        def forward(self, x):
            return self.linear(x.bfloat16())

    model = Casts(None, dtype=torch.bfloat16)
    made, remarks = asked(model, "mine", x, 3)
    assert not remarks
    assert torch.equal(made(x), model(x).float())


def test_scores_of_half_precision_are_widened_before_anything_is_computed_of_them(x):
    model = Packs(lambda z: z.half())
    found = subject.of(model, "mine", "k", x, torch.Generator().manual_seed(0), classes=3)
    assert found.model(x).dtype == torch.float32
    assert "differentiates" in found.offers


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_codes_are_looked_up_and_nothing_lies_between_them(dtype, rng):
    model = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(12, 2))
    codes = torch.randint(0, 6, (20, 3), generator=rng).to(dtype)
    made, _ = asked(model, "mine", codes, 2)
    assert torch.equal(made(codes), model(codes.long()))
    if dtype == torch.float32:
        with pytest.raises(NotMeasurableError, match="looks its inputs up"):
            made(codes + 0.5)
    found = subject.of(model, "mine", "k", codes, torch.Generator().manual_seed(0), classes=2)
    assert found.offers == {"predicts", "opens"}


class Shapes(nn.Module):
    """A convolution whose features lose their dimensions on the way, in one of several manners."""

    def __init__(self, way):
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 3, padding=1)
        self.head = nn.Linear(5, 4)
        self.way = way

    def forward(self, x):
        return self.way(self.head, torch.relu(self.conv(x)).mean((2, 3), keepdim=True))


@pytest.mark.known_answer
@pytest.mark.parametrize(
    "way",
    [
        lambda head, h: head(h.squeeze()),
        lambda head, h: head(h.flatten(1)).squeeze(),
        lambda head, h: head(h.squeeze()).log_softmax(1),  # of one example it raises
        lambda head, h: head(h.squeeze()).cumsum(-1) if h.shape[0] > 1 else head(h.flatten(1)),  # here it is another
    ],
)
def test_one_example_is_answered_as_it_is_among_others(way, rng):
    model, x = Shapes(way).eval(), torch.randn(9, 2, 6, 6, generator=rng)
    made, remarks = asked(model, "mine", x, 4)
    whole = model(x)
    assert torch.allclose(made(x[:1]), whole[:1], atol=1e-5)
    assert torch.allclose(made(x[8:]), whole[8:], atol=1e-5)
    assert "a single example" in remarks[-1]


class Viewed(nn.Module):
    """Layers that look their inputs, or slopes, up flat."""

    def __init__(self, way):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)
        self.way = way

    def forward(self, x):
        return self.head(torch.relu(self.conv(self.way(x))).mean((2, 3)))


class Turns(torch.autograd.Function):
    """Nothing, whose slope is viewed on its way back."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, slope):
        return slope.view(-1).view(slope.shape)


@pytest.mark.parametrize(
    ("way", "last"),
    [
        (lambda x: x, True),
        (lambda x: x.view(-1).view(x.shape), False),
        (lambda x: torch.as_strided(x, x.shape, (768, 256, 16, 1)), False),  # no error, and other numbers
        (Turns.apply, False),
    ],
)
def test_channels_lie_last_only_where_nothing_differs(way, last, rng):
    model, x = Viewed(way), torch.rand(8, 3, 16, 16, generator=rng)
    found = subject.of(model, "mine", "k", x, torch.Generator().manual_seed(0), classes=2)
    assert found.channels_last == last
    assert "differentiates" in found.offers
    # However they come, they are handed over as the model takes them.
    assert torch.allclose(found.model(x.contiguous(memory_format=torch.channels_last)), model(x), atol=1e-6)


def test_a_single_channel_lies_last_where_a_convolution_sees_it(rng):
    x, layer = torch.rand(8, 1, 16, 16, generator=rng), nn.Conv2d(1, 4, 3)
    laid = channels_last(x)
    assert torch.equal(laid, x)
    assert laid.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()  # the same bytes
    assert not layer(x).is_contiguous(memory_format=torch.channels_last)
    assert layer(laid).is_contiguous(memory_format=torch.channels_last)


def test_a_single_channel_lies_as_usual_where_the_next_layer_views_it(rng):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), Flat(), nn.Linear(4 * 14 * 14, 2))
    x = torch.rand(8, 1, 16, 16, generator=rng)
    found = subject.of(model, "mine", "k", x, torch.Generator().manual_seed(0), classes=2)
    assert not found.channels_last
    assert "differentiates" in found.offers


class Flat(nn.Module):
    def forward(self, x):
        return x.view(len(x), -1)


def test_a_model_that_writes_to_its_inputs_is_handed_copies(rng):
    class Writes(Packs):
        def forward(self, x):
            return self.linear(x.sub_(1).mul_(2))

    model, x = Writes(None), torch.randn(6, 4, generator=rng)
    before = x.clone()
    found = subject.of(model, "mine", "k", x, torch.Generator().manual_seed(0), classes=3)
    assert torch.equal(x, before)
    assert torch.allclose(found.model(x), model.linear(2 * (before - 1)))
    assert torch.equal(x, before)
    assert "in place" in found.remarks[0]
    assert "differentiates" in found.offers


def test_a_program_for_one_example_is_asked_for_one_at_a_time(rng):
    model, x = Packs(lambda z: z), torch.randn(6, 4, generator=rng)
    program = torch.export.export(model, (x[:1],)).module()
    found = subject.of(program, "mine", "k", x, torch.Generator().manual_seed(0), classes=3)
    assert torch.allclose(found.model(x), model(x), atol=1e-6)
    assert "one example at a time" in found.remarks[0]
    four = torch.export.export(model, (x[:4],)).module()
    with pytest.raises(TaskError, match="^mine cannot take inputs of shape \\(4,\\): .*4") as told:
        asked(four, "mine", x, 3)
    assert "\n" not in str(told.value)


def scripted(model):
    with warnings.catch_warnings(action="ignore"):  # scripts are of the past, and still about
        return torch.jit.script(model)


@pytest.mark.known_answer
@pytest.mark.parametrize("whole", [False, True])
def test_a_probability_of_each_class_by_itself_becomes_its_log_odds(whole, x):
    model = Packs(lambda z: torch.stack([z.sigmoid(), z.sigmoid()]).mean(0) if whole else z.sigmoid())
    made, remarks = asked(model, "mine", x, 3)
    p = model(x).double()
    # Of classes drawn each by itself, given that just one is drawn.
    odds = torch.stack([p[:, c] * torch.cat([1 - p[:, :c], 1 - p[:, c + 1 :]], 1).prod(1) for c in range(3)], 1)
    assert torch.allclose(made(x).softmax(1).double(), odds / odds.sum(1, keepdim=True), atol=1e-5)
    assert "each class by itself" in remarks[0]


@pytest.mark.parametrize("pack", [lambda z: z, lambda z: z / 1.1, lambda z: torch.relu(z)[:, [2, 1, 0]]])
def test_scores_that_happen_to_lie_between_0_and_1_are_left_alone(pack, x):
    model = Packs(pack)
    with torch.no_grad():
        model.linear.weight.mul_(1e-3)
        model.linear.bias.copy_(torch.tensor([0.2, 0.5, 0.7]))
    made, remarks = asked(model, "mine", x, 3)
    assert made is model
    assert "taken as they are" in remarks[0]


@pytest.mark.parametrize("pack", [lambda z: functional.normalize(z.abs()), lambda z: z.sigmoid().detach()])
def test_what_may_be_scores_or_probabilities_is_refused(pack, x):
    with pytest.raises(TaskError, match=r"all scores of mine lie between 0 and 1.*let it answer with scores"):
        asked(Packs(pack), "mine", x, 3)


def test_the_sigmoid_of_a_script_is_seen_too(x):
    model = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid())
    made, _ = asked(scripted(model), "mine", x, 3)
    assert torch.allclose(made(x), model[0](x), atol=1e-4)


@pytest.mark.known_answer
@pytest.mark.parametrize("shape", [lambda z: z, lambda z: z.squeeze(1), lambda z: z.squeeze()])
def test_one_number_an_example_is_the_log_odds_or_the_probability_of_class_1(shape, x):
    score = Packs(shape, classes=1)
    made, remarks = asked(score, "mine", x, 2)
    z = score.linear(x).squeeze(1)
    assert torch.allclose(made(x).softmax(1)[:, 1], 1 / (1 + (-z).exp()), atol=1e-6)
    assert torch.equal(made(x).argmax(1), (z > 0).long())
    assert "one score" in remarks[0]
    assert made(x[:1]).shape == (1, 2)
    sure = Packs(lambda z: shape(z).sigmoid(), classes=1)
    made, remarks = asked(sure, "mine", x, 2)
    assert torch.allclose(made(x).softmax(1)[:, 1], torch.sigmoid(z), atol=1e-6)
    assert "one probability" in remarks[0]
    decided = Packs(lambda z: (shape(z) > 0).float(), classes=1)
    made, remarks = asked(decided, "mine", x, 2)
    assert torch.equal(made(x).argmax(1), (z > 0).long())
    assert "confidences mean nothing" in remarks[0]
    with pytest.raises(TaskError, match="one of \\(N, 3\\) is needed"):
        asked(score, "mine", x, 3)


def test_logarithms_of_small_probabilities_are_finite_also_in_half_precision(x):
    model = Packs(lambda z: (100 * z).softmax(1).half())
    made, _ = asked(model, "mine", x, 3)
    assert bool(made(x).isfinite().all())
    assert float(made(x).detach().min()) == pytest.approx(math.log(torch.finfo(torch.float32).tiny))


def test_what_a_model_raises_is_said_in_one_line(x):
    with pytest.raises(TaskError, match=r"^mine cannot take inputs of shape \(4,\): mat1 and mat2 .*$") as told:
        asked(nn.Linear(5, 3), "mine", x, 3)
    assert "\n" not in str(told.value)


def test_a_compiled_model_is_opened_as_the_one_inside(x):
    inner = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    for outer in (torch.compile(inner, backend="eager"), nn.DataParallel(inner)):
        found = subject.of(outer, "mine", "k", x, torch.Generator().manual_seed(0), classes=3)
        assert found.inside is inner
        assert torch.allclose(found.runs(x), inner(x), atol=1e-6)
        assert type(outer).__name__ in found.remarks[-1]


@pytest.mark.known_answer
@pytest.mark.parametrize("decimals", [1, 2])
def test_rounded_probabilities_are_read_as_probabilities(decimals, x):
    made, remarks = asked(Packs(lambda z: (9 * z).softmax(1).round(decimals=decimals), classes=7), "mine", x, 7)
    assert "rounded probabilities" in " ".join(remarks)
    whole = (9 * made.model.linear(x)).softmax(1).round(decimals=decimals)
    assert torch.allclose(made(x).exp(), whole, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_half_precision_keep_their_gradients(dtype):
    """Their copy in double answers in double: it is asked with the short step that crosses no kink."""
    for seed in range(8):
        rng = torch.Generator().manual_seed(seed)
        layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.4)
        images = torch.rand(16, 3, 8, 8, generator=rng)
        assert "differentiates" in subject.of(model.to(dtype), "mine", "k", images, rng, classes=4).offers
