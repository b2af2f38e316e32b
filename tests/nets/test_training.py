import pytest
import torch

from whatelse.errors import TaskError
from whatelse.nets import _initialize, cnn
from whatelse.nets._training import Schedule, fit, hard_labels


def test_the_same_generator_gives_the_same_model(task):
    weights = []
    for _ in range(2):
        rng = torch.Generator().manual_seed(3)
        model = torch.nn.Linear(2, 2)
        _initialize.initialize(model, rng)
        fit(model, task.train.inputs, hard_labels(task.train.observed), Schedule(3, 0.1, 2), rng)
        weights.append(model.weight.clone())
    assert torch.equal(*weights)


def test_initial_weights_have_the_spread_of_torchs_own(rng):
    layer = torch.nn.Linear(400, 300)
    _initialize.initialize(layer, rng)
    # Uniform in +-1/20: standard deviation 1/20/sqrt(3), known to 1 % from 120,000 draws.
    assert float(layer.weight.detach().std()) == pytest.approx(1 / 20 / 3**0.5, rel=0.01)
    assert float(layer.weight.detach().abs().max()) <= 1 / 20


def test_inputs_that_are_no_images_are_refused(rng):
    with pytest.raises(TaskError, match=r"inputs of shape \(5,\); it takes \(channels, height, width\)"):
        cnn.build(cnn.Config(), (5,), 3, rng)
