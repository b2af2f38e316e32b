"""The contract of behaviours."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from whatelse import items, parts, registry
from whatelse.answer import Answer, Doubt, Shown
from whatelse.errors import NotMeasurableError
from whatelse.tasks.task import Task
from whatelse.testing import samples, written
from whatelse.testing.contract import Case

_ALIKE = (1e-9, 1e-12)  # but for rounding: a product of matrices may sum its rows in another order
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
    case.demand(item.outcomes is None or item.by_part is not None, "outcomes are those of parts, and need by_part")


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


def it_answers_in_the_form_of_an_answer(case: Case) -> None:
    """Demand finite columns of floats, and everything that is said beside them of the right kind.

    Args:
        case: The behaviour.
    """
    answer = _first(case).answer
    _demand_columns(case, answer)
    names, ends = answer.parts.names, set(answer.ends)
    case.demand(len(set(names)) == len(names), f"two parts have one name: {', '.join(names)}")
    better = answer.parts.better
    case.demand(
        better in {"", "higher", "lower", "neither"}, f"of parts {better!r} is better; higher, lower or neither"
    )
    case.demand(isinstance(answer.notes, tuple) and isinstance(answer.doubts, tuple), "notes and doubts are tuples")
    case.demand(all(isinstance(doubt, Doubt) for doubt in answer.doubts), "doubts are made by Doubt")
    said = [*answer.notes, *(doubt.text for doubt in answer.doubts)]
    case.demand(all(isinstance(text, str) and "\n" not in text for text in said), "notes and doubts have one line each")
    case.demand(all(isinstance(shown, Shown) for shown in answer.shown), "what is shown is made by Shown")
    case.demand(ends <= {"worst", "blind"}, f"ends has {', '.join(sorted(ends))}; it may have worst and blind")
    parted = bool(names) == (_item(case).by_part is not None)
    case.demand(parted, "an item with by_part names its parts in the answer, and no other does")


def its_summaries_can_be_resampled(case: Case) -> None:
    """Demand one number a resample, and one for every part, by the names of columns and not by their order.

    Args:
        case: The behaviour.
    """
    item, answer = _item(case), _doubled(_first(case).answer)
    config, weights = item.configure(case.given), np.ones((3, len(answer)))
    moved = replace(answer, columns=dict(reversed(list(answer.columns.items()))))
    summary, turned = (item.summarise(a, config, weights) for a in (answer, moved))
    case.demand(summary.shape == (3,), f"summarise answers {summary.shape} for 3 resamples; (3,) is needed")
    case.demand(np.allclose(summary[0], summary[2], *_ALIKE), "summarise answers otherwise for the same weights")
    case.demand(np.isfinite(summary).all(), "summarise of the sample itself is not finite")
    case.demand(np.allclose(summary, turned, *_ALIKE), "summarise goes by the order of columns; take them by name")
    if item.by_part is not None:
        _demand_parts(case, answer, moved)


def it_repeats_and_leaves_everything_alone(case: Case) -> None:
    """Demand the same answer under the same seed, with model, task, hooks and process as they were.

    Args:
        case: The behaviour.
    """
    item, one = _item(case), _first(case).answer
    state = torch.get_rng_state()
    base, mine = samples.pair(item.needs)
    models = [_module(e) for e in (base, mine)]
    weights = [copy.deepcopy(model.state_dict()) for model in models]
    held, public = copy.deepcopy(mine.task), [_public(e) for e in (base, mine)]
    two = _run(case, base, mine).answer
    case.demand(public == [_public(e) for e in (base, mine)], "it wrote on the evidence, a cache; say it in the answer")
    for model, before in zip(models, weights, strict=True):
        after = model.state_dict()
        case.demand(all(torch.equal(v, after[k]) for k, v in before.items()), "it changed the weights of a model")
        hooks = any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())  # noqa: SLF001
        case.demand(not hooks, "it left a hook on a model")
        case.demand(not any(p.requires_grad for p in model.parameters()), "it left a parameter unfrozen")
    case.demand(_same(held, mine.task), "it wrote on the examples of the task")
    written.alone(case, state)
    case.demand(list(one.columns) == list(two.columns), "other columns under the same seed")
    case.demand(one.parts == two.parts, "other parts under the same seed")
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
    it_answers_in_the_form_of_an_answer,
    its_summaries_can_be_resampled,
    it_repeats_and_leaves_everything_alone,
    it_answers_alike_whatever_the_batch,
    it_answers_alike_whatever_the_order,
    it_costs_no_more_than_it_says,
)


def _demand_columns(case: Case, answer: Answer) -> None:
    for name, column in answer.columns.items():
        # Counts above 2**24 are exact in double precision alone.
        right = column.dtype in {torch.float32, torch.float64}
        case.demand(right, f"column {name} is of {column.dtype}; float32 or float64 is needed")
        case.demand(column.isfinite().all(), f"column {name} has numbers that are not finite")
    rows = answer.rows
    case.demand(rows is None or rows.shape == (len(answer),), "rows names another number of rows than there are")
    fewer = _item(case).unit_of_analysis == "test example" and len(answer) < len(_task(case).test)
    case.demand(rows is not None or not fewer, "it answers for some test examples; say in rows which, as clusters need")


def _demand_parts(case: Case, answer: Answer, moved: Answer) -> None:
    """Demand a number for every part, and outcomes that point at parts."""
    item, names = _item(case), answer.parts.names
    config, weights = item.configure(case.given), np.ones((3, len(answer)))
    assert item.by_part is not None
    with np.errstate(invalid="ignore", divide="ignore"):
        of, turned = (item.by_part(a, config, weights) for a in (answer, moved))
    case.demand(of.shape == (3, len(names)), f"by_part answers {of.shape} for 3 resamples of {len(names)} parts")
    alike = np.allclose(of[0], of[2], *_ALIKE, equal_nan=True)
    case.demand(alike, "by_part answers otherwise for the same weights")
    alike = np.allclose(of, turned, *_ALIKE, equal_nan=True)
    case.demand(alike, "by_part goes by the order of columns; take them by name")
    if item.outcomes is None:
        return
    told = item.outcomes(answer, config)
    case.demand(len(told) == len(answer), "outcomes has another number of rows than the answer")
    form = "the outcome, then of every grouping where its part is and whether it counts"
    case.demand(told.ndim == 2 and told.shape[1] % 2 == 1, f"outcomes is of {told.shape}; it has {form}")  # noqa: PLR2004
    case.demand(told[:, 1:].max() < len(names), "outcomes point at a part that has no name")


def _module(evidence: samples.Watched) -> nn.Module:
    """Return the module that answers: a language model is asked as the object that it is."""
    held = evidence.subject.model
    assert isinstance(held, nn.Module)
    return held


def _item(case: Case) -> items.Behaviour:
    return items.behaviour(case.source.name)


def _task(case: Case) -> Task:
    return samples.of(_item(case).needs)[0]


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
    here, there = (item.summarise(_doubled(a), config, np.ones((1, len(a))))[0] for a in (one, two))
    case.demand(np.isclose(here, there, *_BATCHED), f"{how} it answers {there:.6g}, and {here:.6g} as they are")


def _public(evidence: samples.Watched) -> dict[str, object]:
    """Return what evidence holds besides observations, passes and the size of a batch."""
    names = [f.name for f in fields(evidence) if not f.name.startswith("_") and f.name not in {"batch", "drawn"}]
    held = {name: getattr(evidence, name) for name in names}
    plain = (list, dict, tuple, int, torch.Tensor, type(None))
    return {name: copy.copy(value) for name, value in held.items() if isinstance(value, plain)}


def _same(one: Task, two: Task) -> bool:
    pairs = [(one.splits[name], two.splits[name]) for name in one.splits]
    return all(
        torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) and torch.equal(a.observed, b.observed)
        for a, b in pairs
    )
