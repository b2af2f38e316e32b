"""Records whose class scores, by the model and by shadow models, are plain tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import norm


@pytest.fixture
def records(toy):
    """Evidence of a model with given scores: first the members, then as many test examples."""

    def make(scores, recorded, shadows=None, inside=None, members=None):
        members = len(scores) // 2 if members is None else members
        recorded = torch.as_tensor(recorded)
        classes = torch.as_tensor(scores).shape[1]
        index = torch.arange(len(scores), dtype=torch.float32)[:, None]
        true = torch.arange(len(scores)) % classes  # Attacks must go by the recorded labels, not by these.
        train, test = (
            toy.split_of(index[rows], true[rows], recorded[rows])
            for rows in (slice(None, members), slice(members, None))
        )
        task = toy.task_of(
            test.inputs, test.targets, classes=classes, bounds=(0.0, 1e6), observed=test.observed, train=train
        )
        given = None if shadows is None else lambda: toy.References(torch.as_tensor(shadows), torch.as_tensor(inside))
        return toy.evidence_of(toy.Canned(scores), task, shadows=given)

    return make


@pytest.fixture
def drawn():
    """Scores of 40 records by a target and 6 shadows, who are better at records that they had."""
    rng = torch.Generator().manual_seed(11)
    recorded = torch.randint(3, (40,), generator=rng)
    recorded[:20:5], recorded[20::5] = 0, 1
    inside = torch.rand(6, 40, generator=rng) < 0.5
    inside[1::2] = ~inside[::2]
    hardness = torch.randn(40, generator=rng)

    def scores(had):
        found = torch.randn(*had.shape, 3, generator=rng)
        lift = (1.5 * had + hardness)[..., None]
        return found + lift * torch.nn.functional.one_hot(recorded, 3)

    return recorded, scores(torch.arange(40) < 20), scores(inside), inside


def hot(scores, recorded):
    """The temperature of least cross-entropy by scipy; one more example is of every class alike."""
    z = np.asarray(torch.as_tensor(scores).double())
    z, y = z - z.mean(1, keepdims=True), np.asarray(recorded)

    def loss(cold):
        return (logsumexp(cold * z, axis=1) - cold * z[np.arange(len(y)), y] * len(y) / (len(y) + 1)).sum()

    unit = np.exp(np.log(z.std(1)).mean())
    return 1 / minimize_scalar(loss, bounds=(0.1 / unit, 100 / unit), method="bounded", options={"xatol": 1e-12}).x


@pytest.fixture(name="hot")
def hot_():
    """The function above, for tests of other files."""
    return hot


@pytest.fixture
def tempered():
    """Scores of a target, and of shadow models, at the temperatures of the attacks; the target's is that on others."""

    def make(recorded, scores, shadows=None, inside=None, members=None):
        members = len(scores) // 2 if members is None else members
        said, label = scores[members:], recorded[members:]
        scale = hot(said, label)
        cold = torch.as_tensor(scores).double() / scale
        if shadows is None:
            return cold
        each = np.where(
            np.asarray(inside), np.nan, torch.as_tensor(shadows).double().std(2, correction=0).log().numpy()
        )
        own = np.nanmean(each, 1, keepdims=True)
        own = own + np.nanmean((each - own) - np.nanmean(each - own, 0), 1, keepdims=True)
        own = np.exp(own + np.nanmean(each - own)) / np.exp(said.double().std(1, correction=0).log().mean().item())
        return cold, torch.as_tensor(shadows).double() / torch.as_tensor(own * scale)[..., None]

    return make


@pytest.fixture
def planted(records):
    """Evidence whose sensitivities are plain tables too: of the target ``(P, C)``, of the shadows ``(K, P, C)``."""

    def make(scores, moves, recorded, shadows, shadow_moves, inside, members=None):
        evidence = records(scores, recorded, shadows, inside, members)
        given = evidence.references()
        found = None if shadow_moves is None else torch.as_tensor(shadow_moves)
        evidence.shadows = lambda: replace(given, sensitivity=found)
        # Row i of the inputs is the number i: noise would make it another record's.
        evidence.sensitivity = lambda inputs: torch.as_tensor(moves)[inputs[:, 0].long()]
        return evidence

    return make


@pytest.fixture
def shifted(records):
    """Evidence whose log-odds are a hardness of each record, and normal about it, a shift higher for members.

    Two classes, the recorded one 0, so that the score of class 0 is the log-odds. They lie at the quantiles of a
    normal, in the shadow models too: no chance is left but the hardness.
    """

    def make(shift, hard, *, members=1000, shadows=100):
        def normal(count):
            return torch.as_tensor(norm.ppf((np.arange(count) + 0.5) / count)).float()

        count = 2 * members
        hardness = hard * normal(count)[torch.randperm(count, generator=torch.Generator().manual_seed(23))]
        drawn = torch.cat([normal(members) + shift, normal(members)])
        # Of every record half of the shadow models, others each time, with each quantile once.
        order = torch.rand(2 * shadows, count, generator=torch.Generator().manual_seed(29)).argsort(0)
        inside = order < shadows
        others = normal(shadows)[order % shadows] + shift * inside

        def said(odds):
            return torch.stack([odds, 0 * odds], -1)

        recorded = torch.zeros(count, dtype=torch.long)
        return records(said(hardness + drawn), recorded, said(hardness + others), inside)

    return make
