"""Weights as others save them, filled into models whose right tensors are known without the code under test."""

import argparse
import os
import zipfile
from collections import OrderedDict
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from whatelse import limits
from whatelse.artifacts import checkpoint
from whatelse.errors import ArtifactError, Told

# What is told of names and types is held by tests of its own; everything else that warns fails.
pytestmark = pytest.mark.filterwarnings("ignore:.*(are matched without|are computed with as):whatelse.errors.Told")


class Wrapped(nn.Module):
    def __init__(self, name="module"):
        super().__init__()
        self.add_module(name, net())


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def drawn(model, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return OrderedDict(
        (n, torch.rand(t.shape, generator=rng) if t.is_floating_point() else t + 7)
        for n, t in model.state_dict().items()
    )


def same(model, state):
    return all(torch.equal(t, state[n].to(t.dtype)) for n, t in model.state_dict().items() if n in state)


def filled(model, what, tmp_path, name="", file="c.pth"):
    if file.endswith("safetensors"):
        save_file(what, tmp_path / file)
    else:
        torch.save(what, tmp_path / file)
    checkpoint.fill(model, f"{tmp_path / file}{name}")
    return model


def prefixed(state, *fronts):
    return OrderedDict((f"{front}{n}", t) for front in fronts for n, t in state.items())


STATE = drawn(net())
CONTAINERS = {
    "plain": STATE,
    "dict": dict(STATE),
    "tutorial": {
        "epoch": 1,
        "model_state_dict": STATE,
        "optimizer_state_dict": {"state": {0: {"step": torch.ones(1)}}},
    },
    "torchvision": {"model": STATE, "lr_scheduler": {"last": [1, 2]}, "epoch": 3},
    "model_state": {"model_state": STATE, "seed": 1},
    "net": {"net": STATE, "acc": 93.1, "classes": ("a", "b")},
    "inside": {"run": {"best": {"network": STATE}}},
    "params": {"params": STATE, "names": ["x"]},
    "unknown name": {"whatever": STATE},
    "only an average": {"ema": STATE},
    "lightning": {"pytorch-lightning_version": "2.5.1", "state_dict": prefixed(STATE, "model."), "loops": {}},
    "data parallel": prefixed(STATE, "module."),
    "compiled": prefixed(STATE, "_orig_mod."),
    "compiled, distributed, lightning": {"state_dict": prefixed(STATE, "net.module._orig_mod.")},
    "a part compiled": OrderedDict((f"0._orig_mod.{n[2:]}" if n[0] == "0" else n, t) for n, t in STATE.items()),
    "twice": {"state_dict": STATE, "model": dict(STATE)},
    "half": {n: t.half() if t.is_floating_point() else t for n, t in STATE.items()},
    "bfloat16": {n: t.bfloat16() if t.is_floating_point() else t for n, t in STATE.items()},
    "parameters": {n: nn.Parameter(t, requires_grad=False) for n, t in STATE.items()},
    "without counters": {n: t for n, t in STATE.items() if "num_batches" not in n},
    "sparse": {n: t.to_sparse() if t.dim() == 2 else t for n, t in STATE.items()},
}


@pytest.mark.known_answer
@pytest.mark.parametrize("name", CONTAINERS)
def test_weights_are_found_wherever_scripts_put_them(name, tmp_path):
    model = filled(net(), CONTAINERS[name], tmp_path)
    kind = {"half": torch.half, "bfloat16": torch.bfloat16}.get(name, torch.float32)
    want = {n: t.to(kind) if t.is_floating_point() else t for n, t in STATE.items()}
    assert same(model, {n: t for n, t in want.items() if name != "without counters" or "num_batches" not in n})


@pytest.mark.known_answer
@pytest.mark.parametrize("own", ["module", "model", "net", "_orig_mod", "ema"])
def test_a_name_that_a_wrapper_could_have_made_is_the_models_own_where_it_fits(own, tmp_path):
    state = drawn(Wrapped(own))
    assert same(filled(Wrapped(own), state, tmp_path), state)
    assert same(filled(Wrapped(own), {"state_dict": prefixed(state, "model.")}, tmp_path), state)


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.module = nn.Linear(3, 2), nn.ModuleDict({"a": nn.Linear(3, 2)})


@pytest.mark.known_answer
def test_what_fits_as_it_is_goes_before_what_fits_without_a_prefix(tmp_path):
    state = drawn(Both())  # without its prefix, module.a would be a second a
    assert same(filled(Both(), {"model": state}, tmp_path), state)
    first, second = drawn(Wrapped()), drawn(net(), 1)
    with pytest.warns(UserWarning, match="taken is first; second would fit too"):
        assert same(filled(Wrapped(), {"second": second, "first": first}, tmp_path), first)


def test_a_model_that_is_wrapped_takes_what_was_saved_of_it_unwrapped(tmp_path):
    for wrap in (nn.DataParallel, lambda m: torch.compile(m, backend="eager"), lambda m: Wrapped("module")):
        model = filled(wrap(net()), STATE, tmp_path)
        assert [torch.equal(a, b) for a, b in zip(model.state_dict().values(), STATE.values(), strict=True)] == [
            True
        ] * 9


def test_a_safetensors_file_and_an_old_checkpoint_are_read_alike(tmp_path):
    assert same(filled(net(), prefixed(STATE, "model."), tmp_path, file="c.safetensors"), STATE)
    torch.save({"model": STATE}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    model = net()
    checkpoint.fill(model, str(tmp_path / "old.pth"))
    assert same(model, STATE)


@pytest.mark.known_answer
@pytest.mark.parametrize("flat", [False, True])
def test_of_a_model_and_its_average_the_plain_one_is_taken_and_said_and_either_can_be_chosen(flat, tmp_path):
    average = drawn(net(), 1)
    both = {"model": STATE, "model_ema": average}
    if flat:
        both = {"state_dict": {**prefixed(STATE, "model."), **prefixed(average, "model_ema.")}}
    start = "state_dict." if flat else ""
    beside = pytest.warns(UserWarning, match="left aside are model_ema.0.weight") if flat else nullcontext()
    with beside, pytest.warns(UserWarning, match=rf"taken is {start}model; {start}model_ema would fit too"):
        assert same(filled(net(), both, tmp_path), STATE)
    for name, want in (("model", STATE), ("model_ema", average)):
        assert same(filled(net(), both, tmp_path, f":{start}{name}"), want)  # chosen, so nothing is said
    with pytest.raises(ArtifactError, match=r"nothing called 'emma' in it; it has .*model_ema"):
        filled(net(), both, tmp_path, ":emma")


def test_several_that_fit_are_listed_and_none_is_guessed(tmp_path):
    with pytest.raises(ArtifactError, match=r"generator and critic fit the model and differ; choose one: .*:critic"):
        filled(net(), {"generator": STATE, "critic": drawn(net(), 1)}, tmp_path)


def test_what_stands_beside_the_model_is_said(tmp_path):
    beside = {"state_dict": {**prefixed(STATE, "model."), "criterion.weight": torch.ones(2)}}
    with pytest.warns(UserWarning, match=r"taken is state_dict.model; left aside are criterion.weight \(1 name\)"):
        assert same(filled(net(), beside, tmp_path), STATE)


def without(name):
    return {n: t for n, t in STATE.items() if n != name}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (without("2.bias"), r"they lack 2.bias \(1 name\); tried: the file as it is"),
        ({**STATE, "9.bias": torch.ones(2)}, r"the model has no 9.bias"),
        ({**STATE, "2.bias": torch.ones(3)}, r"2.bias is \(3,\) where the model has \(2,\)"),
        ({"model": without("2.bias")}, r"they lack 2.bias.*tried: model"),
        ({n: (t * 9).to(torch.int8) for n, t in STATE.items()}, r"0.weight is int8 where the model has float32"),
        ({n: t.to(torch.complex64) for n, t in STATE.items()}, "complex64 where"),
        ({n: t.to("meta") for n, t in STATE.items()}, "has no values in the file"),
        ({**prefixed(STATE, "a."), **prefixed(STATE, "b.")}, "do not fit the model"),
        ({"epoch": 3, "names": ["a"]}, "no state dict; a mapping of names to tensors is needed"),
        ([STATE], "no state dict"),
        (torch.ones(3), "no state dict"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_tried(what, message, tmp_path):
    model = net()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(ArtifactError, match=message) as raised:
        filled(model, what, tmp_path)
    assert "\n" not in str(raised.value)
    assert same(model, before), "nothing was filled in"


@pytest.mark.known_answer
def test_tied_tensors_may_stand_once_or_twice_but_not_with_two_values(tmp_path):
    weight = torch.rand(5, 3)
    for names in (["embed.weight"], ["head.weight"], ["embed.weight", "head.weight"]):
        model = filled(Tied(), {n: weight.clone() for n in names}, tmp_path)
        assert torch.equal(model.head.weight, weight)
        assert model.head.weight is model.embed.weight
    with pytest.raises(ArtifactError, match=r"is tied to another tensor in the model"):
        filled(Tied(), {"embed.weight": weight, "head.weight": weight + 1}, tmp_path)


def test_names_that_a_modules_own_hooks_translate_are_left_to_them(tmp_path):
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)))
    given = {"0.bias": torch.rand(2), "0.weight_g": torch.rand(2, 1), "0.weight_v": torch.rand(2, 3)}  # of old torch
    filled(model, given, tmp_path)
    want = given["0.weight_v"] / given["0.weight_v"].norm(dim=1, keepdim=True) * given["0.weight_g"]
    assert torch.allclose(model[0].weight, want)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"model": STATE, "args": argparse.Namespace(x=1)}, r"a argparse.Namespace besides tensors.*safetensors"),
        (net(), r"besides tensors and loading it would run code.*save model.state_dict\(\)"),
        ({"model": STATE, "best": np.float64(0.5)}, r"numpy.*besides tensors"),
    ],
    ids=["arguments", "a whole module", "a number of numpy"],
)
def test_what_would_run_code_is_named(what, message, tmp_path):
    with pytest.raises(ArtifactError, match=message):
        filled(net(), what, tmp_path)


