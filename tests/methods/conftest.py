"""Plain training, for slow rewrites: what the methods do on one full batch, given the loss written out."""

import pytest
import torch


@pytest.fixture
def adam():
    """Train tensors in float64 by Adam on a one-cycle schedule, on full batches."""

    def train(tensors, objective, epochs, rate, after=lambda: None):
        optimizer = torch.optim.AdamW(tensors, rate, weight_decay=0.0)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs)
        for _ in range(epochs):
            optimizer.zero_grad()
            objective().backward()
            optimizer.step()
            cycle.step()
            after()

    return train
