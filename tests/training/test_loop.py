import pytest
import torch

from whatelse.errors import TaskError
from whatelse.methods.train import scratch
from whatelse.nets import cnn
from whatelse.training import initialize
from whatelse.training.loop import Schedule, fit, hard_labels


def test_the_same_generator_gives_the_same_model(task):
    weights = []
    for _ in range(2):
        rng = torch.Generator().manual_seed(3)
        model = torch.nn.Linear(2, 2)
        initialize.initialize(model, rng)
        fit(model, task.train.inputs, hard_labels(task.train.observed), Schedule(3, 0.1, 2), rng)
        weights.append(model.weight.clone())
    assert torch.equal(*weights)


def test_initial_weights_have_the_spread_of_torchs_own(rng):
    layer = torch.nn.Linear(400, 300)
    initialize.initialize(layer, rng)
    # Uniform in +-1/20: standard deviation 1/20/sqrt(3), known to 1 % from 120,000 draws.
    assert float(layer.weight.detach().std()) == pytest.approx(1 / 20 / 3**0.5, rel=0.01)
    assert float(layer.weight.detach().abs().max()) <= 1 / 20


def test_inputs_that_are_no_images_are_refused(rng):
    with pytest.raises(TaskError, match=r"inputs of shape \(5,\); it takes \(channels, height, width\)"):
        cnn.build(cnn.Config(), (5,), 3, rng)


class Positions(torch.nn.Module):
    """A linear layer on inputs plus a table of positions that starts at zero, as in a vision transformer."""

    def __init__(self):
        super().__init__()
        self.table, self.gone = torch.nn.Parameter(torch.zeros(1, 2)), torch.nn.Linear(2, 2)
        self.head, self.deep = torch.nn.Linear(2, 2), torch.nn.Conv2d(1, 1, (1, 2), bias=False)
        with torch.no_grad():
            self.gone.weight.zero_()
            self.head.weight[0, 1] = 0
            self.deep.weight[..., 0] = 0

    def forward(self, x):
        x = x + self.table
        return self.head(x) + self.gone(x) + self.deep(x[:, None, None]).flatten(1)


@pytest.mark.parametrize("anew", [False, True])
def test_zeros_of_layers_are_the_mask_and_zeros_of_a_table_are_trained(anew, task, rng):
    model = Positions()
    if anew:
        model = scratch.compress(model, scratch.Config(epochs=2), task, rng)
    else:
        fit(model, task.train.inputs, hard_labels(task.train.observed), Schedule(2, 0.1, 2), rng)
    assert bool((model.table != 0).all())
    assert not bool(model.gone.weight.any()), "a layer pruned away stays pruned away"
    assert bool(model.gone.bias.any())
    assert (model.head.weight == 0).tolist() == [[False, True], [False, False]]
    assert (model.deep.weight == 0).flatten().tolist() == [True, False]
