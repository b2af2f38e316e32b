"""The networks that `bench/attacks.py` attacks: trained ones, and those made so that the answer is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import whatelse
from _peers.attacks import Budget, Target, answers
from whatelse.nets import cnn, resnet
from whatelse.tasks.task import Task

DATA = Path(os.environ.get("WHATELSE_DATA", "../shared/data"))
_FIRM, _INNER, _TRIES = 0.95, 512, 20  # of the planted points


@dataclass(frozen=True)
class Case:
    """A network under attack.

    Attributes:
        name: What it is.
        target: The network and the examples.
        other: Another network on the task; its points are tried too where points are pooled.
        pooled: Says which.
        budgets: One a norm.
        repeats: How often the times are taken.
        members: Run every attack of the tools alone too.
    """

    name: str
    target: Target
    other: nn.Module
    pooled: str
    budgets: tuple[Budget, ...]
    repeats: int
    members: bool = True


class Plain(nn.Module):
    """A network as its users have it, of its own class: ART calls the parts of a `Sequential` one by one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, ``(N, classes)``."""
        scores: Tensor = self.net(x)
        return scores


def cases(*, quick: bool) -> Iterator[Case]:
    """Return the networks, each trained when its turn comes.

    Args:
        quick: Those on digits only, with fewer examples and one repeat.

    Yields:
        One after another.
    """
    yield from _pair("CNN on digits", digits, (0.1, 0.5), (0.15, 0.75), 100 if quick else 200, 1 if quick else 3)
    if quick:
        return
    if (DATA / "fashion-mnist").is_dir():
        yield from _pair("CNN on Fashion-MNIST", _fashion, (0.05, 0.5), (0.1, 0.75), 120, 1)
    else:
        print(f"\nFashion-MNIST is left out: {DATA} has no fashion-mnist")
    if (DATA / "resnet20-cifar10").is_dir() and (DATA / "cifar10").is_dir():
        yield _resnet(12)
    else:
        print(f"\nResNet-20 is left out: {DATA} has no resnet20-cifar10 or cifar10")


def _pair(
    name: str,
    made: Callable[..., Target],
    weak: tuple[float, float],
    strong: tuple[float, float],
    count: int,
    repeats: int,
) -> Iterator[Case]:
    """Return a network trained as usual and one against attacks, each with the other's points.

    Args:
        name: Of the network.
        made: Trains either.
        weak: Radii in both norms for the usual one.
        strong: Radii for the other.
        count: Examples.
        repeats: How often times are taken.

    Yields:
        The usual one, then the other.
    """
    usual, hard = (made(robust=robust) for robust in (False, True))
    rows = torch.arange(min(count, len(usual.labels)))
    for title, target, other, radii in (
        ("trained as usual", usual, hard, weak),
        ("trained against attacks", hard, usual, strong),
    ):
        pooled = f"with points of the {'robust' if other is hard else 'usual'} one"
        budgets = (Budget("linf", radii[0], 20, 2, 200), Budget("l2", radii[1], 20, 2, 200))
        yield Case(f"{name}, {title}", target.take(rows), other.model, pooled, budgets, repeats)


@cache
def digits(*, robust: bool) -> Target:
    """Return a CNN on the 900 test images of digits.

    Args:
        robust: Trained against attacks.
    """
    recipe = "train.adversarial(eps=0.15, fresh=True, epochs=20)" if robust else "train.scratch()"
    return _trained(whatelse.load_task("digits"), cnn.Config(), recipe)


@cache
def _fashion(*, robust: bool) -> Target:
    from whatelse.datasets import fashion_mnist

    os.environ.setdefault("WHATELSE_DATA", str(DATA))
    task = fashion_mnist.load(fashion_mnist.Config(limit=3000, limit_test=500))
    against = "train.adversarial(eps=0.1, fresh=True, epochs=6, steps=5)"
    return _trained(task, cnn.Config(width=8, hidden=32), against if robust else "train.scratch(epochs=8)")


def _trained(task: Task, config: cnn.Config, recipe: str) -> Target:
    net = cnn.build(config, task.shape, task.classes, torch.Generator().manual_seed(0))
    made = whatelse.compress(net, recipe, task, 0).model
    return Target(Plain(made), task.test.inputs, task.test.targets, task.classes)


class _Normalized(nn.Module):
    mean: Tensor
    spread: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1))
        self.register_buffer("spread", torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of pixels in [0, 1]."""
        scores: Tensor = self.net((x - self.mean) / self.spread)
        return scores


