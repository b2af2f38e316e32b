import pytest
import torch

from whatelse import recipe
from whatelse.errors import ArtifactError
from whatelse.layers.quantized import pack, unpack
from whatelse.nets import _architecture, _artifact, cnn


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7, 8])
def test_packing_is_lossless_and_dense(bits, rng):
    codes = torch.randint(0, 2**bits, (37,), generator=rng)
    packed = pack(codes, bits)
    assert len(packed) == -(-37 * bits // 8)
    assert torch.equal(unpack(packed, bits, 37), codes.to(torch.uint8))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "prune.magnitude(sparsity=0.9)",
        "decompose.svd(rank=0.25)",
        "quantize.uniform(bits=3)",
        "decompose.svd(rank=0.5) > prune.magnitude(sparsity=0.5) > quantize.uniform(bits=4)",
    ],
)
def test_a_reloaded_model_answers_bit_for_bit(text, toy, rng):
    inputs = torch.rand(40, 1, 8, 8, generator=rng)
    task = toy.task_of(inputs, torch.arange(40) % 10, classes=10, bounds=(0, 1))
    model = cnn.build(cnn.Config(width=4), (1, 8, 8), 10, rng)
    for step in recipe.parse(text):
        model = recipe.apply(step, model, task, rng)
    again = _artifact.decode(*_artifact.encode(model))
    assert torch.equal(again(inputs), model(inputs))
    assert not any(p.requires_grad for p in again.parameters())


def test_a_pruned_model_takes_fewer_bytes(toy, rng, task):
    model = cnn.build(cnn.Config(), (1, 8, 8), 10, rng)
    (step,) = recipe.parse("prune.magnitude(sparsity=0.9)")
    sizes = [
        sum(t.numel() * t.element_size() for t in _artifact.encode(m)[0].values())
        for m in (model, recipe.apply(step, model, task, rng))
    ]
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    # A tenth of the values, and one bit a weight; biases stay whole.
    assert sizes[1] == pytest.approx(sizes[0] - 4 * 0.9 * weights + weights / 8, abs=50)


def test_only_known_layers_are_saved_or_built():
    with pytest.raises(ArtifactError, match="cannot save a layer of type LSTM"):
        _architecture.describe(torch.nn.Sequential(torch.nn.LSTM(2, 2)))
    with pytest.raises(ArtifactError, match="names the layer 'Module'"):
        _architecture.build({"kind": "Module"})


def test_building_draws_no_random_number(rng):
    state = torch.get_rng_state()
    cnn.build(cnn.Config(), (1, 8, 8), 10, rng)
    assert torch.equal(state, torch.get_rng_state())
