"""Whether heads that copy still look where they looked: attention of the baseline's induction heads.

On texts of ``tokens`` tokens drawn at random, none twice, and then the same once more, the score of a head is the mean
attention that it pays, over the places of the second half, to the token after the same token in the first
(``kind="induction"``); or over all places to the token before (``kind="previous"``). The heads are those of the
baseline whose score is ``least`` or more; the number is their mean.

Reading:
    1: all of their attention is there. Random texts have nothing else to go by, so that what they show is the mechanism
    and not what a text is about. Where the baseline has no such head there is nothing to ask, and that is said.

Cost:
    A pass over so many texts in both models, by the plain way of attention, which holds one number for every two
    tokens, head and layer.

Limits:
    Both models need the same layers and heads and must cut documents alike. Heads in another order are told by what
    they write, and matched. Where a head looks is not what it does: patterns survive in models that are broken
    otherwise, so read it beside `divergence` and `mechanism`.

Source:
    Elhage et al., A mathematical framework for transformer circuits, 2021; Olsson et al., In-context learning and
    induction heads, 2022, arXiv:2209.11895 (prefix matching on repeated random tokens).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.behaviours.language import _parts
from whatelse.errors import NotMeasurableError
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence
from whatelse.models.heads import FEED_FORWARD, Part
from whatelse.models.model import Parted, Reads
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    1,
    "share of attention",
    "higher",
    {"reads", "documents", "parts"},
    "example",
)
WORST, BLIND = 0.0, None
RANGE = (0.0, 1.0)
INDUCTION, PREVIOUS = "induction", "previous"
_AT_ONCE, _TOLD, _FEW = 4, 3, 4  # texts of a pass, heads that a note names, tokens that a text needs


@dataclass(frozen=True)
class Config:
    """Settings of heads that copy."""

    kind: str = param(INDUCTION, "Which heads are asked about.", choices=(INDUCTION, PREVIOUS))
    least: float = param(0.4, "Score from which on a head of the baseline is one.", low=0.0, high=1.0)
    texts: int = param(16, "Random texts.", low=2)
    tokens: int = param(32, "Tokens of a text before it comes again, at most.", low=_FEW)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return what every head of that kind scores on each text, before and after.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Which heads, and on how much text.
        rng: Draws the texts.

    Raises:
        NotMeasurableError: A model shows no heads or no attention, they are others, or the baseline has none of that
            kind.
    """
    tokens.alike(candidate)
    every = [part for part in _parts.parts(baseline) if part.head != FEED_FORWARD]
    same = candidate is baseline
    known, moved = ({part: part for part in every}, ()) if same else _parts.places(baseline, candidate)
    drawn = _drawn(baseline, config, rng)
    before = _scores(baseline, drawn, config.kind)
    after = before if same else _scores(candidate, drawn, config.kind)
    means = {part: float(before[part].mean()) for part in every}
    kept = [part for part in every if means[part] >= config.least]
    if not kept:
        best = max(every, key=lambda part: means[part])
        raise NotMeasurableError(
            f"needs {config.kind} heads, which the baseline does not have: its best, {best}, scores {means[best]:.2g}, "
            f"and {config.least:g} is asked"
        )
    columns = {f"before {part}": before[part] for part in kept} | {f"after {part}": after[known[part]] for part in kept}
    turned = [f"heads of layers {', '.join(map(str, moved))} stand in another order, and are matched"] if moved else []
    lost = sorted(kept, key=lambda part: float(after[known[part]].mean()) - means[part])
    named = [f"{part}: {means[part]:.2g} → {float(after[known[part]].mean()):.2g}" for part in lost[:_TOLD]]
    notes = (*turned, f"{len(kept)} of the baseline's {len(every)} heads; {'; '.join(named)}")
    return Answer(columns, notes=notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean score of these heads of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each text stands in each resample, ``(draws, texts)``.
    """
    del config
    own = [name for name in answer.columns if name.startswith("after ")]
    found: np.ndarray = weights @ answer.table(*own).astype(np.float64).mean(1) / weights.sum(1)
    return found


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes, of one text, in both models.

    Args:
        config: How much is looked at.
        task: Not used: its documents are not asked about.
    """
    del task
    return 2 * config.texts


def _drawn(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return random texts that come twice, behind the token that stands before a text, ``(texts, 1 + 2 T)``.

    Raises:
        NotMeasurableError: The model reads too few tokens at once, or has too few.
    """
    source = evidence.subject.source
    assert isinstance(source, Reads)
    known = torch.tensor([one for one in range(source.vocabulary) if one not in {source.start, source.unknown}])
    count = min(config.tokens, (source.longest - 1) // 2, len(known))
    if count < _FEW:
        raise NotMeasurableError(
            f"needs room for {2 * _FEW + 1} tokens; {evidence.subject.name} reads {source.longest}"
        )
    texts = torch.stack([known[torch.randperm(len(known), generator=rng)[:count]] for _ in range(config.texts)])
    return torch.cat([torch.full((config.texts, 1), source.start), texts, texts], 1)


def _scores(evidence: Evidence, drawn: Tensor, kind: str) -> dict[Part, Tensor]:
    """Return the score of every head on every text, ``(texts,)`` float64.

    Raises:
        NotMeasurableError: The model hides its attention.
    """
    source = evidence.subject.source
    assert isinstance(source, Parted)
    count = (drawn.shape[1] - 1) // 2
    places = torch.arange(1 if kind == PREVIOUS else 1 + count, drawn.shape[1])
    looked = places - 1 if kind == PREVIOUS else places - count + 1
    found: dict[Part, list[Tensor]] = {part: [] for part in source.parts if part.head != FEED_FORWARD}
    layers = 1 + max(part.layer for part in found)
    for some in torch.split(drawn, _AT_ONCE):
        seen = source.attention(some)
        evidence.passes.forward += len(some)
        if len(seen) != layers:
            raise NotMeasurableError(f"needs to see where heads look; {evidence.subject.name} does not show it")
        for part, rows in found.items():
            rows.append(seen[part.layer][:, part.head, places, looked].double().mean(1).cpu())
    return {part: torch.cat(rows) for part, rows in found.items()}
