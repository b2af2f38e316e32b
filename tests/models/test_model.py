import pytest
import torch

from whatelse import items
from whatelse.errors import NotMeasurableError, TaskError
from whatelse.evidence.cache import Evidence
from whatelse.models import take
from whatelse.models.model import CAPABILITIES
from whatelse.models.subject import Subject


class Table:
    """Scores by the sign of the first value, without a module."""

    def __init__(self, slope=1.0):
        self.weight = slope * torch.tensor([[-1.0, 0.0], [1.0, 0.0]])

    def scores(self, inputs):
        return inputs @ self.weight.T


class Sloped(Table):
    """The same with the gradient of its log-odds in closed form: z = (-s x0, s x0), so that it is (2 s y', 0)."""

    lie = 1.0

    def gradient(self, inputs, labels, scale=1.0):
        found = torch.zeros_like(inputs)
        found[:, 0] = self.lie * (2.0 * labels - 1) * 2 * self.weight[1, 0] / scale
        return found


class Opened:
    """What opens is asked as its module."""

    def __init__(self, module):
        self.module = module


def taken(given, task, name="mine"):
    return take.take(given, name, take.key_of(given, task), task, torch.Generator().manual_seed(0))


def test_what_is_offered_falls_out_of_what_is_satisfied(task, linear):
    assert taken(Table(), task).offers == {"predicts"}
    assert taken(Sloped(), task).offers == {"predicts", "differentiates"}
    for given in (linear, Opened(linear)):
        model = taken(given, task)
        assert isinstance(model, Subject)
        assert model.offers == set(CAPABILITIES)
    with pytest.raises(TaskError, match=r"mine: got int; a torch.nn.Module, or an object with scores\(inputs\) or"):
        take.take(7, "mine", "k", task, torch.Generator())


def test_a_module_with_a_part_of_that_name_is_a_module(task):
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = torch.nn.Linear(2, 2)

        def forward(self, x):
            return self.scores(x)

    assert taken(Named(), task).offers == set(CAPABILITIES)


@pytest.mark.known_answer
def test_a_model_without_a_module_is_seen_as_the_module_with_its_numbers(task, linear, toy):
    base = toy.evidence_of(linear, task)
    for scale in (1.0, 3.0):
        module = torch.nn.Linear(2, 2, bias=False)
        module.weight.data = scale * linear.weight.data
        mine, theirs = (
            Evidence(model, task, reference=base)
            for model in (taken(Sloped(scale), task), toy.evidence_of(module, task).subject)
        )
        assert torch.equal(mine.logits(), theirs.logits())
        assert torch.equal(mine.margin_gradient(), theirs.margin_gradient())
        assert torch.equal(mine.margin_gradient("train"), theirs.margin_gradient("train"))
        assert torch.equal(mine.answers(task.test.inputs + 1), theirs.answers(task.test.inputs + 1))
        assert mine.passes.backward == theirs.passes.backward
        assert mine.passes.forward == theirs.passes.forward + 4, "scores and gradients of test are asked apart"


def test_a_gradient_that_is_stated_and_lies_is_not_offered(task):
    liar = Sloped()
    liar.lie = -1.0
    model = taken(liar, task)
    assert model.offers == {"predicts"}
    assert model.remarks == ("gradients of mine are not those of its scores, and are not used",)
    with pytest.raises(NotMeasurableError, match="needs a model that differentiates; mine only predicts"):
        Evidence(model, task).margin_gradient()


def test_what_it_does_not_offer_is_named(task):
    seen = Evidence(taken(Table(), task), task)
    for ask in (seen.activations, lambda: seen.slopes, lambda: seen.answers(task.test.inputs, {"a": lambda h: h})):
        with pytest.raises(NotMeasurableError, match="needs a model that opens; mine only predicts"):
            ask()


def test_black_box_attacks_reach_a_model_without_a_module(task):
    base, mine = (Evidence(taken(Table(s), task), task) for s in (1.0, -1.0))
    item = items.behaviour("robustness.accuracy")
    rng = torch.Generator().manual_seed(0)
    found = item.answer(base, Evidence(mine.subject, task, reference=base), item.configure({"radius": 0.1}), rng)
    assert len(found) == 4
    assert mine.subject.offers == {"predicts"}


@pytest.mark.known_answer
def test_answers_are_read_as_those_of_a_module(task):
    class Sure(Table):
        def scores(self, inputs):
            return super().scores(inputs).softmax(1).double()

    model = taken(Sure(), task)
    assert model.remarks == ("mine answers with probabilities: their logarithms were taken as class scores",)
    found = Evidence(model, task).logits()
    assert found.dtype == torch.float32
    assert torch.allclose(found.softmax(1), Table().scores(task.test.inputs).softmax(1))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: [0.0] * len(x), "mine answers with a list; a tensor of class scores is needed"),
        (
            lambda x: 9 * x @ torch.ones(2, 3),
            "mine answers with scores of 3 classes; the data have 2: name all classes of the model",
        ),
        (lambda x: x.view(7), r"mine cannot take inputs of shape \(2,\): shape"),
    ],
)
def test_what_answers_otherwise_is_refused(answer, words, task):
    class Odd:
        def scores(self, inputs):
            return answer(inputs)

    with pytest.raises(TaskError, match=words):
        take.take(Odd(), "mine", "k", task, torch.Generator())


def test_a_key_is_of_what_a_model_holds_or_says_or_answers(task, linear):
    assert take.key_of(linear, task) != take.key_of(torch.nn.Linear(2, 2), task)
    assert take.key_of(Table(), task) == take.key_of(Table(), task) != take.key_of(Table(2.0), task)
    named = Table()
    named.key = "by name"
    assert take.key_of(named, task) == "by name"


def test_a_module_that_is_lent_is_given_back_as_it_was(task, linear):
    linear.train()
    with take.lent(linear, "mine", "k", task, torch.Generator()) as guest:
        assert guest.training
        assert not guest.model.module.training
    assert linear.training
    with take.lent(Table(), "mine", "k", task, torch.Generator()) as guest:
        assert (guest.training, guest.remarks, guest.model.key) == (False, (), "k")
