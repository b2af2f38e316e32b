"""The contract of search strategies."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from whatelse import items
from whatelse.errors import MissingExtraError, SettingError
from whatelse.searching.protocol import Problem, Score, Search
from whatelse.searching.space import LAYER, Axis, Configuration, Space
from whatelse.testing import problems, written
from whatelse.testing.contract import Case

_ASKED = 14  # configurations that it is asked for
_SPACES = (problems.LAYERS, problems.TRAINED)
_TINY = Space((Axis(LAYER, "linear", problems.OPTIONS[:3]),))


def its_parts_are_in_order(case: Case) -> None:
    """Demand the parts of a strategy in the order of all others.

    Args:
        case: The strategy.
    """
    written.in_order(case, "start")


def it_asks_for_configurations_of_its_space(case: Case) -> None:
    """Demand for every axis the number of one of its options, and some configuration that changes something.

    Args:
        case: The strategy.
    """
    for problem in _taken(case, _SPACES):
        found = _asked(case, problem)
        case.demand(any(map(any, found)), "it asked for no configuration that changes anything")


def it_repeats_and_leaves_everything_alone(case: Case) -> None:
    """Demand the same configurations under the same seed and the same scores, and nothing changed that it was given.

    Args:
        case: The strategy.
    """
    state = torch.get_rng_state()
    for one, two in zip(_taken(case, _SPACES), _taken(case, _SPACES), strict=True):
        before, inputs = copy.deepcopy(one.model.state_dict()), one.task.train.inputs.clone()
        same = _asked(case, one) == _asked(case, two)
        case.demand(same, "the same seed and the same scores gave other configurations")
        after = one.model.state_dict()
        kept = list(after) == list(before) and all(torch.equal(v, after[k]) for k, v in before.items())
        case.demand(kept, "it changed the weights of the baseline; work on a copy")
        modes = any(part.training or part._forward_hooks for part in one.model.modules())
        case.demand(not modes, "it left the baseline in training mode, or with a hook")
        case.demand(torch.equal(one.task.train.inputs, inputs), "it wrote on the examples that it was given")
    written.alone(case, state)


def it_is_told_late_and_of_failures(case: Case) -> None:
    """Demand that it takes scores in another order, several asked for before one is told, and recipes that failed.

    Args:
        case: The strategy.
    """
    for problem in _taken(case, _SPACES):
        search = _started(case, problem)
        for _ in range(3):
            asked = [found for found in (_ask(case, problem, search) for _ in range(3)) if found is not None]
            for at, one in enumerate(reversed(asked)):
                search.tell(one, _failed() if at == 0 else problems.scored(problem, one))
        _ask(case, problem, search)


def it_has_its_say_in_lines(case: Case) -> None:
    """Demand that it has something, or nothing, to say of itself, before and after the search, each in one line.

    Args:
        case: The strategy.
    """
    problem = _taken(case, _SPACES)[0]
    search = _started(case, problem)
    for told in (False, True):
        if told:
            _fill(case, problem, search)
        said = tuple(search.remarks())
        lines = all(isinstance(one, str) and one and "\n" not in one for one in said)
        case.demand(lines, f"it has to say {said}; lines of text are needed")


def it_bears_a_space_where_nothing_works(case: Case) -> None:
    """Demand that it goes on, or has no more, where every recipe fails, or breaks a cheap budget and was left there.

    Args:
        case: The strategy.
    """
    for problem in _taken(case, _SPACES):
        for score in (_failed(), Score(0.5, {problem.judge.names[0]: 3.0}, problem.model(problem.task.test.inputs))):
            search = _started(case, problem)
            for _ in range(_ASKED):
                one = _ask(case, problem, search)
                if one is None:
                    break
                search.tell(one, score)


def it_ends_or_goes_on(case: Case) -> None:
    """Demand that it answers also where the space holds nothing new, and once it has no more has no more.

    Args:
        case: The strategy.
    """
    for problem in _taken(case, (_TINY,)):
        search, over = _started(case, problem), False
        for _ in range(2 * problem.space.size + 4):
            one = _ask(case, problem, search)
            case.demand(one is None or not over, f"it asked for {one} after it had no more")
            if one is None:
                over = True
            else:
                search.tell(one, problems.scored(problem, one))


CHECKS = (
    written.it_says_what_it_is_and_where_it_comes_from,
    written.its_settings_are_declared,
    its_parts_are_in_order,
    it_asks_for_configurations_of_its_space,
    it_repeats_and_leaves_everything_alone,
    it_is_told_late_and_of_failures,
    it_has_its_say_in_lines,
    it_bears_a_space_where_nothing_works,
    it_ends_or_goes_on,
)


def _taken(case: Case, spaces: Sequence[Space]) -> list[Problem]:
    """Return problems, new ones, of the spaces that the strategy takes: it may refuse some in words, not all."""
    found, why = [], ""
    for space in spaces:
        try:
            _started(case, problems.problem(space))
        except SettingError as error:
            why = str(error)
        else:
            found.append(problems.problem(space))
    case.demand(found, f"it takes no space that the contract has: {why}")
    return found


def _started(case: Case, problem: Problem) -> Search:
    try:
        item = items.strategy(case.source.name)
        return item.start(problem, item.configure(case.given), written.generator())
    except MissingExtraError as error:
        case.skip(str(error))


def _ask(case: Case, problem: Problem, search: Search) -> Configuration | None:
    one, axes = search.ask(), problem.space.axes
    if one is None:
        return None
    case.demand(isinstance(one, tuple) and len(one) == len(axes), f"it asked for {one}; {len(axes)} numbers are needed")
    for at, axis in zip(one, axes, strict=True):
        inside = type(at) is int and 0 <= at < len(axis.options)
        case.demand(inside, f"it asked for option {at} of {axis.name}, which has {len(axis.options)}")
    return one


def _asked(case: Case, problem: Problem) -> list[Configuration]:
    return _fill(case, problem, _started(case, problem))


def _fill(case: Case, problem: Problem, search: Search) -> list[Configuration]:
    found: list[Configuration] = []
    for _ in range(_ASKED):
        one = _ask(case, problem, search)
        if one is None:
            break
        found.append(one)
        search.tell(one, problems.scored(problem, one))
    return found


def _failed() -> Score:
    return Score(float("inf"), why="prune.magnitude: this Net stopped it")
