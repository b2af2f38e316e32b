import math

import pytest

from whatelse.behaviours.language import perplexity
from whatelse.testing import speakers


@pytest.mark.known_answer
@pytest.mark.parametrize("per", ["token", "word", "byte"])
def test_it_is_the_exponential_of_the_mean_over_all_documents_together(pair, slow, texts, ones, rng, per):
    config = perplexity.Config(per=per)
    told = slow(speakers.Speaker(), texts)
    answer = perplexity.measure(pair[0], config, rng)
    units = sum({"token": told.counts, "word": [len(t.split(" ")) for t in texts], "byte": map(len, texts)}[per])
    whole = math.exp(sum(sum(losses) for losses in told.losses) / units)
    assert perplexity.summarise(answer, config, ones(answer)) == pytest.approx([whole], rel=1e-5)
    assert answer["loss"] == pytest.approx([sum(losses) for losses in told.losses], rel=1e-5)


@pytest.mark.known_answer
def test_a_model_that_knows_nothing_has_the_size_of_its_vocabulary(texts, ones, rng):
    speaker = speakers.Speaker()
    speaker.head.zero_()
    evidence = speakers.evidence_of(speaker, speakers.documents(texts))
    answer = perplexity.measure(evidence, perplexity.Config(), rng)
    assert perplexity.summarise(answer, perplexity.Config(), ones(answer)) == pytest.approx([speaker.vocabulary])
