"""Area under the ROC curve of a membership attack that learns from shadow models by self-attention (SAMIA).

Each class is a token with three channels: the log of its posterior ``p``, the log of its sensitivity ``s = mean |p(x +
eps u) - p(x)| / eps`` (ten draws of ``u ~ N(0, 1)``, ``eps = 1e-3``), and whether it is the recorded label. Posteriors
are at the temperature at which a model is calibrated, so that no scale of the scores hides anything. Tokens are
projected to 64 numbers, pass ``layers`` of self-attention with four heads, are laid side by side, and two linear layers
give the score. The network learns from every record of every shadow model which were inside (Adam, cross-entropy), and
is asked of the target. Members are train, non-members as many of test; which records are the target's own members is
never learned from. The parts are operating points: the share of members found at 1 % and at 0.1 % false alarms, and the
balanced accuracy at the best threshold.

Reading:
    0.5: the attacker guesses; 1: members are told without error. The attacker knows the recipe, as the shadow models
    went through it: this is the test of a defense that was trained against another attacker. Hold it against `loss` and
    `reference`; the area on the shadow models' own records that the network had not seen is noted.

Cost:
    Eleven passes forward of train and as many records of test, shared with `sensitivity`; before it the shadow models,
    each a whole training and compression and the same passes. Training the network takes seconds on one core with ten
    classes; its time grows with classes and layers, and not with the records beyond 20,000.

Limits:
    A lower bound, as every attack is. It learns one rule for all records and does not ask how hard each is, where
    `reference` does: few shadow models are enough for it, many help it little. Kernels that round their inputs hide the
    sensitivity.

Source:
    Yuan & Zhang, Membership inference attacks and defenses in neural network pruning, USENIX Security 2022,
    arXiv:2202.03335, with the authors' code. We depart from it: logarithms, as posteriors that round to one tell
    nothing apart; one layer by default for their three; no dropout, and a one-cycle schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.answer import Answer
from whatelse.behaviours.membership import _learned, _records
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.statistics import summaries
from whatelse.tasks.task import Task
from whatelse.training.initialize import initialize
from whatelse.training.loop import Schedule, answers, fit

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "AUC",
    "lower",
    {"predicts", "references", "sensitivities"},
    "record",
    "operating point",
)
WORST, BLIND = 1.0, 0.5
_ROWS, _ASIDE, _BATCH = 20_000, 5, 128  # most to learn from; one record in so many is not; a step
_WIDTH, _HEADS, _INNER, _DECAY = 64, 4, 128, 5e-4
_LEAST = 1e-6  # of a sensitivity; single precision sees none below 6e-8 / 1e-3


@dataclass(frozen=True)
class Config:
    """Settings of the attack by self-attention."""

    layers: int = param(1, "Layers of self-attention; the paper has 3.", low=1, high=12)
    epochs: int = param(12, "Passes over the shadow models' records.", low=1, high=1000)
    rate: float = param(1e-3, "Peak learning rate of the one-cycle schedule.", low=0.0, high=1.0)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each record and whether it is a member.

    Args:
        evidence: Gives class scores, sensitivities and those of the shadow models.
        config: Size of the network and how it is trained.
        rng: Source of its weights, of the records it learns from and of their order.

    Raises:
        NotMeasurableError: There are no shadow models, they do not fit the records, or their sensitivity is missing.
    """
    shadows = _learned.shadows(evidence)
    count = shadows.inside.shape[1]
    recorded = _records.labels(evidence, count)
    learn, check = _rows(shadows.inside, rng)
    hot = _records.temperatures(evidence, shadows.logits, shadows.inside)[:, None]
    inputs = _tokens(shadows.logits[learn] / hot[learn[0]], shadows.sensitivity[learn], recorded[learn[1]])
    network, scale = _learned_from(inputs, shadows.inside[learn].float(), config, rng)
    seen = _tokens(shadows.logits[check] / hot[check[0]], shadows.sensitivity[check], recorded[check[1]])
    found = torch.stack([_score(network, seen, scale), shadows.inside[check].float()], 1).numpy()
    mine = _tokens(_records.logits(evidence, count), _learned.sensitivity(evidence, count), recorded)
    member = _records.members(evidence, count)
    own = float(summaries.auc(found, np.ones((1, len(found))))[0])
    told = f"learned from {len(shadows.inside)} shadow models; on records of theirs held back: AUC {own:.3f}"
    return _records.answered(evidence, _score(network, mine, scale), member, told)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    del config
    return _records.area(answer, weights)


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the shares found at few false alarms and the balanced accuracy of every resample, ``(draws, 3)``.

    NaN where there are too few non-members for a false alarm rate.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    del config
    return _records.points(answer, weights)


