import numpy as np
import pytest
import torch

from whatelse.behaviours.leakage import linear
from whatelse.errors import NotMeasurableError
from whatelse.methods.quantize import uniform


@pytest.fixture
def wide(chain, toy):
    """A chain asked about drawn inputs."""

    def make(*layers, entries=200, examples=20, seed=29):
        rng = torch.Generator().manual_seed(31)
        inputs = torch.randn(examples, entries, generator=rng)
        task = toy.task_of(inputs, torch.arange(examples) % 3, classes=3)
        return toy.evidence_of(chain(*layers, seed=seed), task)

    return make


@pytest.mark.known_answer
def test_everything_is_recovered_where_a_unit_is_active(wide, toy, rng):
    evidence = wide(torch.nn.Linear(200, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    # One unit that only half of the examples wake, all others dead.
    evidence.model[0].bias.copy_(torch.tensor([0.0] + [-1e3] * 7))
    awake = (evidence.model[0](evidence.task.test.inputs) > 0).any(1).float()
    values = linear.measure(evidence, linear.Config(tolerance=1e-9), rng)
    assert values.tolist() == awake.tolist()
    assert 0.2 < awake.mean() < 0.8
    assert linear.summarise(values.numpy(), toy.ones(values)) == pytest.approx([float(awake.mean())])


@pytest.mark.known_answer
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_pruned_weights_hide_what_no_active_unit_sees(wide, rng, share):
    evidence = wide(torch.nn.Linear(4000, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3), entries=4000)
    layer = evidence.model[0]
    layer.weight *= torch.rand(layer.weight.shape, generator=rng) > share
    active = layer(evidence.task.test.inputs) > 0
    values = linear.measure(evidence, linear.Config(), rng)
    seen = [(layer.weight[row] != 0).any(0).float().mean() for row in active]
    assert values.tolist() == pytest.approx([float(v) for v in seen])
    # Random masks: 1 - s^n with n active units, up to 4 standard errors of 4000 entries.
    expected = 1 - share ** active.sum(1)
    assert torch.allclose(values, expected, atol=4 * 0.5 / 4000**0.5)


@pytest.mark.known_answer
def test_two_factors_withhold_nothing(wide, rng):
    evidence = wide(
        torch.nn.Sequential(torch.nn.Linear(200, 4, bias=False), torch.nn.Linear(4, 8)),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 3),
    )
    awake = (evidence.model[0](evidence.task.test.inputs) > 0).any(1).float()
    assert linear.measure(evidence, linear.Config(tolerance=1e-6), rng).tolist() == awake.tolist()
    # A pruned inner factor hides what none of its units sees; all are reached by any active unit.
    evidence.model[0][0].weight[:, :50] = 0
    assert linear.measure(evidence, linear.Config(), rng).tolist() == pytest.approx((0.75 * awake).tolist())


@pytest.mark.known_answer
@pytest.mark.parametrize("bits", [8, 2])
def test_of_a_rounded_input_the_rounded_one_is_found(wide, toy, rng, bits):
    whole = wide(torch.nn.Linear(200, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    tight = uniform.compress(whole.model, uniform.Config(bits=bits, clip=0.0), whole.task, rng)
    evidence = toy.evidence_of(tight, whole.task)
    values = linear.measure(evidence, linear.Config(), rng)
    inputs = whole.task.test.inputs
    near = (tight[0].round_input(inputs) - inputs).abs() <= 0.01 * inputs.abs().amax(1, keepdim=True)
    # Weights that round to zero are shared like any other.
    awake = (tight[0](inputs) > 0).any(1, keepdim=True)
    assert values.tolist() == pytest.approx((near & awake).float().mean(1).tolist())
    assert bool(values.mean() > 0.9) is (bits == 8)


@pytest.mark.parametrize("name", ["whole", "pruned", "quantized", "factored"])
def test_it_finds_the_layer_in_every_kind_of_network(zoo, toy, rng, name):
    evidence = toy.evidence_of(zoo.models[name], zoo.task)
    values = linear.measure(evidence, linear.Config(examples=5), rng)
    assert len(values) == 5
    assert 0.3 < values.mean() <= 1
    assert evidence.notes[0].startswith(f"layer linear{'.down' if name == 'factored' else ''}, 32 inputs")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((torch.nn.Linear(200, 8, bias=False), torch.nn.ReLU(), torch.nn.Linear(8, 3)), "linear layer with a bias; 0"),
        ((torch.nn.Unflatten(1, (1, 200)), torch.nn.Conv1d(1, 3, 200), torch.nn.Flatten()), "the model has none"),
        (
            (torch.nn.Unflatten(1, (20, 10)), torch.nn.Linear(10, 3), torch.nn.Flatten(), torch.nn.Linear(60, 3)),
            "sees each example once",
        ),
    ],
)
def test_what_is_missing_is_said(wide, rng, layers, message):
    with pytest.raises(NotMeasurableError, match=message):
        linear.measure(wide(*layers), linear.Config(), rng)


def test_the_summary_is_the_weighted_mean():
    values, counts = np.array([1.0, 0.5]), np.array([[1, 1], [3, 1]])
    assert linear.summarise(values, counts) == pytest.approx([0.75, 0.875])
