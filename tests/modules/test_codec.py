import pytest
import torch

from whatelse import recipe
from whatelse.errors import ArtifactError
from whatelse.layers.quantized import pack, unpack
from whatelse.modules import architecture, codec
from whatelse.nets import cnn


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
    again = codec.decode(*codec.encode(model))
    assert torch.equal(again(inputs), model(inputs))
    assert not any(p.requires_grad for p in again.parameters())


def test_a_pruned_model_takes_fewer_bytes(toy, rng, task):
    model = cnn.build(cnn.Config(), (1, 8, 8), 10, rng)
    (step,) = recipe.parse("prune.magnitude(sparsity=0.9)")
    sizes = [
        sum(t.numel() * t.element_size() for t in codec.encode(m)[0].values())
        for m in (model, recipe.apply(step, model, task, rng))
    ]
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    # A tenth of the values, and one bit a weight; biases stay whole.
    assert sizes[1] == pytest.approx(sizes[0] - 4 * 0.9 * weights + weights / 8, abs=50)


def test_only_known_layers_are_saved_or_built():
    with pytest.raises(ArtifactError, match="cannot save a layer of type LSTM"):
        architecture.describe(torch.nn.Sequential(torch.nn.LSTM(2, 2)))
    with pytest.raises(ArtifactError, match="names the layer 'Module'"):
        architecture.planned({"kind": "Module"})


def test_building_draws_no_random_number(rng):
    state = torch.get_rng_state()
    cnn.build(cnn.Config(), (1, 8, 8), 10, rng)
    assert torch.equal(state, torch.get_rng_state())


def chain():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.mul_(torch.eye(4))
    model[1].bias = model[0].bias
    return model


def changed(spec, tensors, change):
    """The description and tensors of a small model after somebody with bad intentions had them."""
    change(spec, tensors)
    return codec.decode(tensors, spec)


@pytest.mark.parametrize(
    "change",
    [
        lambda s, t: s["shared"].update({"0.forward": "0.requires_grad_"}),
        lambda s, t: s["shared"].update({"load_state_dict": "zero_grad"}),
        lambda s, t: s["shared"].update({"get_submodule": "0.forward", "/tmp/x.y": "0.forward"}),
        lambda s, t: s["shared"].update({"2.weight": "0.weight"}),
        lambda s, t: s["shared"].update({"0.bias": "1.bias"}),
        lambda s, t: s["shapes"].update({"1.weight": [10**9]}),
        lambda s, t: s["shapes"].update({"1.weight": "abc"}),
        lambda s, t: s["shapes"].update({"nothing": [2]}),
        lambda s, t: s.pop("shapes"),
        lambda s, t: s["tree"]["parts"]["0"].update(device="cpu"),
        lambda s, t: s["tree"]["parts"]["0"].update(in_features=10**6, out_features=10**6),
        lambda s, t: s["tree"]["parts"]["0"].update(in_features={"a": 1}),
        lambda s, t: s["tree"]["parts"].update({"0": {"kind": "soft_tree.SoftTree", "features": 4, "depth": 40}}),
        lambda s, t: t.update(extra=torch.ones(2)),
        lambda s, t: t.pop("0.weight"),
        lambda s, t: t.update({"0.weight": t["0.weight"].double()}),
        lambda s, t: t.update({"1.weight.values": t["1.weight.values"][:-1]}),
        lambda s, t: t.update({"1.weight.mask": t["1.weight.mask"][:-1]}),
    ],
)  # fmt: skip
def test_a_folder_of_an_enemy_is_refused_before_anything_is_made(change):
    tensors, spec = codec.encode(chain())
    assert spec["shared"] == {"1.bias": "0.bias"}
    assert set(spec["shapes"]) == {"1.weight"}
    with pytest.raises(ArtifactError):
        changed(spec, tensors, change)


def test_planning_takes_no_memory_and_draws_nothing():
    state = torch.get_rng_state()
    spec = {"kind": "Linear", "in_features": 10**6, "out_features": 10**6, "bias": True}
    assert architecture.planned(spec).weight.is_meta
    assert torch.equal(state, torch.get_rng_state())
