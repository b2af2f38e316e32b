"""The contract of methods."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from whatelse import items, recipe
from whatelse.errors import ArtifactError, MissingHardwareError, RecipeError
from whatelse.modules import codec
from whatelse.study import estimate
from whatelse.tasks.task import Task
from whatelse.testing import samples, written
from whatelse.testing.contract import Case
from whatelse.training import initialize

_LONG = 12  # epochs, so that training outweighs everything else that is asked of a network


def its_parts_are_in_order(case: Case) -> None:
    """Demand the parts of a method in the order of all others.

    Args:
        case: The method.
    """
    written.in_order(case, "compress", ("effort", "looks"))


def it_names_its_knob_and_its_place_in_a_recipe(case: Case) -> None:
    """Demand a knob among its settings, and states of models that recipes know.

    Args:
        case: The method.
    """
    item, known = _item(case), set(recipe.STATES)
    case.demand(item.takes and item.takes <= known, f"TAKES is {set(item.takes)}; it may hold {', '.join(known)}")
    case.demand(item.leaves in {"", *known}, f"LEAVES is {item.leaves!r}; it may be empty or {', '.join(known)}")
    settings = {f.name for f in dataclasses.fields(item.config)}
    case.demand(item.knob in {"", *settings}, f"KNOB is {item.knob!r}; it may be empty or {', '.join(settings)}")


def it_returns_a_copy_that_answers(case: Case) -> None:
    """Demand another model that takes the same inputs, and the one it was given as it was, mode and hooks included.

    Args:
        case: The method.
    """
    model = samples.models()[0]
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    made = _made(case, samples.images(), model=model)
    case.demand(made is not model, "it returned the model that it was given; return a copy")
    after = model.state_dict()
    case.demand(list(after) == list(before), "it gave the model that it was given other tensors")
    case.demand(all(torch.equal(v, after[k]) for k, v in before.items()), "it changed the model that it was given")
    case.demand(modes == [m.training for m in model.modules()], "it changed the mode of the model that it was given")
    answer = made(samples.images().test.inputs)
    wanted = (len(samples.images().test), samples.CLASSES)
    case.demand(answer.shape == wanted, f"its model answers {tuple(answer.shape)}; {wanted} is needed")
    case.demand(answer.isfinite().all(), "its model answers with numbers that are not finite")


def it_repeats_and_leaves_the_process_alone(case: Case) -> None:
    """Demand the same model under the same seed, and no random number of the process.

    Args:
        case: The method.
    """
    state, task = torch.get_rng_state(), samples.images()
    one, two = (_made(case, task) for _ in range(2))
    case.demand(_equal(one, two, task.test.inputs), "the same seed gave another model")
    written.alone(case, state)


def it_never_looks_at_test(case: Case) -> None:
    """Demand the same model where test and select hold other examples: verdicts are given on what no method has seen.

    Args:
        case: The method.
    """
    task = samples.images()
    other = dataclasses.replace(task.test, inputs=task.test.inputs.flip(-1), targets=task.test.targets.flip(0))
    one, two = _made(case, task), _made(case, samples.with_test(task, other))
    case.demand(_equal(one, two, task.train.inputs), "its model depends on the examples of test or select")


def its_model_can_be_kept(case: Case) -> None:
    """Demand a model that can be written as data and read back with the same answers, as studies and folders do.

    Args:
        case: The method.
    """
    made = _made(case, samples.images())
    made.eval().requires_grad_(requires_grad=False)
    inputs = samples.images().test.inputs
    try:
        back = codec.decode(*codec.encode(made))
    except ArtifactError as error:
        case.fail(f"its model cannot be written as data: {error}")
    case.demand(torch.equal(made(inputs), back(inputs)), "its model answers otherwise once it was written and read")


def it_trains_about_as_long_as_is_said(case: Case) -> None:
    """Demand that ``effort``, or its epochs where it has none, says about how long it trains.

    Args:
        case: The method.
    """
    task, given = samples.images(), _given(case, _LONG)
    with _counted(task.shape) as seen:
        _made(case, task, _LONG)
    said = estimate.training(recipe.Step(case.source.name, tuple(given.items())), task)
    # Besides training a method may look at all examples a few times: teachers, gradients, scales layer by layer.
    trained = seen["examples"] - 8 * len(task.train)
    case.demand(said >= 1.5 * trained, f"it trains for {trained} passes; say so in effort, which says {said}")
    case.demand(said <= 6 * (seen["examples"] + _LONG * len(task.train)), f"effort says {said}, far more than it takes")


def what_goes_by_layers_goes_by_one_alone(case: Case) -> None:
    """Demand of a method with ``LAYERWISE`` that a layer becomes what it becomes in a model where it is the only one.

    Its task then has the layer's inputs, and labels that mean nothing.

    Args:
        case: The method.
    """
    if not _item(case).layerwise:
        return
    task, rng, took = samples.images(), written.generator(), 0
    for layer in (nn.Conv2d(1, 6, 3, padding=1), nn.Linear(64, 12)):
        initialize.initialize(layer, rng)
        before = [nn.Identity()] if isinstance(layer, nn.Conv2d) else [nn.Flatten()]
        model = nn.Sequential(*before, layer, nn.Flatten()).eval().requires_grad_(requires_grad=False)
        inputs = model[0](task.train.inputs)
        labels = torch.arange(len(inputs)) % 2
        alone = samples.task_of(samples.split_of(inputs, labels), bounds=None)
        try:
            whole = _made(case, task, model=model)
        except RecipeError:  # of this kind of layer it takes none
            continue
        took, mine = took + 1, _made(case, alone, model=layer)
        same = torch.equal(whole(task.train.inputs), mine(inputs).flatten(1))
        case.demand(same, f"a {type(layer).__name__} alone becomes another than in a model; LAYERWISE must be False")
    case.demand(took, "it takes neither a convolution nor a linear layer; LAYERWISE must be False")


def what_does_not_look_makes_the_same_of_other_inputs(case: Case) -> None:
    """Demand of a method whose ``looks`` says that inputs decide nothing that other inputs change nothing.

    Args:
        case: The method.
    """
    item = _item(case)
    if item.looks is None or item.looks(item.configure(_given(case, 1))):
        return
    task = samples.images()
    others = samples.split_of(task.train.inputs.flip(0) * 0.5, task.train.targets)
    one, two = _made(case, task), _made(case, task.with_train(others, others))
    same = _equal(one, two, task.train.inputs)
    case.demand(same, "looks says that inputs decide nothing, and with others it makes another model")


CHECKS = (
    written.it_says_what_it_is_and_where_it_comes_from,
    written.its_settings_are_declared,
    its_parts_are_in_order,
    it_names_its_knob_and_its_place_in_a_recipe,
    it_returns_a_copy_that_answers,
    it_repeats_and_leaves_the_process_alone,
    it_never_looks_at_test,
    its_model_can_be_kept,
    it_trains_about_as_long_as_is_said,
    what_goes_by_layers_goes_by_one_alone,
    what_does_not_look_makes_the_same_of_other_inputs,
)


def _item(case: Case) -> items.Method:
    return items.method(case.source.name)


def _given(case: Case, epochs: int) -> dict[str, Any]:
    """Return the settings that it is tried with: few epochs, where it has such a setting and none is given."""
    known = {f.name for f in dataclasses.fields(_item(case).config)}
    return ({"epochs": epochs} if "epochs" in known else {}) | dict(case.given)


def _made(case: Case, task: Task, epochs: int = 1, model: nn.Module | None = None) -> nn.Module:
    item, model = _item(case), model or samples.models()[0]
    try:
        made = item.compress(model, item.configure(_given(case, epochs)), task, written.generator())
    except MissingHardwareError as error:
        case.skip(str(error))
    case.demand(isinstance(made, nn.Module), f"compress returned {type(made).__name__}; a module is needed")
    return made


@torch.no_grad()
def _equal(one: nn.Module, two: nn.Module, inputs: Tensor) -> bool:
    tensors = zip(one.state_dict().values(), two.state_dict().values(), strict=False)
    return torch.equal(one(inputs), two(inputs)) and all(torch.equal(a, b) for a, b in tensors)


@contextmanager
def _counted(shape: tuple[int, ...]) -> Generator[Counter[str], None, None]:
    """Count how many examples of a shape any whole network is passed meanwhile; of its parts no call is counted.

    Yields:
        The count so far, under ``examples``.
    """
    seen: Counter[str] = Counter()
    depth = 0

    def enter(part: nn.Module, given: tuple[Any, ...]) -> None:
        nonlocal depth
        del part
        if not depth and isinstance(given[0], Tensor) and given[0].shape[1:] == shape:
            seen["examples"] += len(given[0])
        depth += 1

    def leave(part: nn.Module, given: tuple[Any, ...], output: object) -> None:
        nonlocal depth
        del part, given, output
        depth -= 1

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
