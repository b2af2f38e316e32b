"""A language model in few bits as compressed-tensors has it: read by that library, it is the one that was measured."""

import importlib.util
import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from whatelse import opening
from whatelse.artifacts import compress, language, pack_quantized
from whatelse.errors import ArtifactError, MissingExtraError
from whatelse.layers.quantized import Quantized

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parents[1] / "subjects" / "language.py")
models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(models)
TEXT = "Once upon a time there was a small dog. It ran home to its friend, and the cat sat on the mat! " * 6


@pytest.fixture(scope="module")
def library():
    with warnings.catch_warnings(action="ignore"):
        return pytest.importorskip("compressed_tensors", reason="needs whatelse[compressed-tensors]")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, "utf-8")
    return opening.load_task(f"language(path='{path}', document=100, windows=4, window=16)")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with warnings.catch_warnings(action="ignore"):
        return models.random(tmp_path_factory.mktemp("base"), hidden_size=32, intermediate_size=72)


def compressed(base, steps, data):
    whole = opening.open_module(str(base), data)
    task = language.read(whole, data, 0)
    return compress.compress(whole, steps, task), task


def loaded(folder):
    with warnings.catch_warnings(action="ignore"):
        return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.known_answer
@pytest.mark.parametrize(
    "steps",
    [
        *(f"quantize.uniform(bits={bits}, activation_bits=32)" for bits in range(2, 9)),
        "quantize.uniform(bits=8, activation_bits=32, grid='tensor')",
        "quantize.uniform(bits=3, activation_bits=32, grid='tensor', symmetric=False)",
        "quantize.uniform(bits=5, activation_bits=32, symmetric=False)",
        "quantize.gptq(bits=4, activation_bits=32, grid='group', group=8)",
        "quantize.int4(group=8)",
        "quantize.int8(mode='weight')",
        "prune.structured(ratio=0.5, scope='uniform', round_to=8) > quantize.int4(group=8, symmetric=True)",
    ],
)
def test_transformers_reads_the_very_model(steps, base, data, library, tmp_path):
    if "int8" in steps:
        pytest.importorskip("torchao", reason="needs whatelse[kernels]")
    found, task = compressed(base, steps, data)
    small = compress.as_codes(found)
    small.saved(small.model, tmp_path, {})
    ids = task.calibration.inputs
    with torch.no_grad():
        said = loaded(tmp_path)(input_ids=ids, use_cache=False)[0].mT
    assert torch.equal(said, small.model(ids))
    assert torch.allclose(said, found.model(ids), rtol=1e-5, atol=1e-5)
    held = load_file(tmp_path / "model.safetensors")
    own = {name: part for name, part in small.model.lm.named_modules() if isinstance(part, Quantized)}
    assert len(own) == 14
    for name, part in own.items():
        packed = held[f"{name}.weight_packed"]
        assert f"{name}.weight" not in held
        assert packed.numel() == part.shape[0] * -(-part.shape[1] * part.bits // 32)


@pytest.mark.parametrize("form", [compress.as_floats, compress.as_codes])
def test_the_type_that_a_model_came_in_stays_and_what_it_derives_is_float32(form, data, library, tmp_path):
    with warnings.catch_warnings(action="ignore"):
        folder = models.random(tmp_path / "base", hidden_size=32)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).bfloat16()
        model.save_pretrained(folder)
    found, task = compressed(folder, "quantize.uniform(bits=4, activation_bits=32)", data)
    small = form(found)
    small.saved(small.model, tmp_path / "small", {})
    kinds = {tensor.dtype for name, tensor in load_file(tmp_path / "small" / "model.safetensors").items()}
    assert kinds == {torch.bfloat16} | ({torch.int32, torch.int64} if form is compress.as_codes else set())
    ids = task.calibration.inputs
    with torch.no_grad():
        assert torch.equal(loaded(tmp_path / "small")(input_ids=ids, use_cache=False)[0].mT, small.model(ids))
    apart = (small.model(ids).float() - found.model(ids)).abs().max() / found.model(ids).abs().max()
    assert 0 < float(apart) < 2**-4