def test_a_torchscript_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "s.pt", "w") as made:  # the one file by which torch tells
        for name in ("constants.pkl", "data.pkl", "version"):
            made.writestr(f"s/{name}", b"3\n")
    with pytest.raises(ArtifactError, match=r"would run code"):
        checkpoint.fill(net(), str(tmp_path / "s.pt"))


def test_packed_zeros_are_seen_before_they_are_unpacked(tmp_path):
    torch.save(STATE, tmp_path / "c.pth")
    with zipfile.ZipFile(tmp_path / "c.pth", "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("c/data/99", bytes(2**24))
    with limits.within("4M"), pytest.raises(ArtifactError, match=r"would take 16 MiB of memory; allowed are 4 MiB"):
        checkpoint.fill(net(), str(tmp_path / "c.pth"))


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "p.pth")
    (tmp_path / "d.pth").mkdir()
    for name, said in (("p.pth", "a pipe"), ("d.pth", "a folder"), ("no.pth", "No such file")):
        with pytest.raises(ArtifactError, match=said):
            checkpoint.fill(net(), str(tmp_path / name))


def test_what_torchs_own_averaging_saves_is_opened(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(net())
    state = averaged.state_dict()
    assert "n_averaged" in state
    assert same(filled(net(), state, tmp_path), {n.removeprefix("module."): t for n, t in state.items()})


@pytest.mark.known_answer
@pytest.mark.parametrize("front", ["module.", "_orig_mod.", "ema.", "module._orig_mod."])
@pytest.mark.parametrize("name", ["model_ema", "other", "model"])
def test_weights_that_fit_as_they_are_are_taken_and_those_that_fit_without_a_wrapper_are_told(name, front, tmp_path):
    other = drawn(net(), 1)
    taken = "ema" if name == "model" else "model"
    both = {taken: STATE, name: prefixed(other, front)}
    # What scripts put in front is a part of its own, as `ema.` is; what wrappers put anywhere is not.
    called = f"{name}.ema" if front == "ema." else name
    with pytest.warns(UserWarning, match=rf"taken is {taken}; {called} would fit too, .*:{called} takes"):
        assert same(filled(net(), both, tmp_path), STATE)
    assert same(filled(net(), both, tmp_path, f":{called}"), other)


def test_the_same_weights_twice_are_nothing_to_tell(tmp_path):
    assert same(filled(net(), {"model": STATE, "model_ema": prefixed(STATE, "module.")}, tmp_path), STATE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
@pytest.mark.parametrize("file", ["c.pth", "c.safetensors"])
def test_weights_that_hold_nan_are_told_in_one_line(dtype, file, tmp_path):
    state = OrderedDict((n, t.to(dtype) if t.is_floating_point() else t) for n, t in STATE.items())
    for name in ("0.bias", "2.weight"):
        state[name] = state[name].float().index_fill(0, torch.tensor([1]), float("nan")).to(dtype)
    with pytest.warns(UserWarning, match=r"NaN stands in 0.bias, 2.weight \(2 names\)") as told:
        filled(net(), state, tmp_path, file=file)
    lines = [str(one.message) for one in told]
    assert len([line for line in lines if "NaN" in line]) == 1
    assert not any("\n" in line for line in lines)


def test_infinities_are_no_nan(tmp_path):
    state = STATE | {"0.bias": torch.full((4,), -torch.inf)}
    assert same(filled(net(), state, tmp_path), state)


@pytest.mark.parametrize("front", ["module.", "_orig_mod.", "model.", "net.", "ema."])
def test_a_prefix_that_a_wrapper_left_is_told(front, tmp_path):
    with pytest.warns(Told, match="names are matched without what wrappers put into them"):
        assert same(filled(net(), prefixed(STATE, front), tmp_path), STATE)


def test_weights_of_another_type_are_told(tmp_path):
    with pytest.warns(Told, match="weights stored as bfloat16 are computed with as float32") as told:
        filled(net(), CONTAINERS["bfloat16"], tmp_path)
    assert len(told) == 1


def test_of_names_that_do_not_fit_the_nearest_is_told(tmp_path):
    state = OrderedDict((n.replace("2.weight", "3.weight"), t) for n, t in STATE.items())
    with pytest.raises(
        ArtifactError, match=r"they lack 2\.weight .* no 3\.weight .*; nearest to 2\.weight is 3\.weight"
    ):
        filled(net(), state, tmp_path)


def placed():
    model = net()
    model.register_buffer("places", torch.arange(6))
    return model


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_counters_that_were_halved_with_all_else_are_taken(dtype, tmp_path):
    """``{name: value.half() for ...}`` is how people store a state dict in half precision, counters and all."""
    state = {name: value.to(dtype) for name, value in drawn(placed()).items()}
    state["1.num_batches_tracked"] = torch.tensor(70_000.0, dtype=dtype)  # beyond what half precision counts
    found = filled(placed(), state, tmp_path)
    assert same(found, {n: t for n, t in state.items() if "num_batches" not in n})
    assert found.places.dtype == torch.int64


def test_numbers_that_are_not_whole_are_no_places(tmp_path):
    state = {**drawn(placed()), "places": torch.arange(6) + 0.5}
    with pytest.raises(ArtifactError, match="places is float32 where the model has int64"):
        filled(placed(), state, tmp_path)
