import pytest
import torch

from whatelse import formats
from whatelse.errors import ArtifactError
from whatelse.layers.quantized import Quantized
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


def test_what_answers_otherwise_is_refused(model, inputs):
    with pytest.raises(ArtifactError, match="differ by"):
        formats._agree("model.onnx", model, inputs, lambda x: model(x) * 1.01)


@pytest.mark.slow
def test_what_cannot_be_exported_is_one_line(inputs, tmp_path):
    class Branches(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ArtifactError, match="cannot export a Branches as pt2: [^\n]+$"):
        formats.program(Branches(), tmp_path / "model", inputs)
