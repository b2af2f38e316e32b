import pytest
import torch
from torch import nn

from whatelse import opening
from whatelse.auditing import preflight
from whatelse.errors import TaskError
from whatelse.models import recorded, take
from whatelse.nets import mlp
from whatelse.study import worker
from whatelse.tasks.task import Split, Task

KINDS = 4
NAMED = ["class order", "preprocessing", "dtype", "evaluation mode", "repeated answers", "batch", "output"]
LEVELS = torch.tensor([0.1, 0.35, 0.6, 0.85])
# Of these four levels in equal shares, noise aside.
MEAN, SPREAD = 0.485, 0.28
# By channel, as image models of others are trained.
MEANS, SPREADS = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.fixture(scope="module")
def images():
    """Pictures of 4x4 pixels in [0, 1]: class k is bright in row k, and its left half more than its right."""
    rng = torch.Generator().manual_seed(0)
    targets = torch.arange(400) % KINDS
    pictures = 0.3 * torch.rand(400, 1, 4, 4, generator=rng)
    for row, kind in enumerate(targets.tolist()):
        pictures[row, 0, kind, :3] += 0.6
    return cut(pictures, targets, KINDS)


def cut(inputs, targets, classes, bounds=(0.0, 1.0)):
    ends = {"train": (0, 100), "calibration": (0, 50), "select": (100, 300), "test": (300, 400)}
    splits = {name: Split(inputs[a:b], targets[a:b], targets[a:b]) for name, (a, b) in ends.items()}
    return Task("toy", classes, bounds, splits)


def right(scale=10.0):
    """The model that names the brightest row."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, KINDS))
    with torch.no_grad():
        model[1].weight.copy_(scale * torch.eye(KINDS).repeat_interleave(4, 1))
        model[1].bias.zero_()
    return model.eval()


class Before(nn.Module):
    """A model that sees its inputs, and gives its scores, after a change."""

    def __init__(self, model, inputs=None, scores=None):
        super().__init__()
        self.model = model
        self.inputs, self.scores = inputs or (lambda x: x), scores or (lambda y: y)

    def forward(self, x):
        return self.scores(self.model(self.inputs(x)))


@pytest.fixture(scope="module")
def shades():
    """Pictures of one shade with a little noise: class k is the k-th of four levels of brightness."""
    rng = torch.Generator().manual_seed(0)
    targets = torch.arange(400) % KINDS
    return cut(LEVELS[targets, None, None, None] + 0.02 * torch.rand(400, 1, 4, 4, generator=rng), targets, KINDS)


def nearest(levels):
    """The model that names the nearest level: the class whose ``2 l x - l^2`` is largest."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, KINDS))
    with torch.no_grad():
        model[1].weight.copy_(2 * levels[:, None].expand(KINDS, 16) / 16)
        model[1].bias.copy_(-(levels**2))
    return model.eval()


def checked(baseline, candidate, task, training=None, *, force=False):
    before, after = (
        worker.subject_of(m, name, name, task) for m, name in ((baseline, "baseline"), (candidate, "small"))
    )
    found = preflight.compare(before, after, task, training=training or {}, force=force)
    assert [c.name for c in found] == [*NAMED, "data"]
    return {c.name: c for c in found}


def differing(found):
    return {name: c.outcome for name, c in found.items() if c.outcome != "same"}


def accuracy(model, split):
    return float((model(split.inputs).argmax(1) == split.targets).float().mean())


def test_a_model_is_the_same_as_itself(images):
    found = checked(right(), right(), images)
    assert differing(found) == {}
    assert all(c.baseline == c.candidate for name, c in found.items() if name != "data")
    assert found["data"].baseline == f"task toy, hash {images.key}"
    assert accuracy(right(), images.split("select")) == 1.0


def test_a_model_that_no_preparation_could_help_is_asked_about_none(images, monkeypatch):
    monkeypatch.setattr(preflight, "_prepared", pytest.fail)
    assert differing(checked(right(), right(), images)) == {}


@pytest.mark.parametrize("wrong", ["baseline", "small"])
def test_classes_in_another_order_are_refused_with_both_sides(images, wrong):
    order = [1, 2, 3, 0]
    models = {"baseline": right(), "small": right()}
    models[wrong] = Before(right(), scores=lambda y: y[:, order]).eval()
    with pytest.raises(TaskError) as error:
        checked(*models.values(), images)
    told = str(error.value)
    assert told.startswith("small cannot be compared with baseline: class order: baseline ")
    # The class that stands at place a of the permuted scores is order[a].
    odd = "is right on 0% of 200 examples, and on 100% if 0 means 1, 1 means 2, 2 means 3, 3 means 0"
    both = {"baseline": "classes as in the data", "small": "classes as in the data", wrong: odd}
    assert f"baseline {both['baseline']}; small {both['small']}; mend it" in told
    assert "--force" in told
    assert "\n" not in told
    found = checked(*models.values(), images, force=True)
    assert found["class order"].outcome == "stated"
    assert (found["class order"].baseline, found["class order"].candidate) == (both["baseline"], both["small"])


