"""The contract of behaviours."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from whatelse import items, parts, registry
from whatelse.answer import Answer
from whatelse.errors import NotMeasurableError
from whatelse.tasks.task import Task
from whatelse.testing import samples, written
from whatelse.testing.contract import Case

_ALIKE = (1e-9, 1e-12)  # relative and absolute; but for rounding: a product of matrices may sum its rows in another order
_BATCHED = (1e-3, 1e-4)  # of one batch and of several: single precision, and what it is amplified by


def its_parts_are_in_order(case: Case) -> None:
    """Demand the parts of a behaviour in the order of all others.

    Args:
        case: The behaviour.
    """
    entry, _ = parts.Parts(case.source).function("measure", "compare")
    written.in_order(case, entry, ("summarise", "by_part", "outcomes", "effort"))
    item = _item(case)
    case.demand((item.by_part is not None) == bool(item.part), "by_part and PARTS, which says what of, go together")


def it_says_where_its_scale_ends(case: Case) -> None:
    """Demand ends that fit each other and the direction in which the number is better.

    Args:
        case: The behaviour.
    """
    item = _item(case)
    case.demand(item.unit, "UNIT is empty")
    if item.worst is not None and item.blind is not None:
        right = (item.worst <= item.blind) == (item.better == "higher")
        case.demand(right, f"WORST is {item.worst} and BLIND {item.blind}, and {item.better} is better")
    if item.range is not None:
        low, high = item.range
        case.demand(low < high, f"RANGE is {item.range}; the smaller end comes first")
        end = item.range[item.better == "lower"]
        case.demand(item.worst == end, f"WORST is {item.worst} and the bad end of RANGE {end}")


def it_answers_with_finite_numbers(case: Case) -> None:
    """Demand finite columns of floats, and summaries that resampling can use, on a task that has everything.

    Args:
        case: The behaviour.
    """
    item, answer = _item(case), _first(case).answer
    config = item.configure(case.given)
    for name, column in answer.columns.items():
        # Counts above 2**24 are exact in double precision alone.
        float_ = column.dtype in {torch.float32, torch.float64}
        case.demand(float_, f"column {name} is of {column.dtype}; float32 or float64 is needed")
        case.demand(column.isfinite().all(), f"column {name} has numbers that are not finite")
    rows = answer.rows
    case.demand(rows is None or rows.shape == (len(answer),), "rows names another number of rows than there are")
    answer, weights = _doubled(answer), np.ones((3, len(answer)))
    summary = item.summarise(answer, config, weights)
    case.demand(summary.shape == (3,), f"summarise answers {summary.shape} for 3 resamples; (3,) is needed")
    case.demand(np.allclose(summary[0], summary[2], *_ALIKE), "summarise answers otherwise for the same weights")
    case.demand(np.isfinite(summary).all(), "summarise of the sample itself is not finite")
    if item.by_part is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            of = item.by_part(answer, config, weights)
        names = answer.parts.names
        case.demand(of.shape == (3, len(names)), f"by_part answers {of.shape} for 3 resamples of {len(names)} parts")
        case.demand(len(set(names)) == len(names), f"two parts have one name: {', '.join(names)}")
        case.demand(np.allclose(of[0], of[2], *_ALIKE, equal_nan=True), "by_part answers otherwise for equal weights")


def it_repeats_and_leaves_everything_alone(case: Case) -> None:
    """Demand the same answer under the same seed, with model, task, hooks and process as they were.

    Args:
        case: The behaviour.
    """
    item, one = _item(case), _first(case).answer
    state = torch.get_rng_state()
    base, mine = samples.pair(item.needs)
    weights = [copy.deepcopy(e.model.state_dict()) for e in (base, mine)]
    held = copy.deepcopy(mine.task)
    two = _run(case, base, mine).answer
    for evidence, before in zip((base, mine), weights, strict=True):
        after = evidence.model.state_dict()
        case.demand(all(torch.equal(v, after[k]) for k, v in before.items()), "it changed the weights of a model")
        hooks = any(m._forward_hooks or m._forward_pre_hooks for m in evidence.model.modules())  # noqa: SLF001
        case.demand(not hooks, "it left a hook on a model")
        case.demand(not any(p.requires_grad for p in evidence.model.parameters()), "it left a parameter unfrozen")
    case.demand(_same(held, mine.task), "it wrote on the examples of the task")
    written.alone(case, state)
    case.demand(list(one.columns) == list(two.columns), "other columns under the same seed")
    case.demand(len(one) == len(two), "another number of rows under the same seed")
    if item.unit_of_analysis != "turn":  # wall times do not repeat
        same = all(torch.equal(one.columns[name], two.columns[name]) for name in one.columns)
        case.demand(same, "other values under the same seed")


def it_answers_alike_whatever_the_batch(case: Case) -> None:
    """Demand the same number, but for rounding, where examples are asked in other batches.

    Args:
        case: The behaviour.
    """
    item, first = _item(case), _first(case)
    if item.unit_of_analysis == "turn" or first.random:
        case.skip("its values are random, or times")
    two = _run(case, *samples.pair(item.needs, batch=32)).answer
    _demand_alike(case, first.answer, two, "asked in batches of 32 examples")


def it_answers_alike_whatever_the_order(case: Case) -> None:
    """Demand the same number, but for rounding, where the test examples come in another order.

    Args:
        case: The behaviour.
    """
    item, first = _item(case), _first(case)
    if item.unit_of_analysis != "test example" or first.random or "references" in item.needs:
        case.skip("its rows are not all test examples, or its values are random")
    task = _task(case)
    turned = samples.with_test(task, task.test.take(torch.arange(len(task.test)).flip(0)))
    two = _run(case, *samples.pair(item.needs, task=turned)).answer
    _demand_alike(case, first.answer, two, "with the test examples in another order")


def it_costs_no_more_than_it_says(case: Case) -> None:
    """Demand that ``effort`` says what is spent beyond the passes that all behaviours share.

    Args:
        case: The behaviour.
    """
    item, spent, task = _item(case), _first(case).passes, _task(case)
    effort = item.effort(item.configure(case.given), task) if item.effort is not None else 0
    every = sum(len(split) for split in task.splits.values())
    shared = 2 * (every + len(task.test))  # of both models; gradients of test alone
    case.demand(spent <= effort + shared, f"it spent {spent} passes; say in effort what it costs beyond {shared}")
    case.demand(effort <= 10 * spent + 1000, f"effort says {effort} passes and {spent} were spent")


CHECKS = (
    written.it_says_what_it_is_and_where_it_comes_from,
    written.its_settings_are_declared,
    its_parts_are_in_order,
    it_says_where_its_scale_ends,
    it_answers_with_finite_numbers,
    it_repeats_and_leaves_everything_alone,
    it_answers_alike_whatever_the_batch,
    it_answers_alike_whatever_the_order,
    it_costs_no_more_than_it_says,
)


def _item(case: Case) -> items.Behaviour:
    return items.behaviour(case.source.name)


def _task(case: Case) -> Task:
    return samples.texts() if "texts" in _item(case).needs else samples.images()


@dataclass(frozen=True, eq=False)
class _Run:
    answer: Answer
    random: bool
    passes: int


def _first(case: Case) -> _Run:
    """Return what it did on the sample, made once for the checks of one item."""
    return _ran(case.source, tuple(case.given.items()))


@lru_cache(maxsize=2)
def _ran(source: registry.Source, given: tuple[tuple[str, object], ...]) -> _Run:
    case = Case(source, dict(given))
    return _run(case, *samples.pair(_item(case).needs))


def _run(case: Case, base: samples.Watched, mine: samples.Watched) -> _Run:
    item, rng = _item(case), written.generator()
    before = rng.get_state()
    try:
        answer = item.answer(base, mine, item.configure(case.given), rng)
    except NotMeasurableError as error:
        case.fail(f"not measurable on a task that has everything: {error}")
    case.demand(isinstance(answer, Answer), f"it returned {type(answer).__name__}; an Answer is needed")
    random = not torch.equal(before, rng.get_state()) or any(e.drawn for e in (base, mine))
    return _Run(answer, random, sum(e.passes.forward + e.passes.backward for e in (base, mine)))


def _doubled(answer: Answer) -> Answer:
    return answer.over(answer.matrix().astype(float))


def _demand_alike(case: Case, one: Answer, two: Answer, how: str) -> None:
    item = _item(case)
    config = item.configure(case.given)
    here, there = (item.summarise(_doubled(a), config, np.ones((1, len(a))))[0] for a in (one, two)]
    case.demand(
        np.isclose(*numbers, *_BATCHED), f"{how} it answers {numbers[1]:.6g}, and {numbers[0]:.6g} as they are"
    )


def _same(one: Task, two: Task) -> bool:
    pairs = [(one.splits[name], two.splits[name]) for name in one.splits]
    return all(
        torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) and torch.equal(a.observed, b.observed)
        for a, b in pairs
    )
