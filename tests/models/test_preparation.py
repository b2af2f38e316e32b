import dataclasses
import inspect

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from whatelse.errors import TaskError
from whatelse.models.model import Elsewhere, Gradients, Keyed, Mixes, Opens, Recorded, Remarked, Scores, Stores
from whatelse.models.preparation import NOTHING, Preparation, Prepared, PreparedScores, before, behind, read


@pytest.fixture
def images():
    return torch.rand(3, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def test_each_step_is_what_numpy_and_pillow_do(images):
    by_hand = images.numpy().transpose(0, 2, 3, 1)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    found = Preparation(mean=mean, std=std)(images).numpy().transpose(0, 2, 3, 1)
    assert found == pytest.approx((by_hand - np.array(mean)) / np.array(std), abs=1e-6)
    assert Preparation(pixels="bytes")(images).numpy().transpose(0, 2, 3, 1) == pytest.approx(by_hand * 255, abs=1e-4)
    whole = Preparation(pixels="uint8", layout="NHWC")(images)
    assert whole.dtype == torch.uint8
    assert (whole.numpy() == np.round(by_hand * 255)).all()
    assert torch.equal(Preparation(channels="BGR")(images), images[:, [2, 1, 0]])
    small = Preparation(resize=(4, 5))(images[:, :1])
    for one, given in zip(small, images, strict=True):
        wanted = Image.fromarray(given[0].numpy(), mode="F").resize((5, 4), Image.Resampling.BILINEAR)
        assert one[0].numpy() == pytest.approx(np.asarray(wanted), abs=1e-5)


def test_steps_are_done_in_the_order_that_trainers_use(images):
    made = Preparation((4, 5), "bytes", (100.0,), (50.0,), "BGR", "NHWC")
    alone = Preparation(resize=(4, 5))(images)
    assert torch.allclose(made(images), ((alone * 255 - 100) / 50).flip(1).permute(0, 2, 3, 1))
    assert str(made) == "resized to 4x5, in 0 to 255, less 100, divided by 50, as BGR, laid out NHWC"
    assert str(NOTHING) == ""


def test_a_table_is_standardized_by_column():
    rows = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    assert torch.allclose(Preparation(mean=(2.0, 20.0), std=(1.0, 10.0))(rows), torch.tensor([[-1.0, -1], [1, 1]]))


def test_gradients_go_through_to_the_inputs_of_the_task(images):
    model = Prepared(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 2)), Preparation((4, 5), mean=(0.5,), std=(0.1,)))
    x = images.clone().requires_grad_()
    model(x)[:, 0].sum().backward()
    assert x.grad.shape == images.shape
    assert bool(x.grad.abs().sum() > 0)


