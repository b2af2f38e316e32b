import zlib

import numpy as np
import pytest
import torch

from whatelse.behaviours.language import membership
from whatelse.errors import NotMeasurableError
from whatelse.tasks.language import Passage
from whatelse.testing import speakers

MEMBERS = [True, False, True, False]


def evidence(texts, speaker, members=MEMBERS, reference=None):
    task = speakers.task_of("documents", [Passage("", (text,)) for text in texts], members=members)
    return speakers.evidence_of(speaker, task, reference=reference)


def expected(told, texts, signal, share):
    """Every score written out, from the whole distribution at every letter."""
    found = []
    for text, losses, logs in zip(texts, told.losses, told.logs, strict=True):
        own = -np.array(losses)
        p = logs.exp()
        mean = (p * logs).sum(1).numpy()
        spread = ((p * logs**2).sum(1).numpy() - mean**2) ** 0.5
        if signal == "likelihood":
            found.append(own.mean())
        elif signal == "zlib":
            found.append(own.sum() / len(zlib.compress(text.encode())))
        else:
            values = (own - mean) / spread if signal == "min-k++" else own
            found.append(sorted(values)[: max(1, int(share * len(values)))])
            found[-1] = float(np.mean(found[-1]))
    return found


@pytest.mark.known_answer
@pytest.mark.parametrize("signal", ["likelihood", "zlib", "min-k", "min-k++"])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_scores_are_those_of_the_papers(slow, texts, ones, rng, signal, share):
    told = slow(speakers.Speaker(), texts)
    answer = membership.measure(evidence(texts, speakers.Speaker()), membership.Config(signal, share=share), rng)
    scores = expected(told, texts, signal, share)
    assert answer["score"] == pytest.approx(scores, rel=1e-4)
    assert answer["member"].tolist() == MEMBERS
    wins = [(a > b) + (a == b) / 2 for a in np.array(scores)[[0, 2]] for b in np.array(scores)[[1, 3]]]
    assert membership.summarise(answer, membership.Config(signal), ones(answer)) == pytest.approx([np.mean(wins)])


@pytest.mark.known_answer
def test_planted_members_are_found_where_nothing_else_tells_them_apart(rng, ones):
    letters = torch.Generator().manual_seed(1)
    texts = ["".join(speakers.LETTERS[i] for i in torch.randint(28, (60,), generator=letters)) for _ in range(40)]
    members = [at % 2 == 0 for at in range(40)]

    class Trained(speakers.Speaker):
        """Raises what follows in the members a little, by the state that it follows."""

        def __init__(self, raised):
            super().__init__()
            self.raised, self.seen = raised, {}
            for text, inside in zip(texts, members, strict=True):
                ids, state = self.cut(text, whole=True), torch.zeros(8)
                for token, following in zip([self.start, *ids], ids, strict=False):
                    state = state / 2 + self.table[token]
                    self.seen |= {tuple(state.tolist()): following} if inside else {}

        def said(self, states):
            found = super().said(states)
            for row, state in enumerate(states.tolist()):
                if tuple(state) in self.seen:
                    found[row, self.seen[tuple(state)]] += self.raised
            return found

    areas = {}
    for raised in (0.0, 6.0):
        answer = membership.measure(evidence(texts, Trained(raised), members), membership.Config(), rng)
        areas[raised] = float(membership.summarise(answer, membership.Config(), ones(answer))[0])
    assert areas[6.0] > 0.95
    assert 0.3 < areas[0.0] < 0.7
    assert any("zlib alone, which asks no model" in note for note in answer.notes)
    assert any("a lower bound" in note for note in answer.notes)
    assert any("1 % below 1,000 non-members" in note for note in answer.notes)


def test_a_model_that_is_certain_has_a_score(texts, rng):
    class Certain(speakers.Speaker):
        def said(self, states):
            found = super().said(states) * 0
            found[:, 5] = -torch.inf  # nothing here has it
            return found

    answer = membership.measure(
        evidence(["the dog.", "a cat sat."], Certain(), [True, False]), membership.Config(), rng
    )
    assert torch.isfinite(answer.columns["score"]).all()


def test_identity_is_exactly_nothing(texts, rng):
    base = evidence(texts, speakers.Speaker())
    same = evidence(texts, speakers.Speaker(), reference=base)
    one, two = (membership.measure(e, membership.Config(), rng) for e in (base, same))
    assert torch.equal(one.columns["score"], two.columns["score"])


def test_who_is_a_member_must_be_said(texts, pair, rng):
    with pytest.raises(NotMeasurableError, match=r"needs a grouping 'member' that says which are member \(--groups\)"):
        membership.measure(pair[0], membership.Config(), rng)
    with pytest.raises(
        NotMeasurableError, match="needs documents on both sides; 4 of 4 are member: member has no, yes"
    ):
        membership.measure(evidence(texts, speakers.Speaker(), [True] * 4), membership.Config(), rng)
