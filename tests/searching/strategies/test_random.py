from collections import Counter

import pytest
import torch

from whatelse import testing
from whatelse.searching.protocol import Score
from whatelse.searching.space import Axis, Space
from whatelse.searching.strategies import random
from whatelse.testing import problems

OPTIONS = ("", *(f"quantize.uniform(bits={bits})" for bits in (7, 6, 5, 4)))
SMALL = Space((Axis("layer", "linear", OPTIONS[:3]), Axis("layer", "head", OPTIONS[:2])))


def started(space, seed=0, **given):
    return random.start(testing.problem(space), random.Config(**given), torch.Generator().manual_seed(seed))


@pytest.mark.known_answer
def test_every_option_of_every_axis_is_equally_likely():
    search = started(
        Space(tuple(Axis("layer", name, OPTIONS) for name in ("conv1", "conv2", "conv3", "linear", "head")))
    )
    found = [search.ask() for _ in range(1000)]
    assert len(set(found)) == 1000, "none is proposed twice"
    # 200 expected of each of five options, one in three of all 3125 configurations drawn without replacement: within 4
    # hypergeometric standard deviations of 10.4.
    for axis in zip(*found, strict=True):
        counts = Counter(axis)
        assert set(counts) == set(range(5))
        assert all(abs(n - 200) < 4 * 10.4 for n in counts.values())


def test_a_small_space_is_proposed_whole_and_then_no_more():
    search = started(SMALL)
    found = list(iter(search.ask, None))
    assert sorted(found) == [(a, b) for a in range(3) for b in range(2)]
    assert search.ask() is None
    # It gives up after as many draws as it is told: after one, with the first repetition.
    assert len(list(iter(started(SMALL, misses=1).ask, None))) < 6


def test_it_learns_nothing():
    deaf, told = started(problems.LAYERS), started(problems.LAYERS)
    for _ in range(6):
        found = told.ask()
        told.tell(found, Score(1.0, {"accuracy": -0.1}))
        assert deaf.ask() == found
    assert [started(problems.LAYERS, seed).ask() for seed in range(6)] != [found] * 6