def effort(config: Config, task: Task) -> int:
    """Return the passes beyond the shared ones that one model costs at most.

    Args:
        config: Not used; the network's own steps are no passes of the model.
        task: Has the records.
    """
    del config
    return _learned.spent(len(task.train), len(task.test))


class _Layer(nn.Module):
    """Self-attention and two linear layers, each added to what came in and normed after, as in the source."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.join = nn.Linear(_WIDTH, _WIDTH)
        self.inner = nn.Sequential(nn.Linear(_WIDTH, _INNER), nn.GELU(), nn.Linear(_INNER, _WIDTH))
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.ask(x).unflatten(-1, (3, _HEADS, _WIDTH // _HEADS)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        x = self.norms[0](x + self.join(mixed))
        found: Tensor = self.norms[1](x + self.inner(x))
        return found


class _Network(nn.Module):
    def __init__(self, classes: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(3, _WIDTH), nn.GELU())
        self.layers = nn.Sequential(*(_Layer() for _ in range(layers)))
        self.leave = nn.Sequential(nn.Flatten(), nn.Linear(classes * _WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds of being a member, ``(N, 1)``, of tokens ``(N, classes, 3)``."""
        found: Tensor = self.leave(self.layers(self.enter(x)))
        return found


def _tokens(logits: Tensor, sensitivity: Tensor, recorded: Tensor) -> Tensor:
    """Return log posterior, log sensitivity and recorded label of each class, ``(N, classes, 3)``."""
    said = logits.double().log_softmax(1).float()
    label = functional.one_hot(recorded, said.shape[1])
    return torch.stack([said, sensitivity.float().clamp(min=_LEAST).log(), label.float()], 2)


def _rows(inside: Tensor, rng: torch.Generator) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return which shadow and record to learn from, ``(n,)`` each, and which records were held back to check."""
    shadows, count = inside.shape
    back = torch.zeros(count, dtype=torch.bool)
    back[torch.randperm(count, generator=rng)[: count // _ASIDE]] = True
    picked = []
    for records in (~back, back):
        every = records.nonzero().flatten()
        some = torch.randperm(shadows * len(every), generator=rng)[:_ROWS]
        picked.append((some // len(every), every[some % len(every)]))
    return picked[0], picked[1]


def _learned_from(
    inputs: Tensor, known: Tensor, config: Config, rng: torch.Generator
) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return a trained network, and the mean and spread of its inputs."""
    scale = inputs.mean(0), inputs.std(0).clamp(min=1e-3)
    with torch.device("meta"):
        network = _Network(inputs.shape[1], config.layers)
    network.to_empty(device="cpu")
    initialize(network, rng)

    def loss(said: Tensor, batch: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(said[:, 0], known[batch])

    fit(network, _scaled(inputs, scale), loss, Schedule(config.epochs, config.rate, _BATCH, _DECAY), rng)
    return network, scale


def _scaled(inputs: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    return (inputs - scale[0]) / scale[1]


def _score(network: nn.Module, inputs: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    return answers(network, _scaled(inputs, scale))[:, 0]
