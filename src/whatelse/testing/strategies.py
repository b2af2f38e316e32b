"""The contract of search strategies."""

from __future__ import annotations

import torch

from whatelse import items, recipe
from whatelse.recipe import Recipe
from whatelse.search.protocol import Score, Search, Space
from whatelse.testing import written
from whatelse.testing.contract import Case

_ASKED = 12  # recipes that it is asked for
_SPACE = ("prune.magnitude", "quantize.uniform")


def its_parts_are_in_order(case: Case) -> None:
    """Demand the parts of a strategy in the order of all others.

    Args:
        case: The strategy.
    """
    written.in_order(case, "start")


def it_asks_for_recipes_of_its_space(case: Case) -> None:
    """Demand recipes that begin with a method of the space at a strength in its range, and end as the space says.

    Args:
        case: The strategy.
    """
    for space in (Space(_SPACE), Space(_SPACE[:1], "train.finetune(epochs=1)")):
        found = _asked(case, space)
        case.demand(found, "it asked for no recipe at all")
        _demand_inside(case, space, found)


def it_repeats_and_leaves_the_process_alone(case: Case) -> None:
    """Demand the same recipes under the same seed and the same scores, and no random number of the process.

    Args:
        case: The strategy.
    """
    state = torch.get_rng_state()
    one, two = (_asked(case, Space(_SPACE)) for _ in range(2))
    case.demand(one == two, "the same seed and the same scores gave other recipes")
    written.alone(case, state)


def it_is_told_late_and_of_failures(case: Case) -> None:
    """Demand that it takes scores in another order, several asked for before one is told, and recipes that failed.

    Args:
        case: The strategy.
    """
    search = _started(case, Space(_SPACE))
    asked = [found for found in (search.ask() for _ in range(3)) if found is not None]
    for at, one in enumerate(reversed(asked)):
        search.tell(one, Score(float("inf")) if at == 0 else Score(1.0 + at, {"accuracy": 0.1}))
    again = search.ask()
    case.demand(again is None or recipe.parse(recipe.write(again)) == again, "after that it asks for no recipe")


CHECKS = (
    written.it_says_what_it_is_and_where_it_comes_from,
    written.its_settings_are_declared,
    its_parts_are_in_order,
    it_asks_for_recipes_of_its_space,
    it_repeats_and_leaves_the_process_alone,
    it_is_told_late_and_of_failures,
)


def _started(case: Case, space: Space) -> Search:
    item = items.strategy(case.source.name)
    return item.start(space, item.configure(case.given), written.generator())


def _asked(case: Case, space: Space) -> list[Recipe]:
    search, found = _started(case, space), []
    for at in range(_ASKED):
        one = search.ask()
        if one is None:
            break
        found.append(one)
        search.tell(one, Score(1.0 / (1 + at), {"accuracy": 0.05 - 0.01 * at}))
    return found


def _demand_inside(case: Case, space: Space, found: list[Recipe]) -> None:
    known = {knob.method: knob for knob in space.knobs}
    for one in found:
        text = recipe.write(one)
        case.demand(recipe.parse(text) == one, f"{text} is not read back as the recipe that it is")
        case.demand(one[1:] == recipe.parse(space.then), f"{text} does not end with {space.then}")
        case.demand(one[0].name in known, f"{text} begins with no method of the space")
        knob = known[one[0].name]
        value = dict(one[0].given).get(knob.setting)
        case.demand(value is None or knob.low <= value <= knob.high, f"{text}: {knob.setting} is outside its range")
