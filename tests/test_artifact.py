import json
import subprocess
import sys

import pytest
import torch

import whatelse
from whatelse import artifact
from whatelse.errors import ArtifactError
from whatelse.nets import cnn


@pytest.fixture
def model(rng):
    return cnn.build(cnn.Config(width=2, hidden=4), (1, 8, 8), 3, rng).eval().requires_grad_(requires_grad=False)


def test_a_saved_model_answers_alike_here_and_in_a_fresh_process(model, tmp_path, rng):
    inputs = torch.rand(5, 1, 8, 8, generator=rng)
    artifact.save(model, tmp_path, {"recipe": ""})
    assert torch.equal(whatelse.load(tmp_path)(inputs), model(inputs))
    artifact.prove(tmp_path, inputs, model(inputs))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["architecture.json", "model.safetensors", "recipe.json"]


def test_a_model_that_reloads_as_another_is_noticed(model, tmp_path, rng):
    inputs = torch.rand(5, 1, 8, 8, generator=rng)
    artifact.save(model, tmp_path, {})
    said = model(inputs)
    said[3, 1] += 1e-6
    with pytest.raises(ArtifactError, match=r"outputs differ by up to (9|1)"):
        artifact.prove(tmp_path, inputs, said)


def test_a_fresh_process_that_fails_says_why(model, tmp_path):
    artifact.save(model, tmp_path, {})
    with pytest.raises(ArtifactError, match="a fresh process could not load"):
        artifact.prove(tmp_path, torch.rand(5, 7), torch.rand(5, 3))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("architecture.json", None, "no architecture.json there"),
        ("model.safetensors", None, "no model.safetensors there"),
        ("architecture.json", "{", "is damaged"),
        ("architecture.json", "[]", "not of format 1"),
        ("architecture.json", '{"format": 9}', "not of format 1"),
        ("architecture.json", '{"format": 1}', "damaged|not fit"),
        ("model.safetensors", "cut", "is damaged"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_in_words(name, text, message, model, tmp_path):
    artifact.save(model, tmp_path, {})
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ArtifactError, match=message):
        artifact.load(tmp_path)


def test_tensors_that_do_not_fit_the_architecture_are_refused(model, tmp_path):
    artifact.save(model, tmp_path, {})
    path = tmp_path / "architecture.json"
    spec = json.loads(path.read_text())
    spec["tree"]["parts"]["head"]["out_features"] = 5
    path.write_text(json.dumps(spec))
    with pytest.raises(ArtifactError, match="does not fit"):
        artifact.load(tmp_path)


def test_loading_imports_no_pickle_reader_of_models(model, tmp_path):
    # A folder is read with safetensors and json alone; torch.load is never called.
    artifact.save(model, tmp_path, {})
    code = (
        "import torch, sys, whatelse\n"
        "def refuse(*a, **k): raise SystemExit('torch.load was called')\n"
        "torch.load = refuse\n"
        f"whatelse.load({str(tmp_path)!r})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
