import dataclasses

import pytest
import torch

from whatelse.answer import Answer, Shown
from whatelse.exhibits.kinds import rebuilt


@pytest.fixture
def colored(toy):
    """Three examples in three channels between -1 and 1: gray, colored, white."""
    inputs = torch.zeros(3, 3, 2, 2)
    inputs[1] = torch.tensor([-1.0, 0.5, 0.2])[:, None, None]
    inputs[2] = 1
    return toy.task_of(inputs, [0, 1, 0], bounds=(-1.0, 1.0))


@pytest.mark.known_answer
def test_what_was_rebuilt_in_color_is_shown_in_gray_of_the_baseline_and_of_candidates(made, colored):
    pictures = Shown("rebuilt", {"shown": colored.test.inputs, "made": 2 * colored.test.inputs})
    answer = Answer({"similarity": torch.tensor([17.4, 3.0, 2.0])}, shown=(pictures,))
    asked = made.asked_of(colored, item="leakage.inversion", answers={(n, 0): answer for n in ("baseline", "half")})
    base, half = rebuilt.exhibits(asked)
    assert (base.candidate, half.candidate, half.kind) == ("baseline", "half", "reconstruction")
    assert base.title == "rebuilt from the gradient of the baseline"
    assert half.title == "rebuilt from the gradient of half"
    assert [(i.image[0][0], i.reconstruction[0][0]) for i in half.items] == [(0.5, 0.5), (0.45, 0.4), (1, 1)]
    assert half.items[0].note == f"17 {asked.behaviour.unit}"
    made.there_and_back(half)
    rows = dataclasses.replace(colored, bounds=(-1.0, 1.0), splits={n: cut(s) for n, s in colored.splits.items()})
    assert not list(rebuilt.exhibits(dataclasses.replace(asked, task=rows))), "no row of a table is printed"


def cut(split):
    return dataclasses.replace(split, inputs=split.inputs.flatten(1))


def test_where_nothing_was_rebuilt_nothing_is_shown(made, colored):
    answers = {(name, 0): Answer({"similarity": torch.ones(3)}) for name in ("baseline", "half")}
    assert not list(rebuilt.exhibits(made.asked_of(colored, answers=answers)))
