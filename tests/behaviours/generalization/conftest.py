"""Evidence whose logits are given numbers: inputs are one-hot and a linear model looks the row up."""

import pytest
import torch


@pytest.fixture
def answers(toy):
    def make(logits, targets, *, observed=None, members=0, reference=None):
        """The first ``members`` rows are train, the rest test; without members both are all rows."""
        logits, targets = torch.as_tensor(logits, dtype=torch.float32), torch.as_tensor(targets)
        observed = targets if observed is None else torch.as_tensor(observed)
        inputs = torch.eye(len(logits))
        model = torch.nn.Linear(*reversed(logits.T.shape), bias=False)
        with torch.no_grad():
            model.weight.copy_(logits.T)
        train = toy.split_of(inputs[:members], targets[:members], observed[:members]) if members else None
        task = toy.task_of(
            inputs[members:],
            targets[members:],
            classes=logits.shape[1],
            observed=observed[members:],
            train=train,
        )
        return toy.evidence_of(model, task, reference=reference)

    return make


@pytest.fixture
def votes():
    """Logits that predict the given classes."""

    def make(classes, of=3):
        return torch.nn.functional.one_hot(torch.as_tensor(classes), of).float()

    return make