@pytest.mark.parametrize(
    ("way", "named"),
    [
        (lambda x: x * 255, "multiplied by 255"),
        (lambda x: x / 255, "divided by 255"),
        (lambda x: 2 * x - 1, r"stretched to \[-1, 1\]"),
        (lambda x: (x - MEAN) / SPREAD, "standardized"),
    ],
)
@pytest.mark.parametrize("wrong", ["baseline", "small"])
def test_inputs_on_another_scale_are_refused_with_both_sides(shades, way, named, wrong):
    models = {"baseline": nearest(LEVELS), "small": nearest(LEVELS)}
    models[wrong] = nearest(way(LEVELS))
    assert accuracy(Before(models[wrong], inputs=way), shades.split("select")) == 1
    assert accuracy(models[wrong], shades.split("select")) < 0.6
    odd = rf"is right on \d\d% of 200 examples as they are, and on 100% of them {named}"
    both = {"baseline": "takes the inputs as they are", "small": "takes the inputs as they are", wrong: odd}
    with pytest.raises(
        TaskError, match=f"preprocessing: baseline {both['baseline']}; small {both['small']}; mend it"
    ) as error:
        checked(*models.values(), shades)
    assert "\n" not in str(error.value)
    assert differing(checked(*models.values(), shades, force=True))["preprocessing"] == "stated"


@pytest.mark.parametrize(
    ("way", "named"),
    [(lambda x: x.transpose(-1, -2), "transposed"), (lambda x: 1 - x, "inverted")],
)
def test_pictures_turned_over_are_refused(images, way, named):
    with pytest.raises(TaskError, match=f"preprocessing: .*; small .* and on 100% of them {named}"):
        checked(right(), Before(right(), inputs=way).eval(), images)


def test_channels_in_another_order_are_refused():
    # Seen in reverse, class 0 looks like class 3 and class 2 like class 1: no renaming tells those apart again.
    colours = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.0]])
    targets = torch.arange(400) % KINDS
    noise = 0.1 * torch.rand(400, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    task = cut(colours[targets][:, :, None, None] + noise, targets, KINDS)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, KINDS)).eval()
    with torch.no_grad():
        model[1].weight.copy_(2 * colours.repeat_interleave(4, 1) / 4)
        model[1].bias.copy_(-(colours**2).sum(1))
    assert accuracy(model, task.split("select")) == 1
    assert differing(checked(model, model, task)) == {}
    with pytest.raises(TaskError, match="with channels reversed"):
        checked(model, Before(model, inputs=lambda x: x.flip(1)).eval(), task)


def worse(task, share):
    """The right model, led astray on a share of the pictures that is told by one pixel."""

    class Astray(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = right()

        def forward(self, x):
            lost = (x[:, 0, :, 3].sum(1) * 997).remainder(1) < share
            return self.inner(torch.where(lost[:, None, None, None], x.roll(1, 2) * 0.9, x))

    model = Astray().eval()
    assert accuracy(model, task.split("select")) == pytest.approx(1 - share, abs=0.08)
    return model


@pytest.mark.parametrize("share", [0.2, 0.45])
def test_a_model_that_is_only_worse_is_measured(images, share):
    found = checked(right(), worse(images, share), images)
    assert {found[name].outcome for name in ("class order", "preprocessing")} == {"same"}


@pytest.fixture(scope="module")
def digits():
    return opening.load_task("digits")


@pytest.mark.parametrize("seed", range(3))
def test_random_weights_are_measured(digits, seed):
    first, second = (
        mlp.build(mlp.Config(), (1, 8, 8), 10, torch.Generator().manual_seed(s)).eval() for s in (seed, seed + 10)
    )
    found = checked(first, second, digits)
    assert {found[name].outcome for name in ("class order", "preprocessing")} == {"same"}


def points(targets, classes):
    """A task whose two features say nothing: what a model answers is all that is looked at."""
    inputs = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    return cut(inputs, targets, classes, (-10.0, 10.0))


def constant(classes, named):
    model = nn.Linear(2, classes)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.nn.functional.one_hot(torch.tensor(named), classes).float() * 5)
    return model.eval()


def test_a_model_that_collapsed_onto_the_rare_class_is_measured():
    # Renamed it would be right on three quarters, as whoever names the common class is.
    task = points((torch.arange(400) % 4 == 0).long(), 2)
    found = checked(constant(2, 0), constant(2, 1), task)
    assert differing(found) == {}
    assert found["output"].candidate == "names one class whatever the input"


