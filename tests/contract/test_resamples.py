"""What every behavior says of shared resamples is what it says of their counts; and which of them need the counts."""

import numpy as np
import pytest

from whatelse import items, registry
from whatelse.statistics import resample, shared
from whatelse.testing import samples, written

# No functions of sums: they look at counts themselves, in blocks, and cost as much as they always did.
OF_COUNTS = {"efficiency.latency", "generalization.risk_coverage", "language.tail"}


@pytest.mark.slow
@pytest.mark.known_answer
@pytest.mark.parametrize("name", registry.ours("behaviours"))
def test_a_behavior_says_of_shared_resamples_what_it_says_of_their_counts(name):
    item = items.behaviour(name)
    if item.unit_of_analysis == "layer":
        pytest.skip("no sample")
    config = item.configure({})
    answer = item.answer(*samples.pair(item.needs), config, written.generator())
    answer = answer.over(answer.matrix().astype(float))
    found = resample.Resamples(len(answer), 40, np.random.default_rng(0), None)
    counts = np.concatenate(list(found.sheets())).astype(float)
    group, of_counts = shared.Shared(found).group(), False
    for summary in (item.summarise, item.by_part):
        if summary is None:
            continue

        def asked(weights, summary=summary):
            with np.errstate(all="ignore"):
                return summary(answer, config, weights)

        later = group.ask(asked)
        of_counts |= later.asked.whole is not None
        assert later.drawn() == pytest.approx(asked(counts), rel=1e-9, abs=1e-12, nan_ok=True)
    assert of_counts == (name in OF_COUNTS), "a function of sums or not: say so"
