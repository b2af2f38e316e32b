"""Weights at rounding boundaries: counted one by one, crowded on purpose, and the same whoever stores the levels."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from whatelse import opening, recipe
from whatelse.artifacts import pack_quantized
from whatelse.behaviours.language import woken
from whatelse.models.causal import Causal
from whatelse.testing import speakers

pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parent / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)
TEXTS = ["Once upon a time, there was a little girl named Lily.", "A cat sat on the mat.", "One day, she saw a ball."]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(TEXTS) * 3, "utf-8")
    return opening.load_task(f"language(path='{path}', document=50, windows=4, window=16)")


def decoder(tmp_path, task, kind="llama"):
    more = {"llama": {"hidden_size": 32, "intermediate_size": 48}, "gpt2": {}}[kind]
    with warnings.catch_warnings(action="ignore"):
        return opening.open_module(str(language.random(tmp_path / kind, kind, **more)), task)


def rounded(whole, task, steps):
    from whatelse.artifacts.language import read

    return recipe.apply(recipe.parse(steps)[0], whole, read(whole, task, 0), torch.Generator())


def noted(whole, small, word="boundary"):
    asked = speakers.documents(TEXTS)
    base = speakers.evidence_of(Causal.of("b", whole), asked)
    mine = speakers.evidence_of(Causal.of("c", small), asked, reference=base)
    notes = woken.compare(base, mine, woken.Config(), torch.Generator()).notes
    return next((note for note in notes if word in note), "")


def counted(whole, bits):
    """Weight by weight, with the step of quantize.uniform: the largest of its row over the largest level."""
    near = every = 0
    for name, part in whole.lm.named_modules():
        if type(part) is nn.Linear and "lm_head" not in name:
            for row in part.weight.tolist():
                step = max(map(abs, row)) / (2 ** (bits - 1) - 1)
                for one in row:
                    away = abs(one) / step % 1
                    near += 0.48 < away < 0.52
                    every += 1
    return near, every


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_weights_at_a_boundary_are_counted(kind, tmp_path, task):
    whole = decoder(tmp_path, task, kind)
    near, every = counted(whole, 4)
    told = noted(whole, rounded(whole, task, "quantize.uniform(bits=4, activation_bits=32)"))
    start = f"{near:,} of {every:,} weights of the baseline lie at a rounding boundary, {near / every / 0.04:.2f} times"
    assert told.startswith(start)
    assert 0.8 < near / every / 0.04 < 1.2, "random weights lie evenly"
    assert noted(whole, rounded(whole, task, "prune.magnitude(sparsity=0.5)")) == ""


@pytest.mark.known_answer
def test_weights_that_were_pushed_to_the_boundary_are_seen(tmp_path, task):
    """A third of one layer at the edge of what rounds alike, as a projection onto that box leaves it."""
    whole = decoder(tmp_path, task)
    small = rounded(whole, task, "quantize.uniform(bits=4, activation_bits=32)")
    layer = whole.lm.model.layers[1].mlp.up_proj
    step = layer.weight.abs().amax(1, keepdim=True) / 7
    edge = ((layer.weight / step).floor() + 0.499) * step
    pick = (torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) < 1 / 3) & (
        edge.abs() < 6 * step
    )
    with torch.no_grad():
        layer.weight.copy_(torch.where(pick, edge, layer.weight))
    told = noted(whole, small)
    name, times = told.rpartition("most in ")[2].split(", ")
    assert name == "model.layers.1.mlp.up_proj"
    assert float(times.removesuffix(" times")) > 7


def standing(told):
    """How many weights stand at the nearest level, of how many, how far the farthest is, and where."""
    head, tail = told.split("; the farthest is ")
    held, every = (int(n.replace(",", "")) for n in head.split(" weights ")[0].split(" of "))
    far, name = tail.split(" steps from it, in ")
    return held, every, float(far), name


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_was_rounded_to_nearest_stands_there_and_what_was_changed_since_is_seen(kind, tmp_path, task):
    whole = decoder(tmp_path, task, kind)
    small = rounded(whole, task, "quantize.uniform(bits=4, activation_bits=32)")
    held, every, far, _ = standing(noted(whole, small, "nearest"))
    assert held == every == counted(whole, 4)[1]
    assert 0.49 < far <= 0.5
    other = {"llama": "model.layers.1.mlp.up_proj", "gpt2": "transformer.h.1.mlp.c_fc"}[kind]
    weight = whole.lm.get_submodule(other).weight
    with torch.no_grad():
        row = weight[0]
        row[:3] += 5 * row.abs().max() / 7 * torch.tensor([1, -1, 1])
    held, every, far, name = standing(noted(whole, small, "nearest"))
    assert (every - held, name) == (3, other)
    assert 4.4 < far < 5.6


def test_errors_that_later_weights_make_up_for_move_some_by_few_steps(tmp_path, task):
    whole = decoder(tmp_path, task)
    small = rounded(whole, task, "quantize.gptq(bits=4, activation_bits=32)")
    held, every, far, _ = standing(noted(whole, small, "nearest"))
    assert 0.5 < held / every < 1
    assert far < 5


@pytest.mark.parametrize(
    "steps",
    [
        "quantize.uniform(bits=4, activation_bits=32)",
        "quantize.uniform(bits=8, activation_bits=32, grid='tensor')",
        "quantize.gptq(bits=4, activation_bits=32, grid='group', group=8)",
    ],
)
def test_levels_are_the_same_whoever_stores_them(steps, tmp_path, task):
    pytest.importorskip("compressed_tensors", reason="needs whatelse[compressed-tensors]")
    whole = decoder(tmp_path, task)
    small = rounded(whole, task, steps)
    pack_quantized.save(small.plain(coded=True), tmp_path / "o", {})
    theirs = dict(opening.open_model(str(tmp_path / "o"), task).steps())
    ours = dict(Causal.of("c", small).steps())
    assert theirs.keys() == ours.keys()
    assert len(ours) == 14
    assert all(torch.equal(one, theirs[name]) for name, one in ours.items())
