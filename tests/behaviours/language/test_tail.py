import math

import numpy as np
import pytest

from whatelse.behaviours.language import tail
from whatelse.testing import speakers


def percentile(values, weights, percent):
    """The smallest value that at least so many per cent do not exceed, of all values written out."""
    every = sorted(np.repeat(values, weights))
    return every[math.ceil(round(percent / 100 * len(every), 9)) - 1]


@pytest.mark.known_answer
@pytest.mark.parametrize("count", [1, 7, 300, 5000])
def test_percentiles_are_those_of_the_values_written_out(answer_of, count):
    draw = np.random.default_rng(count)
    values = draw.exponential(size=count).round(2)  # some are alike
    weights = draw.integers(0, 4, (12, count))
    weights[:, 0] += 1
    answer = answer_of({"divergence": values}, ("90", "99", "99.9"))
    expected = [[percentile(values, row, at) for at in (90, 99, 99.9)] for row in weights]
    assert tail.by_part(answer, tail.Config(), weights.astype(float)) == pytest.approx(np.array(expected))
    for at in (50.0, 99.0):
        found = tail.summarise(answer, tail.Config(at=at), weights.astype(float))
        assert found == pytest.approx([percentile(values, row, at) for row in weights])


@pytest.mark.known_answer
def test_values_are_the_divergence_of_every_token_and_drawn_by_documents(pair, slow, texts, rng):
    base, mine = slow(speakers.Speaker(), texts), slow(speakers.Speaker(moved=0.2), texts)
    each = [float(x) for p, q in zip(base.logs, mine.logs, strict=True) for x in (p.exp() * (p - q)).sum(1)]
    answer = tail.compare(*pair, tail.Config(), rng)
    assert answer["divergence"] == pytest.approx(each, rel=1e-3, abs=1e-6)
    assert answer.rows.tolist() == [row for row, text in enumerate(texts) for _ in text]
    assert answer.parts.names == ("90", "99", "99.9")
