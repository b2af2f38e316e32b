"""What a user gets wrong is one line, with what was got and what to do, exit code 3, and nothing is written."""

import json
import os
import sys
import warnings

import numpy as np
import pytest
import torch

from whatelse.cli import app

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

NET = """
import sys
import torch
from torch import nn

def made(classes=3, values=12):
    return nn.Sequential(nn.Flatten(), nn.Linear(values, classes))

def base(): return made()
def two(): return made(2)
def four(): return made(4)
def wide(): return made(3, 13)
def table(): return made(2, 3)
def table2(): return made(2, 3)
def lazy(): return nn.LazyLinear(3)
def raising(): raise ValueError("no\\nweights")
def ending(): sys.exit(7)
def needing(x): return made()

class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 2)
    def forward(self, x): return self.layer(x.permute(0, 3, 1, 2)).flatten(1)[:, :3]
def last(): return Last()

class Ends(nn.Module):
    def forward(self, x): raise SystemExit(7)
def ends(): return Ends()

class Fails(nn.Module):
    def forward(self, x): raise RuntimeError("first\\nsecond")
def fails(): return Fails()

class Hard(nn.Module):
    def forward(self, x): return x.flatten(1)[:, :3].argmax(1)
def hard(): return Hard()
number = 3
"""


def arrays(path, **changed):
    rng = np.random.default_rng(0)
    held = {"x": rng.random((60, 3, 2, 2), dtype=np.float32), "y": np.arange(60) % 3, "group_g": np.arange(60) % 2}
    np.savez(path, **{name: array for name, array in {**held, **changed}.items() if array is not None})


def table(lines=60):
    return "\n".join(["a,b,sex,y", *(f"{i * 0.37:.2f},{i % 7},{'FM'[i % 2]},{'yn'[i % 3 % 2]}" for i in range(lines))])


