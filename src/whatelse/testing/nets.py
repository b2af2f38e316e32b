"""The contract of networks."""

from __future__ import annotations

import torch
from torch import nn

from whatelse import items
from whatelse.errors import ArtifactError, WhatElseError
from whatelse.modules import codec
from whatelse.testing import samples, written
from whatelse.testing.contract import Case

_SHAPES = {"images": (1, 8, 8), "larger images": (3, 32, 32), "rows of a table": (6,)}


def its_parts_are_in_order(case: Case) -> None:
    """Demand the parts of a network in the order of all others.

    Args:
        case: The network.
    """
    written.in_order(case, "build")


def it_takes_one_kind_of_inputs_and_refuses_the_others(case: Case) -> None:
    """Demand scores of every class for images, rows of a table or texts, and one line of refusal for the rest.

    Args:
        case: The network.
    """
    for shape, inputs in _inputs().items():
        built = _built(case, shape)
        if built is None:
            continue
        try:
            answer = built.eval()(inputs)
        except Exception as error:  # noqa: BLE001 - whatever a network raises
            case.fail(f"it builds for inputs {shape} and does not take them: {type(error).__name__}: {error}")
        wanted = (len(inputs), samples.CLASSES)
        case.demand(answer.shape == wanted, f"for inputs {shape} it answers {tuple(answer.shape)}, not {wanted}")
        case.demand(answer.isfinite().all(), f"for inputs {shape} it answers with numbers that are not finite")
    _some(case)


def its_first_weights_repeat(case: Case) -> None:
    """Demand the same weights under the same seed, others under another, and no random number of the process.

    Args:
        case: The network.
    """
    state = torch.get_rng_state()
    shape = _some(case)
    one, two, other = (_weights(_built(case, shape, seed)) for seed in (1, 1, 2))
    case.demand(torch.equal(one, two), "the same seed gave other weights")
    case.demand(not torch.equal(one, other), "another seed gave the same weights; draw them from rng")
    case.demand(one.isfinite().all(), "its first weights are not all finite")
    written.alone(case, state)


def it_can_be_kept(case: Case) -> None:
    """Demand a network that can be written as data and read back with the same answers.

    Args:
        case: The network.
    """
    shape = _some(case)
    built = _built(case, shape)
    assert built is not None
    built.eval().requires_grad_(requires_grad=False)
    try:
        back = codec.decode(*codec.encode(built))
    except ArtifactError as error:
        case.fail(f"it cannot be written as data: {error}")
    inputs = _inputs()[shape]
    case.demand(torch.equal(built(inputs), back(inputs)), "it answers otherwise once it was written and read")


CHECKS = (
    written.it_says_what_it_is_and_where_it_comes_from,
    written.its_settings_are_declared,
    its_parts_are_in_order,
    it_takes_one_kind_of_inputs_and_refuses_the_others,
    its_first_weights_repeat,
    it_can_be_kept,
)


def _inputs() -> dict[tuple[int, ...], torch.Tensor]:
    rng = written.generator()
    found = {shape: torch.rand(4, *shape, generator=rng) for shape in _SHAPES.values()}
    return {**found, samples.texts().shape: samples.texts().test.inputs[:4]}


def _built(case: Case, shape: tuple[int, ...], seed: int = 1) -> nn.Module | None:
    item = items.net(case.source.name)
    try:
        built = item.build(item.configure(case.given), shape, samples.CLASSES, written.generator(seed))
    except WhatElseError:
        return None
    case.demand(isinstance(built, nn.Module), f"build returned {type(built).__name__}; a module is needed")
    return built


def _some(case: Case) -> tuple[int, ...]:
    """Return a shape of inputs that it takes."""
    takes = [shape for shape in _inputs() if _built(case, shape) is not None]
    case.demand(takes, "it takes neither images nor rows of a table nor texts; give settings with which it does")
    return takes[0]


def _weights(built: nn.Module | None) -> torch.Tensor:
    assert built is not None
    return torch.cat([p.detach().flatten() for p in built.parameters()])
