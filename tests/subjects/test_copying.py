"""Where heads of real architectures look, and blocks grafted into another model: beside what is worked by hand."""

import copy
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from whatelse.behaviours.language import divergence, graft, induction
from whatelse.errors import NotMeasurableError
from whatelse.models.causal import Causal
from whatelse.models.heads import Part
from whatelse.testing import speakers

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parent / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)
TEXTS = ["Once upon a time, there was a little girl named Lily.", "A cat sat on the mat.", "One day, she saw a ball."]
TOKENS, LONGEST, WIDTH = 320, 40, 128


def model_of(tmp_path, kind):
    with warnings.catch_warnings(action="ignore"):
        found = transformers.AutoModelForCausalLM.from_pretrained(language.random(tmp_path / kind, kind))
    return found.eval().requires_grad_(False)


def causal(model, name="model"):
    return Causal(name, model, language.letters())


@pytest.mark.known_answer
def test_where_heads_look_is_the_softmax_of_queries_and_keys(tmp_path):
    model = model_of(tmp_path, "gpt2")
    ids = torch.arange(3, 20)[None]
    entered = []
    hooks = [
        one.attn.register_forward_pre_hook(
            lambda _, args, kwargs: entered.append((*args, *kwargs.values())[0]), with_kwargs=True
        )
        for one in model.transformer.h
    ]
    usual = model.config._attn_implementation
    seen = causal(model).attention(ids)
    for hook in hooks:
        hook.remove()
    assert model.config._attn_implementation == usual
    assert len(seen) == 2
    for block, x, found in zip(model.transformer.h, entered[-2:], seen, strict=True):
        made = x[0].double() @ block.attn.c_attn.weight.double() + block.attn.c_attn.bias.double()
        for head in range(2):
            q, k = (made[:, 16 * part + 8 * head : 16 * part + 8 * head + 8] for part in (0, 1))
            scores = (q @ k.T / 8**0.5).masked_fill(torch.ones(17, 17).triu(1).bool(), -torch.inf)
            assert torch.allclose(found[0, head].double(), scores.softmax(1), atol=1e-6)


def test_looking_changes_nothing(tmp_path):
    for kind in ("llama", "gpt2"):
        mine = causal(model_of(tmp_path, kind))
        ids = torch.arange(3, 40)[None]
        before = mine.states(ids)
        seen = mine.attention(ids)
        assert all(one.shape == (1, {"llama": 4, "gpt2": 2}[kind], 37, 37) for one in seen)
        assert all(torch.allclose(one.sum(-1), torch.ones(()), atol=1e-5) for one in seen)
        assert torch.equal(mine.states(ids), before)


def copying():
    """A GPT-2 made by hand: a head that looks at the token before and hands on what it is, and one that seeks that.

    A state has a number for every place, one for every token (of 40 that count), and one for the token before.
    """
    config = transformers.GPT2Config(
        vocab_size=TOKENS, n_positions=LONGEST, n_embd=WIDTH, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
    )
    with warnings.catch_warnings(action="ignore"):
        model = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    for name, weights in model.named_parameters():
        weights.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
    model.transformer.wpe.weight[:, :LONGEST] = torch.eye(LONGEST)
    counted = torch.arange(TOKENS) % 40
    model.transformer.wte.weight[torch.arange(TOKENS), 40 + counted] = 1.0
    first, second = model.transformer.h
    size = WIDTH // 2
    for place in range(LONGEST - 1):
        first.attn.c_attn.weight[place, place] = 2.0  # queries: where it stands
        first.attn.c_attn.weight[place, WIDTH + place + 1] = 2.0  # keys: where the next one stands
    for token in range(40):
        first.attn.c_attn.weight[40 + token, 2 * WIDTH + token] = 1.0  # values: what it is
        first.attn.c_proj.weight[token, 80 + token] = 0.15
        second.attn.c_attn.weight[40 + token, token] = 2.0  # queries: what it is
        second.attn.c_attn.weight[80 + token, WIDTH + token] = 2.0  # keys: what stood before
    assert size >= 40
    return model


