import pytest
import torch

from whatelse import testing
from whatelse.searching.protocol import Score
from whatelse.searching.space import Axis, Space
from whatelse.searching.strategies import uniform

A, B, C = "quantize.uniform()", "prune.magnitude(sparsity=0.6)", "quantize.uniform(bits=2)"
SPACE = Space(
    (
        Axis("layer", "conv2", ("", A, B)),
        Axis("layer", "linear", ("", B, C)),
        Axis("whole", "", ("", "prune.structured(ratio=0.2)")),
        Axis("layer", "head", ("", A)),
    )
)


def started(space):
    return uniform.start(testing.problem(space), uniform.Config(), torch.Generator())


@pytest.mark.known_answer
def test_one_setting_for_all_layers_that_have_it_by_hand():
    search = started(SPACE)
    assert list(iter(search.ask, None)) == [
        (1, 0, 0, 1),  # A in conv2 and head
        (2, 1, 0, 0),  # B in conv2 and linear, where it has other numbers
        (0, 2, 0, 0),  # C in linear
        (0, 0, 1, 0),  # the whole model
    ]
    assert search.ask() is None


def test_it_learns_nothing():
    search = started(SPACE)
    for score in (Score(0.5, {"accuracy": 3.0}), Score(float("inf"), why="no"), Score(0.1, {"accuracy": -1.0})):
        search.tell(search.ask(), score)
    assert search.ask() == (0, 0, 1, 0)
