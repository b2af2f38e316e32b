import re

import pytest

from whatelse.behaviours.language import likelihood
from whatelse.errors import NotMeasurableError
from whatelse.testing import speakers


@pytest.mark.known_answer
@pytest.mark.parametrize("per", ["token", "word", "byte"])
def test_it_is_the_sum_over_all_tokens_by_the_length_of_the_texts(pair, slow, texts, ones, rng, per):
    config = likelihood.Config(per=per)
    for evidence, speaker in zip(pair, (speakers.Speaker(), speakers.Speaker(moved=0.2)), strict=True):
        told = slow(speaker, texts)
        answer = likelihood.measure(evidence, config, rng)
        assert answer["loss"] == pytest.approx([sum(losses) for losses in told.losses], rel=1e-5)
        units = {
            "token": told.counts,
            "word": [len(re.split(r"\s+", text)) for text in texts],
            "byte": [len(text.encode()) for text in texts],
        }[per]
        assert answer["units"].tolist() == units
        whole = sum(sum(losses) for losses in told.losses) / sum(units)
        assert likelihood.summarise(answer, config, ones(answer)) == pytest.approx([whole], rel=1e-5)


def test_documents_are_drawn_whole_and_long_ones_count_for_more(pair, rng):
    answer = likelihood.measure(pair[0], likelihood.Config(), rng)
    found = likelihood.summarise(answer, likelihood.Config(), [[2, 0, 1, 0]])
    loss, units = answer["loss"], answer["units"]
    assert found == pytest.approx([(2 * loss[0] + loss[2]) / (2 * units[0] + units[2])])


def test_tokens_of_another_tokenizer_are_not_compared_and_bytes_are(texts, pair, rng):
    class Doubling(speakers.Speaker):
        def cut(self, text, *, whole):
            return [token for token in super().cut(text, whole=whole) for _ in (0, 1)]

    other = speakers.evidence_of(Doubling(), speakers.documents(texts), name="other", reference=pair[0])
    with pytest.raises(NotMeasurableError, match="cut these documents otherwise: 172 tokens of other, 86 of the"):
        likelihood.measure(other, likelihood.Config(per="token"), rng)
    assert likelihood.measure(other, likelihood.Config(per="byte"), rng)["units"].sum() == 86


def test_it_is_asked_of_documents_and_of_what_reads(rng, said):
    with pytest.raises(
        NotMeasurableError, match="needs a model that reads texts token by token; model only has recorded"
    ):
        likelihood.measure(said([[0.0, 1.0]], [1]), likelihood.Config(), rng)
