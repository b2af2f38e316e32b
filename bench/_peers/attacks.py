"""Attacks as other tools have them, at one budget, and what holds of a point whoever found it.

Every tool gets the frozen model in evaluation mode: ART differentiates with `backward`, which would otherwise pay for
the parameters too. Random numbers of the process, which the tools draw from, are set before and put back after.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

BATCH = 512
# Attacks and estimators of the tools, which have no types.
Theirs: TypeAlias = Any


@dataclass(frozen=True)
class Budget:
    """How hard an attack may try.

    Attributes:
        norm: ``linf`` or ``l2``.
        radius: Of the ball, in units of the input.
        steps: Gradient steps of each start.
        restarts: Random starts of APGD and PGD.
        queries: Queries of a random search.
    """

    norm: str
    radius: float
    steps: int
    restarts: int
    queries: int


@dataclass(frozen=True)
class Target:
    """A model and the examples that are attacked.

    Attributes:
        model: Takes ``(N, ...)`` in [0, 1], returns scores ``(N, classes)``; its parameters are frozen.
        inputs: ``(n, ...)``.
        labels: ``(n,)``.
        classes: Number of classes.
    """

    model: nn.Module
    inputs: Tensor
    labels: Tensor
    classes: int

    def take(self, rows: Tensor) -> Target:
        """Return the picked examples.

        Args:
            rows: Indices or a mask.
        """
        return replace(self, inputs=self.inputs[rows], labels=self.labels[rows])


Attack = Callable[[Target, Budget], Tensor]


@dataclass(frozen=True)
class Tool:
    """A library: its attacks one by one, and all that it offers together.

    Attributes:
        package: What is imported.
        install: What to give pip.
        together: Name of the strongest there is in one call, or of its attacks in turn.
        whole: That one.
        members: Each attack by its name.
    """

    package: str
    install: str
    together: str
    whole: Attack
    members: dict[str, Attack]

    def missing(self) -> bool:
        """Say whether it is not installed."""
        return importlib.util.find_spec(self.package) is None


@dataclass
class Counter:
    """Examples that went through a model, forward and backward, since the start."""

    forward: int = 0
    backward: int = 0

    def watch(self, model: nn.Module) -> RemovableHandle:
        """Count the passes of a model until the handle that is returned is removed."""

        def back(slope: Tensor) -> None:
            self.backward += len(slope)

        # A function, as a copy of the model then goes on counting here, and a bound method would be copied too.
        def passed(module: nn.Module, inputs: object, output: Tensor) -> None:
            del module, inputs
            self.forward += len(output)
            if output.requires_grad:
                output.register_hook(back)  # type: ignore[no-untyped-call] # torch's own

        return model.register_forward_hook(passed)


@dataclass(frozen=True)
class Found:
    """What came of an attack.

    Attributes:
        robust: Whether the model is right at the example and at the point that was found, ``(n,)`` bool.
        outside: Points that left the ball or the bounds, or are no numbers; they do not count as found.
        seconds: Of the processor.
        forward: Passes an example.
        backward: Passes an example.
        said: Warnings that the tool gave.
    """

    robust: Tensor
    outside: int
    seconds: float
    forward: float
    backward: float
    said: tuple[str, ...] = ()

    def share(self) -> float:
        """Return the robust accuracy."""
        return float(self.robust.float().mean())


def run(attack: Attack, target: Target, budget: Budget) -> Found:
    """Return what an attack really found, after its points were looked at again.

    Args:
        attack: Of a tool.
        target: Model and examples.
        budget: How hard it may try.
    """
    counter = Counter()
    handle = counter.watch(target.model)
    try:
        with quiet() as said:
            started = time.process_time()
            points = attack(target, budget)
            seconds = time.process_time() - started
    finally:
        handle.remove()
    robust, outside = checked(target, points, budget)
    n = len(target.labels)
    return Found(robust, outside, seconds, counter.forward / n, counter.backward / n, tuple(said))


@contextlib.contextmanager
def quiet() -> Generator[list[str], None, None]:
    """Give the tools a fixed state of the process's random numbers, and keep what they say from the screen.

    Yields:
        Their warnings, filled in at the end.
    """
    said: list[str] = []
    before = np.random.get_state()
    np.random.set_state(np.random.RandomState(0).get_state())
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield said
    finally:
        np.random.set_state(before)
        said += [f"{w.category.__name__}: {w.message}" for w in caught]


@torch.no_grad()
def checked(target: Target, points: Tensor, budget: Budget) -> tuple[Tensor, int]:
    """Return where the model stays right, ``(n,)``, and how many points are none: outside of ball or bounds.

    Args:
        target: Model and examples.
        points: What an attack returned for each example.
        budget: The ball.
    """
    moved = (points - target.inputs).flatten(1).double()
    length = moved.abs().amax(1) if budget.norm == "linf" else moved.norm(dim=1)
    flat = points.flatten(1)
    valid = (length <= budget.radius * (1 + 1e-4) + 1e-6) & (flat >= -1e-6).all(1) & (flat <= 1 + 1e-6).all(1)
    right = answers(target.model, target.inputs).argmax(1) == target.labels
    fooled = answers(target.model, points.nan_to_num()).argmax(1) != target.labels
    return right & ~(fooled & valid), int((~valid).sum())


@torch.no_grad()
def answers(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the scores of a model, ``(n, classes)``, batch by batch."""
    return torch.cat([model(part) for part in torch.split(inputs, BATCH)])


