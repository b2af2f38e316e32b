"""Decoders of other architectures: read in parts, passed block by block, cut, and written as they were measured."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch

from whatelse import opening, recipe
from whatelse.artifacts import language as artifact
from whatelse.models.branching import Bundle
from whatelse.models.causal import Causal
from whatelse.modules import calibration
from whatelse.modules.stream import Stream
from whatelse.modules.walk import layers

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parent / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)
TEXT = "Once upon a time there was a small dog. It ran home to its friend, and the cat sat on the mat! " * 8
SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64}
WIDE = {**SIZE, "intermediate_size": 64}
# A head that asks a part of its body; queries, keys and values in one; windows in every other layer; experts.
KINDS = {
    "OPT": {**SIZE, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "GPTNeoX": WIDE,
    "Gemma2": {**WIDE, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8},
    "Mixtral": {**WIDE, "num_key_value_heads": 2, "num_local_experts": 4},
}


# Blocks that return a tuple, with or without attentions in it.
TUPLES = {
    "Bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4, "seq_length": 64},
    "Falcon": {**SIZE, "num_kv_heads": 4},
}


@pytest.fixture(scope="module", params=KINDS)
def opened(request, tmp_path_factory):
    return built(request.param, KINDS[request.param], tmp_path_factory.mktemp(request.param))


def built(kind, options, folder):
    (folder / "text.txt").write_text(TEXT, "utf-8")
    with warnings.catch_warnings(action="ignore"):
        config = getattr(transformers, f"{kind}Config")(**language.SIZE, **options)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weights in model.parameters():
                if weights.dim() > 1:
                    weights.copy_(0.2 * torch.randn(weights.shape, generator=rng))
        model.save_pretrained(folder / "model")
        language.letters().save_pretrained(folder / "model")
        data = opening.load_task(f"language(path='{folder / 'text.txt'}', document=100, windows=6, window=24)")
        return opening.open_module(str(folder / "model"), data), data


@pytest.mark.known_answer
def test_body_and_head_are_the_model_and_blocks_are_passed_one_by_one(opened):
    whole, data = opened
    ids = artifact.read(whole, data, 0).calibration.inputs
    reads = Causal.of("m", whole)
    with torch.no_grad():
        said = reads.said(reads.states(ids).flatten(0, 1)).view(*ids.shape, -1)
        assert torch.allclose(said, whole(ids).mT, atol=1e-4)
    stream, every = Stream(whole, ids), layers(whole)
    assert len(stream.groups(every)) >= 3
    for group in stream.groups(every):
        for name, layer in group.items():
            one, other = (
                calibration.energies(whole, {name: layer}, ids, way) for way in (stream.watch, calibration.watch)
            )
            assert torch.equal(one[name], other[name])


@pytest.mark.parametrize(
    "steps",
    [
        "quantize.gptq(bits=4, activation_bits=32)",
        "prune.structured(ratio=0.5, scope='uniform', round_to=4)",
    ],
)
def test_what_is_made_of_them_is_what_transformers_loads(steps, opened, tmp_path):
    whole, data = opened
    task = artifact.read(whole, data, 0)
    small = recipe.apply(recipe.parse(steps)[0], whole, task, torch.Generator()).plain()
    artifact.save(small, tmp_path)
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        fresh = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        said = fresh(input_ids=task.calibration.inputs, use_cache=False)[0].mT
    assert torch.equal(said, small(task.calibration.inputs))
    assert not torch.allclose(said, whole(task.calibration.inputs), atol=1e-3)


@pytest.mark.parametrize("kind", [*KINDS, *TUPLES])
def test_blocks_that_turn_little_go_whatever_they_return(kind, tmp_path):
    whole, data = built(kind, {**KINDS, **TUPLES}[kind], tmp_path)
    task = artifact.read(whole, data, 0)
    small = recipe.apply(recipe.parse("prune.depth(share=0.34)")[0], whole, task, torch.Generator()).plain()
    assert small.lm.config.num_hidden_layers == 2
    artifact.save(small, tmp_path / "small")
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        fresh = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "small").eval()
        said = fresh(input_ids=task.calibration.inputs, use_cache=False)[0].mT
    assert torch.equal(said, small(task.calibration.inputs))


@pytest.mark.known_answer
def test_a_body_that_keeps_all_it_saw_reads_what_texts_begin_with_once(opened):
    """Windows of attention forget: such a body is never believed to go on from a trunk."""
    whole, _ = opened
    reads = Causal.of("m", whole)
    assert reads.branches == ("Gemma2" not in type(whole.lm).__name__)
    if not reads.branches:
        return
    rng = torch.Generator().manual_seed(1)
    ids = torch.randint(len(language.letters()), (2, 20), generator=rng)
    there = torch.arange(14)[None] >= torch.tensor([[0], [5]])
    trunks = torch.stack([ids[0, :14], torch.cat([torch.zeros(5, dtype=torch.int64), ids[1, :9]])])
    branches = torch.stack([ids[0, 14:], ids[1, 9:15], ids[1, 3:9]])
    begun, gone = reads.branched(Bundle(trunks, there, branches, torch.tensor([0, 1, 1])))
    texts = [ids[0], ids[1, :15], torch.cat([ids[1, :9], ids[1, 3:9]])]
    for row, (text, owner, start) in enumerate(zip(texts, (0, 1, 1), (0, 5, 5), strict=True)):
        want = reads.states(text[None])[0]
        mine = torch.cat([begun[owner, start:], gone[row]])
        assert torch.allclose(mine, want, atol=1e-4)
