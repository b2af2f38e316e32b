import numpy as np
import pytest
import torch

from whatelse.answer import Answer
from whatelse.behaviours.leakage import _gradients, linear
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
    answer = linear.measure(evidence, linear.Config(tolerance=1e-9), rng)
    assert answer["recovered"].tolist() == awake.tolist()
    assert 0.2 < awake.mean() < 0.8
    assert linear.summarise(answer, linear.Config(), toy.ones(answer)) == pytest.approx([float(awake.mean())])


@pytest.mark.known_answer
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_pruned_weights_hide_what_no_active_unit_sees(wide, rng, share):
    evidence = wide(torch.nn.Linear(4000, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3), entries=4000)
    layer = evidence.model[0]
    layer.weight *= torch.rand(layer.weight.shape, generator=rng) > share
    active = layer(evidence.task.test.inputs) > 0
    answer = linear.measure(evidence, linear.Config(), rng)
    seen = [(layer.weight[row] != 0).any(0).float().mean() for row in active]
    assert answer["recovered"].tolist() == pytest.approx([float(v) for v in seen])
    # Random masks: 1 - s^n with n active units, up to 4 standard errors of 4000 entries.
    expected = 1 - share ** active.sum(1)
    assert torch.allclose(answer.columns["recovered"], expected, atol=4 * 0.5 / 4000**0.5)


@pytest.mark.known_answer
def test_two_factors_withhold_nothing(wide, rng):
    evidence = wide(
        torch.nn.Sequential(torch.nn.Linear(200, 4, bias=False), torch.nn.Linear(4, 8)),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 3),
    )
    awake = (evidence.model[0](evidence.task.test.inputs) > 0).any(1).float()
    assert linear.measure(evidence, linear.Config(tolerance=1e-6), rng)["recovered"].tolist() == awake.tolist()
    # A pruned inner factor hides what none of its units sees; all are reached by any active unit.
    evidence.model[0][0].weight[:, :50] = 0
    assert linear.measure(evidence, linear.Config(), rng)["recovered"].tolist() == pytest.approx(
        (0.75 * awake).tolist()
    )


