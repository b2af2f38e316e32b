import pytest
import torch
from torch.nn.utils import prune

from whatelse import recipe
from whatelse.errors import RecipeError, SettingError, UnknownItemError, WhatElseError


def test_what_is_written_is_read_back():
    text = "prune.magnitude(sparsity=0.9) > train.finetune(epochs=2, rate=0.001)"
    assert recipe.write(recipe.parse(text)) == text
    assert recipe.parse("") == ()


def test_defaults_are_left_out():
    assert recipe.write(recipe.parse("prune.magnitude(sparsity=0.5)")) == "prune.magnitude()"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("prune.magnitude(", RecipeError, "column"),
        ("prune.magnitude", RecipeError, r"not of the form name\(setting=value\); write prune.magnitude\(\)$"),
        ("prune.magnitude(0.9)", RecipeError, "not of the form"),
        ("prune.magnitude() < train.finetune()", RecipeError, "not of the form"),
        ("prune.magnitude(sparsity=open('x'))", RecipeError, "not a plain value"),
        ("prune.magnitude(sparsity=2.0)", SettingError, r"sparsity=2.0 is outside \[0.0, 1.0\]"),
        ("prune.magnitude(sparse=0.9)", SettingError, "did you mean sparsity"),
        ("prune.magnitud()", UnknownItemError, "did you mean prune.magnitude"),
        ("prune.magnitude(sparsity=0.5, sparsity=0.6)", RecipeError, "the setting 'sparsity' is given twice"),
        ("prune.magnitude(**{'sparsity': 0.5})", RecipeError, "not of the form"),
        ("prune.magnitude(sparsity={[]: 1})", RecipeError, "not a plain value"),
        ("prune.magnitude(scope='\ud800')", RecipeError, "surrogates not allowed"),
    ],
)
def test_a_bad_recipe_is_refused_in_words(text, error, message):
    with pytest.raises(error, match=message):
        recipe.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-" * 50_000 + "1", "50,001 characters; at most 20,000 are read"),
        ("a" + ".b" * 100_000 + "()", "200,003 characters"),
        ("-" * 19_000 + "1", "nested too deep"),
        ("a" + ".b" * 9_000 + "()", "nested too deep"),
        ("a" + "()" * 9_000, "nested too deep"),
        ("prune.magnitude(sparsity=" + "-" * 5_000 + "1)", "nested too deep|not a plain value"),
        ("prune.magnitude(sparsity=" + "1+" * 3_000 + "1)", "nested too deep|not a plain value"),
        ("prune.magnitude(sparsity=" + "[" * 5_000 + "]" * 5_000 + ")", "too many nested"),
        ("prune.magnitude(sparsity=0x" + "f" * 10_000 + ")", "sparsity=a int too large to print"),
        ("prune.magnitude(scope='" + "x" * 15_000 + "')", "scope='xxx"),
        ("prune.magnitude(" + "x" * 15_000 + "=1)", "no setting 'xxx"),
        ("a" * 19_000 + "()", "no method named 'aaa"),
    ],
)
def test_a_monstrous_recipe_is_refused_in_one_short_line(text, message):
    with pytest.raises(WhatElseError, match=message) as told:
        recipe.parse(text)
    assert len(str(told.value)) < 1_000
    assert "\n" not in str(told.value)


def test_steps_follow_each_other(task, rng):
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    for step in recipe.parse("prune.magnitude(sparsity=0.5) > train.finetune(epochs=1) > quantize.uniform()"):
        model = recipe.apply(step, model, task, rng)
    assert type(model[0]).__name__ == "Quantized"
    assert (torch.cat([model[0].weight.flatten(), model[2].weight.flatten()]) == 0).sum() >= 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantize.uniform() > decompose.svd()", "put decompose.svd before quantize.uniform"),
        ("quantize.uniform() > train.finetune() > prune.magnitude()", "put train.finetune before quantize.uniform"),
        ("prune.magnitude() > train.finetune() > decompose.svd()", "prune.magnitude leaves a sparse one"),
        ("distill.logits(student='prune.magnitude()') > decompose.svd()", "distill.logits leaves a sparse one"),
        ("distill.logits(student='quantize.uniform()')", "cannot train the packed model that 'quantize.uniform"),
        ("distill.logits(student='quantize.uniform() > decompose.svd()')", "put decompose.svd before quantize.uniform"),
        ("quantize.uniform() > distill.robust(teacher='train.adversarial()')", "put distill.robust before"),
        (
            "mixed.layers(layers='a: prune.magnitude(); b: quantize.uniform()') > train.finetune()",
            "put train.finetune before mixed.layers",
        ),
        ("mixed.layers(layers='a: prune.magnitude()') > decompose.svd()", "mixed.layers leaves a sparse one"),
        (
            "quantize.uniform() > mixed.layers(layers='a: prune.magnitude()')",
            "put mixed.layers before quantize.uniform",
        ),
        ("prune.magnitude() > mixed.layers(layers='a: decompose.svd()')", "put decompose.svd before what it is given"),
    ],
)
def test_a_senseless_order_is_refused_before_any_work(text, message):
    with pytest.raises(RecipeError, match=message):
        recipe.parse(text)


