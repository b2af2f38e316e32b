"""Programs in files: recognized, never loaded, and opened by a function of the user's own."""

import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from whatelse import opening
from whatelse.errors import ArtifactError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(x.flatten(1))


@pytest.fixture(scope="module")
def digits():
    return opening.load_task("digits")


@pytest.fixture
def net():
    made = Net().eval()
    with torch.no_grad():
        made.head.weight.copy_(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))
    return made


def script(net, x, path):
    torch.jit.save(torch.jit.script(net), path)


def program(net, x, path):
    torch.export.save(torch.export.export(net, (x[:4],), dynamic_shapes=({0: torch.export.Dim("n")},)), path)


@pytest.mark.known_answer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("save", "file", "load"),
    [(script, "net.pt", "torch.jit.load"), (script, "net.ts", "torch.jit.load"), (program, "net.pt2", "export.load")],
)
def test_a_program_is_refused_with_the_lines_that_open_it(save, file, load, net, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(net, digits.test.inputs, file)
    for name in ("load", "jit.load", "export.load"):
        monkeypatch.setattr(f"torch.{name}", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ArtifactError, match=f"which is code.*{load}") as told:
        opening.open_model(file, digits)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    message = str(told.value)
    assert "\n" not in message
    (tmp_path / "net.py").write_text(message.rpartition("says: ")[2])
    opened = opening.open_model("net.py:model", digits)
    x = digits.test.inputs[:5]
    assert torch.allclose(opened(x), net(x), atol=1e-6)


def test_weights_in_the_place_of_a_model_are_told_to_be_such(net, digits, tmp_path):
    torch.save(net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ArtifactError, match=r"w\.pth: weights without a model; .* file\.py:function@.*w\.pth"):
        opening.open_model(str(tmp_path / "w.pth"), digits)
    (tmp_path / "odd.pt").write_bytes(b"none of it")
    with pytest.raises(ArtifactError, match="weights without a model, or no file of torch's"):
        opening.open_model(str(tmp_path / "odd.pt"), digits)
    save_file(net.state_dict(), tmp_path / "w.safetensors")


def test_a_program_of_former_releases_is_recognized(digits, tmp_path):
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as file:
        file.writestr("version", "8.8")
        file.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(ArtifactError, match=r"an exported program"):
        opening.open_model(str(tmp_path / "old.pt2"), digits)
