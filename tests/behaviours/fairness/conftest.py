"""Evidence of a model that predicts given classes, on examples with groups."""

import numpy as np
import pytest
import torch


@pytest.fixture
def answers(toy):
    def make(said, targets, groups=None, *, classes=3):
        """Inputs are one-hot and a linear model looks the row up."""
        votes = torch.nn.functional.one_hot(torch.as_tensor(said), classes).float()
        model = torch.nn.Linear(len(votes), classes, bias=False)
        with torch.no_grad():
            model.weight.copy_(votes.T)
        task = toy.task_of(torch.eye(len(votes)), targets, classes=classes, groups=groups)
        return toy.evidence_of(model, task)

    return make


@pytest.fixture
def canned(toy):
    def make(logits, targets, groups=None):
        """Evidence of a model whose class scores are given, for many examples."""
        logits = torch.as_tensor(logits, dtype=torch.float32)
        rows = torch.arange(len(logits)).float()[:, None]
        task = toy.task_of(rows, targets, classes=logits.shape[1], groups=groups)
        return toy.evidence_of(toy.Canned(logits), task)

    return make


@pytest.fixture
def drawn(canned):
    def make(n, classes, *, groups=3, seed=0):
        """Evidence of a random model, with what it says, the truth and the groups as arrays."""
        draw = np.random.default_rng(seed)
        target, code = draw.integers(0, classes, n), draw.integers(0, groups, n)
        right = draw.random(n) < 0.3 + 0.5 * code / groups
        said = np.where(right, target, draw.integers(0, classes, n))
        logits = draw.normal(size=(n, classes)) + 6 * np.eye(classes)[said]
        return canned(logits, target, {"style": code}), logits.argmax(1), target, code

    return make
