"""Records whose class scores, by the model and by shadow models, are plain tables."""

import pytest
import torch


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