@pytest.fixture
def drawn(monkeypatch):
    """Texts of tokens that the model made by hand tells apart."""
    texts = torch.stack([3 + torch.randperm(37, generator=torch.Generator().manual_seed(at))[:12] for at in range(4)])
    made = torch.cat([torch.zeros(4, 1, dtype=torch.int64), texts, texts], 1)
    monkeypatch.setattr(induction, "_drawn", lambda *given: made)


def asked(base, mine, kind):
    task = speakers.documents(TEXTS)
    first = speakers.evidence_of(causal(base, "baseline"), task, name="baseline")
    other = first if mine is base else speakers.evidence_of(causal(mine), task, reference=first)
    config = induction.Config(kind, texts=4, tokens=12)
    answer = induction.compare(first, other, config, torch.Generator())
    return answer, float(induction.summarise(answer, config, np.ones((1, 4)))[0])


@pytest.mark.known_answer
def test_heads_made_by_hand_are_found_and_lost(drawn):
    model = copying()
    for kind, part in (("previous", Part(0, 0)), ("induction", Part(1, 0))):
        answer, score = asked(model, model, kind)
        assert list(answer.columns) == [f"before {part}", f"after {part}"]
        assert score > 0.95
    deaf = copy.deepcopy(model)  # the first head hands nothing on: the second has nothing to seek
    deaf.transformer.h[0].attn.c_proj.weight.zero_()
    _, score = asked(model, deaf, "previous")
    assert score > 0.95
    answer, score = asked(model, deaf, "induction")
    assert score == pytest.approx(np.mean([1 / (place + 1) for place in range(13, 25)]), rel=1e-4), "it looks anywhere"
    with pytest.raises(NotMeasurableError, match="needs induction heads, which the baseline does not have: its best"):
        asked(deaf, deaf, "induction")


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_graft_is_the_baseline_with_that_block_in_it(tmp_path, kind):
    model = model_of(tmp_path, kind)
    other, rng = copy.deepcopy(model), torch.Generator().manual_seed(1)
    stack = other.model.layers if kind == "llama" else other.transformer.h
    for weights in stack[1].parameters():
        weights.add_(0.1 * torch.randn(weights.shape, generator=rng))
    task, config = speakers.documents(TEXTS), graft.Config(examples=3, tokens=60)
    base = speakers.evidence_of(causal(model, "baseline"), task, name="baseline")
    own = graft.compare(base, base, config, torch.Generator())
    assert not own.matrix()[:, : len(own.parts.names)].any(), "a model in itself is itself"
    mine = speakers.evidence_of(causal(other), task, reference=base)
    answer = graft.compare(base, mine, config, torch.Generator())
    assert not answer["layer 0"].any(), "that block is the baseline's own"
    whole = divergence.compare(base, mine, divergence.Config(), torch.Generator())["divergence"]
    assert float(whole.min()) > 0.01
    for name in ("layer 1", "whole"):
        assert answer[name] == pytest.approx(whole, rel=1e-4)
    assert "layer 1 does most" in answer.notes[0]
    ids = torch.arange(3, 40)[None]
    assert torch.equal(model(ids).logits, causal(model).model(ids).logits), "its own blocks are back"
    for weights in (
        other.get_output_embeddings().weight,
        stack[0].mlp.down_proj.weight if kind == "llama" else stack[0].mlp.c_proj.weight,
    ):
        weights.add_(0.1 * torch.randn(weights.shape, generator=rng))
    swapped = copy.deepcopy(model)
    (swapped.model.layers if kind == "llama" else swapped.transformer.h)[0] = stack[0]
    mine = speakers.evidence_of(causal(other), task, name="again", reference=base)
    alone = speakers.evidence_of(causal(swapped), task, name="swapped", reference=base)
    answer = graft.compare(base, mine, config, torch.Generator())
    expected = divergence.compare(base, alone, divergence.Config(), torch.Generator())["divergence"]
    assert answer["layer 0"] == pytest.approx(expected, rel=1e-4)
    assert not np.allclose(answer["whole"], expected, rtol=0.1)
