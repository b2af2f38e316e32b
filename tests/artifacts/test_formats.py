import pytest
import torch

from whatelse.artifacts import formats
from whatelse.errors import ArtifactError
from whatelse.layers.kernel import Kernel
from whatelse.layers.quantized import Quantized
from whatelse.layers.soft_tree import SoftTree
from whatelse.layers.tensor import TensorLayer
from whatelse.layers.tree import Tree
from whatelse.nets import cnn

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save


@pytest.fixture
def inputs(rng):
    return torch.rand(6, 1, 8, 8, generator=rng)


@pytest.fixture
def model(rng):
    net = cnn.build(cnn.Config(width=2, hidden=4), (1, 8, 8), 3, rng)
    net.linear = Quantized.of(net.linear, 4, 8)
    return net.eval().requires_grad_(requires_grad=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_what_is_exported_answers_alike_for_any_batch(kind, model, inputs, tmp_path):
    path = tmp_path / "model"
    assert formats.write(kind, model, path, inputs) <= formats.TOLERANCE
    # All but the linear layer, whose weight is of 4 bits: its bias and its scales, and two bounds of activations.
    others = sum(p.numel() for name, p in model.named_parameters())
    assert formats.held(kind, path)[0] <= 4 * (others + 4 + 4 + 8)


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


def assert_codes(kind, path, model):
    """Of 128 weights of a layer of few bits none is a float in the file: scales are, a bias of 8, and small change."""
    if isinstance(model, (Quantized, Kernel)):
        scales = sum(t.numel() for name, t in model.named_buffers() if name.startswith("scale"))
        assert formats.held(kind, path)[0] <= 4 * (scales + 8 + 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_every_layer_of_ours_is_exported_as_a_program(name, rng, tmp_path):
    x, model = torch.randn(6, 16, generator=rng), own(name, rng)
    assert formats.write("pt2", model, tmp_path / "model.pt2", x) <= 1e-6
    assert_codes("pt2", tmp_path / "model.pt2", model)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_every_layer_of_ours_is_exported_as_onnx(name, rng, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    x, model = torch.randn(6, 16, generator=rng), own(name, rng)
    assert formats.write("onnx", model, tmp_path / "model.onnx", x) <= 1e-6
    assert_codes("onnx", tmp_path / "model.onnx", model)


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

    with pytest.raises(ArtifactError, match=f"cannot export a Branches as {kind}: [^\n\x1b]+$"):
        formats.write(kind, Branches(), tmp_path / "model", inputs)
    assert capfd.readouterr() == ("", "")


class Tokens(torch.nn.Module):
    """A convolution in groups, then products with tokens, which exporters turn about."""

    def __init__(self):
        super().__init__()
        self.conv = Quantized.of(torch.nn.Conv2d(2, 64, 3, padding=1, groups=2), 4, 32)
        self.mix = Quantized.of(torch.nn.Linear(64, 96), 3, 32, grid="group", group=24, symmetric=False)
        self.wide = Quantized.of(torch.nn.Linear(96, 64), 8, 32, grid="tensor", symmetric=False)
        self.head = Quantized.of(torch.nn.Linear(64, 3), 5, 8)

    def forward(self, x):
        x = self.conv(x).relu().flatten(2).mT
        return self.head((x + self.wide(self.mix(x).relu())).mean(1))


@pytest.mark.slow
@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_the_bytes_of_a_file_are_those_of_its_codes(kind, rng, tmp_path):
    model, x = Tokens().eval().requires_grad_(False), torch.rand(5, 2, 6, 6, generator=rng)
    path = tmp_path / f"model.{kind}"
    assert formats.write(kind, model, path, x) <= formats.TOLERANCE
    conv, mix, wide, head = 64 * 9, 96 * 64, 64 * 96, 3 * 64
    if kind == "onnx":
        import onnx

        stored = [t for t in onnx.load(path).graph.initializer if len(t.raw_data) > 64]
        of = {kind: sorted(len(t.raw_data) for t in stored if t.data_type == kind) for kind in (2, 3, 21, 22)}
        # INT4 the convolution; UINT4 three bits and a zero point for each of 3 groups; UINT8 eight bits; INT8 five.
        assert of == {22: [conv // 2], 21: [96 * 3 // 2, mix // 2], 2: [wide], 3: [head]}
    else:
        program = torch.export.load(path)
        held = sum(t.numel() for t in program.state_dict.values() if t.dtype == torch.uint8)
        assert held == conv // 2 + mix * 3 // 8 + 96 * 3 + wide + 1 + head * 5 // 8
        assert program.example_inputs is None, "calibration examples stay at home"
        assert b"site-packages" not in path.read_bytes()
    # Scales: 64, 96 * 3, 1 and 3. Biases: 64, 96, 64 and 3. Bounds of activations: two a layer, and steps of one.
    assert formats.held(kind, path)[0] <= 4 * (64 + 288 + 1 + 3 + 64 + 96 + 64 + 3 + 12)


def test_a_file_that_answers_otherwise_with_codes_is_written_with_floats(rng, tmp_path, monkeypatch):
    model, x = quantized("channel", symmetric=True).eval(), torch.randn(6, 16, generator=rng)
    right = formats.FORMATS["pt2"]

    def export(shown, path, inputs):
        if shown is not model:
            shown.layer.scale.mul_(2)
        right.export(shown, path, inputs)

    monkeypatch.setitem(formats.FORMATS, "pt2", right._replace(export=export))
    assert formats.write("pt2", model, tmp_path / "model.pt2", x) <= 1e-6
    assert formats.held("pt2", tmp_path / "model.pt2")[0] >= 4 * 16 * 8