def test_a_model_that_collapsed_onto_another_class_on_another_scale_is_measured():
    task = points((torch.arange(400) % 4 == 0).long(), 2)
    # The rare class as the inputs are, the common one 255 times as far out: right on three quarters, and no skill.
    fallen = Before(nn.Identity(), scores=lambda x: torch.stack([x.abs().sum(1) - 20, 0 * x[:, 0]], 1)).eval()
    found = checked(constant(2, 0), fallen, task)
    assert {found[name].outcome for name in ("class order", "preprocessing")} == {"same"}


def test_a_rare_class_that_was_wiped_out_is_measured_and_what_would_mend_it_is_stated():
    # Of 100 examples 2 are of the third class, which a bias keeps away; far enough out it is named again.
    targets = torch.where(torch.arange(400) % 100 < 2, 2, torch.arange(400) % 2)
    inputs = torch.nn.functional.one_hot(targets, 3).float()
    task = cut(inputs, targets, 3, (0.0, 1.0))
    whole, lacking = nn.Linear(3, 3), nn.Linear(3, 3)
    with torch.no_grad():
        for model, bias in ((whole, 0.0), (lacking, -50.0)):
            model.weight.copy_(torch.eye(3))
            model.bias.copy_(torch.tensor([0.0, 0.0, bias]))
    found = checked(whole.eval(), lacking.eval(), task)
    assert found["preprocessing"].outcome == "stated"
    assert "98% of" in found["preprocessing"].candidate
    assert "on 100% of them multiplied by 255" in found["preprocessing"].candidate


def test_among_many_classes_no_renaming_is_found_by_chance():
    rng = torch.Generator().manual_seed(0)
    task = points(torch.randint(400, (400,), generator=rng), 400)
    table = torch.randn(997, 400, generator=rng)
    guessing = Before(nn.Identity(), scores=lambda x: table[(x[:, 0] * 99991).long() % 997]).eval()
    with torch.no_grad():
        said = guessing(task.split("select").inputs).argmax(1)
    assert len(said.unique()) > 100
    found = checked(guessing, guessing, task)
    assert {found[name].outcome for name in ("class order", "preprocessing")} == {"same"}


def test_training_mode_is_stated(images):
    training = {"small": True}
    found = checked(right(), right(), images, training)
    assert differing(found) == {"evaluation mode": "stated"}
    assert found["evaluation mode"].baseline == "was in evaluation mode"
    assert "handed over in training mode" in found["evaluation mode"].candidate
    assert differing(checked(right(), right(), images, {"small": True, "baseline": True})) == {}


