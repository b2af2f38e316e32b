import pytest
import torch

from whatelse.attacks import attack, hop_skip_jump, norms


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", norms.NORMS)
@pytest.mark.parametrize("queries", [100, 500, 5000])
def test_rounds_grow_with_the_root_of_their_number_and_fit_the_queries(norm, queries):
    features = 784
    found = hop_skip_jump.rounds(queries, features, norm)
    # The threshold of the source: one over features to the power of 3/2, of the square in L-infinity.
    halvings = {"l2": 15, "linf": 20}[norm]
    assert sum(found) + len(found) * (halvings + 10) + hop_skip_jump.AROUND <= max(queries, hop_skip_jump.AROUND)
    assert found[:-1] == [round(100 * (k + 1) ** 0.5) for k in range(len(found) - 1)]
    assert bool(found) == (queries > 100)


@pytest.mark.known_answer
def test_random_moves_tell_where_the_border_of_a_linear_model_faces(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    right = lines.margin(lines.first, lines.inputs, lines.labels) > 0
    clean, labels = lines.inputs[right], lines.labels[right]
    apart = lines.first[labels] - lines.first[1 - labels]
    gap = lines.margin(lines.first, clean, labels)
    border = clean - apart * (1.001 * gap / apart.square().sum(1))[:, None]
    ways = norms.steepest(torch.randn(4000, clean.shape[1], generator=rng), "l2")
    slope = hop_skip_jump._slope(mine, (clean, labels), border, ways)
    assert float(torch.cosine_similarity(slope, -apart).min()) > 0.99


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", norms.NORMS)
def test_bisection_ends_at_the_border_on_the_fooling_side(lines, toy, norm):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    right = lines.margin(lines.first, lines.inputs, lines.labels) > 0
    clean, labels = lines.inputs[right], lines.labels[right]
    far = clean - 5 * (lines.first[labels] - lines.first[1 - labels])
    found = hop_skip_jump._projected(mine, (clean, labels), far, 20, norm)
    assert bool(attack.fooled(mine, found, labels).all())
    assert float(lines.margin(lines.first, found, labels).abs().max()) < 1e-3


@pytest.mark.parametrize("norm", norms.NORMS)
def test_points_fool_stay_in_bounds_and_are_as_far_as_it_says(toy, rng, norm):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    for p in net.parameters():
        torch.nn.init.normal_(p, 0, 0.5, generator=rng)
    inputs = torch.rand(20, 3, 4, 4, generator=rng)
    labels = net(inputs).argmax(1)
    labels[0] = (labels[0] + 1) % 4
    mine = toy.evidence_of(net, toy.task_of(inputs, labels, classes=4, bounds=(0.0, 1.0)))
    mine.predictions()
    before = mine.passes.forward
    found = hop_skip_jump.own(mine, hop_skip_jump.Search(norm, 300, 20))
    assert mine.passes.forward - before <= 20 * 300
    assert found.points.min() >= 0
    assert found.points.max() <= 1
    assert float(found.distances[0]) == 0
    some = found.known & (found.distances > 0)
    assert bool(some.any())
    assert bool(attack.fooled(mine, found.points[some], labels[some]).all())
    assert torch.allclose(found.distances[some], norms.size(found.points - inputs, norm)[some])
    assert bool((found.distances[~found.known] > norms.size(torch.ones(1, 48) / 2, norm)).all())


def test_where_no_example_is_of_another_class_it_begins_at_noise(toy, rng):
    # Every example lies on one side; the other side is a corner that uniform noise finds.
    net = torch.nn.Linear(3, 2, bias=True)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
        net.bias.copy_(torch.tensor([1.2, -1.2]))
    inputs = 0.3 * torch.rand(10, 3, generator=rng)
    labels = torch.zeros(10, dtype=torch.int64)
    labels[0] = 1
    mine = toy.evidence_of(net, toy.task_of(inputs, labels, bounds=(0.0, 1.0)))
    found = hop_skip_jump.own(mine, hop_skip_jump.Search("l2", 1000, 10))
    assert bool(found.known.all())
    exact = (1.2 - inputs.sum(1)) / 3**0.5
    assert torch.allclose(found.distances[1:], exact[1:], rtol=0.08)
