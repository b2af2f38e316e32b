"""Whether the baseline's circuits still carry the answer in the candidate: their faithfulness there.

The circuit of a class: the units of the last hidden layer (or of all layers), ordered by how far the baseline's
margin of that class falls on its examples of calibration when the unit is held at its mean there, and of that order
the fewest that keep the share ``keep`` of the baseline's margin on calibration; all of them for a class whose margin
does not fall when all are held. The same units are then left alone in
the candidate, all others held at the candidate's own means, and on test ``F = sum (M(circuit) - M(none)) / sum
(M(all) - M(none))`` of the log-odds margins of the true class, kept within [0, 1]; 0 where holding all units does not
lower the margin. The parts are the classes.

Reading:
    About ``keep`` for the baseline itself, on new examples. As high in the candidate: the same units still do the
    work. Lower: the work moved to other units, even if accuracy did not move. Read it beside the twin's.

Cost:
    ``(units + steps) * examples`` forward passes of the baseline, once for all candidates; three passes over
    ``examples`` of the candidate.

Limits:
    Needs the baseline's basis: the same layers and widths. A model trained anew has the widths without the basis and
    falls by that alone. Not measurable where holding the baseline's units lowers no margin, and not trusted where the
    circuits found on calibration keep less than three quarters of ``keep`` of the baseline's own margin on test: it
    has no such circuits, or the examples were too few. It depends on the ablation (means) and on ``keep``; the order
    is greedy and by single ablations.

Source:
    Hanna, Pezzelle & Belinkov, Have faith in faithfulness, COLM 2024, arXiv:2403.17806; mean ablation: Wang et al.,
    ICLR 2023, arXiv:2211.00593; that it depends on the ablation: Miller et al. 2024, arXiv:2407.08734.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Doubt, Parts
from whatelse.behaviours.mechanism import _circuit, _layers
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    4,
    "faithfulness",
    "higher",
    {"predicts", "opens", "same units"},
    "test example",
    "class",
)
WORST, BLIND = 0.0, None

# Of the share that was to be kept, what the circuits must keep of the baseline's own margin on new examples.
_SOUND = 0.75


@dataclass(frozen=True)
class Config:
    """Settings of the faithfulness."""

    keep: float = param(0.8, "Share of the baseline's margin that its circuit keeps.", low=0.05, high=0.99)
    layers: str = param("hidden", "The last hidden layer, or all of them together.", choices=("hidden", "all"))
    examples: int = param(128, "Examples of calibration, and of test, evenly apart, at the most.", low=2)
    steps: int = param(32, "Sizes that are tried, at the most, beside 0.", low=2, high=4096)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return each example's ``class``, what its circuit ``kept`` of its margin, and the ``whole`` of all units.

    Each is ``(examples,)``. A note tells of the size of the circuits, a doubt where they do not hold.

    Args:
        baseline: Evidence of the model before compression; holds its circuits.
        candidate: Evidence of the compressed model.
        config: Which circuits.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: A model does not open or has no hidden layer, the widths differ, or the baseline has no
            circuit.
    """
    del rng
    _layers.same_basis(baseline, candidate)
    key = f"circuit {VERSION} keep={config.keep} layers={config.layers} examples={config.examples} steps={config.steps}"
    held = baseline.once(key, lambda: _found(baseline, config))
    if not bool(held["has"].any()):
        raise NotMeasurableError("needs circuits in the baseline; no margin falls when all of its units are held")
    # Layers correspond by place: a wrapper may have named them anew.
    units = _circuit.units(candidate, config.layers)
    orders = {code: [units[i] for i in order] for code, order in _by_class(held["orders"]).items()}
    chosen = {code: [0, int(size[0]), len(units)] for code, size in _by_class(held["sizes"]).items()}
    read_on = _circuit.examples(baseline, "test", config.examples)
    nothing, circuit, everything = _circuit.kept(candidate, read_on, orders, chosen).T
    mean, own = sum(size for _, size, _ in chosen.values()) / len(chosen), float(held["own"])
    told = f"the baseline's circuits have {mean:.1f} of {len(units)} units on average"
    doubt = Doubt(f"circuits that keep {config.keep:.0%} on calibration keep {own:.0%} on test in the baseline")
    kept, whole = (circuit - nothing).float(), (everything - nothing).float()
    return Answer(
        {"class": read_on.labels.float(), "kept": kept, "whole": whole},
        rows=read_on.rows,
        parts=Parts(_circuit.classes(read_on)),
        notes=(f"{told} and keep {own:.0%} of its own margin",),
        doubts=(doubt,) if own < _SOUND * config.keep else (),
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the faithfulness over all examples of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, examples)``.
    """
    del config
    return _faithfulness(weights @ answer.table("kept", "whole").astype(np.float64))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the faithfulness of each class of every resample, ``(draws, classes)``; NaN where it has no example.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, examples)``.
    """
    del config
    codes, margins, found = answer["class"], answer.table("kept", "whole").astype(np.float64), []
    for code in np.unique(codes):
        mine = codes == code
        each = _faithfulness(weights[:, mine] @ margins[mine])
        found.append(np.where(weights[:, mine].sum(1) > 0, each, np.nan))
    return np.stack(found, 1)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Those of both models. Networks are not known here: they are taken to have `_layers.LAYERS` layers of
    `_layers.UNITS` units.

    Args:
        config: Which circuits, found and read on how many examples.
        task: Gives the examples.
    """
    return _circuit.effort(config.layers, config.steps, config.examples, task) + 6 * min(
        config.examples, len(task.test)
    )


def _faithfulness(sums: np.ndarray) -> np.ndarray:
    kept, whole = sums[:, 0], sums[:, 1]
    found: np.ndarray = np.where(whole > 0, np.clip(kept / np.where(whole > 0, whole, 1), 0, 1), 0)
    return found


def _found(baseline: Evidence, config: Config) -> dict[str, Tensor]:
    """Return for each class, and under -1 for all others, the order of the units and how many of them it takes."""
    found_on = _circuit.examples(baseline, "calibration", config.examples)
    units = _circuit.units(baseline, config.layers)
    sizes = _circuit.steps(len(units), config.steps)
    orders = _circuit.ranking(baseline, found_on, units)
    surplus = _circuit.surplus(_circuit.kept(baseline, found_on, orders, {-1: sizes}), config.keep)
    place = {unit: i for i, unit in enumerate(units)}
    rows, taken = [], []
    has: list[bool] = []
    for code, order in orders.items():
        mean = (surplus if code < 0 else surplus[found_on.labels == code]).mean(0)
        has.append(bool(mean[-1] > 0))
        first = int((mean >= 0).int().argmax()) if has[-1] else len(sizes) - 1
        rows.append([code, *(place[unit] for unit in order)])
        taken.append([code, sizes[first]])
    chosen = {code: [0, size, len(units)] for code, size in taken}
    nothing, circuit, everything = _circuit.kept(
        baseline, _circuit.examples(baseline, "test", config.examples), orders, chosen
    ).T
    own = _faithfulness(torch.stack([circuit - nothing, everything - nothing], 1).sum(0, keepdim=True).numpy())
    found = {"orders": torch.tensor(rows), "sizes": torch.tensor(taken), "has": torch.tensor(has)}
    return {**found, "own": torch.from_numpy(own)}


def _by_class(rows: Tensor) -> dict[int, list[int]]:
    return {row[0]: row[1:] for row in rows.tolist()}