def interval(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share after Clopper and Pearson.

    Args:
        hits: How many.
        of: Out of how many.
    """
    low = stats.beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return float(low), float(high)


# torchattacks -----------------------------------------------------------------------------------------------------


def _torchattacks(name: str, **more: Theirs) -> Attack:
    """Return an attack of torchattacks that takes a norm, with its budget under the names it has there."""

    def attack(target: Target, budget: Budget) -> Tensor:
        norm = {"linf": "Linf", "l2": "L2"}[budget.norm]
        theirs = {key: vars(budget)[value] if isinstance(value, str) else value for key, value in more.items()}
        if name == "APGDT":
            theirs["n_classes"] = target.classes
        made = getattr(import_module("torchattacks"), name)
        found: Tensor = made(target.model, norm=norm, eps=budget.radius, **theirs)(target.inputs, target.labels)
        return found.detach()

    return attack


def _torchattacks_dlr(target: Target, budget: Budget) -> Tensor:
    made = import_module("torchattacks").APGD
    norm = {"linf": "Linf", "l2": "L2"}[budget.norm]
    attack = made(
        target.model, norm=norm, eps=budget.radius, steps=budget.steps, n_restarts=budget.restarts, loss="dlr"
    )
    found: Tensor = attack(target.inputs, target.labels)
    return found.detach()


def _torchattacks_auto(target: Target, budget: Budget) -> Tensor:
    """AutoAttack (APGD-CE from one start, APGD-T, FAB-T, Square), its steps and queries set to those of the budget."""
    norm = {"linf": "Linf", "l2": "L2"}[budget.norm]
    attack = import_module("torchattacks").AutoAttack(
        target.model, norm=norm, eps=budget.radius, n_classes=target.classes, seed=0
    )
    ce, targeted, fab, square = attack._autoattack.attacks
    ce.steps = targeted.steps = fab.steps = budget.steps
    square.n_queries = budget.queries
    found: Tensor = attack(target.inputs, target.labels)
    return found.detach()


# foolbox ----------------------------------------------------------------------------------------------------------


def _foolbox(linf: str, l2: str, *, fixed: bool) -> Attack:
    """Return an attack of foolbox; with a fixed radius it has the step of Madry et al. and starts anew."""

    def attack(target: Target, budget: Budget) -> Tensor:
        box = import_module("foolbox")
        made = getattr(box.attacks, linf if budget.norm == "linf" else l2)
        model = box.PyTorchModel(target.model, bounds=(0, 1), device="cpu")
        if fixed:
            given = made(steps=budget.steps, rel_stepsize=2.5 / budget.steps).repeat(budget.restarts)
        else:
            given = made(steps=budget.steps)
        # The last of the three is its own word on success; it is not asked, the points are.
        _, clipped, _ = given(model, target.inputs, target.labels, epsilons=budget.radius)
        found: Tensor = clipped
        return found.detach()

    return attack


_pgd = _foolbox("LinfPGD", "L2PGD", fixed=True)
_fmn = _foolbox("LInfFMNAttack", "L2FMNAttack", fixed=False)
_ddn = _foolbox("DDNAttack", "DDNAttack", fixed=False)


def _foolbox_all(target: Target, budget: Budget) -> Tensor:
    """Foolbox has no ensemble: its attacks one after another, each on what the last ones left, as its users do."""
    points = target.inputs.clone()
    left = answers(target.model, points).argmax(1) == target.labels
    for attack in (_pgd, _fmn) if budget.norm == "linf" else (_pgd, _fmn, _ddn):
        rows = left.nonzero().flatten()
        if len(rows):
            points[rows] = attack(target.take(rows), budget)
            left[rows] = checked(target.take(rows), points[rows], budget)[0]
    return points


# ART --------------------------------------------------------------------------------------------------------------


def _estimator(target: Target) -> Theirs:
    art = import_module("art.estimators.classification")
    return art.PyTorchClassifier(
        target.model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(target.inputs.shape[1:]),
        nb_classes=target.classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def _norm(budget: Budget) -> float:
    return np.inf if budget.norm == "linf" else 2


def _art_apgd(estimator: Theirs, budget: Budget, loss: str) -> Theirs:
    return import_module("art.attacks.evasion").AutoProjectedGradientDescent(
        estimator,
        norm=_norm(budget),
        eps=budget.radius,
        eps_step=2 * budget.radius,  # the first step of the paper
        max_iter=budget.steps,
        nb_random_init=budget.restarts,
        batch_size=BATCH,
        loss_type=loss,
        verbose=False,
    )


def _art_square(estimator: Theirs, budget: Budget) -> Theirs:
    return import_module("art.attacks.evasion").SquareAttack(
        estimator,
        norm=_norm(budget),
        eps=budget.radius,
        max_iter=budget.queries,
        nb_restarts=1,
        batch_size=BATCH,
        verbose=False,
    )


def _made(attack: Theirs, target: Target) -> Tensor:
    labels = np.eye(target.classes, dtype=np.float32)[target.labels.numpy()]
    return torch.from_numpy(attack.generate(target.inputs.numpy().copy(), labels)).float()


def _art(which: str) -> Attack:
    """Return APGD of ART with a loss, or its Square."""

    def attack(target: Target, budget: Budget) -> Tensor:
        estimator = _estimator(target)
        made = _art_square(estimator, budget) if which == "square" else _art_apgd(estimator, budget, which)
        return _made(made, target)

    return attack


def _art_auto(target: Target, budget: Budget) -> Tensor:
    """AutoAttack of ART on APGD-CE, APGD-DLR and Square at the budget; its DeepFool knows no radius."""
    estimator = _estimator(target)
    losses = ("cross_entropy", "difference_logits_ratio")
    attacks = [*(_art_apgd(estimator, budget, loss) for loss in losses), _art_square(estimator, budget)]
    made = import_module("art.attacks.evasion").AutoAttack(
        estimator, norm=_norm(budget), eps=budget.radius, attacks=attacks, batch_size=BATCH
    )
    return _made(made, target)


TOOLS = {
    "torchattacks": Tool(
        "torchattacks",
        "--no-deps torchattacks",
        "AutoAttack",
        _torchattacks_auto,
        {
            "APGD-CE": _torchattacks("APGD", steps="steps", n_restarts="restarts"),
            "APGD-DLR": _torchattacks_dlr,
            "APGD-T": _torchattacks("APGDT", steps="steps"),
            "Square": _torchattacks("Square", n_queries="queries"),
        },
    ),
    "ART": Tool(
        "art",
        "adversarial-robustness-toolbox multiprocess",
        "AutoAttack",
        _art_auto,
        {
            "APGD-CE": _art("cross_entropy"),
            "APGD-DLR": _art("difference_logits_ratio"),
            "Square": _art("square"),
        },
    ),
    "foolbox": Tool("foolbox", "foolbox", "in turn", _foolbox_all, {"PGD": _pgd, "FMN": _fmn, "DDN": _ddn}),
}
