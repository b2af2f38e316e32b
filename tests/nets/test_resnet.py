import os
from pathlib import Path

import numpy as np
import pytest
import torch

from whatelse.errors import SettingError, TaskError
from whatelse.modules import codec
from whatelse.nets import resnet

DATA = Path(os.environ.get("WHATELSE_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.known_answer
@pytest.mark.parametrize(("kind", "size"), [("A", 269_722), ("B", 272_474)])
def test_it_has_the_parameters_of_the_papers_network(kind, size, rng):
    # 0.27 million for depth 20; the two 1x1 shortcuts with batch norm add 16*32 + 32*64 + 2*32 + 2*64.
    model = resnet.build(resnet.Config(kind=kind), (3, 32, 32), 10, rng)
    assert sum(p.numel() for p in model.parameters()) == size
    assert sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) + 1 == 20 + 2 * (kind == "B")


@pytest.mark.known_answer
def test_a_published_checkpoint_reaches_its_published_accuracy(rng):
    """Trained by others: 91.73 % stated for the whole test set. Every 20th image: standard deviation 1.2 points."""
    checkpoint, images = DATA / "resnet20-cifar10" / "resnet20-12fca82f.th", DATA / "cifar10" / "cifar10_test.npz"
    if not checkpoint.exists() or not images.exists():
        pytest.skip(f"no {checkpoint.name} or {images.name} in {DATA}; set WHATELSE_DATA")
    stored = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
    model = resnet.build(resnet.Config(kind="A"), (3, 32, 32), 10, rng)
    model.load_state_dict({name.removeprefix("module."): t for name, t in stored.items()})
    with np.load(images) as file:
        x, y = torch.from_numpy(file["x"][::20]).float() / 255, torch.from_numpy(file["y"][::20]).long()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        right = (model.eval()((x - mean) / std).argmax(1) == y).float().mean()
    assert float(right) == pytest.approx(0.917, abs=0.037)


@pytest.mark.parametrize("kind", ["A", "B"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12)])
def test_any_channels_and_sides_and_it_can_be_saved(kind, shape, rng):
    model = resnet.build(resnet.Config(depth=8, width=3, kind=kind), shape, 4, rng).eval()
    x = torch.rand(3, *shape, generator=rng)
    assert model(x).shape == (3, 4)
    assert torch.equal(codec.decode(*codec.encode(model))(x), model(x))


def test_a_shortcut_of_kind_a_is_every_second_pixel_between_zeros(rng):
    x = torch.rand(1, 2, 4, 4, generator=rng)
    out = resnet._Padded(3)(x)
    assert out.shape == (1, 5, 2, 2)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert not bool(out[:, [0, 3, 4]].any())


def test_impossible_sizes_are_refused(rng):
    with pytest.raises(SettingError, match="depth=21 is not of the form 6n \\+ 2; try 20"):
        resnet.build(resnet.Config(depth=21), (3, 8, 8), 3, rng)
    with pytest.raises(TaskError, match="sides multiples of 4"):
        resnet.build(resnet.Config(), (3, 9, 8), 3, rng)
