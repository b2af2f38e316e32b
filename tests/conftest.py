"""Fixtures that every room shares, and the switch that breaks items to see whether their tests notice."""

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.serving import buckets
from whatelse import items, registry
from whatelse.evidence.cache import Evidence, References
from whatelse.models import subject
from whatelse.tasks.task import Split, Task

__all__ = ["buckets"]


@pytest.fixture(autouse=True)
def _resolved_anew():
    """Let a test that breaks an item's module break the item too: what is resolved once is resolved for each test."""
    for resolved in (items._behaviour, items._method, items._loader, items._net):
        resolved.cache_clear()


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def linear():
    """A classifier whose every answer can be worked out by hand: class 1 where x0 > 0."""
    model = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    return model


def split_of(inputs, targets, observed=None, groups=None, masks=None):
    inputs, targets = torch.as_tensor(inputs), torch.as_tensor(targets)
    observed = targets if observed is None else torch.as_tensor(observed)
    groups = {name: torch.as_tensor(codes) for name, codes in (groups or {}).items()}
    return Split(inputs, targets, observed, groups, masks)


def task_of(inputs, targets, *, classes=2, bounds=(-10.0, 10.0), observed=None, groups=None, masks=None, train=None):
    """A task whose four splits are the same examples, unless ``train`` is given."""
    test = split_of(inputs, targets, observed, groups, masks)
    train = test if train is None else train
    splits = {"train": train, "calibration": train, "select": test, "test": test}
    names = {name: tuple(f"{name} {i}" for i in range(int(codes.max()) + 1)) for name, codes in test.groups.items()}
    return Task("toy", classes, bounds, splits, names)


@pytest.fixture
def task():
    inputs = torch.tensor([[-2.0, 1.0], [-1.0, 0.5], [1.0, -0.5], [2.0, -1.0]])
    return task_of(inputs, torch.tensor([0, 0, 1, 1]), groups={"style": torch.tensor([0, 1, 0, 1])})


def evidence_of(model, task, *, reference=None, shadows=None, name="model"):
    """Evidence of a live module on a task, with the capabilities that the module really has."""
    probe = task.test.inputs[:4]
    of = subject.of(model, name, f"key of {name}", probe, torch.Generator().manual_seed(0))
    return Evidence(of, task, reference=reference, shadows=shadows)


class Canned:
    """A module that answers given logits, whatever it is asked: evidence made from plain arrays.

    Row i of the inputs must be the number i in its first feature.
    """

    def __new__(cls, logits):
        module = torch.nn.Module()
        table = torch.as_tensor(logits, dtype=torch.float32)
        module.forward = lambda x: table.to(x.dtype)[x.flatten(1)[:, 0].long()]
        return module


def ones(values):
    """The counts of the sample itself: every example once."""
    return np.ones((1, len(values)))


@pytest.fixture
def toy():
    """The helpers of this file, for tests that build their own task and evidence."""
    return SimpleNamespace(
        task_of=task_of,
        split_of=split_of,
        evidence_of=evidence_of,
        Canned=Canned,
        ones=ones,
        References=References,
    )


# The mutants. Each breaks every item in one way; the contract suite demands that each item's own test fails.


def _each_column(answer, change):
    return dataclasses.replace(answer, columns={name: change(column) for name, column in answer.columns.items()})


def _offset_answer(measure):
    return lambda *args: _each_column(measure(*args), lambda column: column + 0.125)


def _permuted_answer(measure):
    return lambda *args: _each_column(measure(*args), lambda column: column.roll(1, 0))


def _unchanged_answer(measure, *, pair):
    """As if nothing had been compressed: the baseline compared with itself, or zero everywhere."""
    if pair:
        return lambda baseline, candidate, *rest: measure(baseline, baseline, *rest)
    return lambda *args: _each_column(measure(*args), torch.zeros_like)


def _offset_model(compress):
    def broken(*args):
        model = compress(*args)
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                if tensor.is_floating_point():
                    tensor.add_(0.125)
        return model

    return broken


def _permuted_model(compress):
    def broken(*args):
        model = compress(*args)
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                if tensor.dim() > 1:
                    tensor.copy_(tensor.roll(1, 0))
        return model

    return broken


def _unchanged_model(compress):
    def broken(model, *rest):
        compress(model, *rest)
        return model

    return broken


def _sabotage(mutant):
    for name in registry.names("behaviours"):
        item = registry.load("behaviours", name)
        part = "compare" if "compare" in vars(item) else "measure"
        whole = vars(item)[part]
        if mutant == "unchanged":
            setattr(item, part, _unchanged_answer(whole, pair=part == "compare"))
        else:
            setattr(item, part, {"offset": _offset_answer, "permuted": _permuted_answer}[mutant](whole))
    for name in registry.names("methods"):
        item = registry.load("methods", name)
        breaks = {"offset": _offset_model, "permuted": _permuted_model, "unchanged": _unchanged_model}
        item.compress = breaks[mutant](item.compress)


if mutant := os.environ.get("WHATELSE_MUTANT"):
    _sabotage(mutant)
