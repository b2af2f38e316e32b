import math

import pytest

from whatelse.errors import RecipeError, SettingError, UnknownItemError
from whatelse.recipe import Step
from whatelse.search.protocol import Knob, Score, Space


@pytest.mark.parametrize(
    ("methods", "then", "error", "message"),
    [
        ([], "", SettingError, "methods is empty"),
        (["train.finetune"], "", SettingError, "train.finetune has no knob with a range"),
        (["prune.magnitud"], "", UnknownItemError, "did you mean prune.magnitude"),
        (["prune.magnitude"], "train.finetune(", RecipeError, "never closed"),
        (["quantize.uniform"], "train.finetune()", RecipeError, "train.finetune takes a model with dense or sparse"),
    ],
)
def test_what_cannot_be_searched_is_refused(methods, then, error, message):
    with pytest.raises(error, match=message):
        Space(methods, then)


@pytest.mark.known_answer
def test_a_knob_divides_its_range_by_hand():
    whole, real = Knob("quantize.uniform", "bits", 2, 4, True), Knob("prune.magnitude", "sparsity", 0.2, 0.6, False)
    bits = [dict(whole.step(s).given).get("bits", 8) for s in (0, 0.3, 0.34, 0.66, 0.67, 1)]
    assert bits == [2, 2, 3, 3, 4, 4]
    assert [dict(real.step(s).given)["sparsity"] for s in (0, 0.5, 1)] == pytest.approx([0.2, 0.4, 0.6])


def test_a_step_at_its_default_is_the_step_that_is_read():
    knob = Knob("prune.magnitude", "sparsity", 0.0, 1.0, False)
    assert knob.step(0.5) == Step("prune.magnitude")


def test_knobs_come_from_what_methods_declare():
    space = Space(("prune.magnitude", "quantize.uniform"))
    assert space.knobs == (
        Knob("prune.magnitude", "sparsity", 0.0, 1.0, False),
        Knob("quantize.uniform", "bits", 2, 8, True),
    )
    first = Step("prune.magnitude", (("sparsity", 0.25),))
    assert space.recipe(first) == (first,)
    assert Space(("prune.magnitude",), "train.finetune()").recipe(first) == (first, Step("train.finetune"))


def test_a_score_is_feasible_within_every_budget():
    assert Score(3.0).feasible
    assert Score(3.0, {"accuracy": 0.0, "flips": -0.2}).feasible
    assert not Score(3.0, {"accuracy": 0.01}).feasible
    assert not Score(math.inf).feasible
