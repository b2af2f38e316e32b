import pytest
import torch
from torch import nn

from whatelse.artifacts import compress
from whatelse.errors import NotMeasurableError, TaskError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.nets import cnn, transformer
from whatelse.tasks.task import Split, Task


class Answering(nn.Module):
    """A linear classifier whose answer is packed in one of many ways."""

    def __init__(self, pack):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.pack = pack

    def forward(self, x):
        return self.pack(self.linear(x))


PACKS = {
    "tuple": lambda z: (z, torch.ones(len(z), 4, 5)),
    "tuple with features first": lambda z: (torch.ones(len(z), 7), z),
    "tuple with a loss first": lambda z: (z.sum(), z),
    "mapping": lambda z: {"hidden": torch.ones(len(z), 2), "logits": z},
    "mapping of one": lambda z: {"scores": z},
}


def of(model, inputs, **more):
    return subject.of(model, "mine", "k", inputs, torch.Generator().manual_seed(0), **more)


@pytest.mark.known_answer
@pytest.mark.parametrize("pack", PACKS)
def test_class_scores_are_taken_out_of_an_answer(pack, rng):
    model, x = Answering(PACKS[pack]), torch.randn(6, 2, generator=rng)
    found = of(model, x, classes=3)
    assert torch.equal(found.model(x), model.linear(x))
    assert found.offers == set(subject.CAPABILITIES)
    assert "its class scores were taken" in found.remarks[0]


@pytest.mark.known_answer
@pytest.mark.parametrize("packed", [False, True])
def test_probabilities_become_scores_that_give_them_back(rng, packed):
    model = Answering(lambda z: {"probabilities": z.softmax(1)} if packed else z.softmax(1))
    x = torch.randn(6, 2, generator=rng)
    found = of(model, x)
    assert torch.allclose(found.model(x).softmax(1), model.linear(x).softmax(1), atol=1e-6)
    assert "probabilities" in found.remarks[-1]
    assert len(found.remarks) == 1 + packed


def test_plain_scores_and_hard_decisions_are_left_alone(rng):
    x = torch.randn(6, 2, generator=rng)
    plain, hard = Answering(lambda z: z), Answering(lambda z: nn.functional.one_hot(z.argmax(1), 3).float())
    assert of(plain, x, classes=3).model is plain
    assert not of(plain, x, classes=3).remarks
    assert of(hard, x, classes=3).model is hard
    assert "0 and 1 alone" in of(hard, x, classes=3).remarks[0]


def test_probabilities_of_half_precision_are_known(rng):
    model = Answering(lambda z: z.softmax(1).bfloat16())
    assert "probabilities" in of(model, torch.randn(64, 2, generator=rng), classes=3).remarks[-1]


@pytest.mark.parametrize(
    ("pack", "told"),
    [
        (lambda z: z[:, 0], "a tensor of shape \\(6,\\)"),
        (lambda z: {"one": z, "two": z}, "a dict"),
        (lambda z: "yes", "a str"),
        (lambda z: [], "a list"),
        (lambda z: z[:, :1], "a tensor of shape \\(6, 1\\)"),
        (lambda z: (z, z), "a tuple, which holds 2 matrices"),
    ],
)
def test_an_answer_without_class_scores_is_refused_in_one_line(rng, pack, told):
    with pytest.raises(TaskError, match=f"mine answers with {told}.*one of \\(N, 3\\) is needed"):
        of(Answering(pack), torch.randn(6, 2, generator=rng), classes=3)


def test_scores_of_other_classes_are_refused_by_the_labels_that_are_lacking(rng):
    with pytest.raises(TaskError, match="mine answers with scores of 2 classes; the data have 3: label 2 is none of"):
        of(Answering(lambda z: z[:, :2]), torch.randn(6, 2, generator=rng), classes=3)


@pytest.fixture
def texts(rng):
    ids = torch.randint(1, 20, (12, 7), generator=rng).float()
    ids[:, 5:] = 0
    split = Split(ids, torch.arange(12) % 2, torch.arange(12) % 2)
    task = Task("t", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split), vocabulary=20)
    model = transformer.build(transformer.Config(vocabulary=20, width=8, heads=2), (7,), 2, rng)
    return Evidence(of(model, ids[:4], tokens=True), task)


@pytest.mark.known_answer
def test_gradients_of_texts_are_those_of_the_embedding(texts):
    assert "differentiates" in texts.subject.offers
    ids, slope, vectors = texts.split("test").inputs, texts.margin_gradient(), texts.embedded()
    assert slope.shape == vectors.shape == (12, 7, 8)
    assert torch.allclose(vectors, texts.model.embedding(ids.long()))
    assert torch.allclose(texts.gradients(ids, texts.predictions()), slope)
    step = 1e-2 * slope / slope.norm()
    from whatelse.models import activations

    with activations.entering(texts.model, texts.subject.entrance, vectors + step):
        ahead = subject.log_odds(texts.model(ids), texts.predictions())
    gained = ahead - subject.log_odds(texts.logits(), texts.predictions())
    assert gained.sum() == pytest.approx(float((slope * step).sum()), rel=0.02)


def test_activations_of_texts_leave_padding_out(texts):
    found = texts.activations()
    assert [t.shape for t in found.values()] == [(12, 8), (12, 8)]
    seen = {}
    hook = texts.model.blocks[1].register_forward_hook(lambda m, i, o: seen.update(o=o))
    texts.model(texts.split("test").inputs)
    hook.remove()
    assert torch.allclose(texts.hidden(), seen["o"][:, :5].mean(1), atol=1e-6)


def test_what_is_no_text_has_no_embedding(toy, linear, task):
    with pytest.raises(NotMeasurableError, match="needs texts; task toy is of table"):
        toy.evidence_of(linear, task).embedded()


@pytest.mark.parametrize("seed", [15, 21, 22, 24])
def test_a_model_that_rounds_its_activations_computes_in_double_too(seed, toy):
    """The last digits decide on which step one comes to lie, and those of double decide otherwise."""
    rng = torch.Generator().manual_seed(seed)
    model = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng).eval().requires_grad_(False)
    x = (torch.rand(60, 1, 8, 8, generator=rng) * 16).round() / 16
    task = toy.task_of(x, torch.arange(60) % 3, classes=3, bounds=(0, 1))
    small = compress.compress(model, "quantize.uniform(bits=4, activation_bits=3)", task).model
    assert subject.precise(small, x) is not None
