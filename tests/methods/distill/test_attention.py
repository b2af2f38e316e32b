import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.distill import _features, attention, logits

PRUNED = "prune.magnitude(sparsity=0.6)"


def fresh():
    return torch.Generator().manual_seed(1)


def slow_map(activation, power):
    """The map of one example ``(channels, rows, columns)`` from the formula, a list of places."""
    channels, rows, columns = activation.shape
    places = [(i, j) for i in range(rows) for j in range(columns)]
    q = [sum(abs(float(activation[c, i, j])) ** power for c in range(channels)) for i, j in places]
    length = sum(v**2 for v in q) ** 0.5
    return [v / length for v in q]


@pytest.mark.known_answer
@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("kind", ["norm", "squared"])
def test_the_distance_is_that_of_the_formula(power, kind, rng):
    mine, theirs = torch.randn(3, 2, 3, 4, generator=rng), torch.randn(3, 5, 3, 4, generator=rng)
    slow = 0.0
    for a, b in zip(mine, theirs, strict=True):
        gaps = [(p - q) ** 2 for p, q in zip(slow_map(a, power), slow_map(b, power), strict=True)]
        slow += (sum(gaps) if kind == "squared" else sum(gaps) ** 0.5) / 3
    found = attention._distance(attention._map(mine, power), attention._map(theirs, power), kind)
    assert float(found) == pytest.approx(slow, rel=1e-4)


@pytest.mark.known_answer
def test_a_sequence_has_a_map_over_its_tokens(rng):
    tokens = torch.randn(2, 6, 3, generator=rng)
    as_image = tokens.mT[..., None]  # (N, channels, tokens, 1)
    found = _features.unit(attention._map(tokens, 2.0))
    for row, image in zip(found, as_image, strict=True):
        assert row.tolist() == pytest.approx(slow_map(image, 2.0), rel=1e-4)


@pytest.mark.known_answer
def test_the_larger_map_is_averaged_down():
    big, small = torch.arange(16.0).view(1, 4, 4), torch.ones(1, 2, 2)
    one, other = _features.one_size(small, big)
    assert torch.equal(one, small)
    assert other.tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    one, other = _features.one_size(torch.ones(1, 3), torch.arange(6.0)[None])
    assert other.tolist() == [[0.5, 2.5, 4.5]]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("chain", "relu1 relu2 relu3"), ("residual", "1 3"), ("tokens", "blocks.0 blocks")],
)
def test_maps_are_spread_evenly_by_depth(kind, expected, taught):
    found = _features.points(taught.models[kind], taught.inputs)
    assert attention._pairs(found, found, 3) == {name: name for name in expected.split()}


@pytest.mark.parametrize(("student", "layer"), [("", "relu3"), (PRUNED, "relu3")])
def test_the_maps_come_closer_than_with_distill_logits(student, layer, taught, shown):
    teacher = taught.models["chain"]
    common = {"student": student, "epochs": 40, "batch": 20}
    mine = attention.compress(teacher, attention.Config(**common), shown, fresh())
    theirs = logits.compress(teacher, logits.Config(**common), shown, fresh())
    assert mine.conv1.weight.shape[0] == (4 if student else 2)
    target, a, b = (attention._map(_features.up_to(m, layer, taught.inputs), 2.0) for m in (teacher, mine, theirs))
    near, far = (float(attention._distance(q, target, "norm")) for q in (a, b))
    assert near < 0.8 * far


def test_without_weight_it_is_distill_logits(taught, shown):
    teacher, common = taught.models["residual"], {"student": PRUNED, "epochs": 2}
    mine = attention.compress(teacher, attention.Config(**common, weight=0.0), shown, fresh())
    theirs = logits.compress(teacher, logits.Config(**common), shown, fresh())
    assert torch.allclose(mine(taught.inputs), theirs(taught.inputs), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "distance"), [("chain", "squared"), *((kind, "norm") for kind in ("chain", "residual", "tokens"))]
)
def test_every_kind_of_net_is_taught(kind, distance, taught, shown, sound):
    config = attention.Config(student=PRUNED, epochs=40, batch=20, distance=distance)
    student = attention.compress(taught.models[kind], config, shown, fresh())
    sound(taught.models[kind], student, 0.55 if kind != "tokens" else 0.4)


def test_a_net_without_maps_is_named(taught, shown, rng):
    with pytest.raises(RecipeError, match="the model has no inner maps or sequences; use distill.hints"):
        attention.compress(taught.models["perceptron"], attention.Config(), shown, rng)
    maps, tokens = _features.Point("a", 0.5, (2, 3, 3)), _features.Point("b", 0.5, (9, 2))
    with pytest.raises(RecipeError, match="no map of the student has as many axes"):
        attention._pairs([maps], [tokens], 1)