def test_what_is_for_one_model_stands_over_what_is_for_all():
    made = read({"mean": ["small=0.5", "0.1,0.2,0.3"], "layout": ["small=nhwc"], "resize": []}, ["baseline", "small"])
    assert made == {
        "baseline": Preparation(mean=(0.1, 0.2, 0.3)),
        "small": Preparation(mean=(0.5,), layout="NHWC"),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": ["smal=0.5"]}, "--mean smal=0.5: no model 'smal'; did you mean small"),
        ({"mean": ["a,b"]}, "--mean a,b: got 'a,b'; numbers joined by commas are needed"),
        ({"mean": ["nan"]}, "numbers joined by commas are needed"),
        ({"std": ["0.5,0"]}, "--std 0.5,0: got 0; what is divided by must be above 0"),
        ({"resize": ["0x3"]}, "--resize 0x3: got '0x3'; a size is needed, such as 224 or 224x224"),
        ({"layout": ["small=HWC"]}, "--layout small=HWC: got 'HWC'; allowed are NCHW, NHWC"),
        ({"pixels": ["255"]}, "--pixels 255: got '255'; allowed are unit, bytes, uint8"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(options, message):
    with pytest.raises(TaskError) as refused:
        read(options, ["baseline", "small"])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("made", "shape", "message"),
    [
        (Preparation(mean=(0.1, 0.2)), (3, 4, 4), "--mean: got 2 numbers; 1 or 3 are needed, one for each channel"),
        (Preparation(std=(0.1, 0.2)), (5,), "--std: got 2 numbers; 1 or 5 are needed, one for each column"),
        (Preparation(resize=(4, 4)), (5,), "--resize: inputs are of shape (5,), no images; leave it out"),
        (Preparation(layout="NHWC"), (5,), "--layout: inputs are of shape (5,), no images; leave it out"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(made, shape, message, toy):
    task = toy.task_of(torch.rand(4, *shape), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(TaskError) as refused:
        made.check(task, "small")
    assert str(refused.value).startswith(f"small: {message}")


def test_token_ids_are_left_alone_and_asked_for_more_it_is_refused(toy):
    task = dataclasses.replace(toy.task_of(torch.ones(4, 3).long(), torch.tensor([0, 1, 0, 1])), vocabulary=5)
    NOTHING.check(task, "small")
    with pytest.raises(TaskError, match="small: --mean: inputs are token ids, which nothing is done to; leave it out"):
        Preparation(mean=(0.5,)).check(task, "small")


def test_a_model_is_tried_on_a_few_prepared_examples_of_two_classes(toy):
    targets = torch.zeros(200, dtype=torch.long)
    targets[150] = 1
    task = toy.task_of(torch.rand(200, 3, 8, 8), targets)
    few = before(Preparation(resize=(4, 4)), task)
    assert few.shape == (3, 4, 4)
    assert len(few.test) == 65
    assert before(NOTHING, task) is task


def test_numbers_that_are_standardized_already_are_not_standardized_again(toy):
    plain = toy.task_of(torch.rand(4, 2), torch.tensor([0, 1, 0, 1]))
    raw = dataclasses.replace(plain, features=("age", "sex=a"))
    scaled = dataclasses.replace(raw, units=((30.0, 5.0), (0.0, 1.0)))
    made = Preparation(mean=(30.0, 0.0))
    made.check(raw, "small")
    with pytest.raises(
        TaskError, match="small: --mean: numbers of the data are standardized already; say --scale none"
    ):
        made.check(scaled, "small")
    made.check(dataclasses.replace(scaled, units=((0.0, 1.0),) * 2), "small")


class Telling:
    """Answers with scores, and tells all that a model may tell of itself."""

    key, told, mixes = "telling-1", ("a remark",), True

    def scores(self, inputs):
        return inputs.flatten(1)[:, :2]

    def gradient(self, inputs, labels, scale=1.0):
        return inputs

    def is_still(self, key):
        return key == self.key

    def stored_bytes(self):
        return [8]

    def stored_weights(self):
        return [2]


def test_behind_its_preparation_a_model_tells_what_it_told_and_no_gradient_of_other_inputs(toy):
    made = behind(Telling(), Preparation(mean=(0.5,)), "small")
    assert isinstance(made, PreparedScores)
    for kind in (Keyed, Remarked, Mixes, Elsewhere, Stores, Scores):
        assert isinstance(made, kind), kind
    assert not isinstance(made, (Gradients, Opens, Recorded))
    # From Python 3.12 on a protocol is satisfied by what is found so, and by nothing else.
    for name in ("key", "told", "mixes", "is_still", "stored_bytes", "stored_weights", "scores"):
        inspect.getattr_static(made, name)
    assert (made.key, made.told, made.mixes, made.is_still("telling-1")) == ("telling-1", ("a remark",), True, True)
    assert (made.stored_bytes(), made.stored_weights()) == ([8], [2])
    assert torch.equal(made.scores(torch.ones(3, 4)), torch.full((3, 2), 0.5))


def test_behind_its_preparation_a_model_that_tells_nothing_tells_nothing():
    class Plain:
        def scores(self, inputs):
            return inputs

    made = behind(Plain(), Preparation(mean=(0.5,)), "small")
    assert not isinstance(made, (Keyed, Remarked, Mixes, Elsewhere, Stores))
