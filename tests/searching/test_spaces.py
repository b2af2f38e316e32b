"""What a model can be asked to become: by layers, widths, depth and recipes for the whole of it."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.searching.small import count, examples, network
from whatelse import recipe
from whatelse.errors import RecipeError, SettingError
from whatelse.searching import spaces
from whatelse.searching.space import DEPTH, KINDS, LAYER, WHOLE, WIDTH

FEW = ("prune.magnitude(sparsity=[0.7, 0.5])",)
MILD = "prune.structured(ratio=[0.5, 0.25])"


def laid(*wanted, model=None):
    return spaces.space_of(model or network(), examples(), wanted, FEW, "", count, 0)


def applied(space, chosen, model):
    for step in space.recipe(chosen):
        model = recipe.apply(step, model, examples(), torch.Generator().manual_seed(0))
    return model


def test_every_way_has_its_axes_in_the_order_of_a_recipe():
    space, parts, sizes = laid("layers", "depth", "widths", MILD)
    assert [(axis.kind, axis.name) for axis in space.axes] == [
        (WHOLE, ""),
        (DEPTH, "2"),
        (WIDTH, "0"),
        (WIDTH, "2"),
        *((LAYER, name) for name in ("0", "2", "4")),
    ]
    assert space.axes[0].options == ("", "prune.structured(ratio=0.25)", "prune.structured()")
    assert {at for at, _ in parts} == {at for at, axis in enumerate(space.axes) if axis.kind == LAYER}
    for axis, costs in zip(space.axes, sizes, strict=True):
        assert len(costs) == len(axis.options)
        assert costs[0] == 0
        assert (np.diff(costs) <= 0).all()
    assert spaces.told(space).startswith(
        f"{space.size:.3g} configurations of {len(space.axes)} choices: 1 of the whole"
    )


@pytest.mark.parametrize("wanted", ["depth", "widths", MILD])
def test_a_size_is_that_of_the_recipe_run_alone(wanted):
    space, _, sizes = laid(wanted)
    for at, axis in enumerate(space.axes):
        assert axis.kind in KINDS
        for option in range(1, len(axis.options)):
            chosen = [0] * len(space.axes)
            chosen[at] = option
            made = applied(space, tuple(chosen), network())
            assert sizes[at][option] == pytest.approx(count(made) / count(network()) - 1)


def test_shares_that_keep_as_many_units_stand_once():
    space, _, sizes = laid("widths")
    assert [len(set(costs)) for costs in sizes] == [len(axis.options) for axis in space.axes]
    assert space.axes[0].options[1:] == spaces.SHARES  # of eight units every share is another number


def test_what_stands_in_a_block_that_goes_is_not_named():
    block = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model = nn.Sequential(nn.Linear(4, 8), block, nn.Linear(8, 3)).eval().requires_grad_(requires_grad=False)
    space, _, _ = laid("depth", model=model)
    assert [axis.name for axis in space.axes] == ["1", "1.0", "1.2"]
    assert recipe.write(space.recipe((1, 1, 0))) == "prune.depth(layers='1')"
    assert count(applied(space, (1, 1, 1), model)) == count(applied(space, (1, 0, 0), model))


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ((), SettingError, "--space is empty; give layers, widths, depth or a recipe"),
        (("width",), SettingError, "--space 'width': .*did you mean widths"),
        (("layers", "layers"), SettingError, "'layers' stands twice"),
        (("prune.structured(ratio=[])",), RecipeError, "ratio=.. stands for nothing"),
        (("quantize.uniform(bits=[32])",), SettingError, "bits"),
    ],
)
def test_what_is_no_space_is_refused(wanted, error, message):
    with pytest.raises(error, match=message):
        spaces.check(wanted)


def test_a_way_in_which_the_model_cannot_become_smaller_is_refused():
    one = nn.Sequential(nn.Linear(4, 3)).eval().requires_grad_(requires_grad=False)
    with pytest.raises(SettingError, match="--space depth: no layer or block of this model can go"):
        laid("depth", model=one)
    with pytest.raises(SettingError, match="--space widths: no units of this model can go"):
        laid("widths", model=one)
    with pytest.raises(SettingError, match="makes this model no smaller"):
        laid("train.finetune(epochs=[1])")
