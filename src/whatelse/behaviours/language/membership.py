"""Area under the ROC curve of attacks that tell documents a language model was trained on from others.

Whether a document is a member says a grouping of test (``--groups member``): 1, true, yes or member. Its score by
``signal``, with ``l_t = log p(token t | tokens before)`` and, over what the model might say at ``t`` in its place,
``m_t`` the mean and ``s_t`` the standard deviation of ``log p``:

* *likelihood*: the mean of ``l_t``;
* *zlib*: minus the sum of ``-l_t`` by the bytes that zlib makes of the text: likely for how dull it is;
* *min-k*: the mean of the ``share`` of tokens of smallest ``l_t``;
* *min-k++*: the mean of the ``share`` of tokens of smallest ``(l_t - m_t) / s_t``.

The parts are operating points: the share of members found at 1 % and at 0.1 % false alarms, and the balanced accuracy
at the best threshold.

Reading:
    0.5: the attacker guesses; 1: members are told without error. Compression mostly lowers it, together with what the
    model can do: hold it against another compression of equal likelihood before calling it privacy. A note says what
    zlib finds that never asked the model: where that is not 0.5, members and others differ by themselves.

Cost:
    One pass of the model's body over the tokens of test, beside the shared one.

Limits:
    Without shadow models: attacks that know how hard each text is find more, and this is a lower bound. Members and
    others must come from one source and one time: most known collections do not, and are told apart without any model.
    The share found at 1 % false alarms is refused below 1,000 non-members and at 0.1 % below 10,000. Both models must
    cut the documents alike.

Source:
    Likelihood: Yeom et al., CSF 2018, arXiv:1709.01604; zlib: Carlini et al., Extracting training data from large
    language models, USENIX Security 2021, arXiv:2012.07805; min-k: Shi et al., Detecting pretraining data from large
    language models, ICLR 2024, arXiv:2310.16789; min-k++: Zhang et al., Min-K%++, ICLR 2025, arXiv:2404.02936; what
    asks no model: Das et al., Blind baselines beat membership inference attacks for foundation models, 2024,
    arXiv:2406.16201.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.behaviours.language import _sides
from whatelse.behaviours.membership import _records
from whatelse.evidence import ranks, tokens
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.statistics import summaries
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "AUC",
    "lower",
    {"reads", "documents", "groups"},
    "test example",
    "operating point",
)
WORST, BLIND = 1.0, 0.5
_SIGNALS = ("likelihood", "zlib", "min-k", "min-k++")
_LEAST = 1e-6  # of a spread: a model that is certain has none


@dataclass(frozen=True)
class Config:
    """Settings of the attack."""

    signal: str = param("min-k++", "What the threshold is laid on.", choices=_SIGNALS)
    group: str = param("member", "The grouping that says who is a member: 1, true, yes or member.")
    share: float = param(0.2, "Share of the tokens of a document that min-k and min-k++ look at.", low=0.01, high=1.0)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each document and whether it is a member.

    Args:
        evidence: Of the model.
        config: Which signal.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: Nobody says who is a member, all are or none, or both models cut documents otherwise.
    """
    del rng
    tokens.alike(evidence)
    member, squeezed = _sides.inside(evidence, config.group, "member"), _squeezed(evidence)
    rows, score = _scores(evidence, config, squeezed)
    member = member[rows]
    plain = torch.stack([-squeezed[rows] / _sizes(evidence)[rows], member.double()], 1).numpy()
    blind = float(summaries.auc(plain, np.ones((1, len(plain))))[0])
    told = (
        f"without shadow models: a threshold on {config.signal} is a lower bound",
        f"zlib alone, which asks no model, tells members from others at an AUC of {max(blind, 1 - blind):.3f}",
    )
    answer = _records.scored(score, member, *told)
    return Answer(answer.columns, rows=rows, parts=answer.parts, notes=answer.notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    del config
    return _records.area(answer, weights)


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the shares found at few false alarms and the balanced accuracy of every resample, ``(draws, 3)``.

    NaN where there are too few non-members for a false alarm rate.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    del config
    return _records.points(answer, weights)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes: one for every document.

    Args:
        config: Not used.
        task: Gives the documents.
    """
    del config
    return len(task.test)


def _texts(evidence: Evidence) -> list[bytes]:
    language, _ = tokens.of_documents(evidence)
    return [one.continuations[0].encode() for one in language.of(evidence.split("test").inputs)]


def _squeezed(evidence: Evidence) -> Tensor:
    """Return how many bytes zlib makes of every document, ``(N,)`` float64."""
    return torch.tensor([len(zlib.compress(text)) for text in _texts(evidence)], dtype=torch.float64)


def _sizes(evidence: Evidence) -> Tensor:
    return torch.tensor([len(text) for text in _texts(evidence)], dtype=torch.float64)


def _scores(evidence: Evidence, config: Config, squeezed: Tensor) -> tuple[Tensor, Tensor]:
    """Return which documents have tokens, and their scores, higher for what is taken for a member, ``(M,)`` each."""
    said = ranks.usual(evidence) if config.signal == "min-k++" else tokens.documents(evidence)
    document, logs = said["document"], -said["loss"]
    if config.signal == "min-k++":
        logs = (logs - said["mean"]) / said["spread"].clamp(min=_LEAST)
    rows, sizes = torch.unique_consecutive(document, return_counts=True)
    each = torch.split(logs, sizes.tolist())
    if config.signal == "zlib":
        return rows, torch.stack([one.sum() for one in each]) / squeezed[rows]
    if config.signal == "likelihood":
        return rows, torch.stack([one.mean() for one in each])
    few = [one.sort().values[: max(1, int(config.share * len(one)))] for one in each]
    return rows, torch.stack([one.mean() for one in few])