def put_arrays(place):
    n = np.arange(60)
    x = np.random.default_rng(0).random((60, 3, 2, 2), dtype=np.float32)
    arrays(place / "ok.npz")
    arrays(place / "nan.npz", x=np.where(n[:, None, None, None] == 7, np.nan, x))
    arrays(place / "below.npz", y=n % 3 - (n == 9))
    arrays(place / "one.npz", y=0 * n)
    arrays(place / "more.npz", y=n % 4)
    arrays(place / "fewer.npz", y=n % 2)
    arrays(place / "words.npz", y=np.array(["a", "b"])[n % 2])
    arrays(place / "short.npz", y=n[:-1] % 3)
    arrays(place / "last.npz", x=np.zeros((60, 8, 8, 3), np.float32))
    arrays(place / "bytes.npz", x=255 * x)
    arrays(place / "objects.npz", x=np.array([None] * 60))
    arrays(place / "few.npz", x=x[:2], y=n[:2], group_g=n[:2])
    arrays(place / "each.npz", group_g=n)
    arrays(place / "nobody.npz", group_g=0 * n - 1)
    arrays(place / "unlabeled.npz", y=None)
    whole = (place / "ok.npz").read_bytes()
    (place / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (place / "empty.npz").write_bytes(b"")
    np.savez(place / "scores.npz", scores=np.eye(3)[np.arange(18) % 3])


def put_tables(place):
    texts = {
        "ok.csv": table(),
        "semicolons.csv": table().replace(",", ";"),
        "empty.csv": "",
        "head.csv": "a,b,y",
        "twice.csv": table().replace("a,b", "a,a", 1),
        "mixed.csv": table().replace("0.37,", "abc,"),
        "ragged.csv": table() + "\n1,2",
        "alike.csv": table().replace(",n", ",y"),
        "unlabeled.csv": table().replace("2.22,6,F,y", "2.22,6,F,"),
        "infinite.csv": table().replace("0.37,", "inf,"),
        "names.csv": "\n".join(["a,name,y", *(f"{i},n{i},{i % 2}" for i in range(600))]),
        "measured.csv": "\n".join(["a,y", *(f"{i},{i * 0.37}" for i in range(60))]),
        "cut.jsonl": '{"a": 1, "y": 0}\n{"a":',
        "lists.jsonl": '{"a": [1], "y": 0}\n' * 20,
        "text.parquet": table(),
        "what.xlsx": "PK",
        "q.toml": "what = 1",
    }
    for name, text in texts.items():
        (place / name).write_text(text, "utf-8")
    (place / "wide.csv").write_bytes(table().encode("utf-16"))
    (place / "latin.csv").write_bytes(table().replace("F", "\xe9").encode("latin-1"))
    for name in ("round.csv", "round.onnx", "round.skops"):
        (place / name).symlink_to(name)
    (place / "nothing").mkdir()


def put_models(place):
    (place / "net.py").write_text(NET)
    (place / "script.py").write_text("raise SystemExit(2)\n")
    torch.save({"0.weight": torch.zeros(3)}, place / "other.pt")
    torch.save([1, 2], place / "list.pt")
    for name in ("empty.pt", "text.onnx", "text.skops", "m.pkl", "empty.skops"):
        (place / name).write_bytes(b"" if "empty" in name else b"hello")
    (place / "head.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")
    (place / "hf").mkdir()
    (place / "hf" / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    place = tmp_path_factory.mktemp("bad")
    put_arrays(place)
    put_tables(place)
    put_models(place)
    return place


@pytest.fixture
def refused(bad, tmp_path, monkeypatch, capfd):
    """Calls the command line in an empty folder, and returns its one line."""
    work = tmp_path / "work"
    work.mkdir()
    for entry in bad.iterdir():
        (work / entry.name).symlink_to(entry) if not entry.is_symlink() else os.symlink(entry.name, work / entry.name)
    monkeypatch.chdir(work)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "path", [str(bad), *sys.path])

    def call(*args):
        before = set(work.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["whatelse", *args])
        with pytest.raises(SystemExit) as ended, torch.random.fork_rng():  # of others' tests
            app.main()
        said = capfd.readouterr().err
        assert ended.value.code == 3, said
        assert "Traceback" not in said
        lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
        assert len([line for line in lines if line.startswith("whatelse: ")]) == 1, said
        assert {p for p in work.rglob("*") if "__pycache__" not in p.parts} == before
        return lines[-1]

    return call


DATA = {
    "nan.npz": "inputs of row 7, from 0, hold NaN or infinity; fill or drop them",
    "below.npz": "targets of row 9, from 0, are -1; whole numbers from 0 are needed",
    "one.npz": "every target is 0; a task needs at least two classes",
    "more.npz": "scores of 3 classes; the data have 4: label 3 is none of its classes: leave those rows out",
    "fewer.npz": "scores of 3 classes; the data have 2: name all classes of the model, in the order of its outputs",
    "words.npz": "one whole number for each is needed, from 0",
    "short.npz": "for 60 inputs; one whole number for each",
    "last.npz": "look like images with channels last (NHWC)",
    "objects.npz": "holds Python objects",
    "few.npz": "is empty; change the shares",
    "each.npz": "60 different values in 60 examples make no groups",
    "nobody.npz": "every value is missing; leave the array out",
    "unlabeled.npz": "no array targets; it has",
    "cut.npz": "no .npz file",
    "empty.npz": "no .npz file",
    "absent.npz": "no such file",
    "nothing": "folders of two classes or more are needed; it has none",
    "what.xlsx": "no loader opens .xlsx files; there are",
    "digit": "did you mean digits?",
    "table(path=": "was never closed",
    "table(pth='x')": "no setting 'pth'; did you mean path?",
    f"arrays(path='{'x' * 300}.npz')": "File name too long",
    "net.py:absent": "no 'absent' in net.py",
    "net.py:raising": "ValueError: no weights",
    "net.py:ending": "ends the process (exit 7); what a script runs belongs below if __name__",
    "net.py:base": "a pair (x, y) or a mapping is needed",
}


@pytest.mark.parametrize(("data", "why"), DATA.items(), ids=[name[:20] for name in DATA])
def test_data_that_cannot_be_used_are_one_line(refused, data, why):
    assert why in refused("audit", "net.py:base", "./net.py:base", "--data", data)


TABLES = {
    "semicolons.csv": "say delimiter=';' (--delimiter)",
    "empty.csv": "a line with the names of the columns and rows below it are needed",
    "head.csv": "a line with the names of the columns and rows below it are needed",
    "twice.csv": "the column 'a' stands twice; name each once",
    "mixed.csv": "column 'a': row 2 is no number, as most are; mend it",
    "ragged.csv": "row 61 has 2 values; the header has 4",
    "alike.csv": "every row is 'y'; a task needs two classes",
    "unlabeled.csv": "row 7 has no label; leave such rows out",
    "infinite.csv": "row 2 is no number",
    "names.csv": "different texts in 378 rows are no categories; numbers or categories are needed; leave it out",
    "measured.csv": "a class is needed, no measure",
    "wide.csv": "byte 0xff is no UTF-8 text; write the file as UTF-8",
    "latin.csv": "byte 0xe9 is no UTF-8 text",
    "cut.jsonl": "line 2 is no JSON",
    "lists.jsonl": "row 1 is [1]; numbers and texts are needed; leave the column out",
    "text.parquet": "no Parquet file that can be read",
    "round.csv": "Too many levels of symbolic links",
    "absent.csv": "No such file or directory",
}


@pytest.mark.parametrize(("data", "why"), TABLES.items(), ids=list(TABLES))
def test_tables_that_cannot_be_used_are_one_line(refused, data, why):
    if data.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    assert why in refused("data", "check", data, "--target", "y")


OPTIONS = [
    ("ok.csv", ["--target", "z"], "label: no column 'z'; there are: a, b, sex, y (--target)"),
    ("ok.csv", [], "(--target)"),
    ("ok.csv", ["--target", "y", "--groups", "race"], "groups: no column 'race'; there are"),
    ("ok.csv", ["--target", "y", "--groups", "sex:3"], "holds values that are no numbers; leave its cuts out"),
    ("ok.csv", ["--target", "y", "--groups", "a:99"], "no row has a 'a' over 99; leave that cut out"),
    ("ok.csv", ["--target", "y", "--groups", "a:3,1"], "rising numbers such as a:25,40,60"),
    ("ok.csv", ["--target", "y", "--groups", "sex,sex"], "stands twice"),
    ("ok.csv", ["--target", "y", "--classes", "y"], "two names or more are needed, each once (--classes)"),
    ("ok.csv", ["--target", "y", "--classes", "a,b"], "name all of them (--classes)"),
    ("ok.csv", ["--target", "y", "--bounds", "1,0"], "two rising numbers are needed"),
    ("ok.csv", ["--target", "y", "--cluster", "a,b"], "one column is needed"),
    ("ok.csv", ["--target", "y", "--limit", "-5"], "limit=-5 is outside"),
    ("ok.npz", ["--target", "y"], "--target: data arrays has no such setting"),
    ("ok.npz", ["--classes", "a,a,b"], "name one twice; name each once (--classes)"),
    ("ok.npz", ["--classes", "a,b"], "targets hold 2; classes name 2: name all of them"),
    ("ok.npz", ["--groups", "h"], "no array group_h; there are: g"),
    ("ok.npz", ["--cluster", "who"], "cluster: no array 'who'"),
    ("ok.npz", ["--split", "tset"], "split='tset'; test is allowed"),
    ("ok.npz", ["--members", "absent.npz"], "no such file"),
    ("bytes.npz", ["--bounds", "0,1"], "they look like pixels from 0 to 255: divide them by 255"),
    ("ok.npz", ["--limit", "x"], "--limit"),
]


@pytest.mark.parametrize(("data", "options", "why"), OPTIONS, ids=[" ".join([d, *o])[:40] for d, o, _ in OPTIONS])
def test_options_of_data_that_do_not_fit_are_one_line(refused, data, options, why):
    assert why in refused("data", "check", data, *options)


MODELS = {
    "net.py:two": "scores of 2 classes; the data have 3: label 2 is none of its classes",
    "net.py:four": "scores of 4 classes; the data have 3: name all classes of the model",
    "net.py:wide": "cannot take inputs of shape (3, 2, 2)",
    "net.py:last": "it takes channels last: say --layout NHWC",
    "net.py:lazy": "has parameters without numbers",
    "net.py:raising": "ValueError: no weights",
    "net.py:ending": "ends the process (exit 7); what a script runs belongs below if __name__",
    "net.py:ends": "code of a model or of data ended the program (exit 7); let it return instead",
    "net.py:fails": "first second",
    "net.py:hard": "which holds 0 matrices that could be class scores",
    "net.py:needing": "missing 1 required positional argument",
    "net.py:number": "got int; a torch.nn.Module, or a function returning one, is needed",
    "net.py:bas": "no 'bas' in net.py; did you mean base?",
    "script.py:model": "ends the process (exit 2)",
    "absent.py:model": "no such file",
    "absent": "no such folder or file",
    "nothing": "a saved model is a folder with model.safetensors and architecture.json",
    "net.py:base@absent.pt": "behind @ stand weights",
    "net.py:base@other.pt": "do not fit the model",
    "net.py:base@list.pt": "a mapping of names to tensors is needed",
    "net.py:base@empty.pt": "damaged, or holds more than tensors",
    "net.py:base@head.safetensors": "no safetensors file, or a damaged one",
    "text.onnx@other.pt": "has its own weights; leave one of them out",
    "empty.pt": "name the function that makes the model that they are of: file.py:function@empty.pt",
    "m.pkl": "reading it would run whatever it says",
    "scores.npz": "",
    "http://host:99999/x": "no address",
    "http://host/x?key=1": "without user, password",
}


@pytest.mark.parametrize(("model", "why"), MODELS.items(), ids=list(MODELS))
def test_models_that_cannot_be_asked_are_one_line(refused, model, why):
    more = ["--mean", "1"] if model == "scores.npz" else []
    why = why or "--mean: it holds scores that were recorded; leave it out, or say MODEL=VALUE for the others"
    assert why in refused("audit", "./net.py:base", model, "--data", "ok.npz", *more)


FOREIGN = {
    "text.onnx": ("onnxruntime", "no ONNX model that can be read"),
    "round.onnx": ("onnxruntime", "Too many levels of symbolic links"),
    "text.skops": ("skops", "no file of skops that can be read"),
    "empty.skops": ("skops", "no file of skops that can be read"),
    "round.skops": ("skops", "Too many levels of symbolic links"),
    "hf": ("transformers", "names BertModel; one that ends in"),
}


@pytest.mark.parametrize("model", FOREIGN)
def test_models_of_other_tools_that_cannot_be_asked_are_one_line(refused, model):
    extra, why = FOREIGN[model]
    pytest.importorskip(extra)
    assert why in refused("audit", "net.py:base", model, "--data", "ok.npz")


PREPARED = [
    (["--resize", "0"], "a size is needed, such as 224"),
    (["--resize", "16384"], "64 images of 16384x16384 would take 192 GiB of memory; allowed are 2 GiB; --max-memory"),
    (["--mean", "1,2"], "got 2 numbers; 1 or 3 are needed"),
    (["--mean", "x"], "numbers joined by commas are needed"),
    (["--std", "0"], "what is divided by must be above 0"),
    (["--mean", "bas=1"], "no model 'bas'; did you mean base"),
    (["--layout", "HWNC"], "allowed are NCHW, NHWC"),
    (["--pixels", "255"], "allowed are unit, bytes, uint8"),
    (["--batch", "-1"], "--batch"),
    (["--on", "moon"], "no such engine"),
    (["--max-memory", "lots"], "a number of bytes is needed"),
    (["--json", "no/where.json"], "cannot write no/where.json"),
    (["--questions", "ok.npz"], "not UTF-8 text"),
    (["--questions", "nothing"], "a folder, where a file is needed"),
    (["--questions", "q.toml"], "q.toml"),
    (["--placebo", "absent"], "absent: no such folder or file"),
    # The weights are drawn, and so is what the checklist says of six examples.
    (["--results", "q.toml", "--force"], "q.toml/LAYOUT: File exists"),
    (["--nope"], "No such option"),
]


@pytest.mark.parametrize(("options", "why"), PREPARED, ids=[" ".join(o) for o, _ in PREPARED])
def test_options_of_an_audit_that_do_not_fit_are_one_line(refused, options, why):
    assert why in refused("audit", "./net.py:base", "net.py:base", "--data", "ok.npz", *options)


def test_nothing_is_declared_for_a_model_with_a_processor_of_its_own(refused):
    said = refused("audit", "net.py:base", "hf", "--data", "ok.npz", "--mean", "hf=0.5")
    assert "hf: --mean: it has a processor or tokenizer of its own; leave it out, or say MODEL=VALUE" in said


def test_a_name_that_the_audit_uses_itself_is_no_name_of_a_model(bad, tmp_path, monkeypatch):
    from whatelse.cli import audit

    models = ["net.py:base", "net.py:zero", "net.py:twin", "net.py:small"]
    assert list(audit._named(models, "ok.npz")[1]) == ["net.py:zero", "net.py:twin", "small"]


def test_what_is_warned_of_is_one_line_without_code(monkeypatch, capsys):
    app._warn("two\nlines", UserWarning, "file.py", 3)
    app._warn("old", FutureWarning, "file.py", 3)
    assert capsys.readouterr().err == "warning: two lines\nwarning: FutureWarning: old\n"
