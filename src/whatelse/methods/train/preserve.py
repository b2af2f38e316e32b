"""Train the compressed model further while its behavior is held inside budgets against the original's.

Minimized is ``CE(y, p)`` on train under constraints, each a *budget* in the unit of the behavior it holds; 0 holds
nothing:

* ``labels``: share of examples with another class than the original gives (`generalization.flips`, *any*);
* ``attribution``: one minus the agreement of attributions (`attribution.agreement`, gradient x input, *cosine*);
* ``groups``: for every group of ``group``, the share of right answers that became wrong, minus that share among all
  (`fairness.flip_share`);
* ``robustness``: share of examples that the model gets wrong and the original right at the point to which PGD leads the
  model in a ball of radius ``eps``. Where the original withstands every point it withstands this one, so this bounds
  what accuracy under that attack falls by (`robustness.accuracy`);
* ``membership``: what this training adds to the area under the ROC curve of the loss, of examples fitted here against
  examples held back, beside that of the original on the same examples (`membership.loss`).

Shares and areas have no gradient. So there are two players (proxy-Lagrangian): the weights descend
``CE + sum_i l_i * penalty_i``, while the multipliers ascend on the constraint itself, measured on the share ``held`` of
train that is not fitted: before every step a batch of it is asked, of the others the last answer counts. With ``T``
steps in all, ``l_i <- max(0, l_i + ascent / T * (value_i - budget_i) / (value_i + budget_i))``, from 0: no unit and no
weight is left to set by hand, and no multiplier passes ``ascent``. Penalties: Hinton's loss ``T^2 * KL`` against the
original (``labels``; at the attacked points, ``robustness``); the value itself (``attribution``); the cross-entropy of
the group's examples (``groups``); by how much the loss of members fell below that of examples held back
(``membership``; its multiplier ends at 1, where it cancels the cross-entropy). What came out, every value on all
examples held back before and after, its budget and its multiplier, stands in the notes of the step.

The compressed model is what the recipe ``student`` makes of the model; empty, the model itself. With all budgets 0 this
is ``train.finetune`` bit for bit, and nothing is held back.

A budget that is kept on examples held back is no proof that it is kept on test: the original was fitted on them, so
that it is surer there than on new examples. The audit gives that. A budget that the size cannot keep is broken in the
end, its multiplier as large as it may become: the notes say so, and it is no error.

Where we depart: Joseph et al. weigh their parts by learned uncertainty; Park et al. match inner maps, we those of the
behavior. Hashemizadeh et al. constrain gaps of accuracy, estimate them in replay buffers and take the loss of all away
from that of the group, which with multipliers above 1 makes others worse on purpose. Cotter et al. have the second data
set from outside.

Source:
    Labels: Joseph et al. 2020, arXiv:2012.01604; attributions: Park et al., NeurIPS 2020, arXiv:2010.15054; groups:
    Hashemizadeh et al., Balancing act: constraining disparate impact in sparse models, ICLR 2024, arXiv:2310.20673;
    robustness: Goldblum et al., Adversarially robust distillation, AAAI 2020, arXiv:1905.09747; membership: Nasr et
    al., CCS 2018, arXiv:1807.05852; the players and their two data sets: Cotter et al., Training well-generalizing
    classifiers for fairness metrics and other data-dependent constraints, ICML 2019, arXiv:1807.00028.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import RecipeError, nearest
from whatelse.methods import _common as common
from whatelse.methods._held import held_back
from whatelse.methods.distill._student import student
from whatelse.methods.train import _terms as terms
from whatelse.modules.calibration import split
from whatelse.modules.notes import note
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.adversary import Ball, attackable, differentiable, evaluating
from whatelse.training.dual import Multipliers
from whatelse.training.loop import Schedule, descend, fit, hard_labels

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, ""

_BUDGETS = ("labels", "attribution", "groups", "robustness", "membership")
_ALL = "+"


@dataclass(frozen=True)
class Config:
    """Settings of training inside budgets."""

    student: str = param("", "Recipe that compresses the model first; empty trains the model itself.", recipe="result")
    labels: float = param(0.01, "Largest share of changed answers; 0: not held.", low=0.0, high=1.0)
    attribution: float = param(0.0, "Largest loss of agreement of attributions; 0: not held.", low=0.0, high=2.0)
    groups: float = param(0.0, "Largest harm of a group above that of all; 0: not held.", low=0.0, high=1.0)
    robustness: float = param(0.0, "Largest share harmed under attack; 0: not held.", low=0.0, high=1.0)
    membership: float = param(0.0, "Largest AUC of membership above a half; 0: not held.", low=0.0, high=0.5)
    group: str = param("", "Name of the grouping; empty takes the first, + every one, side by side.")
    least: int = param(10, "Examples held back below which a group is left out.", low=1)
    eps: float = param(0.1, "Radius of the L-infinity ball, in units of the input.", low=0.0, high=1.0)
    step: float = param(0.25, "Length of a step of the attack as a share of eps.", low=0.0, high=2.0)
    steps: int = param(7, "Gradient steps of the attack.", low=1, high=1000)
    held: float = param(0.1, "Share of train that is not fitted, where violations are measured.", low=0.01, high=0.9)
    ascent: float = param(10.0, "What a multiplier becomes at most, from 0 in equal steps.", low=0.0, high=1e6)
    temperature: float = param(2.0, "Softens the predictions of both models; 1 leaves them.", low=0.1, high=1000.0)
    epochs: int = common.epochs(8)
    rate: float = common.rate()
    batch: int = common.batch()
    decay: float = param(0.0, "Decoupled weight decay.", low=0.0, high=10.0)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return the compressed model trained further; weights that are exactly zero stay zero.

    Args:
        model: The original, any classifier.
        config: What is made of it, what is held, how long and how hard.
        task: Its train split, with the labels as they were recorded; its groups and bounds where these are held.
        rng: Source of all that is random.

    Raises:
        RecipeError: A behavior that is to be held cannot be asked of this model or task, too little is left to measure
            it on, or there are no trainable parameters.
        TaskError: Robustness is held and the task has no bounds.
    """
    if not any(getattr(config, name) for name in _BUDGETS):
        tuned = _student(model, config, task, rng)
        fit(tuned, task.train.inputs, hard_labels(task.train.observed), _schedule(config), rng)
        return tuned
    _check(model, config, task)
    fitted, held = held_back(task.train, config.held, rng)
    if min(len(fitted), len(held)) < 2:
        raise RecipeError(
            f"train.preserve: of {len(task.train)} examples held={config.held} leaves fewer than 2 a side"
        )
    if config.groups:
        _groups(config, task, held)  # refused before the work if there are none
    # A generator of its own, so that the order of the examples does not depend on what is held.
    aside = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=rng)))
    tuned = _student(model, config, task, rng).eval()
    pair = terms.Pair(model, tuned, task.train, aside, maps=config.attribution > 0)
    game = _Game(pair, _terms(pair, config, task, fitted, held), config, fitted, held)
    descend(tuned, game.objective, len(fitted), _schedule(config), rng)
    note(tuned, {}, *game.told())
    return tuned


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Args:
        config: What is held, how long it trains, and how long the attack is.
        task: Gives the number of train examples.
    """
    if not any(getattr(config, name) for name in _BUDGETS):
        return 3 * config.epochs * len(task.train)
    attack = (2 * config.steps + 2) * (config.robustness > 0)
    fitted = 3 + 3 * (config.attribution > 0) + attack + 2 * (config.robustness > 0)
    looked = 1 + (config.attribution > 0) + attack + (config.membership > 0)
    return int((fitted + looked) * (1 - config.held) * config.epochs * len(task.train)) + 3 * len(task.train)


def _schedule(config: Config) -> Schedule:
    return Schedule(config.epochs, config.rate, config.batch, config.decay)


def _student(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    made = student(model, 1.0, config.student, task, rng) if config.student else copied(model)
    if not list(made.parameters()):
        raise RecipeError("train.preserve: the model has no trainable parameters; train before quantize.uniform")
    return made


def _check(model: nn.Module, config: Config, task: Task) -> None:
    inputs = task.train.inputs
    if config.groups and not task.train.groups:
        raise RecipeError(f"train.preserve: groups={config.groups}, and task {task.name} has no groups; use groups=0")
    if config.groups and config.group not in {"", _ALL, *task.train.groups}:
        raise RecipeError(f"train.preserve: no grouping {config.group!r}; {nearest(config.group, task.train.groups)}")
    if config.robustness and not config.eps:
        raise RecipeError(f"train.preserve: robustness={config.robustness} with eps=0 attacks nothing; give a radius")
    if config.attribution:
        differentiable(model, inputs, "train.preserve, attribution")
    if config.robustness:
        attackable(model, inputs, task.limits(), "train.preserve, robustness")


def _groups(config: Config, task: Task, held: Tensor) -> dict[str, Tensor]:
    """Return for every group that is large enough which examples of train are in it, by its name.

    Raises:
        RecipeError: None is.
    """
    names = list(task.train.groups) if config.group == _ALL else [config.group or next(iter(task.train.groups))]
    found = {}
    for name in names:
        codes = task.train.groups[name]
        for code in torch.unique(codes[codes >= 0]).tolist():
            inside = codes == code
            if config.least <= int(inside[held].sum()) < len(held):
                known = task.group_names.get(name, ())
                found[f"{name} {known[code] if code < len(known) else code}"] = inside
    if not found:
        raise RecipeError(
            f"train.preserve: no group of {', '.join(names)} has {config.least} of the {len(held)} examples held back; "
            "lower least or raise held"
        )
    return found


def _terms(pair: terms.Pair, config: Config, task: Task, fitted: Tensor, held: Tensor) -> list[terms.Term]:
    """Return the behaviors that are held."""
    found: list[terms.Term] = []
    if config.labels:
        found.append(terms.Labels(config.labels, len(held), config.temperature))
    if config.attribution:
        found.append(terms.Attribution(config.attribution, len(held)))
    if config.groups:
        found.append(terms.Groups(config.groups, _groups(config, task, held), held))
    if config.robustness:
        ball = Ball(config.eps, config.step, config.steps, task.limits())
        found.append(terms.Robustness(config.robustness, len(held), pair, ball, config.temperature))
    if config.membership:
        members = fitted[torch.randperm(len(fitted), generator=pair.rng)[: len(held)]]
        found.append(terms.Membership(config.membership, len(held), pair, members))
    return found


class _Game:
    """The two players: the objective of a batch, before which the multipliers have made their step."""

    def __init__(
        self, pair: terms.Pair, held_terms: list[terms.Term], config: Config, fitted: Tensor, held: Tensor
    ) -> None:
        self.pair, self.terms, self.batch, self.fitted, self.held = pair, held_terms, config.batch, fitted, held
        budgets, most = torch.tensor([(term.budget, term.most) for term in self.terms for _ in term.names]).T
        steps = config.epochs * len(split(fitted, config.batch))
        self.multipliers = Multipliers(budgets, config.ascent / max(1, steps), most)
        self.queue: list[Tensor] = []
        self.before = self._measured()

    def objective(self, batch: Tensor) -> Tensor:
        """Return the Lagrangian of a batch, after the multipliers were adapted."""
        if not self.queue:
            self.queue = split(torch.randperm(len(self.held), generator=self.pair.rng), self.batch)
        self._look(self.queue.pop())
        self.multipliers.ascend(self._values())
        seen = self.pair.seen(self.fitted[batch], self.fitted[batch])
        loss = functional.cross_entropy(seen.logits, seen.labels)
        for term, weights in zip(
            self.terms, torch.split(self.multipliers.now, [len(t.names) for t in self.terms]), strict=True
        ):
            if bool(weights.any()):
                loss = loss + (weights.to(loss.dtype) * term.penalty(seen)).sum()
        return loss

    def told(self) -> list[str]:
        """Return a sentence for every constraint: what came out, on all examples held back."""
        names = [name for term in self.terms for name in term.names]
        found = zip(names, self.before, self._measured(), self.multipliers.budgets, self.multipliers.now, strict=True)
        return [
            f"{name}: {'kept' if value <= budget else 'broken'}, {value:.4f} of at most {budget:g} on {len(self.held)} "
            f"examples held back ({before:.4f} before training), multiplier {multiplier:.3g}"
            for name, before, value, budget, multiplier in found
        ]

    @torch.no_grad()
    def _look(self, rows: Tensor) -> None:
        with evaluating(self.pair.tuned):
            seen = self.pair.seen(self.held[rows], rows)
            for term in self.terms:
                term.look(seen)

    def _values(self) -> Tensor:
        return torch.cat([term.values() for term in self.terms])

    def _measured(self) -> list[float]:
        for rows in split(torch.arange(len(self.held)), self.batch):
            self._look(rows)
        found: list[float] = self._values().tolist()
        return found
