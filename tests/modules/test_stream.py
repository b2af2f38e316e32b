"""Inputs that pass a language model block by block: bit by bit what whole passes give, for a fraction of the work."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from whatelse import opening, recipe
from whatelse.modules import calibration, shelf, windows
from whatelse.modules.stream import Stream
from whatelse.modules.walk import layers

pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parents[1] / "subjects" / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)
TEXT = "Once upon a time there was a small dog, and it ran home to its friend. The cat sat on the mat! " * 8
STEPS = (
    *("quantize.gptq(bits=4, activation_bits=32)", "quantize.gptq(bits=4, activation_bits=8)"),
    *("prune.wanda(sparsity=0.5)", "prune.sparsegpt(sparsity=0.5)", "decompose.svd(rank=0.5, aware=True)"),
)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, "utf-8")
    return opening.load_task(f"language(path='{path}', document=200, windows=11, window=24)")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def whole(request, tmp_path_factory, task):
    more = {"llama": {"num_hidden_layers": 3}, "gpt2": {}}[request.param]
    with warnings.catch_warnings(action="ignore"):
        folder = language.random(tmp_path_factory.mktemp(request.param), request.param, **more)
        return opening.open_module(str(folder), task).eval()


@pytest.fixture(autouse=True, params=["one batch", "five batches"])
def several(request, monkeypatch):
    """Eleven windows at once, or two by two."""
    if request.param == "five batches":
        monkeypatch.setattr(calibration, "_OUTPUT", 1)


@pytest.fixture
def inputs(whole, task):
    from whatelse.artifacts.language import calibrated

    return windows.read(whole, calibrated(task), torch.Generator().manual_seed(0)).calibration.inputs


@pytest.mark.known_answer
def test_what_enters_a_layer_is_what_enters_it_in_a_whole_pass(whole, inputs):
    stream, every = Stream(whole, inputs), layers(whole)
    assert len(stream._parts) == (5 if calibration._OUTPUT == 1 else 1)
    groups = stream.groups(every)
    assert [name for group in groups for name in group] == list(every)
    assert len(groups) == len([name for name in every if name.endswith(("down_proj", "mlp.c_proj"))])
    for group in groups:
        for name, layer in group.items():
            one, other = (
                calibration.grams(whole, {name: layer}, inputs, way) for way in (stream.watch, calibration.watch)
            )
            assert torch.equal(one[name], other[name])
    first = next(iter(every))  # gone by: passed whole
    again = calibration.grams(whole, {first: every[first]}, inputs, stream.watch)
    assert torch.equal(again[first], calibration.grams(whole, {first: every[first]}, inputs)[first])


@pytest.mark.known_answer
@pytest.mark.parametrize("steps", STEPS)
def test_methods_make_the_same_model_as_by_whole_passes(steps, whole, task, monkeypatch):
    step = recipe.parse(steps)[0]
    made = []
    for streamed in (True, False):
        if not streamed:
            monkeypatch.setattr(Stream, "_passes", lambda *given: False)
        made.append(recipe.apply(step, whole, task_of(task), torch.Generator().manual_seed(0)).state_dict())
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(one, made[1][name]) for name, one in made[0].items())


def task_of(task):
    from whatelse.artifacts.language import calibrated

    return calibrated(task)


def test_no_block_is_passed_more_often_than_it_has_layers_and_the_head_is_not_asked(whole, inputs):
    stream, every = Stream(whole, inputs), layers(whole)
    calls = {"head": 0, "first": 0}
    whole.lm.get_output_embeddings().register_forward_hook(
        lambda *given: calls.update(head=calls["head"] + len(given[1][0]))
    )
    first = next(iter(every))
    whole.get_submodule(first).register_forward_hook(lambda *given: calls.update(first=calls["first"] + len(given[2])))
    for group in stream.groups(every):
        for name, layer in group.items():
            calibration.energies(whole, {name: layer}, inputs, stream.watch)
    for part in whole.modules():
        part._forward_hooks.clear()
    assert calls["head"] == 0
    # Once for every layer of its block, and once to leave that.
    assert calls["first"] == (len(stream.groups(every)[0]) + 1) * len(inputs)


class Telling(nn.Module):
    """A block that hears from the one before besides what it is given."""

    def __init__(self, block, heard):
        super().__init__()
        self.block, self.heard = block, heard

    def forward(self, x, *rest, **also):
        told = self.heard.get("told", 0.0)
        self.heard["told"] = x.mean()
        out = self.block(x, *rest, **also)
        return (out[0] + told, *out[1:]) if isinstance(out, tuple) else out + told


def test_blocks_that_tell_each_other_more_are_passed_whole(whole, inputs):
    from copy import deepcopy

    small, heard = deepcopy(whole), {}
    stack = next(part for part in small.modules() if isinstance(part, nn.ModuleList) and len(part) > 1)
    for at in range(len(stack)):
        stack[at] = Telling(stack[at], heard)
    stream, every = Stream(small, inputs), layers(small)
    assert len(stream.groups(every)) == 1
    last = list(every)[-1]
    heard.clear()
    one = calibration.energies(small, {last: every[last]}, inputs, stream.watch)[last]
    heard.clear()
    assert torch.equal(one, calibration.energies(small, {last: every[last]}, inputs)[last])


def test_what_is_large_lies_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = shelf.shelf((3, 5), torch.float32, large=1)
    made[:] = torch.arange(15.0).view(3, 5)
    assert torch.equal(made, torch.arange(15.0).view(3, 5))
    assert list(tmp_path.iterdir()) == []
