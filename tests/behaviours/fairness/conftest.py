"""Evidence of a model that predicts given classes, on examples with groups."""

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
