import copy
import dataclasses

import pytest
import torch

from whatelse import registry, settings
from whatelse.answer import Doubt
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.models.placed import Placed
from whatelse.nets import cnn

QUICK = [
    "generalization.accuracy",
    "generalization.flips",
    "generalization.calibration",
    "generalization.ece",
    "generalization.likelihood",
    "generalization.memorization",
    "generalization.gap",
    "attribution.agreement",
    "attribution.localization",
    "transparency.tree",
    "mechanism.cka",
    "mechanism.dictionary",
    "fairness.worst_group",
    "fairness.gap",
    "fairness.flip_share",
    "fairness.odds",
    "membership.reference",
    "membership.loss",
    "membership.pair",
]


@pytest.fixture
def pair(toy, rng):
    """Evidence of two small networks on a task that offers everything."""
    inputs = torch.rand(90, 1, 8, 8, generator=rng)
    targets = torch.arange(90) % 3
    observed = torch.where(torch.arange(90) % 7 == 0, (targets + 1) % 3, targets)
    masks = torch.zeros(inputs.shape, dtype=torch.bool)
    masks[:, :, :3] = True
    style = {"style": torch.arange(90) % 2}
    task = toy.task_of(inputs, targets, classes=3, bounds=(0, 1), observed=observed, groups=style, masks=masks)
    models = [cnn.build(cnn.Config(width=2, hidden=8), (1, 8, 8), 3, rng) for _ in range(2)]
    inside = (torch.arange(180) + torch.arange(4)[:, None]) % 2 == 0
    logits = torch.randn(4, 180, 3, generator=rng)
    base = toy.evidence_of(models[0], task, name="baseline", shadows=lambda: toy.References(logits, inside))
    mine = toy.evidence_of(models[1], task, reference=base, shadows=lambda: toy.References(logits, inside))
    return base, mine


def test_one_pass_serves_every_quick_behaviour(pair):
    """The quick tier costs at most 4 forward-equivalents per example and model, of train and select one each."""
    base, mine = pair
    for name in QUICK:
        item = registry.load("behaviours", name)
        config = settings.build(item.Config, {}, name)
        rng = torch.Generator().manual_seed(0)
        _ = item.compare(base, mine, config, rng) if "compare" in vars(item) else item.measure(mine, config, rng)
    for evidence in pair:
        spent = evidence.passes.forward + evidence.passes.backward
        assert spent == 90 * 4, "test forward and backward, train and select forward"


def test_the_gradient_is_that_of_the_log_odds_margin(toy, linear, task):
    # z = (-x0, x0): the margin of class 1 is 2 x0, of class 0 it is -2 x0.
    evidence = toy.evidence_of(linear, task)
    assert evidence.margin_gradient().tolist() == [[-2, 0], [-2, 0], [2, 0], [2, 0]]


def test_a_candidate_explains_what_the_baseline_predicts(toy, linear, task):
    base = toy.evidence_of(linear, task)
    turned = torch.nn.Linear(2, 2, bias=False)
    turned.weight.data = -linear.weight.data
    mine = toy.evidence_of(turned, task, reference=base)
    assert mine.explained().tolist() == base.predictions().tolist() != mine.predictions().tolist()
    assert mine.margin_gradient()[0].tolist() == [2, 0]


def test_log_odds_are_stable_at_any_scale():
    logits = torch.tensor([[1e4, 0.0, 0.0], [0.0, 1.0, 0.0]])
    found = subject.log_odds(logits, torch.tensor([0, 1]))
    p = torch.softmax(logits[1], 0)[1]
    assert found[0] == pytest.approx(1e4, rel=1e-3)
    assert found[1] == pytest.approx(float(torch.log(p / (1 - p))), rel=1e-5)


class Dropped(torch.nn.Module):
    """Its output depends on the input, its gradient is lost, as in a kernel without a backward."""

    def forward(self, x):
        return torch.stack([x.detach().sum(1), -x.detach().sum(1)], 1) + 0 * x.sum()


def test_a_gradient_that_lies_is_noticed(toy, task):
    evidence = toy.evidence_of(Dropped(), task)
    assert evidence.subject.offers == {"predicts", "opens"}
    with pytest.raises(NotMeasurableError, match="needs a model that differentiates"):
        evidence.margin_gradient()


