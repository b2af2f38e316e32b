import numpy as np
import pytest
import torch

from whatelse.behaviours.mechanism import circuit
from whatelse.errors import NotMeasurableError


def answer_of(evidence, rng, **settings):
    return circuit.measure(evidence, circuit.Config(**settings), rng)


def score(evidence, rng, **settings):
    answer = answer_of(evidence, rng, **settings)
    return circuit.summarise(answer, circuit.Config(**settings), np.ones((1, len(answer))))[0]


@pytest.fixture
def two(toy, stack):
    """Two classes: the margin is linear in the hidden layer, so that every ablation has a closed form."""
    rng = torch.Generator().manual_seed(5)
    x, other = torch.randn(100, 6, generator=rng), torch.randn(70, 6, generator=rng)
    train = toy.split_of(other, (other[:, 0] > 0).long())
    task = toy.task_of(x, (x[:, 0] > 0).long(), train=train)
    return toy.evidence_of(stack(6, 9, 2), task)


def by_hand(evidence, keep):
    """Margins of every size of circuit, from weight times distance from the mean of calibration."""
    model = evidence.model
    way = (model[2].weight[1] - model[2].weight[0]).double().numpy()
    bias = float(model[2].bias[1] - model[2].bias[0])
    h = {s: evidence.hidden(s).double().numpy() for s in ("calibration", "test")}
    y = {s: evidence.split(s).targets.numpy() for s in h}
    mean, surplus, sizes = h["calibration"].mean(0), np.zeros((len(y["test"]), 10)), []
    for code, sign in ((0, -1), (1, 1)):
        effect = sign * way * (h["calibration"][y["calibration"] == code] - mean).mean(0)
        order = np.argsort(-effect)
        mine = h["test"][y["test"] == code]
        margins = np.zeros((len(mine), 10))
        for k in range(10):
            held = np.tile(mean, (len(mine), 1))
            held[:, order[:k]] = mine[:, order[:k]]
            margins[:, k] = sign * (held @ way + bias)
        surplus[y["test"] == code] = margins - margins[:, :1] - keep * (margins[:, -1:] - margins[:, :1])
        faithful = (margins.mean(0) - margins[:, 0].mean()) / (margins[:, -1].mean() - margins[:, 0].mean())
        sizes.append(np.flatnonzero(faithful >= keep)[0] / 9)
    return surplus, sizes


@pytest.mark.known_answer
@pytest.mark.parametrize("keep", [0.5, 0.8, 0.95])
def test_sizes_are_those_worked_out_by_hand(two, rng, keep):
    answer, config = answer_of(two, rng, keep=keep), circuit.Config(keep=keep)
    surplus, sizes = by_hand(two, keep)
    assert (answer["class"] == two.split("test").targets.numpy()).all()
    assert answer.table(*(f"surplus {step}" for step in range(10))) == pytest.approx(surplus, abs=1e-4)
    assert (answer["units"] == 9).all()
    assert circuit.by_part(answer, config, np.ones((1, 100)))[0] == pytest.approx(sizes)
    assert circuit.summarise(answer, config, np.ones((1, 100)))[0] == pytest.approx(np.mean(sizes))
    assert answer.parts.names == ("class 0", "class 1")
    assert answer.notes == ("9 units, 9 sizes: 1,700 forward passes",)


@pytest.fixture
def planted(toy):
    """Ten hidden units; class c is read off ``width`` units of its own, all alike, and one unit decides nothing."""

    def make(width):
        rng = torch.Generator().manual_seed(3)
        classes = torch.arange(90) % 3
        x = 0.05 * torch.rand(90, 10, generator=rng)
        head = torch.zeros(3, 10)
        for c in range(3):
            x[classes == c, 3 * c : 3 * c + width] += 1
            head[c, 3 * c : 3 * c + width] = 6 / width
        model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(10, 3))
        with torch.no_grad():
            model[1].weight.copy_(head)
            model[1].bias.zero_()
        return toy.evidence_of(model, toy.task_of(x, classes, classes=3))

    return make


