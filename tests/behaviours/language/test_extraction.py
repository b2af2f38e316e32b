import pytest
import torch

from whatelse.behaviours.language import extraction
from whatelse.errors import NotMeasurableError
from whatelse.testing import speakers

CONFIG = extraction.Config(prefix=4, tokens=6)


@pytest.mark.known_answer
def test_it_is_the_worst_place_of_the_true_letters_among_all(pair, slow, texts, ones, rng):
    told = slow(speakers.Speaker(moved=0.2), texts)
    answer = extraction.measure(pair[1], CONFIG, rng)
    rows = [i for i, count in enumerate(told.counts) if count >= 10]
    assert answer.rows.tolist() == rows
    assert len(rows) < len(texts)
    expected, greedy = [], []
    for row in rows:
        ids = speakers.Speaker().cut(texts[row], whole=True)
        logs = told.logs[row][4:10]
        places = [int((log > log[token]).sum()) + 1 for log, token in zip(logs, ids[4:10], strict=True)]
        expected.append(max(places))
        greedy.append(sum(place == 1 for place in places) / 6)
    assert answer["rank"].tolist() == expected
    assert answer["likeliest"] == pytest.approx(greedy)
    for top in (1, 3, 20, 30):
        share = sum(rank <= top for rank in expected) / len(expected)
        found = extraction.summarise(answer, extraction.Config(4, 6, top), ones(answer))
        assert found == pytest.approx([share])
    tokens = extraction.Config(4, 6, count="tokens")
    assert extraction.summarise(answer, tokens, ones(answer)) == pytest.approx([sum(greedy) / len(greedy)])
    assert extraction.by_part(answer, CONFIG, ones(answer)).shape == (1, 3)


class Reciting(speakers.Speaker):
    """Knows one text by heart: expects its next letter after any beginning of it that is a sum of powers of two."""

    def __init__(self, text, **told):
        super().__init__(**told)
        ids, self.known = self.cut(text, whole=True), {}
        state = torch.zeros(8)
        for token, following in zip([self.start, *ids], ids, strict=False):
            state = state / 2 + self.table[token]
            self.known[tuple(state.tolist())] = following

    def said(self, states):
        found = super().said(states)
        for row, state in enumerate(states.tolist()):
            if tuple(state) in self.known:
                found[row, self.known[tuple(state)]] = 100.0
        return found


@pytest.mark.known_answer
def test_a_planted_text_is_given_away_as_it_is_written(texts, ones, rng):
    secret = "the red dog saw her home."
    task = speakers.documents([*texts, secret])
    model = Reciting(secret)
    evidence = speakers.evidence_of(model, task)
    config = extraction.Config(prefix=5, tokens=12)
    answer = extraction.measure(evidence, config, rng)
    place = answer.rows.tolist().index(len(texts))
    assert answer["rank"][place] == 1
    held = [model.start, *model.cut(secret[:5], whole=True)]
    for _ in range(12):
        held.append(int(model.said(model.states(torch.tensor([held]))[0, -1:]).argmax()))
    assert held[6:] == model.cut(secret[5:17], whole=True), "what it writes is the document, word for word"
    others = [rank for at, rank in enumerate(answer["rank"]) if at != place]
    assert min(others) > 1
    assert answer.notes[0].startswith(f"1 of {len(answer)} documents are written word for word")
    plain = extraction.measure(speakers.evidence_of(speakers.Speaker(), task), config, rng)
    assert plain["rank"][place] > 1
    assert plain["rank"].tolist() != answer["rank"].tolist()


def test_of_two_equal_ones_the_first_is_written(texts, rng):
    flat = speakers.Speaker()
    flat.head.zero_()
    answer = extraction.measure(speakers.evidence_of(flat, speakers.documents(texts)), CONFIG, rng)
    assert answer["rank"].tolist() == [2.0] * len(answer), "no letter is likelier, and another one is written"


def test_identity_is_exactly_nothing(texts, pair, rng):
    same = speakers.evidence_of(speakers.Speaker(), speakers.documents(texts), reference=pair[0])
    one, two = (extraction.measure(e, CONFIG, rng) for e in (pair[0], same))
    assert all(torch.equal(one.columns[name], two.columns[name]) for name in one.columns)


def test_what_is_too_short_or_too_long_is_said(texts, rng):
    evidence = speakers.evidence_of(speakers.Speaker(longest=32), speakers.documents(texts))
    with pytest.raises(NotMeasurableError, match="needs 20 tokens and 20 after them at once; model reads 32"):
        extraction.measure(evidence, extraction.Config(20, 20), rng)
    short = speakers.evidence_of(speakers.Speaker(), speakers.documents(["a cat."]))
    with pytest.raises(NotMeasurableError, match="needs documents of 10 tokens or more; the longest has 6"):
        extraction.measure(short, CONFIG, rng)
