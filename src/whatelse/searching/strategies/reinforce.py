"""Learn a policy that removes layers, then one that shrinks what is left: N2N, by policy gradient.

First *removal*: a bidirectional LSTM reads the layers or blocks that can be taken out (axes of kind ``depth``) and
keeps or removes each. Then *shrinkage*, from the best that was found so: an LSTM goes along all other axes, reads of
each what it is and what was chosen before it, and draws one of its options. Both are trained by REINFORCE on
``R = R_acc * C (2 - C)``, with ``R_acc`` the accuracy as a share of the baseline's and ``C = 1 - cost / baseline's
cost``, against an exponential moving average of rewards. While a budget is exceeded the reward is
``(eps - 1) + eps * R`` with ``eps = clip((1 - updates / 15)^4, 0, 1)``: at first no harm is done by it, after fifteen
updates of a policy it is -1. A student that cannot be made, or is not smaller, gets -1.

Departures from the paper: cost is whatever is to be made small, there parameters; budgets stand for its one limit on
size or accuracy; shrinkage draws among the options of an axis, there tenths of kernel sizes, paddings and filters; how
students are trained is what the search says (``then``), there five epochs of distillation; a configuration that was
drawn before is not measured again, its reward counts once more, as in the authors' code. Policies are updated when
``rollouts`` rewards are there, also where several students are measured at once.

Source:
    Ashok et al., N2N learning: Network to network compression via policy gradient reinforcement learning, ICLR 2018,
    arXiv:1709.06030; Williams, Machine Learning 8:229-256, 1992.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.searching.protocol import Problem, Score, Search, refuse_answers
from whatelse.searching.space import DEPTH, KINDS, Axis, Configuration
from whatelse.settings import param
from whatelse.training.initialize import initialize
from whatelse.training.loop import answers

VERSION = 1

_ANNEALED = 15  # updates after which a constraint is hard
_UNMADE = -1.0


@dataclass(frozen=True)
class Config:
    """Settings of the policy gradient."""

    removals: int = param(20, "Configurations of the first stage; at most half of all that are measured.", low=0)
    rollouts: int = param(5, "Rewards of an update.", low=1, high=1000)
    hidden: int = param(30, "Units of the LSTMs.", low=1, high=1024)
    rate: float = param(3e-3, "Learning rate of the policies.", low=0.0, high=1.0)
    memory: float = param(0.9, "How much of the moving average of rewards an update keeps.", low=0.0, high=1.0)
    misses: int = param(200, "Draws in a row that were drawn before, after which it has no more.", low=1)


def start(problem: Problem, config: Config, rng: torch.Generator) -> Search:
    """Return a search that learns from rewards.

    Args:
        problem: Gives space, model, and the examples that accuracy is of.
        config: How long the first stage is, and how policies learn.
        rng: Source of the policies' weights and of what they draw.

    Raises:
        SettingError: The model has no class scores.
    """
    refuse_answers(problem, "reinforce")
    return _Learning(problem, config, rng)


def _gain(accuracy: float, teacher: float, share: float) -> float:
    """Return ``R = (accuracy / teacher's) * C (2 - C)`` with ``C = 1 - share``; -1 where nothing became smaller.

    Args:
        accuracy: Of the student.
        teacher: Of the baseline.
        share: What the student costs, as a share of the baseline.
    """
    compression = 1 - share
    return accuracy / teacher * compression * (2 - compression) if compression > 0 else _UNMADE


def _annealed(plain: float, updates: int) -> float:
    """Return the reward of a student that exceeds a budget: ``(eps - 1) + eps * R``.

    Args:
        plain: The reward without the budget.
        updates: Of the policy so far.
    """
    eps = max(0.0, 1 - updates / _ANNEALED) ** 4  # inside [0, 1] already
    return (eps - 1) + eps * plain


class _Policy(nn.Module):
    """Reads what axes are, and what was chosen before each where it goes one way, and scores their options."""

    def __init__(self, features: int, options: int, hidden: int, *, both: bool) -> None:
        super().__init__()
        self.both = both
        self.lstm = nn.LSTM(features + (not both), hidden, bidirectional=both)
        self.scores = nn.Linear(hidden * (1 + both), options)

    def log_chances(self, axes: Tensor, open_: Tensor, chosen: Sequence[int]) -> Tensor:
        """Return the logarithm of the chance of every option, ``(axes, options)``, given what was chosen before."""
        held = axes
        if not self.both:
            share = torch.tensor([0, *chosen])[: len(axes)].float() / open_.shape[1]
            held = torch.cat([axes, share[:, None]], 1)
        scores: Tensor = self.scores(self.lstm(held)[0])
        return scores.masked_fill(~open_, -math.inf).log_softmax(1)


class _Stage:
    """A policy over some of the axes, and how it learns."""

    def __init__(
        self, problem: Problem, axes: Sequence[int], config: Config, rng: torch.Generator, *, both: bool
    ) -> None:
        self.axes, self.config, self.rng = list(axes), config, rng
        told = [problem.space.axes[at] for at in axes]
        self.features = torch.stack([_features(axis, problem.model) for axis in told])
        most = max(len(axis.options) for axis in told)
        self.open = torch.arange(most)[None] < torch.tensor([len(axis.options) for axis in told])[:, None]
        with torch.device("meta"):
            policy = _Policy(self.features.shape[1], most, config.hidden, both=both)
        self.policy = policy.to_empty(device="cpu")
        initialize(self.policy, rng)
        self.adam = torch.optim.Adam(self.policy.parameters(), config.rate)
        self.updates, self.average, self.told = 0, math.nan, list[tuple[list[int], float]]()

    @torch.no_grad()
    def draw(self) -> list[int]:
        chosen: list[int] = []
        while len(chosen) < len(self.axes):
            chances = self.policy.log_chances(self.features, self.open, chosen + [0] * len(self.axes)).exp()
            rows = chances if self.policy.both else chances[len(chosen) :][:1]
            chosen += torch.multinomial(rows, 1, generator=self.rng).flatten().tolist()
        return chosen

    def note(self, chosen: list[int], gained: float) -> None:
        """Take note of a reward, and update the policy where there are enough of them."""
        self.told.append((chosen, gained))
        if len(self.told) < self.config.rollouts:
            return
        mean = sum(gain for _, gain in self.told) / len(self.told)
        self.average = mean if math.isnan(self.average) else self.average
        with torch.enable_grad():  # type: ignore[no-untyped-call,unused-ignore] # torch's own
            losses = [(self.average - gain) * self._log_chance(chosen) for chosen, gain in self.told]
            self.adam.zero_grad(set_to_none=True)
            (torch.stack(losses).sum() / len(losses)).backward()  # type: ignore[no-untyped-call] # torch's own
        self.adam.step()
        self.average = self.config.memory * self.average + (1 - self.config.memory) * mean
        self.told, self.updates = [], self.updates + 1

    def _log_chance(self, chosen: list[int]) -> Tensor:
        every = self.policy.log_chances(self.features, self.open, chosen)
        return every.gather(1, torch.tensor(chosen)[:, None]).sum()


class _Learning:
    def __init__(self, problem: Problem, config: Config, rng: torch.Generator) -> None:
        self.problem, self.config, self.rng = problem, config, rng
        self.base = problem.space.alone
        self.gained: dict[Configuration, tuple[float, bool]] = {}
        self.pending: dict[Configuration, tuple[_Stage, list[int]]] = {}
        kinds = [axis.kind for axis in problem.space.axes]
        self.depths = [at for at, kind in enumerate(kinds) if kind == DEPTH]
        self.rest = [at for at, kind in enumerate(kinds) if kind != DEPTH]
        self.left = min(config.removals, problem.trials // 2 if problem.trials else config.removals) * bool(self.depths)
        if self.depths and not self.rest:
            self.left = problem.trials or 2 ** len(self.depths)
        self.stage = self._begun(self.depths, both=True) if self.left else self._begun(self.rest, both=False)
        rows = problem.judge.rows
        self.targets = problem.task.test.targets[rows]
        self.teacher = max(self._accuracy(answers(problem.model, problem.task.test.inputs[rows])), 1 / len(rows))

    def ask(self) -> Configuration | None:
        found = self._new()
        if found is None and self.left and self.rest:
            self.left = 0
            self._shrinks()
            found = self._new()
        if found is not None and self.left:
            self.left -= 1
            if not self.left and self.rest:
                self._shrinks()
        return found

    def tell(self, tried: Configuration, score: Score) -> None:
        stage, chosen = self.pending.pop(tried)
        if score.scores is None or not math.isfinite(score.value):
            self.gained[tried] = (_UNMADE, False)
        else:
            plain = _gain(self._accuracy(score.scores), self.teacher, score.value)
            self.gained[tried] = (plain, any(over > 0 for over in score.over.values()))
        stage.note(chosen, self._reward(tried, stage))

    def remarks(self) -> Sequence[str]:
        gone = [self.problem.space.axes[at].name for at in self.depths if self.base[at]]
        best = max((plain for plain, exceeds in self.gained.values() if not exceeds), default=math.nan)
        return (f"taken out before shrinkage: {', '.join(gone) or 'nothing'}; best reward inside budgets {best:.3f}",)

    def _new(self) -> Configuration | None:
        """Return a configuration that was not drawn before; rewards of those that were count once more."""
        stage = self.stage
        for _ in range(self.config.misses):
            chosen = stage.draw()
            found = list(self.base)
            for at, option in zip(stage.axes, chosen, strict=True):
                found[at] = option
            drawn = tuple(found)
            if drawn == self.problem.space.alone:
                stage.note(chosen, _UNMADE)
            elif drawn in self.gained:
                stage.note(chosen, self._reward(drawn, stage))
            elif drawn not in self.pending:
                self.pending[drawn] = stage, chosen
                return drawn
        return None

    def _begun(self, axes: Sequence[int], *, both: bool) -> _Stage:
        return _Stage(self.problem, axes, self.config, self.rng, both=both)

    def _shrinks(self) -> None:
        """Go on to shrinkage, from the removal that gained most; from none where none gained anything."""
        best = max(self.gained, key=lambda tried: self._reward(tried, self.stage), default=self.base)
        if best in self.gained and self._reward(best, self.stage) > 0:
            self.base = best
        self.stage = self._begun(self.rest, both=False)

    def _reward(self, tried: Configuration, stage: _Stage) -> float:
        plain, exceeds = self.gained[tried]
        return _annealed(plain, stage.updates) if exceeds else plain

    def _accuracy(self, scores: Tensor) -> float:
        return float((scores.argmax(1) == self.targets).double().mean())


def _features(axis: Axis, model: nn.Module) -> Tensor:
    """Return what a policy reads of an axis: its kind, the size and the sides of its layer, how many options it has."""
    part = model.get_submodule(axis.name) if axis.name else model
    weights = list(part.parameters())
    shape = max((tuple(weight.shape) for weight in weights), key=math.prod, default=(1,))
    sides = [math.log2(1 + side) / 10 for side in (*shape, 0, 0, 0, 0)[:4]]
    size = math.log2(1 + sum(weight.numel() for weight in weights)) / 20
    kinds = [float(axis.kind == kind) for kind in KINDS]
    return torch.tensor([*kinds, size, *sides, len(axis.options) / 10])
