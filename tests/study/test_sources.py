"""A key holds what decides a module's answers: helpers, settings, bases and programs, not tensors alone."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from whatelse import opening
from whatelse.study import handed

HELPER = "def turned(x): return 2 * x\n"
NET = """
import json
from pathlib import Path
import torch
from torch import nn
from helper import turned
FACTOR = 3
TABLE = {"plain": lambda x: x}

class Base(nn.Module):
    def forward(self, x): return self.layer(turned(x.flatten(1)))

class Net(Base):
    def __init__(self, bits=8):
        super().__init__()
        self.layer, self.bits = nn.Linear(4, 3), bits

def made(bits=8):
    torch.manual_seed(0)
    return Net(bits)

def wide(): return made()
def narrow(): return made(4)
def told(): return made(json.loads(Path("bits.json").read_text()))
"""


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "bits.json").write_text("8")
    np.savez("data.npz", x=np.random.default_rng(0).random((30, 4), dtype=np.float32), y=np.arange(30) % 3)
    yield opening.load_task("arrays(path='data.npz')")
    sys.modules.pop("net", None)
    sys.modules.pop("helper", None)


def key(text, task):
    sys.modules.pop("helper", None)
    return handed.key_of(text, task, opening.open_model(text, task))


def test_the_same_model_has_the_same_key_however_often_it_is_opened(task):
    assert key("net.py:wide", task) == key("net.py:wide", task)


CHANGES = {
    "a helper in another file": ("helper.py", "2 * x", "3 * x"),
    "a base of its class": ("net.py", "x.flatten(1)", "x.flatten(1) + 1"),
    "a constant beside it": ("net.py", "FACTOR = 3", "FACTOR = 4"),
    "what the function that makes it says": ("net.py", "def wide(): return made()", "def wide(): return made(6)"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_its_answers_changes_its_key(task, tmp_path, change):
    name, old, new = CHANGES[change]
    before = key("net.py:wide", task)
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    os.utime(tmp_path / name, (0, 0))  # not taken from what Python compiled before
    assert key("net.py:wide", task) != before


def test_two_functions_that_fill_one_class_with_the_same_weights_are_two_models(task):
    assert key("net.py:wide", task) != key("net.py:narrow", task)


def test_a_setting_that_is_read_from_a_file_counts(task, tmp_path):
    before = key("net.py:told", task)
    (tmp_path / "bits.json").write_text("4")
    assert key("net.py:told", task) != before


def test_a_buffer_that_no_state_dict_has_counts(task, tmp_path):
    (tmp_path / "mask.py").write_text(
        "import torch\nfrom torch import nn\nclass Masked(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(4, 3)\n"
        "        self.register_buffer('mask', torch.load('mask.pt'), persistent=False)\n"
        "    def forward(self, x): return self.layer(x * self.mask)\n"
        "def made():\n    torch.manual_seed(0)\n    return Masked()\n"
    )
    keys = []
    for mask in ([1.0, 1, 1, 1], [1.0, 0, 1, 1], [1.0, 1, 1, 1]):
        torch.save(torch.tensor(mask), "mask.pt")
        keys.append(key("mask.py:made", task))
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_programs_that_hold_their_weights_as_constants_are_told_apart(task, tmp_path):
    (tmp_path / "program.py").write_text("import torch\ndef load(): return torch.jit.load('frozen.pt')\n")
    keys = []
    for seed in (0, 1, 1):
        torch.manual_seed(seed)  # noqa: TID251 - of this test
        layer = torch.jit.freeze(torch.jit.script(nn.Linear(4, 3).eval()))
        torch.jit.save(layer, "frozen.pt")
        assert not layer.state_dict()
        keys.append(key("program.py:load", task))
    assert keys[0] != keys[1] == keys[2]


def test_the_same_key_in_another_process(task, tmp_path):
    code = (
        "from whatelse import opening; from whatelse.study import handed\n"
        "task = opening.load_task(\"arrays(path='data.npz')\")\n"
        "print(handed.key_of('net.py:wide', task, opening.open_model('net.py:wide', task)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == key("net.py:wide", task)