@pytest.mark.known_answer
def test_a_planted_circuit_has_its_size(planted, rng):
    # At their means all classes score 2. A class's own units raise it to 6, two thirds of the way from none to all;
    # the last third is that the others fall to 0. Each of three like units goes two ninths.
    assert score(planted(1), rng, keep=0.5) == pytest.approx(1 / 10)
    assert score(planted(3), rng, keep=0.3) == pytest.approx(2 / 10)
    assert score(planted(3), rng, keep=0.5) == pytest.approx(3 / 10)
    assert score(planted(3), rng, keep=0.8) > 3 / 10


@pytest.mark.known_answer
@pytest.mark.parametrize(("steps", "size"), [(32, 1 / 50), (50, 1 / 50), (5, 10 / 50)])
def test_one_unit_of_fifty_is_a_fiftieth_whatever_the_steps(toy, rng, steps, size):
    x = torch.zeros(40, 50)
    x[::2, 7] = 1
    model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(50, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[:, 7] = torch.tensor([3.0, -3.0])
        model[1].bias.copy_(torch.tensor([-1.5, 1.5]))
    evidence = toy.evidence_of(model, toy.task_of(x, torch.arange(40) % 2))
    answer, config = answer_of(evidence, rng, steps=steps), circuit.Config(steps=steps)
    assert circuit.by_part(answer, config, np.ones((1, 40)))[0] == pytest.approx([size, size])
    assert circuit.summarise(answer, config, np.ones((1, 40)))[0] == pytest.approx(size)


def test_every_class_is_resampled_by_itself(two, rng):
    answer, config = answer_of(two, rng), circuit.Config()
    values = answer.matrix()
    draws = np.random.default_rng(0).multinomial(100, np.full(100, 1 / 100), size=20)
    parts = circuit.by_part(answer, config, draws)
    for d in range(20):
        for code in (0, 1):
            total = np.repeat(values, draws[d], 0)
            total = total[total[:, 0] == code, 1:11].sum(0)
            assert parts[d, code] == pytest.approx(np.flatnonzero(total >= 0)[0] / 9 if total[-1] > 0 else 1)
    only = (values[:, 0] == 1)[None].astype(float)
    alone = circuit.by_part(answer, config, only)
    assert np.isnan(alone[0, 0])
    assert circuit.summarise(answer, config, only)[0] == pytest.approx(alone[0, 1])


def test_order_of_units_does_not_matter_and_steps_bound_the_sizes(toy, stack, gaussian, shuffled, rng):
    task, plain = gaussian(), stack(6, 9, 3)
    told = [score(toy.evidence_of(shuffled(plain, o), task), rng) for o in (range(9), [8, 2, 0, 1, 3, 5, 4, 7, 6])]
    assert told[0] == pytest.approx(told[1])
    assert answer_of(toy.evidence_of(plain, task), rng, steps=4).matrix().shape == (120, 1 + 5 + 1)
    deep = toy.evidence_of(stack(6, 5, 4, 3), task)
    assert answer_of(deep, rng, layers="all", examples=10).matrix().shape == (10, 1 + 10 + 1)


def test_a_layer_that_does_nothing_has_no_circuit(toy, stack, gaussian, rng):
    deaf = stack(6, 5, 3)
    with torch.no_grad():
        deaf[2].weight.zero_()
    assert score(toy.evidence_of(deaf, gaussian()), rng) == 1
    with pytest.raises(NotMeasurableError, match="needs a hidden layer"):
        score(toy.evidence_of(stack(6, 3), gaussian()), rng)


def test_rows_say_which_examples_were_read(two, rng):
    # Evenly apart, not the first five: whoever counts people must know whose rows they are.
    assert answer_of(two, rng, examples=5).rows.tolist() == [0, 25, 50, 74, 99]