def test_layers_of_several_kinds_are_named(base, data, library, tmp_path):
    found, task = compressed(base, "quantize.uniform(bits=4, activation_bits=32, grid='group', group=16)", data)
    assert isinstance(found.model.lm.model.layers[0].mlp.down_proj, Quantized)
    with pytest.raises(
        ArtifactError, match=r"layers.0.mlp.down_proj has 72 inputs in groups of 16, and the last one is"
    ):
        compress.as_codes(found)
    wide, _ = compressed(base, "quantize.uniform(bits=4, activation_bits=32, grid='group', group=36)", data)
    small = compress.as_codes(wide)
    small.saved(small.model, tmp_path, {})
    told = json.loads((tmp_path / "config.json").read_text())["quantization_config"]["config_groups"]
    assert [one["weights"]["strategy"] for one in told.values()] == ["channel", "group"]
    assert told["group_1"]["targets"] == ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"]
    ids = task.calibration.inputs
    with torch.no_grad():
        assert torch.equal(loaded(tmp_path)(input_ids=ids, use_cache=False)[0].mT, small.model(ids))
    zeros, _ = compressed(base, "quantize.int4(group=36)", data)
    with pytest.raises(ArtifactError, match="transformers reads zero points of one grid alone, and it has 2"):
        compress.as_codes(zeros)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("quantize.uniform(bits=4, activation_bits=8)", "q_proj is a Quantized that computes with rounded activations"),
        ("quantize.int8()", "for which the format compressed-tensors .pack-quantized. has no place"),
        ("prune.wanda()", "nothing in it is stored in few bits; quantize it, or leave --format out"),
    ],
)
def test_what_the_format_has_no_place_for_is_one_line(steps, told, base, data, library):
    if "int8" in steps:
        pytest.importorskip("torchao", reason="needs whatelse[kernels]")
    found, _ = compressed(base, steps, data)
    with pytest.raises(ArtifactError, match=told):
        compress.as_codes(found)


def test_layers_that_are_none_of_torch_are_refused_before_any_work(data, library, tmp_path):
    with warnings.catch_warnings(action="ignore"):
        whole = opening.open_module(str(models.random(tmp_path, "gpt2")), data)
    task = language.read(whole, data, 0)
    with pytest.raises(
        ArtifactError, match=r"h.0.attn.c_attn is a Conv1D in transformers, and compressed-tensors packs"
    ):
        compress.check_before(whole, "quantize.int4()", task, (), "compressed-tensors")


@pytest.mark.parametrize(("off", "near"), [(0.0, "bit for bit"), (2e-7, "to within 2e-07 of the largest score")])
def test_how_near_the_reloaded_one_is_is_said(off, near, monkeypatch):
    outputs = torch.linspace(-1, 1, 24).view(2, 3, 4)
    monkeypatch.setattr(language, "afresh", lambda *given: outputs + off * (outputs == 1))
    assert pack_quantized.prove(Path("o"), torch.ones(2, 4), outputs) == near
    monkeypatch.setattr(language, "afresh", lambda *given: outputs + 1e-4)
    with pytest.raises(ArtifactError, match="reloads as another model: outputs differ by up to 0.0001"):
        pack_quantized.prove(Path("o"), torch.ones(2, 4), outputs)


def test_it_is_audited_by_what_it_stores(base, data, library, tmp_path):
    found, _ = compressed(base, "quantize.uniform(bits=4, activation_bits=32)", data)
    small = compress.as_codes(found)
    small.saved(small.model, tmp_path, {})
    reads = opening.open_model(str(tmp_path), data)
    held = load_file(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "config.json").stat().st_mode
    assert sum(reads.stored_bytes()) == sum(t.numel() * t.element_size() for t in held.values())
    plain = opening.open_model(str(base), data)
    assert sum(reads.stored_bytes()) < sum(plain.stored_bytes())
    weights = sum(
        int((w != 0).sum()) for p in small.model.lm.modules() if isinstance(p, Quantized) for w in p.weights()
    )
    rest = sum(int((p != 0).sum()) for p in {id(p): p for p in small.model.lm.parameters()}.values())
    assert sum(reads.stored_weights()) == weights + rest


def test_without_the_library_the_extra_is_named(base, data, monkeypatch):
    whole = opening.open_module(str(base), data)
    monkeypatch.setitem(__import__("sys").modules, "compressed_tensors", None)
    with pytest.raises(
        MissingExtraError, match=r"needs compressed-tensors: pip install 'whatelse.compressed-tensors.'"
    ):
        pack_quantized.check(whole)
