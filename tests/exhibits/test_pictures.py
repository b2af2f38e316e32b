import dataclasses

import pytest
import torch

from whatelse.exhibits import pictures


@pytest.mark.known_answer
def test_images_of_three_channels_are_shown_as_their_mean_in_gray(toy):
    inputs = torch.zeros(2, 3, 2, 2)
    inputs[1] = torch.tensor([-1.0, 0.5, 0.5])[:, None, None]
    inputs[1, :, 0, 1] = torch.tensor([1.0, 1.0, 0.4])
    task = toy.task_of(inputs, [0, 1], bounds=(-1.0, 1.0))
    assert pictures.picture(inputs[0], task) == ((0.5, 0.5), (0.5, 0.5))
    assert pictures.picture(inputs[1], task) == ((0.5, 0.9), (0.5, 0.5))


def test_what_is_no_picture_is_none(toy):
    table = toy.task_of(torch.zeros(2, 3), [0, 1])
    ids = dataclasses.replace(toy.task_of(torch.ones(2, 3), [0, 1], bounds=None), vocabulary=4)
    spectral = toy.task_of(torch.zeros(2, 4, 2, 2), [0, 1])
    unbounded = toy.task_of(torch.zeros(2, 1, 2, 2), [0, 1], bounds=None)
    assert [pictures.picture(t.test.inputs[0], t) for t in (table, ids, spectral, unbounded)] == [None] * 4
