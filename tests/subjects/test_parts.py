"""Heads and blocks of real architectures: leaving one out is the model with it cut out, in any order of heads."""

import copy
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from whatelse.behaviours.language import _parts, mechanism
from whatelse.models import heads
from whatelse.models.causal import Causal
from whatelse.models.heads import FEED_FORWARD, Part
from whatelse.testing import speakers

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parent / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)
TEXTS = [
    "Once upon a time, there was a little girl named Lily.",
    "A cat sat on the mat.",
    "One day, she saw a big ball.",
]
CONFIG = mechanism.Config(examples=3, tokens=40)


def model_of(tmp_path, kind):
    with warnings.catch_warnings(action="ignore"):
        folder = language.random(tmp_path / kind, kind)
        found = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        for weights in found.parameters():
            weights.requires_grad_(False)
        return found


def causal(model):
    return Causal("model", model, language.letters())


def cut_out(model, kind, part):
    """The weights through which a part acts at zero."""
    made = copy.deepcopy(model)
    if kind == "llama":
        block = made.model.layers[part.layer]
        if part.head == FEED_FORWARD:
            block.mlp.down_proj.weight.zero_()
        else:
            block.self_attn.o_proj.weight[:, 4 * part.head : 4 * part.head + 4] = 0
        return made
    block = made.transformer.h[part.layer]
    if part.head == FEED_FORWARD:
        block.mlp.c_proj.weight.zero_()
        block.mlp.c_proj.bias.zero_()
    else:
        block.attn.c_proj.weight[8 * part.head : 8 * part.head + 8] = 0
    return made


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_part_left_out_is_a_model_with_it_cut_out(tmp_path, kind):
    model = model_of(tmp_path, kind)
    mine = causal(model)
    heads = {"llama": 4, "gpt2": 2}[kind]
    assert mine.parts == tuple(Part(at, head) for at in (0, 1) for head in (*range(heads), FEED_FORWARD))
    ids = torch.arange(3, 40)[None]
    whole = mine.states(ids)
    for part in mine.parts:
        with mine.left_out(part):
            without = mine.states(ids)
        assert torch.allclose(without, causal(cut_out(model, kind, part)).states(ids), atol=1e-6), str(part)
        assert not torch.allclose(without, whole, atol=1e-4), str(part)
    assert torch.equal(mine.states(ids), whole), "it is back"


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_heads_write_is_together_what_attention_writes(tmp_path, kind):
    model = model_of(tmp_path, kind)
    ids = torch.arange(3, 40)[None]
    outs = [
        one.self_attn if kind == "llama" else one.attn
        for one in (model.model.layers if kind == "llama" else model.transformer.h)
    ]
    seen = []
    hooks = [out.register_forward_hook(lambda _, __, made: seen.append(made[0][0])) for out in outs]
    each = list(causal(model).written(ids))
    seen.clear()
    model(ids)
    for hook in hooks:
        hook.remove()
    for layer, (every, attention) in enumerate(zip(each, seen, strict=True)):
        bias = 0 if kind == "llama" else outs[layer].c_proj.bias
        assert torch.allclose(every.sum(0) + bias, attention, atol=1e-5)


def turned(model):
    """The same model with heads in another order, queries within their group of keys, and groups exchanged."""
    made = copy.deepcopy(model)
    for block in made.model.layers:
        attention = block.self_attn
        order = torch.tensor([3, 2, 0, 1])  # two groups of two: the second first, and its heads exchanged
        rows = (4 * order[:, None] + torch.arange(4)).flatten()
        groups = (4 * torch.tensor([1, 0])[:, None] + torch.arange(4)).flatten()
        attention.q_proj.weight.copy_(attention.q_proj.weight[rows])
        attention.o_proj.weight.copy_(attention.o_proj.weight[:, rows])
        attention.k_proj.weight.copy_(attention.k_proj.weight[groups])
        attention.v_proj.weight.copy_(attention.v_proj.weight[groups])
    return made


@pytest.mark.known_answer
def test_heads_in_another_order_change_nothing(tmp_path):
    model = model_of(tmp_path, "llama")
    task = speakers.documents(TEXTS)
    base = speakers.evidence_of(causal(model), task, name="baseline")
    other = turned(model)
    ids = torch.arange(3, 40)[None]
    assert torch.allclose(other(ids).logits, model(ids).logits, atol=1e-5), "it computes the same"
    mine = speakers.evidence_of(causal(other), task, name="turned", reference=base)
    answer = mechanism.compare(base, mine, CONFIG, torch.Generator())
    assert mechanism.summarise(answer, CONFIG, np.ones((1, 3))) == pytest.approx([1.0])
    assert "layers 0, 1 stand in another order" in answer.notes[0]
    for part in _parts.parts(base):
        assert answer[f"after {part}"] == pytest.approx(answer[f"before {part}"], rel=1e-3, abs=1e-5)


@pytest.mark.known_answer
def test_a_head_that_was_removed_is_found_and_named(tmp_path):
    model = model_of(tmp_path, "llama")
    task = speakers.documents(TEXTS)
    base = speakers.evidence_of(causal(model), task, name="baseline")
    mine = speakers.evidence_of(causal(cut_out(model, "llama", Part(1, 2))), task, name="cut", reference=base)
    answer = mechanism.compare(base, mine, CONFIG, torch.Generator())
    assert not answer["after layer 1 head 2"].any()
    assert "layer 1 head 2: " in answer.notes[-1]
    assert mechanism.summarise(answer, CONFIG, np.ones((1, 3)))[0] < 1


def test_a_layer_with_other_heads_than_its_configuration_says_has_no_parts(tmp_path):
    model = model_of(tmp_path, "llama")
    attention = model.model.layers[1].self_attn
    fewer = torch.nn.Linear(12, 16, bias=False)
    mine = Causal("model", model, language.letters())
    assert len(mine.parts) == 10
    attention.o_proj = fewer
    assert heads.layers(model) == ()