def test_memory_that_runs_out_halves_the_batch(toy, linear, task):
    class Hungry(torch.nn.Linear):
        def forward(self, x):
            if len(x) > 1:
                raise torch.OutOfMemoryError("allocate memory")
            return super().forward(x)

    model = Hungry(2, 2, bias=False)
    model.weight.data = linear.weight.data
    evidence = toy.evidence_of(linear, task)
    starving = type(evidence)(subject.Subject("m", model, "k"), task, batch=4)
    for _ in range(2):  # also where the observation was made for an earlier question
        with starving.heard() as said:
            assert torch.equal(starving.logits(), evidence.logits())
        assert said.notes == [f"memory ran out: the batch was halved to {size}" for size in (2, 1)]
    assert starving.batch == 1
    declared = type(evidence)(subject.Subject("m", model, "k", batch=4), task)
    with pytest.raises(NotMeasurableError, match="memory ran out in batches of 4; give a smaller --batch"):
        declared.logits()


def test_hooks_are_gone_after_an_error(toy, task):
    class Breaks(torch.nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    model = torch.nn.Sequential(torch.nn.ReLU(), Breaks())
    evidence = toy.evidence_of(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2)), task)
    broken = type(evidence)(subject.Subject("m", model, "k", without=frozenset({"differentiates", "opens"})), task)
    with pytest.raises(ValueError, match="broken"):
        broken.logits()
    assert not model[0]._forward_hooks


def test_layers_keep_their_order_whatever_the_shelf_does(toy, task):
    class Shuffling(dict):
        def load(self, name):
            return dict(sorted(self[name].items(), key=lambda kv: hash(kv[0]) % 7)) if name in self else None

        def save(self, name, tensors):
            self[name] = tensors

    parts = [torch.nn.Linear(2, 2 + i) if i == 0 else torch.nn.Linear(1 + i, 2 + i) for i in range(6)]
    model = torch.nn.Sequential(*[m for part in parts for m in (part, torch.nn.ReLU())])
    shelf = Shuffling()
    for _ in range(2):
        evidence = toy.evidence_of(model, task)
        evidence.keep = shelf
        assert [t.shape[1] for t in evidence.activations().values()] == [2, 3, 4, 5, 6, 7]
        assert evidence.hidden().shape[1] == 7


def test_what_is_kept_is_not_made_again(toy, linear, task):
    class Shelf(dict):
        def load(self, name):
            return self.get(name)

        def save(self, name, tensors):
            self[name] = tensors

    shelf = Shelf()
    first = toy.evidence_of(linear, task)
    first.keep = shelf
    logits = first.logits()
    second = toy.evidence_of(linear, task)
    second.keep = shelf
    assert torch.equal(second.logits(), logits)
    assert second.passes.forward == 0


@pytest.mark.known_answer
def test_answers_and_gradients_of_any_inputs(toy, linear, task):
    evidence = toy.evidence_of(linear, task)
    inputs = torch.tensor([[0.5, 9.0], [-0.25, 9.0]])
    assert evidence.answers(inputs).tolist() == [[-0.5, 0.5], [0.25, -0.25]]
    assert evidence.gradients(inputs, torch.tensor([1, 1])).tolist() == [[2, 0], [2, 0]]
    assert (evidence.passes.forward, evidence.passes.backward) == (4, 2)


@pytest.mark.known_answer
def test_an_edit_acts_on_the_whole_layer_and_is_gone_afterwards(toy, task):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    evidence = toy.evidence_of(model, task)
    x = task.test.inputs
    cut = evidence.answers(x, {"1": lambda h: h * torch.tensor([1.0, 0.0, 1.0])})
    assert torch.allclose(cut, model[2](model[1](model[0](x)) * torch.tensor([1.0, 0.0, 1.0])))
    assert torch.equal(evidence.answers(x), evidence.logits())


def test_a_task_without_bounds_says_so(toy, linear, task):
    free = dataclasses.replace(task, bounds=None)
    with pytest.raises(NotMeasurableError, match="needs bounds on the inputs; task toy has none"):
        toy.evidence_of(linear, free).bounds()
    assert toy.evidence_of(linear, task).bounds() == (-10, 10)


def test_the_batch_fits_the_size_of_an_input(toy, linear, task):
    assert toy.evidence_of(linear, task).batch == 512
    split = toy.split_of(torch.zeros(2, 3, 64, 64), torch.tensor([0, 1]))
    wide = dataclasses.replace(task, splits=dict.fromkeys(("train", "calibration", "select", "test"), split))
    near = toy.evidence_of(linear, task).subject
    there = dataclasses.replace(near, model=Placed(copy.deepcopy(linear), "cpu"))  # an accelerator takes more at once
    assert [Evidence(subject, wide).batch for subject in (near, there)] == [16, 32]


def test_answers_that_are_no_numbers_are_doubted(toy, task):
    class Broken(torch.nn.Linear):
        def forward(self, x):
            return torch.where(x[:, :1] > 1.5, float("nan"), super().forward(x))

    evidence = toy.evidence_of(Broken(2, 2), task)
    for _ in range(2):
        with evidence.heard() as said:
            evidence.predictions()
            evidence.predictions()
        assert said.doubts == [Doubt("model answers 1 of 4 examples of test with NaN or infinity")]
    with evidence.heard() as said:
        evidence.explained("train")
    assert said.doubts == [Doubt("model answers 1 of 4 examples of train with NaN or infinity")]


