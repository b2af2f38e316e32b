import numpy as np
import pytest
import torch

from whatelse.behaviours.language import depth
from whatelse.errors import NotMeasurableError, SettingError
from whatelse.evidence import tokens
from whatelse.testing import speakers

CONFIG = depth.Config(shallow=4, deep=10)


@pytest.mark.known_answer
def test_it_is_the_mean_of_late_losses_less_that_of_early_ones(pair, slow, texts, ones, rng):
    for evidence, moved in zip(pair, (0.0, 0.2), strict=True):
        told = slow(speakers.Speaker(moved=moved), texts)
        answer = depth.measure(evidence, CONFIG, rng)
        early = [loss for losses in told.losses for loss in losses[:4]]
        late = [loss for losses in told.losses for loss in losses[10:]]
        expected = np.mean(late) - np.mean(early)
        assert depth.summarise(answer, CONFIG, ones(answer)) == pytest.approx([expected], rel=1e-4)
        assert answer.parts.names == ("0 to 15", "from 16")
        parts = [
            np.mean([loss for losses in told.losses for loss in losses[:16]]),
            np.mean([loss for losses in told.losses for loss in losses[16:]]),
        ]
        assert depth.by_part(answer, CONFIG, ones(answer)) == pytest.approx(np.array([parts]), rel=1e-4)
        drawn = np.array([[0, 1, 2, 0]])
        late = [loss for losses in told.losses[2:3] for loss in losses[10:]]
        early = [*told.losses[1][:4], *2 * told.losses[2][:4]]
        expected = np.mean(late) - np.mean(early)
        assert depth.summarise(answer, CONFIG, drawn) == pytest.approx([expected], rel=1e-4)


@pytest.mark.known_answer
def test_what_stands_before_is_counted_within_the_window():
    """Windows of 8 letters: the second says 8 more and sees one letter before them, the last as many as fit."""
    text = "the dog ran home now"
    task = speakers.documents([text, "a cat."], context=8)
    found = tokens.before(speakers.evidence_of(speakers.Speaker(), task)).tolist()
    assert found[:8] == list(range(8))
    assert found[8:16] == list(range(1, 9))
    assert found[16:20] == [5, 6, 7, 8]
    assert found[20:] == list(range(6))


def test_a_token_that_begins_texts_within_one_is_counted_as_any_other():
    class Same(speakers.Speaker):
        start = speakers.Speaker().cut("t", whole=True)[0]

    task = speakers.documents(["at the cat the"], context=4)
    found = tokens.before(speakers.evidence_of(Same(), task)).tolist()
    assert found == [0, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4, 3, 4]


def test_what_cannot_be_asked_is_said(pair, texts, rng):
    with pytest.raises(NotMeasurableError, match="needs tokens with 500 before them; the most that any has here is 55"):
        depth.measure(pair[0], depth.Config(deep=500), rng)
    with pytest.raises(SettingError, match="shallow=20, deep=10; deep is as much as shallow or more"):
        depth.measure(pair[0], depth.Config(20, 10), rng)


def test_identity_is_exactly_nothing(texts, pair, rng):
    same = speakers.evidence_of(speakers.Speaker(), speakers.documents(texts), reference=pair[0])
    one, two = (depth.measure(e, CONFIG, rng) for e in (pair[0], same))
    assert all(torch.equal(one.columns[name], two.columns[name]) for name in one.columns)
