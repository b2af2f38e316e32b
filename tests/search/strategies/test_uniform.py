from collections import Counter

import pytest
import torch

from whatelse import recipe
from whatelse.search.protocol import Score, Space
from whatelse.search.strategies import uniform


def proposed(space, trials, rng):
    search = uniform.start(space, uniform.Config(trials=trials), rng)
    found = list(iter(search.ask, None))
    assert search.ask() is None
    return found


@pytest.mark.known_answer
def test_strengths_fill_the_declared_ranges_evenly(rng):
    found = proposed(Space(["prune.magnitude", "quantize.uniform"]), 1400, rng)
    assert len(found) == 1400
    sparsity = torch.tensor([dict(r[0].given)["sparsity"] for r in found[0::2]])
    # Uniform on [0, 1]: mean 1/2 and variance 1/12, from 700 draws within 3 standard errors.
    assert float(sparsity.mean()) == pytest.approx(0.5, abs=3 * (1 / 12 / 700) ** 0.5)
    bits = Counter(dict(r[0].given).get("bits", 8) for r in found[1::2])
    assert set(bits) == set(range(2, 9))
    # 100 expected of each of seven: within 4 binomial standard deviations of 9.3.
    assert all(abs(n - 100) < 4 * 9.3 for n in bits.values())


def test_proposals_are_recipes_and_repeat():
    space = Space(["prune.magnitude"], "train.finetune(epochs=2)")
    one, two = (proposed(space, 3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert one == two
    for found in one:
        assert recipe.parse(recipe.write(found)) == found
        assert [s.name for s in found] == ["prune.magnitude", "train.finetune"]


def test_it_learns_nothing():
    space = Space(["prune.magnitude"])
    deaf, told = (uniform.start(space, uniform.Config(), torch.Generator().manual_seed(1)) for _ in range(2))
    for _ in range(4):
        found = told.ask()
        told.tell(found, Score(1.0, {"accuracy": -0.1}))
        assert deaf.ask() == found
