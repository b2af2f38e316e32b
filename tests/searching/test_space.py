import math

import pytest

from whatelse import recipe
from whatelse.errors import RecipeError, SettingError, UnknownItemError
from whatelse.recipe import Step
from whatelse.searching.protocol import Score
from whatelse.searching.space import Axis, Space, alternatives

BITS = ("", "quantize.uniform()", "quantize.uniform(bits=4)")
MIXED = (*BITS, "prune.magnitude(sparsity=0.7) > quantize.uniform(bits=4)", "decompose.svd(rank=0.3)")
WHOLE = Axis("whole", "", ("", "prune.structured(ratio=0.2)"))


def layers(*pairs):
    return tuple(Axis("layer", name, options) for name, options in pairs)


def written(space, *chosen):
    return recipe.write(space.recipe(chosen))


@pytest.mark.known_answer
def test_the_recipe_of_a_configuration_by_hand():
    space = Space(layers(("conv1", MIXED), ("fc", MIXED)))
    assert space.size == 25
    assert space.alone == (0, 0)
    assert space.recipe((0, 0)) == ()
    assert written(space, 2, 0) == "mixed.layers(layers='conv1: quantize.uniform(bits=4)')"
    both = "conv1: prune.magnitude(sparsity=0.7) > quantize.uniform(bits=4); fc: decompose.svd(rank=0.3)"
    assert space.recipe((3, 4)) == (Step("mixed.layers", (("layers", both),)),)


@pytest.mark.known_answer
def test_training_stands_before_layers_are_packed_and_after_all_else():
    space = Space((*layers(("conv1", MIXED), ("fc", MIXED)), WHOLE), "train.finetune(epochs=2)")
    then = "train.finetune(epochs=2)"
    assert space.recipe((0, 0, 0)) == (), "the baseline is not trained on"
    assert written(space, 1, 0, 0) == f"{then} > mixed.layers(layers='conv1: quantize.uniform()')"
    assert written(space, 0, 4, 0) == f"mixed.layers(layers='fc: decompose.svd(rank=0.3)') > {then}"
    assert written(space, 0, 0, 1) == f"prune.structured(ratio=0.2) > {then}"
    assert written(space, 3, 4, 1) == (
        "prune.structured(ratio=0.2) > mixed.layers(layers='conv1: prune.magnitude(sparsity=0.7); "
        f"fc: decompose.svd(rank=0.3)') > {then} > mixed.layers(layers='conv1: quantize.uniform(bits=4)')"
    )


@pytest.mark.known_answer
def test_what_trains_beside_the_original_takes_the_recipe_of_the_smaller_model():
    space = Space(
        (
            *layers(
                ("conv1", MIXED),
            ),
            WHOLE,
        ),
        "train.preserve(epochs=2) > train.finetune()",
    )
    assert space.recipe((0, 0)) == ()
    assert written(space, 0, 1) == "train.preserve(student='prune.structured(ratio=0.2)', epochs=2) > train.finetune()"
    packed = "mixed.layers(layers='conv1: quantize.uniform()')"
    assert written(space, 1, 0) == f"train.preserve(epochs=2) > train.finetune() > {packed}"
    told = Space(layers(("conv1", MIXED)), "train.preserve(student='prune.magnitude()')")
    assert written(told, 4) == "mixed.layers(layers='conv1: decompose.svd(rank=0.3)') > " + told.then


@pytest.mark.parametrize("then", ["", "train.finetune()", "train.preserve(labels=0.02)"])
def test_every_recipe_is_read_back_as_it_is(then):
    space = Space((*layers(("conv1", MIXED), ("fc", BITS)), WHOLE), then)
    for chosen in [(a, b, c) for a in range(5) for b in range(3) for c in range(2)]:
        assert recipe.parse(written(space, *chosen)) == space.recipe(chosen)


def test_a_configuration_of_another_length_is_none():
    space = Space(layers(("conv1", BITS), ("fc", BITS)))
    for chosen in ((1,), (1, 1, 1)):
        with pytest.raises(ValueError, match="zip"):
            space.recipe(chosen)


@pytest.mark.parametrize(
    ("axes", "then", "error", "message"),
    [
        ((), "", SettingError, "search: the space is empty: no layer of this model takes any of the choices"),
        (layers(("fc", ("",))), "", SettingError, r"axis layer 'fc' has the options \(''\,\)"),
        (layers(("fc", BITS[1:])), "", SettingError, "axis layer 'fc' has the options"),
        (layers(("fc", ("", BITS[1], BITS[1]))), "", SettingError, "axis layer 'fc' has the options"),
        ((Axis("hue", "fc", BITS),), "", SettingError, "axis hue 'fc' has the options"),
        (layers(("fc", BITS)), "train.finetune(", RecipeError, "never closed"),
        (layers(("fc", BITS)), "train.finetun()", UnknownItemError, "did you mean train.finetune"),
        (layers(("fc", BITS)), "train.finetune(epochs=-1)", SettingError, r"epochs=-1 is outside"),
        (layers(("fc", BITS)), "prune.magnitude()", RecipeError, r"prune.magnitude\(\) does not train"),
        (layers(("fc", BITS)), "train.finetune() > quantize.uniform()", RecipeError, "uniform.* does not train"),
    ],
)
def test_what_cannot_be_searched_is_refused(axes, then, error, message):
    with pytest.raises(error, match=message) as told:
        Space(axes, then)
    assert "\n" not in str(told.value)


@pytest.mark.known_answer
def test_lists_stand_for_every_combination():
    assert alternatives("quantize.uniform(bits=[6, 4])") == ["quantize.uniform(bits=6)", "quantize.uniform(bits=4)"]
    assert alternatives("decompose.svd(rank=0.25)") == ["decompose.svd(rank=0.25)"]
    assert alternatives("prune.magnitude(sparsity=[0.6, 0.9]) > quantize.uniform(bits=[8, 4], grid='tensor')") == [
        "prune.magnitude(sparsity=0.6) > quantize.uniform(grid='tensor')",
        "prune.magnitude(sparsity=0.6) > quantize.uniform(bits=4, grid='tensor')",
        "prune.magnitude(sparsity=0.9) > quantize.uniform(grid='tensor')",
        "prune.magnitude(sparsity=0.9) > quantize.uniform(bits=4, grid='tensor')",
    ]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", RecipeError, "search: choices ''"),
        ("quantize.uniform", RecipeError, "not of the form"),
        ("quantize.uniform(bits=[4, 99])", SettingError, r"bits=99 is outside \[2, 8\]"),
        ("quantize.uniform(bits=[])", RecipeError, r"bits=\[\] stands for nothing"),
        ("quantize.unifrm(bits=[4])", UnknownItemError, "did you mean quantize.uniform"),
        ("quantize.uniform(bites=[4])", SettingError, "did you mean bits"),
        ("quantize.uniform() > decompose.svd(rank=[0.5])", RecipeError, "put decompose.svd before quantize.uniform"),
    ],
)
def test_choices_that_cannot_be_read_are_refused(text, error, message):
    with pytest.raises(error, match=message) as told:
        alternatives(text)
    assert "\n" not in str(told.value)


def test_a_score_is_feasible_within_every_budget():
    assert Score(3.0).feasible
    assert Score(3.0, {"accuracy": 0.0, "flips": -0.2}).feasible
    assert not Score(3.0, {"accuracy": 0.01}).feasible
    assert not Score(3.0, {"accuracy": math.inf}).feasible
    assert not Score(math.inf, why="it could not be made").feasible
