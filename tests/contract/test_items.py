"""What every item must do, whoever wrote it: `whatelse.testing`, held against all of ours. New files are picked up by
their path. Here stands what needs this repository: a test of one's own with a known answer, which fails when the item
is broken.
"""

import hashlib
import importlib.util
import json
import os
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openvino
import pytest
import skops.io
import torch
from sklearn.tree import DecisionTreeClassifier

from whatelse import registry, testing
from whatelse.artifacts import folder, formats
from whatelse.kinds import KINDS
from whatelse.tasks import evals
from whatelse.tasks.language import Passage
from whatelse.testing import speakers

ROOT = Path(__file__).parents[2]
# Never a network: real data lies beside the project, or the loader says that it is missing and the check is skipped.
DATA = os.environ.get("WHATELSE_DATA") or str(ROOT.parent / "shared" / "data")
ITEMS = [(kind, name) for kind in ("methods", "behaviours") for name in registry.ours(kind)]
CASES = [(kind, name, check) for kind, name in ITEMS for check in testing.checks(kind)]
OTHERS = ("nets", "datasets", "strategies", "surfaces", "gate_surfaces", "search_surfaces", "controls", "engines")
OTHERS += ("openers", "exhibits")
CASES += [(k, n, c) for k in OTHERS for n in registry.ours(k) for c in testing.checks(k)]
every_item = pytest.mark.parametrize(("kind", "name"), ITEMS, ids=[":".join(i) for i in ITEMS])


# What an item is tried with where its contract says that it needs something: an exhibit a question of whose answers it
# shows something, an opener a text that names a model of the sample images, a method layers of their network.
MIXED = "conv2: prune.magnitude() > quantize.uniform(bits=4); linear: decompose.svd(rank=0.4); head: quantize.gptq()"
# Hashes of the log that `_eval` writes: of its items, of no messages, and of no solvers and settings.
_ITEM = [hashlib.sha256(json.dumps([f"q{i}", None, "A"]).encode()).hexdigest()[:16] for i in range(3)]
_ASKED = [hashlib.sha256(json.dumps(part).encode()).hexdigest()[:16] for part in ([[]], [[], {}])]
GIVEN = {
    ("methods", "mixed.layers"): {"layers": MIXED},
    ("methods", "prune.depth"): {"layers": "relu2"},
    ("methods", "prune.widths"): {"keep": "conv1=0.5"},
    ("strategies", "evolve"): {"population": 4, "generations": 1, "warmup": 1},
    ("strategies", "reinforce"): {"removals": 4, "rollouts": 2, "hidden": 4, "misses": 20},
    ("exhibits", "rebuilt"): {"behaviour": "leakage.inversion"},
    ("exhibits", "tree"): {"behaviour": "transparency.tree"},
    ("exhibits", "vulnerable_records"): {"behaviour": "membership.loss"},
    ("openers", "folder"): {"text": "model"},
    ("openers", "gguf"): {"text": "m.gguf", "task": speakers.documents(["a b", "b a b"])},
    ("openers", "hugging_face"): {"text": "vit"},
    ("openers", "inspect"): {
        "text": "log.eval",
        "task": speakers.task_of(
            "graded",
            [
                Passage(f"q{i}", evals.GRADES, mark=str(evals.Mark(f"q{i}", 1, "t", _ITEM[i], *_ASKED, "s")))
                for i in range(3)
            ],
        ),
    },
    ("openers", "language_model"): {"text": "gpt", "task": speakers.documents(["a b", "b a b"])},
    ("openers", "llama2c"): {"text": "tiny.bin", "task": speakers.documents(["a b", "b a b"])},
    ("openers", "lm_eval"): {
        "text": "log.jsonl",
        "task": speakers.task_of("choices", [Passage("q", (" a", " b"), (1, 1), f"d{i} p{i} t{i}") for i in range(3)]),
    },
    ("openers", "net"): {"text": "cnn(width=4)"},
    ("openers", "onnx"): {"text": "m.onnx"},
    ("openers", "openvino"): {"text": "m.xml"},
    ("openers", "python"): {"text": "mine.py:net"},
    ("openers", "scores"): {"text": "scores.npz"},
    ("openers", "skops"): {"text": "m.skops"},
}
NET = """import torch

net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
for weights in net.parameters():
    torch.nn.init.ones_(weights)
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with a model of the sample images in every form that is a file."""
    place = tmp_path_factory.mktemp("models")
    folder.save(testing.models()[0].eval(), place / "model")
    with warnings.catch_warnings(action="ignore"):  # of torch, at the import of transformers
        _vit(place / "vit")
        _gpt(place / "gpt")
        _gguf(place)
        _llama2c(place)
    (place / "mine.py").write_text(NET, "utf-8")
    with (place / "log.jsonl").open("w") as log:
        for i in range(3):
            line = {"doc_id": i, "doc_hash": f"d{i}", "prompt_hash": f"p{i}", "target_hash": f"t{i}", "target": "0"}
            answers = {"arguments": [["q", " a"], ["q", " b"]], "resps": [[["-1.5", "True"]], [["-2.5", "False"]]]}
            log.write(json.dumps(line | answers) + "\n")
    _eval(place)
    examples = testing.images().test
    np.savez(place / "scores.npz", logits=np.eye(3, dtype="float32")[examples.targets])
    formats.write("onnx", testing.models()[0].eval(), place / "m.onnx", examples.inputs[:4])
    openvino.save_model(openvino.convert_model(place / "m.onnx"), place / "m.xml")
    rows = examples.inputs.flatten(1).numpy()
    skops.io.dump(DecisionTreeClassifier(max_depth=3).fit(rows, examples.targets.numpy()), place / "m.skops")
    return place


