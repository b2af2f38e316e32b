import pytest
import torch

from whatelse.behaviours.language import divergence
from whatelse.errors import NotMeasurableError
from whatelse.evidence import windows
from whatelse.testing import speakers


def naive(slow, texts, moved):
    base, mine = slow(speakers.Speaker(), texts), slow(speakers.Speaker(moved=moved), texts)
    return [float((p.exp() * (p - q)).sum()) for p, q in zip(base.logs, mine.logs, strict=True)]


@pytest.mark.known_answer
def test_it_is_that_of_the_whole_distributions_at_every_token(pair, slow, texts, ones, rng):
    expected = naive(slow, texts, 0.2)
    answer = divergence.compare(*pair, divergence.Config(), rng)
    assert answer["divergence"] == pytest.approx(expected, rel=1e-4)
    assert answer["units"].tolist() == [len(text) for text in texts]
    mean = sum(expected) / sum(map(len, texts))
    assert divergence.summarise(answer, divergence.Config(), ones(answer)) == pytest.approx([mean], rel=1e-4)


@pytest.mark.parametrize("said", [1, 200, 10**9])
def test_chunks_change_nothing(pair, slow, texts, rng, monkeypatch, said):
    monkeypatch.setattr(windows, "SAID", said)
    monkeypatch.setattr(windows, "ROWS", 1)
    answer = divergence.compare(*pair, divergence.Config(), rng)
    assert answer["divergence"] == pytest.approx(naive(slow, texts, 0.2), rel=1e-4)


def test_identity_is_exactly_nothing(texts, rng):
    task = speakers.documents(texts)
    base = speakers.evidence_of(speakers.Speaker(), task)
    same = speakers.evidence_of(speakers.Speaker(), task, reference=base)
    for one in (base, same):
        assert not divergence.compare(base, one, divergence.Config(), rng)["divergence"].any()


def test_a_vocabulary_of_another_size_is_not_compared(texts, pair, rng):
    other = speakers.Speaker(moved=0.2)
    other.vocabulary += 1
    other.head = torch.nn.Parameter(torch.cat([other.head, other.head[:1]]), requires_grad=False)
    evidence = speakers.evidence_of(other, speakers.documents(texts), name="other", reference=pair[0])
    with pytest.raises(NotMeasurableError, match="other tells apart 31, the baseline 30"):
        divergence.compare(pair[0], evidence, divergence.Config(), rng)


def test_what_the_baseline_rules_out_adds_nothing_and_what_the_candidate_does_is_refused(texts, rng):
    class Never(speakers.Speaker):
        def said(self, states):
            found = super().said(states).clone()
            found[:, 1] = -torch.inf  # a token that no text here has
            return found

    task = speakers.documents(texts)
    base = speakers.evidence_of(Never(), task, name="baseline")
    mine = speakers.evidence_of(Never(moved=0.2), task, reference=base)
    assert torch.isfinite(divergence.compare(base, mine, divergence.Config(), rng).columns["divergence"]).all()
    plain = speakers.evidence_of(speakers.Speaker(), task, name="baseline")
    never = speakers.evidence_of(Never(), task, name="never", reference=plain)
    with pytest.raises(NotMeasurableError, match="never rules out what the baseline expects, at 86 of 86 tokens"):
        divergence.compare(plain, never, divergence.Config(), rng)
