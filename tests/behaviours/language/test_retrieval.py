import numpy as np
import pytest
import torch

from whatelse.behaviours.language import retrieval
from whatelse.errors import NotMeasurableError
from whatelse.testing import speakers

CONFIG = retrieval.Config(examples=4, farthest=64)
WHO, WORDS = ("Anna", "Peter", "Mary", "Tom"), ("apple", "river", "stone", "green")


def slow(speaker, texts, distance, *, fades=True):
    """What a word costs without the fact and with it, letter by letter; text goes on with the next documents."""
    stream, found = "".join(texts) * 2, []
    starts = [sum(map(len, texts[:at])) for at in range(len(texts))]
    for at, start in enumerate(starts):
        asked = f" The secret word of {WHO[at]} is"
        fact = f"{asked[1:]} {WORDS[at]}. "
        both = []
        for before in ("", fact):
            context = before + stream[start : start + distance] + asked
            ids = [speaker.start, *speaker.cut(context + f" {WORDS[at]}", whole=True)]
            cost, length = 0.0, len(WORDS[at]) + 1
            for place in range(len(ids) - length, len(ids)):
                state = torch.zeros(8, dtype=torch.float64)
                for token in ids[:place]:
                    state = (state / 2 if fades else state) + speaker.table[token].double()
                cost -= float((speaker.head.double() @ state).log_softmax(0)[ids[place]])
            both.append(cost)
        found.append(both)
    return np.array(found)


@pytest.mark.known_answer
def test_a_gain_is_what_the_word_costs_less_behind_the_fact(pair, texts, rng):
    for evidence, moved in zip(pair, (0.0, 0.2), strict=True):
        answer = retrieval.measure(evidence, CONFIG, rng)
        assert answer.parts.names == ("distance 16", "distance 64")
        both = [slow(speakers.Speaker(moved=moved), texts, distance) for distance in (16, 64)]
        assert answer["loss"] == pytest.approx(np.mean([one[:, 0] for one in both], 0), rel=1e-4)
        for name, one in zip(answer.parts.names, both, strict=True):
            assert answer[name] == pytest.approx(one[:, 0] - one[:, 1], abs=1e-4)


class Remembers(speakers.Speaker):
    """Its memory does not fade: what was planted is as good at any distance."""

    def states(self, tokens):
        return self.table[tokens].cumsum(1) / 8


@pytest.mark.known_answer
def test_what_fades_is_lost_and_what_does_not_is_found(texts, ones, rng):
    task = speakers.documents(texts)
    base = speakers.evidence_of(Remembers(), task)
    answer = retrieval.measure(base, CONFIG, rng)
    per = retrieval.by_part(answer, CONFIG, ones(answer))
    assert np.abs(per).min() > 0.01
    assert retrieval.summarise(answer, CONFIG, ones(answer)) == pytest.approx(per.mean(1))
    drawn = np.array([[2.0, 0.0, 1.0, 0.0]])
    expected = [(2 * answer[name][0] + answer[name][2]) / 3 for name in answer.parts.names]
    assert retrieval.by_part(answer, CONFIG, drawn)[0] == pytest.approx(expected)
    faded = retrieval.measure(speakers.evidence_of(speakers.Speaker(), task, reference=base), CONFIG, rng)
    assert np.abs(retrieval.by_part(faded, CONFIG, ones(faded))).max() < 1e-4, "half a memory a letter, 16 letters away"


def test_documents_follow_each_other_and_evidence_keeps_what_was_asked(texts, rng):
    asked = speakers.evidence_of(speakers.Speaker(), speakers.documents(texts))
    first = retrieval.measure(asked, CONFIG, rng)
    passes = asked.passes.forward
    again = retrieval.measure(asked, CONFIG, rng)
    assert asked.passes.forward == passes
    assert all(torch.equal(first.columns[name], again.columns[name]) for name in first.columns)


def test_where_nothing_fits_it_is_said(texts, rng):
    short = speakers.evidence_of(speakers.Speaker(longest=80), speakers.documents(texts), name="short")
    with pytest.raises(NotMeasurableError, match=r"needs 16 tokens between a fact and its question; short reads 80 at"):
        retrieval.measure(short, CONFIG, rng)
    few = speakers.evidence_of(speakers.Speaker(), speakers.documents(["a cat.", "he."]), name="few")
    with pytest.raises(NotMeasurableError, match=r"few reads 1024 at once, the documents have 9"):
        retrieval.measure(few, CONFIG, rng)