def _eval(place):
    """Write what Inspect writes, as far as it is read."""
    told = {"status": "success", "eval": {"task": "t"}, "plan": {}, "results": {"scores": [{"name": "s"}]}}
    with zipfile.ZipFile(place / "log.eval", "w") as file:
        file.writestr("header.json", json.dumps(told))
        for i in range(3):
            sample = {
                "id": f"q{i}",
                "epoch": 1,
                "input": f"q{i}",
                "target": "A",
                "scores": {"s": {"value": "CI"[i % 2]}},
            }
            file.writestr(f"samples/q{i}_epoch_1.json", json.dumps(sample))


def _vit(place):
    """Write what transformers writes; without it the opener says so and is skipped."""
    try:
        import transformers
    except ImportError:
        place.mkdir()
        (place / "config.json").write_text("{}")
        return
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    size = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 3}
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**small, **size))
    with torch.no_grad():
        for number, weights in enumerate(model.parameters()):
            weights.copy_(torch.sin(torch.arange(weights.numel()) + number).view(weights.shape))
    model.save_pretrained(place)
    transformers.ViTImageProcessor(do_resize=False, image_mean=[0.5], image_std=[0.5]).save_pretrained(place)


def _gpt(place):
    """Likewise a language model of two words."""
    try:
        import transformers
        from tokenizers import Tokenizer, models, pre_tokenizers
    except ImportError:
        place.mkdir()
        (place / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
        return
    size = {"vocab_size": 8, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 1}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**size, bos_token_id=0, eos_token_id=0))
    with torch.no_grad():
        for number, weights in enumerate(model.parameters()):
            weights.copy_(torch.sin(torch.arange(weights.numel()) + number).view(weights.shape))
    model.save_pretrained(place)
    inner = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1, "a": 2, "b": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>")
    tokenizer.save_pretrained(place)


def _gguf(place):
    """Likewise a GGUF file."""
    try:
        import gguf  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        (place / "m.gguf").write_bytes(b"GGUF")
        return
    spec = importlib.util.spec_from_file_location("language", ROOT / "tests" / "subjects" / "language.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.packed(made.random(place / "llama", tokenizer=False), place / "m.gguf")


def _llama2c(place):
    """Write a checkpoint of llama2.c, and its tokenizer of bytes and two words."""
    dim, hidden, layers, heads, few, vocab, longest = sizes = (8, 8, 1, 2, 1, 262, 16)
    count = vocab * dim + layers * (2 * dim * dim + 2 * dim * few * dim // heads + 3 * dim * hidden + 2 * dim) + dim
    numbers = np.sin(np.arange(count + longest * dim // heads)).astype("<f4")
    (place / "tiny.bin").write_bytes(struct.pack("<7i", *sizes) + numbers.tobytes())
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), " ", "a", "b"]
    told = (struct.pack("<fi", 0.0, len(piece)) + piece.encode() for piece in pieces)
    (place / "tok262.bin").write_bytes(struct.pack("<i", 6) + b"".join(told))


@pytest.mark.parametrize(("kind", "name", "check"), CASES, ids=[f"{k}:{n}: {c}" for k, n, c in CASES])
def test_it_keeps_the_contract(kind, name, check, monkeypatch, request):
    monkeypatch.setenv("WHATELSE_DATA", DATA)
    if kind == "openers":
        monkeypatch.chdir(request.getfixturevalue("models"))
    assert check.kind == kind
    check(name, **GIVEN.get((kind, name), {}))


def test_every_kind_that_is_listed_has_a_contract():
    assert {kind for kind, room in KINDS.items() if room.listed} == {"methods", "behaviours", *OTHERS}


def test_of(kind, name):
    *folders, last = name.split(".")
    return ROOT.joinpath("tests", kind, *folders, f"test_{last}.py")


test_of.__test__ = False


@every_item
def test_it_has_a_known_answer(kind, name):
    path = test_of(kind, name)
    assert path.exists(), f"write {path.relative_to(ROOT)}"
    assert "@pytest.mark.known_answer" in path.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ["offset", "permuted", "unchanged"])
def test_every_items_own_test_fails_when_the_item_is_broken(mutant, tmp_path):
    out = tmp_path / "out.xml"
    files = [str(test_of(kind, name)) for kind, name in ITEMS]
    # Failures are what is wanted here: nothing draws their differences, which can take minutes for two long lists.
    options = ["-q", "-p", "no:cacheprovider", "-n", "0", "-m", "not slow", "--tb=no", "--assert=plain"]
    options += ["-o", "faulthandler_timeout=300"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--junit-xml={out}", *files],
        cwd=ROOT,
        env={**os.environ, "WHATELSE_MUTANT": mutant, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.exists(), run.stdout + run.stderr
    caught = {
        case.get("classname") for case in ElementTree.parse(out).iter("testcase") if case.find("failure") is not None
    }
    missed = [f"{k}:{n}" for k, n in ITEMS if not _caught(k, n, caught)]
    assert not missed, f"their tests pass although they are broken ({mutant}): {missed}"


def _caught(kind, name, caught):
    *folders, last = name.split(".")
    return ".".join(["tests", kind, *folders, f"test_{last}"]) in caught
