import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

COMPRESS = ("compress", "cnn()", "--recipe", "prune.magnitude()", "--data", "digits", "--out", "o")


def changed(**given):
    call = list(COMPRESS)
    for name, value in given.items():
        place = 1 if name == "model" else call.index(f"--{name}") + 1
        call[place] = value
    return call


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (changed(model="nowhere"), ("nowhere", "no such folder", "file.py:function")),
        (changed(recipe="prune.magnitud()"), ("did you mean prune.magnitude",)),
        (changed(recipe="quantize.uniform() > decompose.svd()"), ("put decompose.svd before quantize.uniform",)),
        (changed(data="digit"), ("did you mean digits",)),
        (changed(data="none.npz"), ("none.npz", "no such file")),
        (changed(out=str(Path(__file__).parent)), ("is there already",)),
        (changed(model="torch.nn:Flatten"), ("answers with scores of 64 classes; the data have 10",)),
        ((*COMPRESS, "--weights-key", "ema"), ("--weights-key ema", "give --weights FILE too")),
        ((*COMPRESS, "--weights", "no.pth", "--weights-key", "ema"), ("weights no.pth:ema", "No such file")),
        ((*COMPRESS, "--json", "no/where.json"), ("cannot write no/where.json",)),
    ],
)
def test_what_cannot_be_compressed_is_one_line_before_any_work(call, words, tmp_path, whatelse, refused):
    assert refused(whatelse(*call, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_is_compressed_and_its_folder_is_a_model_again(tmp_path, whatelse, refused):
    first = whatelse(*changed(model="cnn()", recipe="train.scratch(epochs=4)"), "--json", "c.json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "bytes on disk" in first.stdout
    assert "outputs equal bit for bit" in first.stderr
    found = json.loads((tmp_path / "c.json").read_text())
    assert {c["name"]: c["after"] for c in found["costs"]}["accuracy, select split"] > 0.5
    second = whatelse(*changed(model="o", recipe="prune.magnitude(sparsity=0.9)", out="p"), "--quiet", cwd=tmp_path)
    assert (second.returncode, second.stdout) == (0, "")
    sizes = [sum(f.stat().st_size for f in (tmp_path / name).iterdir()) for name in ("o", "p")]
    assert sizes[1] < sizes[0] / 3
    again = whatelse(*changed(model="o", out="p"), cwd=tmp_path)
    assert refused(again, "p is there already")