@pytest.mark.known_answer
def test_parts_of_a_model_with_a_recipe_each_are_read():
    text = " conv1: prune.magnitude(sparsity=0.9) > quantize.uniform();fc.0: decompose.svd(rank=0.5) "
    magnitude, uniform = recipe.Step("prune.magnitude", (("sparsity", 0.9),)), recipe.Step("quantize.uniform")
    assert recipe.parts(text) == {"conv1": (magnitude, uniform), "fc.0": (recipe.Step("decompose.svd"),)}
    assert recipe.parts("  ") == {}
    assert recipe.inner(text, "parts") == [(magnitude, uniform), (recipe.Step("decompose.svd"),)]
    assert recipe.inner("prune.magnitude(sparsity=0.9) > quantize.uniform()", "result") == [(magnitude, uniform)]


def test_parts_are_written_inside_a_recipe_and_read_back():
    text = "mixed.layers(layers='conv1: prune.magnitude(sparsity=0.9); fc: decompose.svd()') > train.finetune()"
    assert recipe.write(recipe.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("quantize.uniform()", RecipeError, "parts 'quantize.uniform.*not of the form 'name: recipe; name: recipe'"),
        ("a: quantize.uniform();", RecipeError, "parts '': not of the form"),
        ("a: ; b: quantize.uniform()", RecipeError, "parts 'a:': not of the form"),
        ("a: quantize.uniform(); a: quantize.int8()", RecipeError, "'a' stands twice; join its steps with '>'"),
        ("a: quantize.unifrm()", UnknownItemError, "did you mean quantize.uniform"),
        ("a: quantize.uniform(bits=1)", SettingError, "bits=1 is outside"),
        ("a: quantize.uniform() > prune.magnitude()", RecipeError, "put prune.magnitude before quantize.uniform"),
    ],
)
def test_parts_that_cannot_be_read_are_refused_also_inside_a_recipe(text, error, message):
    for read, whole in ((recipe.parts, text), (recipe.parse, f"mixed.layers(layers={text!r})")):
        with pytest.raises(error, match=message) as told:
            read(whole)
        assert "\n" not in str(told.value)


def test_what_a_step_left_alone_is_named(task, rng):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[0].weight.data.fill_(5.0)
    (step,) = recipe.parse("prune.magnitude(sparsity=0.5)")
    assert recipe.left_alone(step, model, recipe.apply(step, model, task, rng)) == ["0"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("quantize.aware(epochs=1)", ["pos", "embed"]),
        ("quantize.int8()", ["pos", "embed"]),
        ("prune.magnitude(schedule='gradual', rounds=2, epochs=1)", ["pos", "embed"]),
        ("prune.membership(epochs=1)", ["pos", "embed"]),
        ("decompose.svd(rank=0.2)", ["pos", "embed"]),
        ("train.finetune(epochs=1)", []),
    ],
)
def test_what_was_left_alone_is_named_although_training_moved_it(text, left, toy, rng):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.pos = torch.nn.Embedding(9, 16), torch.nn.Parameter(torch.ones(5, 16))
            self.up, self.head = torch.nn.Linear(16, 16), torch.nn.Linear(16, 3)

        def forward(self, x):
            return self.head(torch.relu(self.up(self.embed(x.long()) + self.pos)).mean(1))

    task = toy.task_of(torch.randint(0, 9, (60, 5), generator=rng).float(), torch.arange(60) % 3, classes=3)
    model = Net().eval().requires_grad_(requires_grad=False)
    (step,) = recipe.parse(text)
    found = recipe.left_alone(step, model, recipe.apply(step, model, task, rng))
    assert sorted(set(found) - {"head"}) == sorted(left)


