import pytest

from whatelse.behaviours.language import likeliest
from whatelse.testing import speakers


@pytest.mark.known_answer
def test_it_counts_the_tokens_before_which_another_one_is_expected(pair, slow, texts, ones, rng):
    base, mine = slow(speakers.Speaker(), texts), slow(speakers.Speaker(moved=0.2), texts)
    moved = [int((p.argmax(1) != q.argmax(1)).sum()) for p, q in zip(base.logs, mine.logs, strict=True)]
    answer = likeliest.compare(*pair, likeliest.Config(), rng)
    assert answer["moved"].tolist() == moved
    assert sum(moved) > 0
    share = sum(moved) / sum(map(len, texts))
    assert likeliest.summarise(answer, likeliest.Config(), ones(answer)) == pytest.approx([share])


@pytest.mark.known_answer
def test_a_temperature_moves_nothing_of_it(texts, rng):
    cold = speakers.Speaker()
    cold.head.mul_(0.7)
    task = speakers.documents(texts)
    base = speakers.evidence_of(speakers.Speaker(), task)
    mine = speakers.evidence_of(cold, task, reference=base)
    assert likeliest.compare(base, mine, likeliest.Config(), rng)["moved"].tolist() == [0] * len(texts)
