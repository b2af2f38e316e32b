import pytest
import torch

from whatelse import registry, settings
from whatelse.errors import SettingError

digits = registry.load("datasets", "digits")


@pytest.fixture(scope="module")
def clean():
    return digits.load(digits.Config())


def test_every_image_of_scikit_learn_is_used_once(clean):
    from sklearn.datasets import load_digits

    raw = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    sizes = {name: len(split) for name, split in clean.splits.items()}
    assert sizes == {"train": 600, "calibration": 200, "select": 297, "test": 900}
    used = torch.cat([clean.splits[s].inputs[:, 0] for s in ("train", "select", "test")])
    turned = torch.cat([clean.splits[s].groups["style"] for s in ("train", "select", "test")]).bool()
    used[turned] = torch.rot90(used[turned], -1, (1, 2))
    assert {t.numpy().tobytes() for t in used} == {t.numpy().tobytes() for t in raw}
    assert torch.equal(clean.calibration.inputs, clean.train.inputs[:200])


def test_the_minority_style_has_its_share(clean):
    codes = torch.cat([clean.splits[s].groups["style"] for s in ("train", "select", "test")])
    assert int(codes.sum()) == round(0.15 * 1797)
    assert clean.group_names["style"] == ("upright", "quarter turn")


def test_the_split_never_moves(clean):
    """If this fails, results are no longer comparable with those of earlier releases."""
    assert clean.key == "040d6d21ce544a6d"


def test_label_noise_is_of_the_stated_share_and_always_wrong(clean):
    noisy = digits.load(digits.Config(noise=0.3))
    wrong = 0
    for name in ("train", "select", "test"):
        a, b = clean.split(name), noisy.split(name)
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
        wrong += int((b.observed != b.targets).sum())
    assert wrong == round(0.3 * 1797)
    assert torch.equal(clean.train.observed, clean.train.targets)


def test_the_mask_says_where_the_digit_lies(clean):
    canvas = digits.load(digits.Config(canvas=12, copies=3))
    assert len(canvas.train) == 1800
    split = canvas.test
    assert split.inputs.shape == (900, 1, 12, 12)
    assert split.masks.flatten(1).sum(1).eq(64).all()
    patch = split.inputs[split.masks].view(900, 1, 8, 8)
    assert bool((patch >= clean.test.inputs).all()), "the digit lies on the noise"
    assert float(split.inputs[~split.masks].max()) <= 0.2
    places = canvas.train.masks[::600].flatten(1).float().argmax(1)
    assert len(set(places.tolist())) > 1, "copies lie at different places"


def test_a_canvas_smaller_than_a_digit_is_refused():
    with pytest.raises(SettingError, match="smaller than a digit"):
        digits.load(settings.build(digits.Config, {"canvas": 5}, "digits"))
