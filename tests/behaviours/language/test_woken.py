import numpy as np
import pytest
import torch

from whatelse.behaviours.language import woken
from whatelse.testing import speakers


def expected(slow, texts, moved):
    base, mine = slow(speakers.Speaker(), texts), slow(speakers.Speaker(moved=moved), texts)
    return [(p.exp() * (p - q)).sum(1) for p, q in zip(base.logs, mine.logs, strict=True)]


@pytest.mark.known_answer
@pytest.mark.parametrize("beyond", [0.5, 1.0, 2.0])
def test_it_is_the_share_of_documents_with_a_token_that_moved_so_far(pair, slow, texts, ones, rng, beyond):
    each = expected(slow, texts, 0.2)
    answer = woken.compare(*pair, woken.Config(), rng)
    far = [float(one.max()) for one in each]
    assert answer["far"] == pytest.approx(far, rel=1e-4)
    share = np.mean([one > beyond for one in far])
    assert woken.summarise(answer, woken.Config(beyond), ones(answer)) == pytest.approx([share])
    first = int(np.argmax(far))
    assert answer.notes[0].startswith(
        f"moved farthest, in nats: document {first} at token {int(each[first].argmax())} by {far[first]:.3g}"
    )


@pytest.mark.known_answer
def test_what_wakes_at_one_place_is_found_and_named_at_an_equal_average(texts, ones, rng):
    """After one state alone another letter is certain."""

    class Woken(speakers.Speaker):
        def said(self, states):
            found = super().said(states)
            state = torch.zeros(8)
            for token in [self.start, *self.cut("she saw", whole=True)]:
                state = state / 2 + self.table[token]
            return torch.where((states == state).all(1)[:, None], 30.0 * torch.eye(30)[3], found)

    task = speakers.documents(texts)
    base = speakers.evidence_of(speakers.Speaker(), task)
    mine = speakers.evidence_of(Woken(), task, reference=base)
    answer = woken.compare(base, mine, woken.Config(), rng)
    assert (answer["far"] > 0).tolist() == [False, False, True, False]
    assert woken.summarise(answer, woken.Config(), ones(answer)).tolist() == [0.25]
    assert answer.notes[0].startswith("moved farthest, in nats: document 2 at token 7 by ")


def test_identity_is_exactly_nothing(texts, rng):
    task = speakers.documents(texts)
    base = speakers.evidence_of(speakers.Speaker(), task)
    same = speakers.evidence_of(speakers.Speaker(), task, reference=base)
    for one in (base, same):
        answer = woken.compare(base, one, woken.Config(), rng)
        assert not answer["far"].any()
        assert answer.notes == ()
