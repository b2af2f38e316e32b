"""GGUF files: blocks as the gguf library dequantizes them, the rebuilt model equal to the one that was written."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import whatelse
from whatelse import opening
from whatelse.errors import ArtifactError, TaskError
from whatelse.testing import speakers

gguf = pytest.importorskip("gguf", reason="needs whatelse[gguf]")
transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parent / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)

TASK = speakers.documents(["once upon a time there was a girl", "a cat sat and sat", "the dog ran"] * 4)
SIZE = {"hidden_size": 32, "intermediate_size": 64}
IDS = torch.arange(3, 60)[None]


def written(folder, **told):
    with warnings.catch_warnings(action="ignore"):
        return language.random(folder, tokenizer=False, **SIZE, **told)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("model"))


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0", "Q5_1"])
def test_every_number_is_that_of_the_blocks_and_the_model_that_of_these_numbers(folder, tmp_path, kind):
    file = language.packed(folder, tmp_path / "m.gguf", kind)
    made = opening.open_model(file, TASK)
    plain = transformers.LlamaForCausalLM.from_pretrained(folder)
    stored = {one.name: gguf.dequantize(one.data, one.tensor_type) for one in gguf.GGUFReader(file).tensors}
    # The same weights, dequantized by the library alone, in a model that no GGUF file was near.
    back, other = language.tensors(made.model), transformers.LlamaForCausalLM(plain.config).eval()
    assert back.keys() == stored.keys()
    for name, array in stored.items():
        assert np.array_equal(back[name].reshape(array.shape), array), name
    other.load_state_dict(made.model.state_dict())
    assert torch.equal(logits(made.model), logits(other))
    if kind == "F32":
        assert torch.equal(logits(made.model), logits(plain))
    else:
        assert not torch.equal(logits(made.model), logits(plain))
    assert sum(made.stored_bytes()) == sum(int(one.n_bytes) for one in gguf.GGUFReader(file).tensors)
    assert any(kind in told for told in made.told)


@pytest.mark.known_answer
def test_factors_of_rotary_frequencies_are_put_in(tmp_path):
    """As Llama 3.1 has them, which transformers leaves out of a GGUF file without a word."""
    scaled = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }  # fmt: skip
    folder = written(tmp_path / "model", rope_parameters=scaled)
    plain = transformers.LlamaForCausalLM.from_pretrained(folder)
    whole = 1 / 500000.0 ** (torch.arange(0, 8, 2) / 8)
    factors = (whole / plain.model.rotary_emb.inv_freq).numpy().astype("float32")
    assert not np.allclose(factors, 1)
    file = language.packed(folder, tmp_path / "m.gguf", more={"rope_freqs.weight": factors})
    made = opening.open_model(file, TASK)
    assert torch.allclose(logits(made.model), logits(plain), atol=1e-5)
    assert "factors of rotary frequencies (rope_freqs.weight), which were put in" in made.told[-1]


@pytest.mark.known_answer
def test_a_real_model_writes_its_text_from_gguf(tmp_path):
    if not language.DATA.is_dir():
        pytest.skip("stories260K is not at hand (WHATELSE_DATA)")
    with warnings.catch_warnings(action="ignore"):
        folder = language.stories(tmp_path / "stories")
    made = opening.open_model(language.packed(folder, tmp_path / "s.gguf", "Q8_0"), TASK)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    ids = made.model.generate(torch.tensor([tokens.encode("Once upon a time")]), max_new_tokens=12, do_sample=False)
    assert tokens.decode(ids[0]).startswith("<s> Once upon a time, there was a little girl named Lily")


def test_two_files_are_held_against_each_other(folder, tmp_path):
    files = [language.packed(folder, tmp_path / f"{kind}.gguf", kind) for kind in ("F32", "Q4_0")]
    found = whatelse.audit(files[0], {"small": files[1]}, TASK)
    said = {f.label: f for f in found.findings}
    assert said["KL divergence a token"].effect > 0
    assert said["bytes"].after < said["bytes"].before / 3


def refused(file, text, task=TASK, error=ArtifactError):
    with pytest.raises(error) as caught:
        opening.open_model(str(file), task)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_broken_or_not_whole_is_refused_in_one_line(folder, tmp_path):
    refused(tmp_path / "nowhere.gguf", "no such file")
    (tmp_path / "text.gguf").write_text("nothing of it")
    refused(tmp_path / "text.gguf", "it cannot be read as GGUF")
    whole = Path(language.packed(folder, tmp_path / "whole.gguf"))
    (tmp_path / "half.gguf").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused(tmp_path / "half.gguf", "it cannot be read as GGUF")
    lacking = language.packed(folder, tmp_path / "lacking.gguf", without={"blk.1.ffn_up.weight"})
    refused(lacking, "it has no fitting weights for model.layers.1.mlp.up_proj.weight")
    extra = {"blk.0.attn_q.bias": np.zeros(32, "float32")}
    refused(language.packed(folder, tmp_path / "more.gguf", more=extra), "not all of it is read")
    scaled = language.packed(folder, tmp_path / "scaled.gguf", scaling="yarn")
    refused(scaled, "positions are scaled by 'yarn', which transformers does not read from GGUF")
    refused(whole, "reads texts, the data are images", opening.load_task("digits"), TaskError)
