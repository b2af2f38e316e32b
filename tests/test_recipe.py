import pytest
import torch

from whatelse import recipe
from whatelse.errors import RecipeError, SettingError, UnknownItemError


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
        ("prune.magnitude", RecipeError, "not of the form"),
        ("prune.magnitude(0.9)", RecipeError, "not of the form"),
        ("prune.magnitude() < train.finetune()", RecipeError, "not of the form"),
        ("prune.magnitude(sparsity=open('x'))", RecipeError, "not a plain value"),
        ("prune.magnitude(sparsity=2.0)", SettingError, r"sparsity=2.0 is outside \[0.0, 1.0\]"),
        ("prune.magnitude(sparse=0.9)", SettingError, "did you mean sparsity"),
        ("prune.magnitud()", UnknownItemError, "did you mean prune.magnitude"),
    ],
)
def test_a_bad_recipe_is_refused_in_words(text, error, message):
    with pytest.raises(error, match=message):
        recipe.parse(text)


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
    ],
)
def test_a_senseless_order_is_refused_before_any_work(text, message):
    with pytest.raises(RecipeError, match=message):
        recipe.parse(text)


def test_what_a_step_left_alone_is_named(task, rng):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[0].weight.data.fill_(5.0)
    (step,) = recipe.parse("prune.magnitude(sparsity=0.5)")
    assert recipe.left_alone(model, recipe.apply(step, model, task, rng)) == ["0"]