def test_a_model_in_training_mode_is_taken_as_it_would_answer_and_left_as_it_was(toy, rng):
    task = toy.task_of(torch.rand(60, 1, 8, 8, generator=rng), torch.arange(60) % 3, classes=3, bounds=(0, 1))
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Flatten(),
        torch.nn.Linear(144, 3),
    )  # fmt: skip
    said, state = [], torch.get_rng_state()
    for training in (True, False):
        model.train(training).requires_grad_(training)
        before = {n: t.clone() for n, t in model.state_dict().items()}
        for step in recipe.parse("quantize.uniform(bits=4)"):
            said.append(recipe.apply(step, model, task, torch.Generator().manual_seed(1))(task.test.inputs))
        assert model.training == training
        assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert torch.equal(*said)
    assert torch.equal(state, torch.get_rng_state())


class Fickle(torch.nn.Linear):
    """Takes no more than two examples at once, or answers in another shape."""

    def forward(self, x):
        if len(x) > 4:
            raise ValueError("too\nmany")
        return super().forward(x)


def test_what_a_model_raises_inside_a_step_is_one_line(toy, rng):
    task = toy.task_of(torch.rand(60, 3, generator=rng), torch.arange(60) % 2)
    (step,) = recipe.parse("train.finetune(epochs=1)")
    with pytest.raises(RecipeError, match=r"^train.finetune: this Fickle stopped it: ValueError: too many$"):
        recipe.apply(step, Fickle(3, 2), task, rng)


def test_a_step_that_breaks_the_model_never_comes_out(toy, rng, monkeypatch):
    task = toy.task_of(torch.rand(60, 3, generator=rng), torch.arange(60) % 2)
    made = []
    monkeypatch.setattr("whatelse.methods.prune.magnitude.compress", lambda *_: made[-1])
    (step,) = recipe.parse("prune.magnitude()")
    wider, other = torch.nn.Linear(3, 5), torch.nn.Linear(2, 2)
    for broken, said in ((wider, r"shapes \[\(4, 5\)\], not \[\(4, 2\)\]"), (other, "RuntimeError: mat1")):
        made.append(broken)
        with pytest.raises(RecipeError, match=f"what it makes of this Linear answers otherwise: {said}"):
            recipe.apply(step, torch.nn.Linear(3, 2), task, rng)


@pytest.mark.parametrize("error", [MemoryError("no more"), RecipeError("said already")])
def test_what_has_a_name_of_its_own_keeps_it(error, toy, rng, monkeypatch):
    def stop(*_):
        raise error

    monkeypatch.setattr("whatelse.methods.prune.magnitude.compress", stop)
    (step,) = recipe.parse("prune.magnitude()")
    task = toy.task_of(torch.rand(4, 2, generator=rng), torch.arange(4) % 2)
    with pytest.raises(type(error), match=str(error)):
        recipe.apply(step, torch.nn.Linear(2, 2), task, rng)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_layers_that_compute_their_weight_are_named_once(toy, rng):
    norm, parametrized = torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm
    layers = [torch.nn.Linear(3, 3) for _ in range(3)]
    masked = prune.random_unstructured(layers[2], "weight", 0.5)
    model = torch.nn.Sequential(norm(layers[0]), parametrized(layers[1]), masked, torch.nn.Linear(3, 2))
    task = toy.task_of(torch.rand(8, 3, generator=rng), torch.arange(8) % 2)
    (step,) = recipe.parse("quantize.uniform()")
    assert recipe.left_alone(step, model, recipe.apply(step, model, task, rng)) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("text", "trains"),
    [
        ("train.finetune(epochs=1)", True),
        ("distill.logits(epochs=1)", True),
        ("quantize.aware(epochs=1)", True),
        ("prune.membership(epochs=1)", True),
        ("prune.magnitude(sparsity=0.5)", False),
        ("quantize.uniform(bits=4)", False),
    ],
)
def test_one_class_is_refused_by_what_trains_alone(text, trains, toy, rng):
    inputs = torch.rand(24, 6, generator=rng)
    train = toy.split_of(inputs, torch.zeros(24, dtype=torch.int64))
    task = toy.task_of(inputs, torch.arange(24) % 2, train=train)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    (step,) = recipe.parse(text)
    if trains:
        with pytest.raises(WhatElseError, match="at least two classes"):
            recipe.apply(step, model, task, rng)
    else:
        assert recipe.apply(step, model, task, rng)(inputs).shape == (24, 2)
