"""Share of the baseline's features that survive in a language model, under a dictionary frozen on the baseline.

A small sparse autoencoder is fitted once to the baseline's states, those from which it says the next token, over the
first ``tokens`` of up to ``examples`` documents of test. Its encoder then reads the states of both models at the same
tokens. A feature survives if its codes under the two models correlate above 0.9 (Pearson) over the tokens; features
that the baseline never activates are left out. The threshold is part of the definition.

The parts are the correlations, feature by feature. A note counts those that survived, blurred (0.5 to 0.9) and were
damaged (below 0.5), and gives the rank correlation of survival with how often the baseline activates a feature.

Reading:
    1: every feature is where it was. Models of equal perplexity can differ here by half of all features, in what is
    said of words that are rare. Features with the lowest parts are those to look at.

Cost:
    A pass of the body of each model over these tokens, without its head, and 150 steps of Adam over up to 8,192 of
    the baseline's states, once for all candidates.

Limits:
    Both models need the same width and must cut documents alike; one trained anew, or turned by a rotation, loses all
    features by its other basis alone, however like it says. The dictionary is small, is fitted to the texts that it is
    asked about, and explains only a part of the states, which a note says. That a feature stays does not show that it
    still does what it did.

Source:
    Duan, Perplexity can miss SAE feature damage, 2026, arXiv:2606.03002 (frozen dictionary, Pearson per feature);
    Gupte et al. 2025, arXiv:2507.15977 (dictionaries of the original read the compressed model); frequency: Borobia
    et al., How pruning reshapes features, 2026, arXiv:2603.25325.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.behaviours.language import _parts
from whatelse.behaviours.mechanism import _features
from whatelse.errors import NotMeasurableError
from whatelse.evidence import tokens
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "share of features",
    "higher",
    {"reads", "documents"},
    "test example",
    "feature",
)
WORST, BLIND = 0.0, None
_SUMS = ("x", "y", "xx", "yy", "xy")
_LEAST = 0.05  # of the baseline's variance: a dictionary that explains less says nothing of it


@dataclass(frozen=True)
class Config:
    """Settings of the frozen dictionary."""

    atoms: int = param(32, "Features in the dictionary.", low=2, high=4096)
    examples: int = param(64, "Documents, evenly apart, at most.", low=2)
    tokens: int = param(128, "Tokens of each, the first ones.", low=2)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return sums over the tokens of each document of what correlations are made of, and ``units``, its tokens.

    Args:
        baseline: Evidence of the model before compression; holds the dictionary.
        candidate: Evidence of the compressed model.
        config: Size of the dictionary, and how much is looked at.
        rng: Not used; the dictionary is fitted from a fixed seed, the same for every candidate.

    Raises:
        NotMeasurableError: A model does not read, the two cut documents otherwise or have states of another width, or
            no dictionary explains the baseline's.
    """
    del rng
    tokens.alike(candidate)
    rows, asked = _parts.asked(baseline, config.examples, config.tokens)
    name = f"states of {config.examples} documents, {config.tokens} tokens"
    before = baseline.here(name, lambda: _parts.states(baseline, asked).float().cpu())
    after = before if candidate is baseline else _parts.states(candidate, asked).float().cpu()
    if after.shape != before.shape:
        widths = f"{candidate.subject.name} has {after.shape[1]} numbers, the baseline {before.shape[1]}"
        raise NotMeasurableError(f"needs states of one width: {widths}")
    told = f"language features {VERSION} {name} atoms={config.atoms}"
    frozen = baseline.once(told, lambda: _features.fit(before, config.atoms))
    shares = [_features.explained(frozen, one) for one in (before, after)]
    if not shares[0] > _LEAST:
        raise NotMeasurableError(
            f"needs a dictionary that explains the baseline's states; one of {config.atoms} atoms explains "
            f"{shares[0]:.0%} of their variance"
        )
    codes = torch.cat([_features.encode(frozen, one) for one in (before, after)], 1).numpy()
    columns, sizes = _summed(codes, torch.tensor([len(one.said[0].targets) for one in asked]), config.atoms)
    explains = f"the dictionary explains {shares[0]:.0%} and {shares[1]:.0%} of the variance, before and after"
    names = tuple(f"feature {at}" for at in range(config.atoms))
    notes = (explains, _features.survived(codes))
    return Answer(columns | {"units": sizes}, rows=rows, parts=Parts(names, unit="correlation"), notes=notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of surviving features of every resample, ``(draws,)``; NaN if the baseline activates none.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    return _features.share(by_part(answer, config, weights))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the correlation of each feature's codes before and after, of every resample, ``(draws, atoms)``.

    0 where the candidate never activates it; NaN where the baseline never does.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each document stands in each resample, ``(draws, M)``.
    """
    del config
    every = answer.table(*(f"{at} {what}" for what in _SUMS for at in answer.parts.names))
    return _features.correlations(weights @ every / (weights @ answer["units"])[:, None])


def effort(config: Config, task: Task) -> int:
    """Return how many passes it takes, of one document, in both models.

    Args:
        config: How much is looked at.
        task: Gives the documents.
    """
    return 2 * min(config.examples, len(task.test))


def _summed(codes: np.ndarray, sizes: Tensor, atoms: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return the sums over the tokens of each document, by name, and how many tokens it has."""
    products = torch.from_numpy(_features.products(codes))
    owners = torch.arange(len(sizes)).repeat_interleave(sizes)
    sums = torch.zeros(len(sizes), products.shape[1], dtype=torch.float64).index_add_(0, owners, products)
    names = [f"feature {at} {what}" for what in _SUMS for at in range(atoms)]
    return dict(zip(names, sums.unbind(1), strict=True)), sizes.double()
