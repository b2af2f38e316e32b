import pytest
import torch

from whatelse import formats
from whatelse.errors import ArtifactError
from whatelse.layers.kernel import Kernel
from whatelse.layers.quantized import Quantized
from whatelse.layers.soft_tree import SoftTree
from whatelse.layers.tensor import TensorLayer
from whatelse.layers.tree import Tree
from whatelse.nets import cnn


@pytest.fixture
def inputs(rng):
    return torch.rand(6, 1, 8, 8, generator=rng)


@pytest.fixture
def model(rng):
    net = cnn.build(cnn.Config(width=2, hidden=4), (1, 8, 8), 3, rng)
    net.linear = Quantized.of(net.linear, 4, 8)
    return net.eval().requires_grad_(requires_grad=False)


@pytest.mark.slow
@pytest.mark.parametrize("write", [formats.onnx, formats.program], ids=["onnx", "pt2"])
def test_what_is_exported_answers_alike_for_any_batch(write, model, inputs, tmp_path):
    assert write(model, tmp_path / "model", inputs) <= formats.TOLERANCE
    assert (tmp_path / "model").stat().st_size > 0


def tree_of():
    made = Tree(leaves=3, classes=2, depth=2)
    made.feature.copy_(torch.tensor([1, 0]))
    made.threshold.copy_(torch.tensor([0.0, 0.1]))
    made.child.copy_(torch.tensor([[-1, 1], [-2, -3]]))
    made.values.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 3.0]]))
    return made


def quantized(grid, *, symmetric):
    return Quantized.of(torch.nn.Linear(16, 8), 4, 8, grid=grid, group=4, symmetric=symmetric)


OWN = {
    "tree": tree_of,
    "leaf": lambda: Tree(leaves=1, classes=2, depth=0),
    "soft": lambda: SoftTree(16, 3, 3, mixture=True),
    "hard": lambda: SoftTree(16, 3, 3, mixture=False),
    "tensor": lambda: TensorLayer([4, 4], 5, [2, 3, 2], bias=True),
    **{
        f"{grid} {symmetric}": lambda grid=grid, symmetric=symmetric: quantized(grid, symmetric=symmetric)
        for grid in ("tensor", "channel", "group")
        for symmetric in (True, False)
    },
    **{
        mode: lambda mode=mode: Kernel.of(torch.nn.Linear(16, 8), mode)
        for mode in ("int8_weight", "int8_dynamic", "float8_weight")
    },
}


def own(name, rng):
    if "int8" in name or "float8" in name:
        pytest.importorskip("torchao", reason="kernels of few bits need torchao")
    made = OWN[name]().eval().requires_grad_(requires_grad=False)
    for tensor in made.parameters():
        tensor.uniform_(-1, 1, generator=rng)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_every_layer_of_ours_is_exported_as_a_program(name, rng, tmp_path):
    x = torch.randn(6, 16, generator=rng)
    assert formats.program(own(name, rng), tmp_path / "model.pt2", x) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_every_layer_of_ours_is_exported_as_onnx(name, rng, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    x = torch.randn(6, 16, generator=rng)
    assert formats.onnx(own(name, rng), tmp_path / "model.onnx", x) <= 1e-6


def test_errors_of_exporters_are_told_by_their_cause_and_without_color():
    def advise():
        try:
            raise ValueError("\x1b[31mno  such\x1b[0m\n operator")
        except ValueError as error:
            raise RuntimeError("\x1b[96mThis is step 1/3\x1b[0m of exporting") from error

    with pytest.raises(ArtifactError, match="^cannot export a Linear as onnx: no such operator$"):  # noqa: SIM117
        with formats._exporting(torch.nn.Linear(1, 1), "onnx"):
            advise()


def test_what_answers_otherwise_is_refused(model, inputs):
    with pytest.raises(ArtifactError, match="differ by"):
        formats._agree("model.onnx", model, inputs, lambda x: model(x) * 1.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_what_cannot_be_exported_is_one_line(kind, inputs, tmp_path, capfd):
    class Branches(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    write = formats.onnx if kind == "onnx" else formats.program
    with pytest.raises(ArtifactError, match=f"cannot export a Branches as {kind}: [^\n\x1b]+$"):
        write(Branches(), tmp_path / "model", inputs)
    assert capfd.readouterr() == ("", "")
