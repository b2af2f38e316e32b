"""How badly an attribution map foretells what happens to the margin when random parts of the input are hidden.

Of each example a quarter of the units (pixels with all their channels, columns, tokens), drawn anew ``samples`` times
and the same for every model, is set to zero or the bound next to it (tokens: to padding). ``d`` is the fall of the
log-odds margin of the class that the baseline predicts, ``e`` what the map foretells: the sum over what was hidden of
contributions (*gradient x input*, *integrated gradients*, *grad-cam*, *occlusion*, *kernel shap*), or of sensitivities
times the change of the feature (*gradient*, *smoothgrad*). Scores: *relative*, ``sum (b e - d)^2 / sum d^2`` with the
best factor ``b >= 0`` of the example, in [0, 1]: the share of the change that the map leaves unexplained; *plain*, the
mean of ``(e - d)^2``, as in the source. What *occlusion* or *kernel shap* says of a patch is shared evenly among its
pixels. A map that is all zero or not finite counts as worst and is counted in a note: *relative* 1; *plain*, which
knows no worst value, the largest of all examples of that model.

Reading:
    0 is a map that foretells every change up to a factor, 1 one that foretells none. It is faithfulness of the map to
    its own model, not agreement with the baseline. *plain* is in squared units of the margin: a model that is less
    confident seems better, so compare models by *relative*.

Cost:
    The map of ``examples`` inputs, then ``samples + 1`` passes forward of each.

Limits:
    It depends on what is hidden and by what; hidden inputs are like none that the model was trained on. A model that
    bends less is foretold better whatever it knows: a pruned one may beat its baseline. Contributions are held to be
    against the same reference, which those of *occlusion* and *kernel shap* on tables (the mean) are not. Of texts the
    *gradient* foretells nothing. *occlusion* and *kernel shap* foretell pixels only as well as their patches do, and
    *grad-cam* knows no scale: compare these by *relative*. *plain* is not measurable where no map says anything. The
    needs are those of the default map; with *occlusion* or *kernel shap* a model that only predicts serves.

Source:
    Yeh et al., On the (in)fidelity and sensitivity of explanations, NeurIPS 2019, arXiv:1901.09392. The factor departs
    from it: it is that of Captum's ``normalize``, not negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import margin
from whatelse.explainers import hide
from whatelse.explainers import maps as _maps
from whatelse.settings import param
from whatelse.statistics import summaries
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    3,
    "infidelity",
    "lower",
    {"predicts", "differentiates"},
    "test example",
)
WORST, BLIND = 1.0, None
_SHARE, _SEED = 0.25, 19_010_939


@dataclass(frozen=True)
class Config:
    """Settings of the infidelity."""

    score: str = param("relative", "How what happens is held against what was foretold.", choices=("relative", "plain"))
    map: str = param("gradient x input", "Which attribution map.", choices=_maps.KINDS)
    steps: int = param(32, "Gradients along the path of integrated gradients.", low=32, high=1000)
    samples: int = param(32, "How often parts of an example are hidden.", low=1, high=10_000)
    examples: int = param(300, "Test examples, from the first; 0 takes all.", low=0)
    coalitions: int = param(0, "Coalitions of kernel shap; 0: eight a part, 254 or more.", low=0, high=1_000_000)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the ``infidelity`` of each example, ``(M,)``; notes tell of useless maps and completeness.

    Args:
        evidence: Gives map and answers.
        config: Which map, which score, how many samples and examples.
        rng: Not used; what is hidden is drawn from a seed of its own, the same for every model.

    Raises:
        MissingExtraError: The map needs Captum, which is not installed.
        NotMeasurableError: The model does not have such a map, or the map foretells nothing of texts,
            or an answer to hidden parts is not finite, or *plain* is asked of maps none of which says anything.
    """
    del rng
    if evidence.task.modality == "tokens" and config.map == "gradient":
        raise NotMeasurableError("infidelity needs contributions of tokens; their gradient has a length alone")
    asked = _maps.Asked(config.map, config.steps, config.examples, config.coalitions)
    draw = evidence.draws(_SEED)
    found, dumb = [], []
    for rows, maps in _maps.chunks(evidence, asked):
        dumb.append(_maps.useless(maps))
        maps = torch.where(dumb[-1][:, None], 0.0, maps)
        found.append(_infidelity(evidence, config, rows, maps, draw).float())
    values, lost = torch.cat(found), torch.cat(dumb)
    if config.score == "plain" and bool(lost.all()):
        raise NotMeasurableError(f"plain needs a map that says something; of {evidence.subject.name} none does")
    notes = []
    if bool(lost.any()):
        notes.append(f"{int(lost.sum())} of {len(values)} maps are all zero or not finite: counted as worst")
        values[lost] = 1.0 if config.score == "relative" else values.max()
    checked = _maps.check(evidence, asked)
    return Answer(
        {"infidelity": values},
        notes=(*notes, *checked.notes),
        doubts=checked.doubts,
        ends={"worst": 1.0 if config.score == "relative" else None},
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean infidelity of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    return summaries.mean(answer["infidelity"], weights)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Which map, how many samples and examples.
        task: Gives the test examples.
    """
    asked = _maps.Asked(config.map, config.steps, config.examples, config.coalitions)
    return _maps.effort(asked, task) + (config.samples + 1) * _maps.first(task, config.examples)


def _infidelity(evidence: Evidence, config: Config, rows: slice, maps: Tensor, draw: torch.Generator) -> Tensor:
    inputs, labels = evidence.split("test").inputs[rows], evidence.explained("test")[rows]
    empty = hide.reference(evidence, "zero", inputs)
    kind = config.map
    if kind not in _maps.CONTRIBUTIONS:
        maps, kind = maps * (inputs - empty).flatten(1), "gradient x input"
    worth = hide.worth(evidence, maps, kind)
    before = margin(evidence, hide.answers(evidence, inputs), labels)
    squares = torch.zeros(3, len(inputs), dtype=torch.float64)
    for _ in range(config.samples):
        hidden = torch.rand(worth.shape, generator=draw) < _SHARE
        shown = hide.exchanged(evidence, inputs, empty, hidden)
        fell = before - margin(evidence, hide.answers(evidence, shown), labels)
        foretold = (worth * hidden).sum(1)
        squares += torch.stack([foretold**2, foretold * fell, fell**2])
    told, both, seen = squares.unbind()
    if config.score == "plain":
        return (told - 2 * both + seen) / config.samples
    explained = both.clamp(min=0) ** 2 / (told * seen).clamp(min=torch.finfo(told.dtype).tiny)
    return (1 - explained).clamp(min=0)