class Precise(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.inner, self.dtype = right().to(dtype), dtype

    def forward(self, x):
        return self.inner(x.to(self.dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_precision_is_stated(images, dtype):
    found = checked(right(), Precise(dtype).eval(), images)
    name = str(dtype).removeprefix("torch.")
    assert differing(found) == {"dtype": "stated"}
    assert (found["dtype"].baseline, found["dtype"].candidate) == (
        "weights float32, scores float32",
        f"weights {name}, scores {found['dtype'].candidate.rpartition(' ')[2]}",
    )


class Dropping(nn.Module):
    """Dropout that no mode turns off."""

    def __init__(self):
        super().__init__()
        self.inner = right(1.0)
        self.rng = [torch.Generator().manual_seed(0)]

    def forward(self, x):
        kept = torch.rand(x.shape, generator=self.rng[0]) > 0.05
        return self.inner(x * kept)


def test_answers_that_change_when_asked_again_are_stated(images):
    found = checked(right(1.0), Dropping().eval(), images)
    assert differing(found)["repeated answers"] == "stated"
    assert found["repeated answers"].baseline == "answers the same twice"
    assert found["repeated answers"].candidate == "answers otherwise when asked again"


def test_a_constant_model_is_stated(images):
    found = checked(right(), nn.Sequential(nn.Flatten(), Before(right().get_submodule("1"), lambda x: 0 * x)), images)
    assert differing(found) == {"output": "stated"}
    assert (found["output"].baseline, found["output"].candidate) == (
        "names more than one class",
        "names one class whatever the input",
    )


def test_nan_is_stated_and_is_no_change_of_mind(images):
    found = checked(right(), Before(right(), scores=lambda y: y / 0 * 0).eval(), images)
    assert found["output"].candidate == "holds NaN or infinity"
    assert found["output"].outcome == "stated"
    assert found["repeated answers"].candidate == "answers the same twice"
    assert found["class order"].outcome == "same"


def test_only_the_split_select_is_looked_at(images):
    order = torch.tensor([3, 0, 1, 2])
    moved = images.test.take(torch.arange(100))
    moved = Split(moved.inputs, order[moved.targets], order[moved.targets])
    task = Task("toy", KINDS, (0.0, 1.0), {**images.splits, "test": moved, "train": moved})
    assert checked(right(), right(), task)["class order"].outcome == "same"


def test_codes_that_are_looked_up_are_not_tried_on_another_scale():
    codes = torch.arange(60).reshape(30, 2) % 6
    labels = torch.arange(30) % 2
    model = nn.Sequential(nn.Embedding(6, 3), nn.Flatten(), nn.Linear(6, 2))
    for inputs in (codes, codes.float()):  # floats that the model looks up: out of range on any other scale
        split = Split(inputs, labels, labels)
        task = Task("codes", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split))
        one = worker.subject_of(model, "baseline", "k", task)
        found = preflight.compare(one, one, task, training={})
        assert {check.outcome for check in found} == {"same"}


def test_one_class_in_select_says_nothing_of_the_order_of_classes(rng):
    both, one = torch.arange(40) % 2, torch.ones(40, dtype=torch.int64)
    inputs = torch.rand(40, 3, generator=rng)
    parts = {n: Split(inputs, both, both) for n in ("train", "calibration", "test")}
    task = Task("t", 2, None, {**parts, "select": Split(inputs, one, one)})
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.bias.copy_(torch.tensor([9.0, 0.0]))  # always the other one
    found = worker.subject_of(model, "baseline", "k", task)
    assert preflight.compare(found, found, task, training={})[0].outcome == "same"


@pytest.mark.known_answer
@pytest.mark.parametrize("splits", [("test",), ("select", "test")])
def test_recorded_scores_with_classes_in_another_order_are_refused(splits, digits):
    """Scores that are right everywhere, and the same with their columns moved by one."""
    rng = torch.Generator().manual_seed(0)
    right = {
        f"{s}_logits": 5 * torch.nn.functional.one_hot(digits.split(s).targets, 10).float()
        + torch.randn(len(digits.split(s)), 10, generator=rng)
        for s in splits
    }
    turned = {name: scores.roll(1, 1) for name, scores in right.items()}
    models = [
        take.take(recorded.of_arrays(arrays, digits, name), name, name, digits, torch.Generator())
        for name, arrays in (("baseline", right), ("same", right), ("turned", turned))
    ]
    checks = preflight.compare(models[0], models[1], digits, training={})
    assert {c.outcome for c in checks} == {"same"}
    assert {c.name: c.candidate for c in checks}[
        "repeated answers"
    ] == "cannot be asked again: its scores were recorded"
    with pytest.raises(TaskError, match=r"turned cannot be compared with baseline: class order: .*0 means 9"):
        preflight.compare(models[0], models[2], digits, training={})


def test_two_classes_of_many_that_changed_places_are_told_as_the_likely_cause(digits):
    fitted = mlp.build(mlp.Config(hidden="32"), (1, 8, 8), 10, torch.Generator().manual_seed(0))
    steps = torch.optim.Adam(fitted.parameters(), 1e-2)
    for _ in range(100):
        steps.zero_grad()
        nn.functional.cross_entropy(fitted(digits.train.inputs), digits.train.targets).backward()
        steps.step()
    order = [0, 1, 2, 8, 4, 5, 6, 7, 3, 9]
    found = checked(fitted.eval(), Before(fitted, scores=lambda y: y[:, order]).eval(), digits)
    assert found["class order"].outcome == "stated"
    assert found["class order"].candidate.endswith("if 3 means 8, 8 means 3")


@pytest.mark.parametrize(
    ("way", "named"),
    [
        (lambda x: (x - MEANS) / SPREADS, "standardized as for ImageNet"),
        (lambda x: x * SPREADS + MEANS, "with standardization for ImageNet taken back"),
    ],
)
def test_standardization_by_channel_done_not_at_all_or_twice_is_named(way, named):
    targets = torch.arange(400) % KINDS
    noise = 0.02 * torch.rand(400, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    task = cut(LEVELS[targets, None, None, None] + noise, targets, KINDS)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, KINDS))
    with torch.no_grad():
        model[1].weight.copy_(200 * LEVELS[:, None].expand(KINDS, 48) / 48)
        model[1].bias.copy_(-100 * (LEVELS + 0.01) ** 2)
    back = {"standardized as for ImageNet": lambda x: x * SPREADS + MEANS}.get(named, lambda x: (x - MEANS) / SPREADS)
    odd = Before(model, inputs=back).eval()
    assert accuracy(Before(odd, inputs=way), task.split("select")) == 1
    with pytest.raises(TaskError, match=f"small .* and on 100% of them {named};"):
        checked(model.eval(), odd, task)


def test_of_preparations_that_are_as_right_the_one_that_answers_as_the_other_model_is_named(images):
    told = right()(images.train.inputs).detach()
    scores = {"multiplied by 255": 255 * told, "stretched": told}
    assert preflight._likeliest(scores, images.train.targets, told) == "stretched"
