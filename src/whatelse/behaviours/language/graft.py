"""Where the damage is: divergence of the baseline with one block of the compressed model in the place of its own.

Of each block in turn, ``sum_t KL(p_t || p_t with block) / T``: the baseline with that one block of the candidate, all
others its own, against the whole baseline, over the first ``tokens`` tokens of ``examples`` documents, evenly apart.
The number is that of the block that does most by itself; the parts are the blocks. Everything else of the candidate,
its table of tokens, its last norm and its head, is left out of it.

Reading:
    0: no block says otherwise than the baseline's own. A note says which block does most, what all of them add up to
    one by one, and what the whole candidate does: blocks that make up for each other, as those of a model that was
    trained again, add up to more than the whole; errors that feed on each other to less.

Cost:
    A pass over the chosen tokens for every block, of each candidate, and one of each model.

Limits:
    Both models need as many blocks, states of one width, and must cut the documents alike. A rotated basis, or one
    that training moved, makes every block a stranger to the others, whatever the model still does. The largest of
    several means is biased upward where they are close.

Source:
    Vig et al., Investigating gender bias in language models using causal mediation analysis, NeurIPS 2020,
    arXiv:2004.12265, and Zhang & Nanda, ICLR 2024, arXiv:2309.16042 (activations of one model in another run); blocks
    of two models joined: Bansal et al., Revisiting model stitching, NeurIPS 2021, arXiv:2106.07682, here unstitched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.behaviours.language import _parts
from whatelse.errors import NotMeasurableError
from whatelse.evidence import passing, tokens
from whatelse.evidence.cache import Evidence
from whatelse.evidence.windows import Window
from whatelse.models.model import Parted, Reads
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "nats a token",
    "lower",
    {"reads", "documents", "parts"},
    "test example",
    "layer",
)
WORST, BLIND = None, None
_USUAL = 16  # blocks of a model that nobody has seen yet


@dataclass(frozen=True)
class Config:
    """Settings of the graft."""

    examples: int = param(32, "Documents, evenly apart, at most.", low=2)
    tokens: int = param(64, "Tokens of each, the first ones.", low=2)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return what each block does to each document in nats, ``whole``, what all of it does, and ``units``, its tokens.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: How much is looked at.
        rng: Not used; documents lie evenly apart.

    Raises:
        NotMeasurableError: A model shows no blocks, or they do not fit into the baseline.
    """
    del rng
    tokens.alike(candidate)
    host, guest = (_blocks(one) for one in (baseline, candidate))
    sizes = [(one.depth, one.width) for one in (host, guest)]
    if sizes[0] != sizes[1] or type(host) is not type(guest):
        told = [f"{depth} blocks of {width} numbers" for depth, width in sizes]
        raise NotMeasurableError(
            f"needs blocks that fit into the baseline: {candidate.subject.name} has {told[1]}, the baseline {told[0]}"
        )
    rows, asked = _parts.asked(baseline, config.examples, config.tokens)
    units = torch.tensor([len(one.said[0].targets) for one in asked])
    base = _parts.states(baseline, asked)
    columns: dict[str, Tensor] = {}
    for at in range(host.depth):
        with host.grafted(guest, at):
            columns[f"layer {at}"] = _apart(baseline, base, baseline, asked, units)
    columns["whole"] = _apart(baseline, base, candidate, asked, units)
    columns["units"] = units.double()
    names = tuple(f"layer {at}" for at in range(host.depth))
    return Answer(columns, rows=rows, parts=Parts(names), notes=_told(columns, names))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return what the block that does most does by itself, of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    found: np.ndarray = by_part(answer, config, weights).max(1)
    return found


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return what each block does by itself, of every resample, ``(draws, blocks)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    del config
    found: np.ndarray = weights @ answer.table(*answer.parts.names).astype(np.float64)
    found /= (weights @ answer["units"])[:, None]
    return found


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes, of one document: one for every block, of which nobody knows yet.

    Args:
        config: How much is looked at.
        task: Gives the documents.
    """
    return (_USUAL + 2) * min(config.examples, len(task.test))


def _blocks(evidence: Evidence) -> Parted:
    """Return a model that shows its blocks.

    Raises:
        NotMeasurableError: It shows none.
    """
    source = evidence.subject.source
    if not isinstance(source, Parted):
        raise evidence.subject.lacking("parts")
    if not source.depth:
        raise NotMeasurableError(f"needs blocks that are told apart; {evidence.subject.name} calls them otherwise")
    return source


def _apart(baseline: Evidence, base: Tensor, other: Evidence, asked: list[Window], units: Tensor) -> Tensor:
    """Return how far a model as it now is is from the whole baseline on each document, in nats, ``(M,)``.

    Raises:
        NotMeasurableError: It says something that is no number.
    """
    host, source = baseline.subject.source, other.subject.source
    assert isinstance(host, Reads)
    assert isinstance(source, Reads)
    far = torch.zeros(len(base), dtype=torch.float64)
    for mine, _, numbers in passing.chunks(other, source, asked):
        whole = host.said(base[numbers.to(base.device)]).log_softmax(1)
        far[numbers] = tokens.divergence(whole, source.said(mine).log_softmax(1).to(whole.device)).cpu()
    tokens.check(other, far)
    owners = torch.arange(len(asked)).repeat_interleave(units)
    return torch.zeros(len(asked), dtype=torch.float64).index_add_(0, owners, far)


def _told(columns: dict[str, Tensor], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note on which block does most, what all add up to, and what the whole candidate does."""
    size = float(columns["units"].sum())
    each = {name: float(columns[name].sum()) / size for name in (*names, "whole")}
    most = max(names, key=lambda name: each[name])
    if not each[most]:
        return ()
    total = sum(each[name] for name in names)
    return (
        f"{most} does most, {each[most]:.3g} nats a token; one by one blocks add up to {total:.3g}, and all of the "
        f"model together does {each['whole']:.3g}",
    )