@pytest.mark.known_answer
def test_gradients_of_other_splits_are_taken_when_asked_for(toy, linear, task):
    assert toy.evidence_of(linear, task).margin_gradient("train").tolist() == [[-2, 0], [-2, 0], [2, 0], [2, 0]]


class Lost(torch.nn.Module):
    """A network whose features have no batch dimension for a single example."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.act(self.first(x)).squeeze())


@pytest.mark.known_answer
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_what_is_left_over_is_never_asked_alone_where_that_is_answered_otherwise(count, toy, rng):
    x = torch.randn(count, 2, generator=rng)
    found = subject.of(Lost(), "mine", "k", torch.randn(6, 2, generator=rng), rng, classes=3)
    seen = Evidence(found, toy.task_of(x, torch.arange(count) % 3, classes=3), batch=4)
    hidden = torch.relu(found.inside.first(x))
    assert torch.allclose(seen.logits(), found.inside.last(hidden), atol=1e-6)
    assert torch.allclose(seen.hidden(), hidden, atol=1e-6)
    assert seen.margin_gradient().shape == x.shape


class Turns(torch.nn.Module):
    """A network one of whose layers is asked only where an input is large."""

    def __init__(self):
        super().__init__()
        self.always, self.seldom, self.last = torch.nn.ReLU(), torch.nn.ReLU(), torch.nn.Linear(2, 2)

    def forward(self, x):
        x = self.always(x)
        return self.last(self.seldom(x) if bool(x.max() > 5) else x)


def test_a_layer_that_is_not_asked_in_every_batch_has_no_activations(toy, rng):
    x = torch.rand(8, 2, generator=rng)
    x[:4] += 6
    seen = Evidence(toy.evidence_of(Turns(), toy.task_of(x, torch.arange(8) % 2)).subject, toy.task_of(x, [0, 1] * 4))
    seen.batch = 4
    assert list(seen.activations()) == ["always"]
    assert torch.equal(seen.activations()["always"], x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_activations_of_half_precision_are_averaged_and_edited_as_floats(dtype, toy, rng):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 2))
    x = torch.rand(6, 1, 6, 6, generator=rng)
    seen = toy.evidence_of(model.to(dtype), toy.task_of(x, torch.arange(6) % 2))
    want = torch.relu(model[0](x.to(dtype))).float().mean((2, 3))
    assert torch.allclose(seen.hidden(), want, atol=1e-6)
    held = seen.answers(x, {"1": lambda h: torch.zeros_like(h)})
    assert torch.allclose(held, model[3].bias.float().expand(6, 2))


@pytest.mark.known_answer
def test_on_another_split_every_test_is_of_that_split(toy, linear, rng):
    test = toy.split_of(torch.randn(6, 2, generator=rng), torch.arange(6) % 2)
    select = toy.split_of(torch.randn(5, 2, generator=rng), torch.arange(5) % 2)
    task = toy.task_of(test.inputs, test.targets)
    task = dataclasses.replace(task, splits={**task.splits, "select": select})
    whole = toy.evidence_of(linear, task)
    base = Evidence(whole.subject, task, on="select")
    mine = Evidence(whole.subject, task, reference=base, on="select")
    base.logits()
    assert torch.equal(mine.logits(), linear(select.inputs))
    assert torch.equal(mine.split().inputs, select.inputs)
    assert len(mine.task.test) == len(mine.margin_gradient()) == 5
    assert mine.task.key != task.key
    assert torch.equal(mine.margin_gradient("select"), mine.margin_gradient())
    assert (base.passes.forward, mine.passes.forward) == (5, 10), "once more to see how loud the candidate is"
    with pytest.raises(ValueError, match="evidence on select with a reference on test; both need the same split"):
        Evidence(whole.subject, task, reference=whole, on="select")


def test_what_is_kept_goes_by_the_split_that_was_looked_at(toy, linear, task):
    class Shelf(dict):
        load, save = dict.get, dict.__setitem__

    shelf = Shelf()
    subject_ = toy.evidence_of(linear, task).subject
    for on in ("test", "select"):
        seen = Evidence(subject_, task, keep=shelf, on=on)
        seen.logits()
        seen.logits("train")
        seen.once("mine", lambda: {"a": torch.zeros(1)})
        seen.once("apart from test: mine", lambda: {"a": torch.zeros(1)})
    assert sorted(shelf) == [
        "apart from test: mine", "mine", "mine on select", "pass select in full", "pass test", "pass train",
    ]  # fmt: skip
