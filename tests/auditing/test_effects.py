from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from whatelse import items
from whatelse.answer import Answer, Doubt, Parts
from whatelse.auditing import effects
from whatelse.auditing.ask import Failed, Measured, NotMeasurable
from whatelse.auditing.effects import Comparison, Contrast, Moved, values_of
from whatelse.auditing.ends import Ends
from whatelse.errors import StudyError
from whatelse.findings.record import Part, Share
from whatelse.statistics.effect import Effect
from whatelse.statistics.shared import Pool

GROUPS = torch.arange(300) % 3


def rates(answer, config, weights):
    member = (answer["group"][:, None] == np.arange(4)).astype(float)  # nobody is in the last group
    return weights @ (member * answer["right"][:, None]) / (weights @ member)


ITEM = SimpleNamespace(
    name="toy",
    unit="accuracy",
    better="higher",
    unit_of_analysis="test example",
    part="group",
    pair=True,
    outcomes=None,
    worst=None,
    blind=None,
    summarise=lambda answer, config, weights: weights @ answer["right"] / weights.sum(1),
    by_part=rates,
)


NO_PARTS = Parts()


def measured(values, parts=NO_PARTS, doubts=()):
    return Measured(Answer({"right": values, "group": GROUPS.float()}, parts=parts, doubts=doubts), {}, 0.0)


@pytest.fixture
def analyzed():
    """Effects of four models that are right on all, on all but group 1, on a half, and never."""
    right = torch.ones(300)
    half = (torch.arange(300) // 3 % 2).float()
    models = {"placebo": right, "random": torch.zeros(300), "small": right * (GROUPS != 1), "half": half}

    def run(names=("a", "b", "c", "nobody"), other=None, item=ITEM, **read):
        held = Comparison(item, None, Pool(400, np.random.default_rng(1)), np.random.default_rng(0))
        for name, values in models.items():
            parts = Parts(tuple(names if name != "half" or other is None else other), **read)
            held.take(name, effects.values_of([measured(values, parts)]))
        return held.against((("small", "placebo"), ("half", "placebo"), ("small", "random")))

    return run


@pytest.mark.known_answer
def test_every_part_has_its_own_paired_effect(analyzed):
    small = analyzed()[0]
    assert small.outcome.effect.effect == pytest.approx(-1 / 3)
    assert small.outcome.per_seed == (pytest.approx(-1 / 3),)
    assert (small.parts.kind, small.parts.unit, small.parts.better) == ("group", "accuracy", "higher")
    parts = {part.name: part for part in small.parts.items}
    assert [parts[n].effect for n in "abc"] == [0, -1, 0]
    assert (parts["b"].before, parts["b"].after) == (1, 0)
    assert parts["b"].adjusted_p < 0.05 < parts["a"].adjusted_p
    assert parts["a"].low < 0 < parts["a"].high, "zero changes of 100 are not a point"
    assert parts["nobody"] == Part("nobody")


@pytest.mark.known_answer
def test_the_share_of_the_way_from_random_to_the_placebo(analyzed):
    small, half, again = (one.outcome.share for one in analyzed())
    assert small.value == pytest.approx(2 / 3)
    assert small.low < 2 / 3 < small.high
    assert half.value == pytest.approx(0.5)
    assert again.value == pytest.approx(small.value), "it does not depend on the control"
    assert (again.low, again.high) == pytest.approx((small.low, small.high), abs=0.01)


def test_models_that_differ_in_their_parts_are_an_error(analyzed):
    with pytest.raises(StudyError, match="4 parts of half, 4 of placebo, 3 names; every model"):
        analyzed(other=("a", "b", "c"))


def test_parts_may_be_read_in_another_unit_and_direction(analyzed):
    parts = analyzed(unit="confidence minus accuracy", better="neither")[0].parts
    assert (parts.unit, parts.better) == ("confidence minus accuracy", "neither")


def test_a_summary_that_raises_for_one_model_leaves_the_others_theirs(analyzed):
    def picky(answer, config, weights):
        if answer["right"].sum() == 200:
            raise ValueError("no such bin")
        return weights @ answer["right"] / weights.sum(1)

    small, half, _ = analyzed(item=SimpleNamespace(**{**vars(ITEM), "summarise": picky}))
    assert small.outcome == Failed("ValueError: no such bin")
    assert small.parts is None
    assert half.outcome.effect.effect == pytest.approx(-0.5)


def test_what_cannot_be_measured_of_one_model_is_so_of_its_contrasts():
    held = Comparison(ITEM, None, Pool(400, np.random.default_rng(1)), np.random.default_rng(0))
    held.take("placebo", effects.values_of([NotMeasurable("needs groups")]))
    held.take("small", effects.values_of([measured(torch.ones(300))]))
    (one,) = held.against((("small", "placebo"),))
    assert one.outcome == NotMeasurable("needs groups")


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        ([], [], ""),
        ([("weak", True)], [], "worsened"),
        ([], [("weak", True)], "improved"),
        ([("weak", True)], [("weak", True)], ""),
        ([("weak", True), ("random", False)], [], ""),
        ([("random", False)], [], ""),
    ],
)
def test_what_one_sided_doubts_leave(mine, theirs, verdict):
    names = tuple("abcd")
    held = Comparison(ITEM, None, Pool(200, np.random.default_rng(1)), np.random.default_rng(0))
    for name, doubts in (("small", mine), ("placebo", theirs)):
        told = tuple(Doubt(text, one_sided) for text, one_sided in doubts)
        held.take(name, effects.values_of([measured(torch.ones(300), Parts(names), told)]))
    (one,) = held.against((("small", "placebo"),))
    assert one.verdict_if_one_sided == verdict
    assert one.doubts == (*(text for text, _ in mine), *(f"its control: {text}" for text, _ in theirs))


def test_a_store_keeps_effects_to_the_last_digit_and_which_outcome_they_are(analyzed):
    nowhere = Effect(0.1 + 0.2, float("inf"), *[float("-inf")] * 7, tails=((0.05, -1e-300, 5e-324),), rose=3)
    moved = Moved(nowhere, (0.1,), (0.2,), Ends(worst=0.0, room=0.3), Share(0.5), of=100)
    made = [*analyzed(), Contrast("c", "zero", 5, 2, ("note",), ("doubt",), "worsened", moved)]
    made += [replace(made[0], outcome=Failed("ValueError: x")), replace(made[0], outcome=NotMeasurable("why", ("n",)))]
    assert effects.of_kept(effects.to_kept(made)) == tuple(made)


def test_seeds_may_have_columns_of_their_own_number():
    """Units are columns, and pruning leaves every seed its own number of them."""
    item = items.behaviour("mechanism.dead")
    seeds = [{f"unit {i}": torch.tensor([1.0, 0.0, 0.0]) for i in range(units)} for units in (3, 2)]
    outcomes = [Measured(Answer(columns), {}, 0.0) for columns in seeds]
    held = Comparison(item, item.configure({}), Pool(100, np.random.default_rng(1)), np.random.default_rng(0))
    for name in ("baseline", "small"):
        held.take(name, values_of(outcomes))
    (found,) = held.against([("small", "baseline")])
    assert isinstance(found.outcome, Moved)
    assert found.outcome.effect.effect == 0
