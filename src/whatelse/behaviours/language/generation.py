"""How far what a model writes agrees with the baseline, each going on by its likeliest token: the common beginning.

Of each prompt, the beginning of a test document or a question, both models write up to ``tokens`` tokens, always the
likeliest. ``agrees[i]`` is how many characters the two texts have in common from their beginning, as a share of the
longer one; 1 where they are equal, or where one goes on where the other was cut off.

Reading:
    1 is a model that writes the same. From the first other token on two texts go their own ways, so that a few in a
    hundred tokens (`likeliest`) part most long texts. A note says how far the baseline agrees with itself if it writes
    one prompt at a time: what is lost there is no compression's doing.

Cost:
    One pass over the prompts and one for every token written, of both models, and of the baseline once more for the
    floor.

Limits:
    It says when texts part and not whether the other one is worse. Writing by the likeliest token is not what most
    users run. Prompts are cut from the texts by characters, so that models of different tokenizers get the same.

Source:
    He et al. (Thinking Machines), Defeating nondeterminism in LLM inference, 2025 (the floor: batches move greedy
    texts); Dutta et al., NeurIPS 2024, arXiv:2407.09141.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.language import _written
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "agreement", "higher", {"writes", "documents"}, "test example"
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the agreement."""

    tokens: int = param(32, "Tokens that are written at most.", low=1)
    prompt: int = param(100, "Characters of a document that are given, up to the end of a word.", low=1)
    examples: int = param(128, "Test examples that are looked at, the first ones.", low=1)
    batch: int = param(16, "Prompts that are written at once.", low=2)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``agrees``: the common beginning of what both models write after each prompt, in [0, 1].

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: How much is written.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: A model does not write, or nothing can be gone on with.
    """
    del rng
    rows, prompts = _written.prompts(baseline, config.prompt, config.examples)
    how = (prompts, config.tokens)
    base, mine = (_written.written(one, *how, config.batch) for one in (baseline, candidate))
    alone = _written.written(baseline, *how, 1)
    floor = float(np.mean([_written.common(a, b) for a, b in zip(base, alone, strict=True)]))
    told = f"the baseline, writing one prompt at a time, agrees with itself by {floor:.3f}"
    agrees = [_written.common(a, b) for a, b in zip(base, mine, strict=True)]
    return Answer({"agrees": torch.tensor(agrees, dtype=torch.float64)}, rows=rows, notes=(told,))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean agreement of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each prompt stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["agrees"] / weights.sum(1)
    return mean


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes: one for every token of every prompt, of both models and of the floor.

    Args:
        config: How much is written.
        task: Gives the prompts.
    """
    return 3 * config.tokens * min(config.examples, len(task.test))
