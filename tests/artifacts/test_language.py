"""A compressed language model on disk: loaded by transformers alone or by us, it is the one that was measured."""

import importlib.util
import json
import warnings
from pathlib import Path

import pytest
import torch

from whatelse import opening
from whatelse.artifacts import compress, costs, language
from whatelse.errors import ArtifactError, TaskError

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parents[1] / "subjects" / "language.py")
models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(models)
TEXT = "Once upon a time there was a small dog. It ran home to its friend, and the cat sat on the mat! " * 6


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with warnings.catch_warnings(action="ignore"):
        return str(models.random(tmp_path_factory.mktemp("base")))


def made(base, steps, text, out, *, form="floats", seed=0):
    """As the command does it."""
    data = opening.load_task(f"language(path='{text}', document=100, windows=8, window=16)")
    whole = opening.open_module(base, data)
    task = language.read(whole, data, seed)
    compress.check_before(whole, steps, task, (), form)
    small = compress.compress(whole, steps, task, seed)
    if form != "whatelse":
        small = compress.as_floats(small) if form == "floats" else compress.as_codes(small)
    compress.write(small, out, task, steps, seed)
    return whole, small, task


@pytest.mark.parametrize(
    ("steps", "form"),
    [
        ("quantize.gptq(bits=4, activation_bits=32)", "floats"),
        ("quantize.gptq(bits=4, activation_bits=32)", "whatelse"),
        ("quantize.gptq(bits=4, activation_bits=32, grid='group', group=8)", "compressed-tensors"),
        ("prune.structured(ratio=0.5, scope='uniform', round_to=1) > prune.depth(share=0.5)", "floats"),
    ],
)
def test_a_folder_is_the_model_that_was_measured(steps, form, base, text, tmp_path):
    if form == "compressed-tensors":
        pytest.importorskip("compressed_tensors", reason="needs whatelse[compressed-tensors]")
    whole, small, task = made(base, steps, text, tmp_path / "small", form=form)
    ids = task.calibration.inputs
    reads = opening.open_model(str(tmp_path / "small"), opening.load_task(text))
    said = reads.said(reads.states(ids.long()).flatten(0, 1)).view(*ids.shape, -1)
    assert torch.equal(said, small.model(ids).mT)
    assert not torch.allclose(said, whole(ids).mT, atol=1e-3)
    assert reads.cut("the dog", whole=True) == whole.words.tokenizer.encode("the dog")
    record = json.loads((tmp_path / "small" / "recipe.json").read_text())
    assert record["steps"][0]["left_alone"][:1] == ["lm.model.embed_tokens"]
    assert record["proof"]["fresh process"] == "bit for bit"
    assert (tmp_path / "small" / "config.json").exists() == (form != "whatelse")
    sizes = {c.name: (c.before, c.after) for c in costs.costs(whole, small.model, task, small.saved)}
    assert sizes["bytes on disk"][1] < sizes["bytes on disk"][0] or form == "floats"
    loss = torch.nn.functional.cross_entropy(small.model(ids), task.calibration.targets)
    assert sizes["perplexity, calibration windows"][1] == pytest.approx(float(loss.exp()), rel=1e-5)


def test_a_folder_that_reloads_as_another_model_is_refused(base, text, tmp_path):
    whole = opening.open_module(base, opening.load_task(text)).plain()
    language.save(whole, tmp_path / "small")
    ids = torch.arange(16).view(2, 8)
    with pytest.raises(ArtifactError, match=r"reloads as another model: outputs differ by up to 1"):
        language.prove(tmp_path / "small", ids, whole(ids) + 1)


def test_the_seed_draws_the_windows(base, text):
    data = opening.load_task(f"language(path='{text}', document=100, windows=8, window=16)")
    whole = opening.open_module(base, data)
    first, again, other = (language.read(whole, data, seed).calibration.inputs for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_cannot_be_compressed_is_one_line(base, text, tmp_path):
    (tmp_path / "p.csv").write_text("stereotype,anti_stereotype\na b,b a\nb c,c b\n", "utf-8")
    with pytest.raises(TaskError, match="it holds pairs, and methods look at text"):
        made(base, "prune.magnitude()", tmp_path / "p.csv", tmp_path / "o")
    data = opening.load_task(text)
    whole = opening.open_module(base, data)
    task = language.read(whole, data, 0)
    with pytest.raises(ArtifactError, match="--onnx: a language model is written as a folder"):
        compress.check_before(whole, "prune.magnitude()", task, ("onnx",))
    with pytest.raises(ArtifactError, match="--format whatelse: only a language model"):
        compress.check_before(torch.nn.Linear(2, 2), "prune.magnitude()", task, (), "whatelse")
    with pytest.raises(
        ArtifactError, match="--format gguf: there is no such form; allowed are floats, compressed-tens"
    ):
        compress.check_before(whole, "prune.magnitude()", task, (), "gguf")
    small = compress.compress(whole, "quantize.int8()", task)
    with pytest.raises(ArtifactError, match=r"layers.0.self_attn.q_proj is a Kernel that computes with rounded"):
        compress.as_floats(small)


def test_one_that_another_library_stores_in_few_bits_is_refused(base, text, tmp_path):
    torchao = pytest.importorskip("torchao.quantization", reason="needs torchao")
    with warnings.catch_warnings(action="ignore"):
        how = transformers.TorchAoConfig(torchao.Int8WeightOnlyConfig())
        model = transformers.AutoModelForCausalLM.from_pretrained(base, quantization_config=how)
        model.save_pretrained(tmp_path)
        transformers.AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
        with pytest.raises(ArtifactError, match="its weights are stored by torchao already; give the folder of the"):
            opening.open_module(str(tmp_path), opening.load_task(text))