def _resnet(count: int) -> Case:
    """Return the published ResNet-20, not trained against attacks, with the points of a pruned copy.

    Args:
        count: Examples; some of every class.
    """
    rng = torch.Generator().manual_seed(0)
    net = resnet.build(resnet.Config(kind="A"), (3, 32, 32), 10, rng)
    stored = torch.load(DATA / "resnet20-cifar10" / "resnet20-12fca82f.th", map_location="cpu", weights_only=True)
    net.load_state_dict({k.removeprefix("module."): v for k, v in stored["state_dict"].items()})
    pixels = np.load(DATA / "cifar10" / "cifar10_test.npz")
    rows = torch.randperm(len(pixels["y"]), generator=rng)[:count].numpy()
    inputs = torch.from_numpy(pixels["x"][rows]).float() / 255
    target = Target(Plain(_Normalized(net)), inputs, torch.from_numpy(pixels["y"][rows]).long(), 10)
    small = resnet.build(resnet.Config(kind="A"), (3, 32, 32), 10, rng)
    small.load_state_dict(net.state_dict())
    for part in small.modules():
        if isinstance(part, nn.Conv2d):
            least = part.weight.data.abs().flatten().kthvalue(part.weight.numel() // 3).values
            part.weight.data[part.weight.data.abs() <= least] = 0
    budgets = (Budget("linf", 0.5 / 255, 20, 2, 200), Budget("l2", 0.1, 20, 2, 200))
    other = Plain(_Normalized(small))
    return Case("ResNet-20 on CIFAR-10", target, other, "with points of a pruned copy", budgets, 1, members=False)


# Made so that the answer is known ---------------------------------------------------------------------------------


def linear(budget: Budget) -> tuple[Target, Tensor]:
    """Return a linear network with examples far from the bounds, and which withstand every attack, ``(n,)``.

    By the dual norm: ``min_j (w_y - w_j) x + b_y - b_j > radius * |w_y - w_j|_dual``, over all other classes ``j``.

    Args:
        budget: The ball.
    """
    rng = torch.Generator().manual_seed(0)
    weight, layer = torch.randn(10, 64, generator=rng), nn.Linear(64, 10)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(-0.5 * weight.sum(1))
    net = nn.Sequential(nn.Flatten(), layer)
    inputs = 0.3 + 0.4 * torch.rand(500, 1, 8, 8, generator=rng)
    scores = answers(net, inputs).double()
    labels = scores.argmax(1)
    apart = (weight[labels][:, None] - weight[None]).double()
    dual = apart.abs().sum(2) if budget.norm == "linf" else apart.norm(dim=2)
    room = scores.gather(1, labels[:, None]) - scores - budget.radius * dual
    least = room.scatter(1, labels[:, None], float("inf")).amin(1)
    clear = (least.abs() > 1e-3).nonzero().flatten()[:400]  # beside them rounding decides
    return Target(Plain(net), inputs, labels, 10).take(clear), least[clear] > 0


class Reading(nn.Module):
    """The last hidden layer of a network, read by one direction: class 1 beyond a threshold, else class 0."""

    way: Tensor

    def __init__(self, hidden: nn.Module, way: Tensor, threshold: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("way", way)
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return two scores, ``(N, 2)``."""
        score: Tensor = self.hidden(x) @ self.way - self.threshold
        return torch.stack([torch.zeros_like(score), score], 1)


def plants(robust: Target, budget: Budget, count: int) -> list[Target]:
    """Return networks, each with an example and a point of its ball that is known to be taken for another class.

    As in Zimmermann et al. 2022 the last layer is replaced, for every example alone, by one that separates a point on
    the border of the ball from many points further in. The second example is that point itself, with its own class.

    Args:
        robust: The network whose hidden layers are kept.
        budget: The ball.
        count: How many examples.
    """
    hidden = nn.Sequential(*list(robust.model.net.children())[:-1])  # type: ignore[union-attr]
    rng, found = torch.Generator().manual_seed(0), []
    for clean in robust.inputs:
        for _ in range(_TRIES):
            point = _scattered(clean, budget, 1, 1.0, rng)
            inner = torch.cat([clean[None], _scattered(clean, budget, _INNER, _FIRM, rng)])
            seen, there = answers(hidden, inner), answers(hidden, point)[0]
            around = torch.cov(seen.T) + 1e-3 * seen.var(0).mean() * torch.eye(seen.shape[1])
            way = torch.linalg.solve(around, there - seen.mean(0))
            way = way / (seen @ way).std()
            most, score = float((seen @ way).max()), float(there @ way)
            if score > most + 0.1:  # else this direction separates nothing
                model = Plain(Reading(hidden, way, most + 0.9 * (score - most)))
                found.append(Target(model, torch.cat([clean[None], point]), torch.tensor([0, 1]), 2))
                break
        if len(found) == count:
            break
    return found


def guessed(target: Target, budget: Budget) -> Tensor:
    """Return which examples withstand as many random points of the border as an attack takes steps and queries.

    Args:
        target: Network and examples.
        budget: The ball, and how many.
    """
    stays = torch.ones(len(target.labels), dtype=torch.bool)
    rng = torch.Generator().manual_seed(1)
    for row in range(len(stays)):
        count = budget.steps * budget.restarts + budget.queries
        points = _scattered(target.inputs[row], budget, count, 1.0, rng)
        stays[row] = bool((answers(target.model, points).argmax(1) == target.labels[row]).all())
    return stays


def _scattered(clean: Tensor, budget: Budget, count: int, share: float, rng: torch.Generator) -> Tensor:
    """Return random corners, or points of the sphere, of a ball of that share of the radius, ``(count, ...)``."""
    way = torch.randn((count, *clean.shape), generator=rng)
    way = way.sign() if budget.norm == "linf" else way / way.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (clean + share * budget.radius * way).clamp(0, 1)


class _Louder(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return scores a thousand times as large: cross-entropy is 0 in single precision, and so is its slope."""
        return 1000 * self.net(x)  # type: ignore[no-any-return]


class _Stepped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of rounded pixels: no gradient passes."""
        return self.net((x * 64).round() / 64)  # type: ignore[no-any-return]


class _Fickle(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of pixels under noise that is new at every call."""
        self.calls += 1
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(self.calls))
        return self.net(x + 0.3 * noise)  # type: ignore[no-any-return]


def broken(net: nn.Module) -> dict[str, nn.Module]:
    """Return networks as weak as the one given, each with something that misleads attacks.

    Args:
        net: A network.
    """
    return {
        "scores times 1,000": Plain(_Louder(net)),
        "pixels rounded": Plain(_Stepped(net)),
        "random answers": Plain(_Fickle(net)),
    }
