import inspect
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

import whatelse
from whatelse import limits, opening
from whatelse.artifacts import folder
from whatelse.errors import ArtifactError, SettingError
from whatelse.layers.quantized import Quantized
from whatelse.nets import cnn

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save


@pytest.fixture
def model(rng):
    return cnn.build(cnn.Config(width=2, hidden=4), (1, 8, 8), 3, rng).eval().requires_grad_(requires_grad=False)


def test_a_saved_model_answers_alike_here_and_in_a_fresh_process(model, tmp_path, rng):
    inputs = torch.rand(5, 1, 8, 8, generator=rng)
    folder.save(model, tmp_path, {"recipe": ""})
    assert torch.equal(whatelse.load(tmp_path)(inputs), model(inputs))
    folder.prove(tmp_path, inputs, model(inputs))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["architecture.json", "model.safetensors", "recipe.json"]


def test_a_model_that_reloads_as_another_is_noticed(model, tmp_path, rng):
    inputs = torch.rand(5, 1, 8, 8, generator=rng)
    folder.save(model, tmp_path, {})
    said = model(inputs)
    said[3, 1] += 1e-6
    with pytest.raises(ArtifactError, match=r"outputs differ by up to (9|1)"):
        folder.prove(tmp_path, inputs, said)


def test_a_fresh_process_that_fails_says_why(model, tmp_path):
    folder.save(model, tmp_path, {})
    with pytest.raises(ArtifactError, match="a fresh process could not load"):
        folder.prove(tmp_path, torch.rand(5, 7), torch.rand(5, 3))


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
    folder.save(model, tmp_path, {})
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ArtifactError, match=message):
        folder.load(tmp_path)


def test_tensors_that_do_not_fit_the_architecture_are_refused(model, tmp_path):
    folder.save(model, tmp_path, {})
    path = tmp_path / "architecture.json"
    spec = json.loads(path.read_text())
    spec["tree"]["parts"]["head"]["out_features"] = 5
    path.write_text(json.dumps(spec))
    with pytest.raises(ArtifactError, match="does not fit"):
        folder.load(tmp_path)


def test_loading_imports_no_pickle_reader_of_models(model, tmp_path):
    # A folder is read with safetensors and json alone; torch.load is never called.
    folder.save(model, tmp_path, {})
    code = (
        "import torch, sys, whatelse\n"
        "def refuse(*a, **k): raise SystemExit('torch.load was called')\n"
        "torch.load = refuse\n"
        f"whatelse.load({str(tmp_path)!r})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def linear_of(size, tmp_path):
    spec = {
        "format": 1,
        "shapes": {},
        "shared": {},
        "tree": {"kind": "Linear", "in_features": size, "out_features": size},
    }
    (tmp_path / "architecture.json").write_text(json.dumps(spec))
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")


@pytest.mark.parametrize("size", [10**6, 10**15, 10**30])
def test_weights_that_the_file_does_not_hold_are_refused_at_once(size, tmp_path):
    linear_of(size, tmp_path)
    with pytest.raises(ArtifactError, match="saved model"):
        whatelse.load(tmp_path)


def test_what_codes_stand_for_is_summed_and_the_caller_can_raise_the_limit(tmp_path):
    packed = Quantized.of(torch.nn.Linear(1000, 1000), 2, 8)  # 250 kB of codes, computed with as 4 MB
    # 4,000,000 of weights, 250,000 of codes, 4,000 each of scales and biases, 8 of bounds: 4.06 * 2**20.
    folder.save(torch.nn.Sequential(packed), tmp_path)
    with pytest.raises(
        ArtifactError, match=r"would take 4.06 MiB of memory; allowed are 1 MiB; --max-memory, or max_memory="
    ):
        whatelse.load(tmp_path, max_memory="1M")
    assert whatelse.load(tmp_path, max_memory=5 * 2**20)[0].weight.shape == (1000, 1000)
    with pytest.raises(SettingError, match="a number of bytes is needed"):
        whatelse.load(tmp_path, max_memory="much")


def test_a_pipe_in_place_of_a_file_is_not_waited_for(model, tmp_path):
    folder.save(model, tmp_path)
    (tmp_path / "architecture.json").unlink()
    os.mkfifo(tmp_path / "architecture.json")
    with pytest.raises(ArtifactError, match=r"no architecture.json there \(a pipe, where a file is needed\)"):
        folder.load(tmp_path)


class Pads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Identity()

    def forward(self, x):
        return torch.nn.functional.pad(self.inner(x), (0, 2**27))[:, :2]


def test_the_proof_keeps_to_the_limit_and_ends_in_time(tmp_path, monkeypatch):
    inputs = torch.rand(4, 6)
    folder.save(Pads(), tmp_path)
    with limits.within("64M"), pytest.raises(ArtifactError, match=r"would take 1 GiB of memory; allowed are 64 MiB"):
        folder.prove(tmp_path, inputs, inputs[:, :2])
    monkeypatch.setattr(folder, "_START", -9.0)
    with limits.within(None, 5), pytest.raises(ArtifactError, match="did not answer"):
        folder.prove(tmp_path, inputs, inputs[:, :2])
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_is_opened_under_the_limit_and_a_factory_of_the_users_is_not(tmp_path, toy):
    task = toy.task_of(3 * torch.rand(6, 3), torch.arange(6) % 2)
    folder.save(Pads(), tmp_path / "folder")
    (tmp_path / "mine.py").write_text(f"import torch\n{inspect.getsource(Pads)}")
    with limits.within("64M"):
        with pytest.raises(ArtifactError, match="folder would take [1-3] GiB of memory"):
            opening.open_model(str(tmp_path / "folder"), task)
        assert opening.open_model(f"{tmp_path / 'mine.py'}:Pads", task)
        with pytest.raises(ArtifactError, match=r"mlp.* would take .* of memory"):
            opening.open_model('mlp(hidden="30000x30000")', task)
