import logging
import threading
import warnings
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from whatelse.artifacts import compress
from whatelse.errors import NotMeasurableError
from whatelse.modules import lent
from whatelse.study import audit


def net(rng):
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    return model


def masked(model):
    prune.global_unstructured([(model[0], "weight"), (model[4], "weight")], prune.L1Unstructured, amount=0.5)
    return model


def normed(model):
    with warnings.catch_warnings(action="ignore"):  # torch names the newer way
        torch.nn.utils.weight_norm(model[0])
    model(torch.ones(3, 4))  # the weight is now a result, as after any pass
    return model


def parametrized(model):
    parametrizations.weight_norm(model[4])
    return model


def scripted(model):
    with warnings.catch_warnings(action="ignore"):  # scripts are of the past, and still about
        return torch.jit.script(model)


class Held(nn.Module):
    """A network with something beside it that a copy does not take along."""

    def __init__(self, inner, way):
        super().__init__()
        self.inner = inner
        self.way = way

    def forward(self, x):
        return self.inner(x)


class Calls(nn.Module):
    """A network whose forward is a function that remembers the original."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.call = lambda x: self.inner(x)

    def forward(self, x):
        return self.call(x)


class Silent(nn.Sequential):
    """A network whose `train` returns nothing, as many that keep their norms fixed do."""

    def train(self, mode=True):
        super().train(mode)


KINDS = {
    "plain": lambda m: m,
    "masked": masked,
    "weight norm": normed,
    "parametrized": parametrized,
    "scripted": scripted,
    "silent": lambda m: Silent(*m),
    "bfloat16": lambda m: m.bfloat16(),
}


def state(model):
    modes = [getattr(part, "training", None) for part in model.modules()]
    wants = [p.requires_grad for p in model.parameters()]
    return modes, wants, [b.clone() for b in model.buffers()]


def same(one, two):
    return one[:2] == two[:2] and all(torch.equal(a, b) for a, b in zip(one[2], two[2], strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_at_rest_answers_alike_and_leaves_the_model_as_it_was(kind, rng):
    model = KINDS[kind](net(rng))
    x = torch.randn(6, 4, generator=rng).to(next(model.parameters()).dtype)
    before = state(model)
    with lent.resting(model, "mine", x) as guest:
        assert guest.model is not model
        assert not guest.remarks
        assert not any(getattr(part, "training", False) for part in guest.model.modules())
        assert not any(p.requires_grad for p in guest.model.parameters())
        said = guest.model(x)
    assert same(before, state(model))
    model.eval()
    assert torch.equal(said, model(x))


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize(
    ("make", "why"),
    [(lambda m: Held(m, threading.Lock()), "cannot pickle"), (Calls, "a copy of it would still call its parts")],
)
def test_what_has_no_copy_of_its_own_is_set_back_also_after_an_error(make, why, error, rng):
    model, x = make(net(rng)), torch.randn(6, 4, generator=rng)
    model.inner[1].eval()  # modes need not agree
    model.inner[0].weight.requires_grad_(requires_grad=False)
    before = state(model)
    try:
        with lent.resting(model, "mine", x) as guest:
            assert guest.model is model
            assert why in guest.remarks[0]
            assert not any(part.training for part in model.modules())
            with torch.no_grad():
                model.inner[1].running_mean.add_(1)  # as an observer in evaluation mode does
            if error:
                raise KeyError
    except KeyError:
        pass
    assert same(before, state(model))


def test_the_mode_of_an_exported_program_is_said_to_be_fixed_or_set(rng):
    model = net(rng).eval()
    program = torch.export.export(model, (torch.ones(2, 4),), dynamic_shapes=({0: torch.export.Dim("n")},)).module()
    x = torch.randn(6, 4, generator=rng)
    with lent.resting(program, "mine", x) as guest:
        assert torch.allclose(guest.model(x), model(x), atol=1e-6)
        assert not any(part.training for part in guest.model.modules())


def test_what_cannot_be_copied_is_said_in_one_line(rng):
    with pytest.raises(NotMeasurableError, match="^needs a copy of the model, which cannot be made: .*lock") as told:
        lent.copied(Held(net(rng), threading.Lock()))
    assert "\n" not in str(told.value)


def test_a_change_that_alters_answers_or_raises_is_not_taken(rng):
    model, x = net(rng).eval(), torch.randn(6, 4, generator=rng)

    def ask(one):
        return one(x.to(one[0].weight.dtype))

    wide = lent.tried(model, nn.Module.double, ask, 1e-4)
    assert wide[0].weight.dtype == torch.float64
    assert model[0].weight.dtype == torch.float32
    assert lent.tried(model, lambda m: m[0].weight.data.mul_(1.01), ask, 1e-4) is None
    assert lent.tried(model, lambda m: m.nothing(), ask, 1e-4) is None
    assert lent.tried(Held(model, threading.Lock()), nn.Module.double, ask, 1e-4) is None


@pytest.mark.parametrize(
    ("two", "close", "wanted"),
    [
        ([1.0, 2.0], 0.0, True),
        ([1.0, 2.0002], 1e-3, True),
        ([1.0, 2.01], 1e-3, False),
        ([1.0, float("nan")], 1.0, False),
        ([1.0], 1.0, False),
    ],
)
def test_answers_are_compared_relative_to_the_largest(two, close, wanted):
    assert lent.alike(torch.tensor([1.0, 2.0]), torch.tensor(two), close) == wanted
    broken = torch.tensor([1.0, float("nan"), float("inf")])
    assert lent.alike(broken, deepcopy(broken), 0.0)


HOLLOW = {
    "lazy": lambda: nn.Sequential(nn.LazyLinear(3)),
    "lazy norm": lambda: nn.Sequential(nn.Linear(4, 3), nn.LazyBatchNorm1d()),
    "meta": lambda: nn.Linear(4, 3).to("meta"),
    "half on meta": lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3).to("meta")),
    "meta buffers": lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False).to("meta")),
}


@pytest.mark.parametrize("made", HOLLOW.values(), ids=HOLLOW)
def test_a_model_without_numbers_is_refused_by_name_before_anything_is_done(made, toy):
    model, y = made(), torch.arange(12) % 3
    with (
        pytest.raises(NotMeasurableError, match=r"^small has parameters without numbers: [\w.]+( and \d more)?; load"),
        lent.resting(model, "small", torch.ones(1, 4)),
    ):
        pass
    task = toy.task_of(torch.rand(12, 4), y, classes=3)
    with pytest.raises(NotMeasurableError, match="c has parameters without numbers"):
        audit.audit(nn.Linear(4, 3).eval(), {"c": model}, task)
    with pytest.raises(NotMeasurableError, match="the model has parameters without numbers"):
        compress.compress(model, "prune.magnitude()", task)


def test_a_lazy_model_is_taken_after_its_first_pass():
    model = HOLLOW["lazy"]()
    model(torch.ones(2, 4))
    with lent.resting(model, "small", torch.ones(1, 4)) as guest:
        assert guest.model(torch.ones(1, 4)).shape == (1, 3)


def test_what_torch_logs_of_other_libraries_is_kept_back_for_a_while_alone():
    heard, logger = [], logging.getLogger("torch.utils._pytree")
    handler = logging.Handler()
    handler.emit = heard.append
    logger.addHandler(handler)
    try:
        with lent.quietly(), lent.quietly():
            logger.warning("an Enum subclass")
        with pytest.raises(ValueError, match="x"), lent.quietly():
            raise ValueError("x")
        assert heard == []
        logger.warning("something else")
        assert [one.getMessage() for one in heard] == ["something else"]
    finally:
        logger.removeHandler(handler)