@pytest.mark.known_answer
@pytest.mark.parametrize("bits", [8, 2])
def test_of_a_rounded_input_the_rounded_one_is_found(wide, toy, rng, bits):
    whole = wide(torch.nn.Linear(200, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    tight = uniform.compress(whole.model, uniform.Config(bits=bits, clip=0.0), whole.task, rng)
    evidence = toy.evidence_of(tight, whole.task)
    answer = linear.measure(evidence, linear.Config(), rng)
    inputs = whole.task.test.inputs
    near = (tight[0].round_input(inputs) - inputs).abs() <= 0.01 * inputs.abs().amax(1, keepdim=True)
    # Weights that round to zero are shared like any other.
    awake = (tight[0](inputs) > 0).any(1, keepdim=True)
    assert answer["recovered"].tolist() == pytest.approx((near & awake).float().mean(1).tolist())
    assert bool(answer["recovered"].mean() > 0.9) is (bits == 8)


@pytest.mark.parametrize("name", ["whole", "pruned", "quantized", "factored"])
def test_it_finds_the_layer_in_every_kind_of_network(zoo, toy, rng, name):
    evidence = toy.evidence_of(zoo.models[name], zoo.task)
    answer = linear.measure(evidence, linear.Config(examples=5), rng)
    assert len(answer) == 5
    assert 0.3 < answer["recovered"].mean() <= 1
    assert answer.notes[0].startswith(f"layer linear{'.down' if name == 'factored' else ''}, 32 inputs")


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
    answer, counts = Answer({"recovered": torch.tensor([1.0, 0.5])}), np.array([[1, 1], [3, 1]])
    assert linear.summarise(answer, linear.Config(), counts) == pytest.approx([0.75, 0.875])


@pytest.mark.known_answer
@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_narrow_layer_hides_nothing_from_which_a_unit_wakes(wide, rng, width):
    evidence = wide(torch.nn.Linear(200, width), torch.nn.ReLU(), torch.nn.Linear(width, 3))
    evidence.model[0].bias.fill_(100.0)
    for count in ("entries", "norm"):
        answer = linear.measure(evidence, linear.Config(tolerance=1e-9, count=count), rng)
        assert answer["recovered"].tolist() == pytest.approx([1.0] * 20, abs=1e-7)


@pytest.mark.known_answer
@pytest.mark.parametrize(("share", "active"), [(0.5, 1), (0.5, 3), (0.9, 2), (0.9, 6)])
def test_of_many_random_masks_the_expected_share_is_recovered(wide, rng, share, active):
    layers = (torch.nn.Linear(50, active), torch.nn.ReLU(), torch.nn.Linear(active, 3))
    evidence = wide(*layers, entries=50, examples=4)
    whole, found = evidence.model[0].weight.clone(), []
    evidence.model[0].bias.fill_(10.0)  # awake under every mask
    for _ in range(40):
        evidence.model[0].weight.copy_(whole * (torch.rand(whole.shape, generator=rng) > share))
        found.append(linear.measure(evidence, linear.Config(), rng).columns["recovered"])
    assert all(len(set(f.tolist())) == 1 for f in found)  # the mask decides, not the example
    expected = 1 - share**active
    error = (expected * (1 - expected) / (40 * 50)) ** 0.5
    assert float(torch.stack(found).mean()) == pytest.approx(expected, abs=3 * error)


@pytest.fixture
def factored(wide):
    """A layer of two factors, of rank 5, all units awake."""

    def make(entries=40, rank=5):
        factors = torch.nn.Sequential(torch.nn.Linear(entries, rank, bias=False), torch.nn.Linear(rank, 8))
        made = wide(factors, torch.nn.ReLU(), torch.nn.Linear(8, 3), entries=entries, examples=30)
        made.model[0][1].bias.fill_(50.0)
        return made

    return make


@pytest.mark.known_answer
def test_a_frozen_inner_factor_gives_the_projection_on_its_rows(factored, rng):
    evidence = factored()
    inner = evidence.model[0][0].weight.double()
    inputs = evidence.task.test.inputs.double()
    basis = torch.linalg.qr(inner.T)[0]
    projected = inputs @ basis @ basis.T
    config = linear.Config(shares="outer", count="norm")
    shared = _gradients.shared(evidence)
    attack = linear._Attack(shared, *linear._first(shared), config)
    guess, known, _ = attack.run(inputs, evidence.task.test.targets)
    assert known.all()
    assert torch.allclose(guess, projected, atol=1e-9)
    answer = linear.measure(evidence, config, rng)
    shares = projected.square().sum(1) / inputs.square().sum(1)
    assert answer["recovered"].tolist() == pytest.approx(shares.tolist(), abs=1e-6)
    assert 0 < answer["recovered"].min() < answer["recovered"].max() < 0.6
    # With both factors the same layer withholds nothing, and no entry of a projection is right.
    assert linear.measure(evidence, linear.Config(count="norm"), rng)["recovered"].tolist() == pytest.approx([1.0] * 30)
    assert linear.measure(evidence, linear.Config(shares="outer"), rng)["recovered"].max() < 0.2


@pytest.mark.known_answer
@pytest.mark.parametrize("rank", [4, 20])
def test_a_random_factor_leaves_its_rank_over_the_entries(factored, rng, rank):
    answer = linear.measure(factored(rank=rank), linear.Config(shares="outer", count="norm"), rng)
    # The share of a random direction is Beta(r / 2, (n - r) / 2): variance 2 r (n - r) / (n^2 (n + 2)).
    spread = (2 * rank * (40 - rank) / (40**2 * 42)) ** 0.5
    assert float(answer["recovered"].mean()) == pytest.approx(rank / 40, abs=3 * spread / 30**0.5)


@pytest.mark.known_answer
def test_a_pruned_outer_factor_hides_rows_of_the_inner_one(factored, rng):
    evidence = factored()
    evidence.model[0][1].weight[:, 3:] = 0
    rows = evidence.model[0][0].weight[:3].double()
    inputs = evidence.task.test.inputs.double()
    basis = torch.linalg.qr(rows.T)[0]
    shares = (inputs @ basis).square().sum(1) / inputs.square().sum(1)
    answer = linear.measure(evidence, linear.Config(shares="outer", count="norm"), rng)
    assert answer["recovered"].tolist() == pytest.approx(shares.tolist(), abs=1e-6)


def test_a_layer_of_one_matrix_shares_all(wide, rng):
    evidence = wide(torch.nn.Linear(200, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    values = [
        linear.measure(evidence, linear.Config(shares=shares), rng).columns["recovered"] for shares in ("all", "outer")
    ]
    assert torch.equal(*values)


@pytest.fixture
def awake(chain, toy):
    """Batches of four examples whose first entries decide which of three units wake."""

    def make(switches):
        rng = torch.Generator().manual_seed(17)
        switches = torch.tensor(switches, dtype=torch.float32)
        inputs = torch.cat([switches, torch.rand(len(switches), 9, generator=rng)], 1)
        inputs[:, 3] = 0  # the same in all of them
        model = chain(torch.nn.Linear(12, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3))
        evidence = toy.evidence_of(model, toy.task_of(inputs, torch.arange(len(inputs)) % 3, classes=3))
        model[0].weight.fill_(1e-3)
        model[0].weight[:, :3] += torch.eye(3)
        model[0].bias.fill_(-0.5)
        return evidence

    return make


@pytest.mark.known_answer
def test_of_a_batch_the_examples_that_wake_a_unit_alone_are_found(awake, rng):
    evidence = awake([[1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    config = linear.Config(batch=4, tolerance=1e-6)
    # Unit 0 speaks for the first and unit 1 for the second; unit 2 mixes three. Then 1 mixes, 0 and 2 speak.
    assert linear.measure(evidence, config, rng)["recovered"].tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    assert linear.measure(evidence, linear.Config(batch=1), rng)["recovered"].tolist() == [1, 1, 1, 0, 1, 1, 1, 1]
    # Zero in all of them is right in every mixture, and still not told.
    evidence.model[0].weight[0, 6:] = 0
    expected = [0.5, 1, 0, 0, 0, 0, 0.5, 1]
    assert linear.measure(evidence, config, rng)["recovered"].tolist() == expected


@pytest.mark.known_answer
def test_who_outweighs_the_batch_is_found_within_the_tolerance(awake, rng):
    evidence = awake([[1, 0, 0]] * 4)
    head = evidence.model[2]
    head.weight.zero_()
    # All examples answer class 0 with a margin of 8: those of class 0 have gradients of e^-8, the others outweigh them.
    head.bias.copy_(torch.tensor([8.0, 0.0, 0.0]))
    head.weight[0, 0] = 1e-2
    evidence.task.test.targets.copy_(torch.tensor([0, 1, 0, 0]))
    assert linear.measure(evidence, linear.Config(batch=4, tolerance=0.01), rng)["recovered"].tolist() == [0, 1, 0, 0]
    assert linear.measure(evidence, linear.Config(batch=4, tolerance=1e-4), rng)["recovered"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("config", [linear.Config(), linear.Config(examples=5), linear.Config(batch=3)])
def test_no_more_is_spent_than_was_said(zoo, toy, rng, config):
    evidence = toy.evidence_of(zoo.models["factored"], zoo.task)
    linear.measure(evidence, config, rng)
    assert evidence.passes.forward + evidence.passes.backward == linear.effort(config, zoo.task)


def test_examples_are_asked_piece_by_piece_and_in_full_batches(zoo, toy, rng, monkeypatch):
    config = linear.Config(batch=2)
    found = []
    for entries in (linear._ENTRIES, 1):
        monkeypatch.setattr(linear, "_ENTRIES", entries)
        found.append(linear.measure(toy.evidence_of(zoo.models["whole"], zoo.task), config, rng)["recovered"].tolist())
    assert found[0] == found[1]
    with pytest.raises(NotMeasurableError, match="needs a batch of 13 examples; test has 12"):
        linear.measure(toy.evidence_of(zoo.models["whole"], zoo.task), linear.Config(batch=13), rng)
