import pickle
import sys

import numpy
import pytest
import torch
from safetensors.torch import save_file

from whatelse import opening, registry, templates
from whatelse.artifacts import folder as artifact
from whatelse.errors import (
    ArtifactError,
    ItemError,
    RecipeError,
    SettingError,
    TaskError,
    UnknownItemError,
    WhatElseError,
)
from whatelse.models import fit
from whatelse.nets import cnn

FACTORY = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(2, 3)

    def forward(self, x):
        return self.head(x)

def make():
    return Net()

ready = Net()
number = 7

def breaks():
    return 1 / 0
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FACTORY)
    return path


@pytest.fixture
def three(toy):
    return toy.task_of(torch.rand(6, 2), torch.arange(6) % 3, classes=3)


@pytest.fixture
def images(toy):
    return toy.task_of(torch.rand(6, 1, 8, 8), torch.arange(6) % 3, classes=3)


def test_a_folder_and_a_factory_and_a_module_are_opened(file, tmp_path, rng, three, images):
    net = cnn.build(cnn.Config(width=2, hidden=4), (1, 8, 8), 3, rng)
    artifact.save(net, tmp_path / "saved", {})
    assert torch.equal(
        opening.open_model(str(tmp_path / "saved"), images).state_dict()["head.bias"], net.state_dict()["head.bias"]
    )
    for name in ("make", "ready"):
        model = opening.open_model(f"{file}:{name}", three)
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
    small = opening.open_model("cnn(width=2)", images)
    assert small(images.test.inputs).shape == (6, 3)


USER = """
from {sibling} import width

def make():
    import {late}
    return __import__("torch").nn.Linear(2, {late}.classes)
"""


@pytest.mark.parametrize("dotted", [False, True])
def test_python_of_the_users_imports_what_stands_beside_it(dotted, tmp_path, three, monkeypatch):
    kind = "dotted" if dotted else "plain"
    names = {"sibling": f"whatelse_{kind}_sibling", "late": f"whatelse_{kind}_late"}
    inner = tmp_path / "package" if dotted else tmp_path
    inner.mkdir(exist_ok=True)
    (inner / "user.py").write_text(USER.format(**names))
    (tmp_path / f"{names['sibling']}.py").write_text("width = 2")
    (tmp_path / f"{names['late']}.py").write_text("classes = 3")
    # As the console script has it: the current folder is not on the path.
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder not in {"", "."}])
    before = list(sys.path)
    monkeypatch.chdir(tmp_path if dotted else tmp_path.parent)
    model = opening.open_model("package.user:make" if dotted else f"{tmp_path / 'user.py'}:make", three)
    assert model.out_features == 3
    assert sys.path == before
    with pytest.raises(ArtifactError):
        opening.open_model("package.missing:make" if dotted else f"{tmp_path / 'missing.py'}:make", three)
    assert sys.path == before


@pytest.mark.filterwarnings("ignore:.*are matched without:whatelse.errors.Told")
def test_weights_are_filled_in_whatever_wrote_them(file, tmp_path, three):
    state = {"head.weight": torch.ones(3, 2), "head.bias": torch.zeros(3)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        assert opening.open_model(f"{file}:make", three, str(tmp_path / name)).head.weight.eq(1).all()


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_a_checkpoint_that_would_run_code_is_refused(file, tmp_path, capsys, three):
    torch.save(Evil(), tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "evil.pkl"):
        with pytest.raises(ArtifactError, match=r"would run code.*safetensors"):
            opening.open_model(f"{file}:make", three, str(tmp_path / name))
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere",
            "no such folder or file; a model is .* a folder written by whatelse compress; or a GGUF .* a Hugging Face",
        ),
        ("nowhere.py:make", "no such file"),
        ("cnn(width=0)", "width=0 is outside"),
        ("rnn()", "did you mean|there are"),
        ("FILE:nothing", "no .nothing. in .*mine.py; there are: Net, breaks, make, ready"),
        ("FILE:number", "got int; a torch.nn.Module"),
        ("FILE:breaks", "ZeroDivisionError"),
        ("no.such.module:make", "ModuleNotFoundError"),
    ],
)
def test_what_is_no_model_is_refused_in_words(name, message, file, three):
    with pytest.raises(WhatElseError, match=message):
        opening.open_model(name.replace("FILE", str(file)), three)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"head.weight": torch.ones(3, 2)}, "they lack head.bias"),
        ({"head.weight": torch.ones(3, 2), "head.bias": torch.ones(3), "x": torch.ones(1)}, "the model has no x"),
        ({"head.weight": torch.ones(4, 2), "head.bias": torch.ones(3)}, "do not fit the model"),
    ],
)
def test_weights_that_do_not_fit_are_refused(state, message, file, tmp_path, three):
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ArtifactError, match=message):
        opening.open_model(f"{file}:make", three, str(tmp_path / "w.safetensors"))


def test_data_is_a_door_or_a_file(tmp_path):
    assert len(opening.load_task("digits").test) == 900
    noisy = opening.load_task("digits(noise=0.3)")
    assert (noisy.train.observed != noisy.train.targets).float().mean() == pytest.approx(0.3, abs=0.05)
    save_file({"x": torch.rand(40, 2), "y": torch.arange(40) % 2}, tmp_path / "d.safetensors")
    assert opening.load_task(str(tmp_path / "d.safetensors")).shape == (2,)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("digit", UnknownItemError, "did you mean digits"),
        ("digits(noise=2.0)", SettingError, "outside"),
        ("digits(", RecipeError, "column"),
        ("nowhere.npz", TaskError, "no such file"),
    ],
)
def test_data_that_cannot_be_opened_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        opening.load_task(text)


