from collections import Counter

import pytest
import torch

from whatelse import recipe
from whatelse.errors import SettingError
from whatelse.search import uniform


@pytest.mark.known_answer
def test_strengths_fill_the_declared_ranges_evenly(rng):
    found = uniform.propose(["prune.magnitude", "quantize.uniform"], uniform.Config(trials=1400), rng)
    sparsity = torch.tensor([dict(r[0].given)["sparsity"] for r in found[0::2]])
    # Uniform on [0, 1]: mean 1/2 and variance 1/12, from 700 draws within 3 standard errors.
    assert float(sparsity.mean()) == pytest.approx(0.5, abs=3 * (1 / 12 / 700) ** 0.5)
    bits = Counter(dict(r[0].given)["bits"] for r in found[1::2])
    assert set(bits) == set(range(2, 9))
    # 100 expected of each of seven: within 4 binomial standard deviations of 9.3.
    assert all(abs(n - 100) < 4 * 9.3 for n in bits.values())


def test_proposals_are_recipes_and_repeat():
    config = uniform.Config(trials=3, then="train.finetune(epochs=2)")
    one, two = (uniform.propose(["prune.magnitude"], config, torch.Generator().manual_seed(1)) for _ in range(2))
    assert one == two
    for proposed in one:
        assert recipe.parse(recipe.write(proposed)) == proposed
        assert [s.name for s in proposed] == ["prune.magnitude", "train.finetune"]


@pytest.mark.parametrize(("methods", "message"), [([], "methods is empty"), (["train.finetune"], "has no knob")])
def test_what_cannot_be_searched_is_refused(methods, message, rng):
    with pytest.raises(SettingError, match=message):
        uniform.propose(methods, uniform.Config(), rng)