def test_a_model_that_does_not_fit_the_data_is_refused_with_both_sides(task, linear):
    fit.check_fit(linear, task, "m")
    with pytest.raises(
        TaskError, match=r"task toy .*: m answers with scores of 3 classes; the data have 2: name all .*--classes"
    ):
        fit.check_fit(torch.nn.Linear(2, 3), task, "m")
    with pytest.raises(TaskError, match=r"m cannot take inputs of shape \(2,\)"):
        fit.check_fit(torch.nn.Linear(5, 2), task, "m")


def test_recorded_scores_are_a_model_that_can_only_be_audited(tmp_path, three, file):
    numpy.savez(tmp_path / "s.npz", logits=numpy.eye(6, 3))
    opened = opening.open_model(str(tmp_path / "s.npz"), three)
    assert opened.splits == ("test",)
    with pytest.raises(ArtifactError, match=r"s.npz: a torch module is needed; it is none, and can only be audited"):
        opening.open_module(str(tmp_path / "s.npz"), three)
    for text in (str(tmp_path / "s.npz"), str(tmp_path)):
        with pytest.raises(ArtifactError, match="leave one of them out"):
            opening.open_model(text, three, "w.pth")
    assert isinstance(opening.open_module(f"{file}:make", three), torch.nn.Module)


def test_every_opener_says_what_it_takes_and_none_takes_what_another_does(tmp_path):
    every = [opening.opener(name) for name in registry.names("openers")]
    assert len(every) >= 4
    for text in (str(tmp_path), "a.py:f", "package.module:f", "cnn()", "s.npz", "s.csv", "folder:like(1)"):
        assert [one.takes(text) for one in every].count(True) == 1, text
    assert not any(one.takes("nowhere") for one in every)


def test_a_file_is_opened_by_the_one_loader_that_declares_its_ending(tmp_path, monkeypatch):
    text = templates.write("loader", "clouds", tmp_path)[0].read_text("utf-8")
    monkeypatch.setattr(registry, "_ADDED", {})
    for name in ("one", "two"):
        path = "    path: str = param('', 'The file.')\n    count: int"
        mine = text.replace("clouds", name).replace("VERSION = 1", 'VERSION, SUFFIXES = 1, (".xyz",)')
        (tmp_path / f"{name}.py").write_text(mine.replace("    count: int", path), "utf-8")
    assert opening.data_call("points.npz") == ("arrays", {"path": "points.npz"})
    registry.add(tmp_path / "one.py")
    assert opening.data_call("points.xyz") == ("one", {"path": "points.xyz"})
    registry.add(tmp_path / "two.py")
    with pytest.raises(ItemError, match=r"one and two open \.xyz files; say one\(path='points.xyz'\) or two"):
        opening.data_call("points.xyz")


def test_weights_stand_behind_the_model(file, three, tmp_path):
    weights = {"weight": torch.arange(6.0).reshape(3, 2), "bias": torch.ones(3)}
    state = {f"head.{n}": t for n, t in weights.items()}
    torch.save({"model": state, "critic": {n: t + 1 for n, t in state.items()}}, tmp_path / "run.pth")
    found = opening.open_model(f"{file}:make@{tmp_path / 'run.pth'}:critic", three)
    assert torch.equal(found.head.weight, weights["weight"] + 1)
    with pytest.raises(ArtifactError, match="no such file lost.pth; behind @ stand weights for .*mine.py:make"):
        opening.open_model(f"{file}:make@lost.pth", three)
    with pytest.raises(ArtifactError, match="has weights already"):
        opening.open_model(f"{file}:make@{tmp_path / 'run.pth'}", three, "other.pth")
    with pytest.raises(ArtifactError, match=r"model and critic fit the model and differ.*--weights-key critic"):
        opening.open_model(f"{file}:make@{tmp_path / 'run.pth'}", three)
    assert opening.short_names(["net.py:make@a/one.pth", "net.py:make@a/two.pth:ema"]) == ["one.pth", "two.pth:ema"]


def test_what_was_understood_of_weights_stands_beside_the_model(tmp_path, monkeypatch):
    import whatelse
    from whatelse.auditing import questions

    task = opening.load_task("digits")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "n.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    save_file(net.state_dict(), "a.safetensors")
    torch.save({f"module.{n}": t.bfloat16() for n, t in net.state_dict().items()}, "b.pt")
    asked = questions.read_questions(
        'name = "s"\ntitle = "S"\ndraws = 100\nrows = [{ name = "p", title = "P" }]\n[[measurements]]\nrow = "p"\n'
        'item = "generalization.accuracy"\nlabel = "a"\nmargin = 0.02\nprimary = true\n'
    )
    found = whatelse.audit("n.py:make@a.safetensors", {"c": "n.py:make@b.pt"}, task, asked)
    told = "; ".join(next(c.remarks for c in found.candidates if c.name == "c"))
    assert "matched without what wrappers put into them" in told
    assert "weights stored as bfloat16 are computed with as float32" in told


def test_names_of_what_is_served_stand_behind_their_addresses():
    texts = ["http://one/v1", "folder", "https://two:8000/v1"]
    assert opening.served(texts, []) == texts
    named = opening.served(texts, ["a", "b"])
    assert named == ["http://one/v1#a", "folder", "https://two:8000/v1#b"]
    assert opening.short_names(named) == ["a", "folder", "b"]
    with pytest.raises(ArtifactError, match="--model is given 1 times for 2 addresses; one for each"):
        opening.served(texts, ["a"])
