import numpy as np
import pytest
import torch

from whatelse.behaviours.language import divergence, graft
from whatelse.errors import NotMeasurableError
from whatelse.testing import speakers

CONFIG = graft.Config(examples=4, tokens=20)


def slow(texts, moved, most=20):
    """How far a speaker with another's vectors and its own head is from itself, letter by letter."""
    mine, other = speakers.Speaker(), speakers.Speaker(moved=moved)
    found = []
    for text in texts:
        ids, total = mine.cut(text, whole=True)[:most], 0.0
        for at in range(len(ids)):
            logs = []
            for table in (mine.table.double(), other.table.double()):
                state = torch.zeros(8, dtype=torch.float64)
                for token in [mine.start, *ids[:at]]:
                    state = state / 2 + table[token]
                logs.append((mine.head.double() @ state).log_softmax(0))
            total += float((logs[0].exp() * (logs[0] - logs[1])).sum())
        found.append(total)
    return np.array(found)


@pytest.mark.known_answer
def test_a_block_is_judged_with_all_else_the_baselines(pair, texts, rng):
    answer = graft.compare(*pair, CONFIG, rng)
    sizes = np.array([min(20, len(text)) for text in texts])
    expected = slow(texts, 0.2)
    assert answer["layer 0"] == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert answer["units"].tolist() == sizes.tolist()
    for weights in ([1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 1.0, 0.0]):
        drawn = np.array([weights])
        mean = drawn[0] @ expected / (drawn[0] @ sizes)
        assert graft.summarise(answer, CONFIG, drawn) == pytest.approx([mean], rel=1e-3)
        assert graft.by_part(answer, CONFIG, drawn) == pytest.approx(np.array([[mean]]), rel=1e-3)
    whole = divergence.compare(*pair, divergence.Config(), rng)["divergence"]
    long = [at for at, text in enumerate(texts) if len(text) <= 20]
    assert answer["whole"][long] == pytest.approx(whole[long], rel=1e-4)
    assert "layer 0 does most" in answer.notes[0]


def test_identity_is_exactly_nothing(texts, pair, ones, rng):
    same = speakers.evidence_of(speakers.Speaker(), speakers.documents(texts), reference=pair[0])
    for one in (pair[0], same):
        answer = graft.compare(pair[0], one, CONFIG, rng)
        assert graft.summarise(answer, CONFIG, ones(answer)).tolist() == [0.0]
        assert answer.notes == ()


def test_the_largest_is_that_of_every_resample(pair, rng):
    answer = graft.compare(*pair, CONFIG, rng)
    columns = {
        "layer 0": torch.tensor([4.0, 0.0]),
        "layer 1": torch.tensor([0.0, 6.0]),
        "whole": torch.zeros(2),
        "units": torch.tensor([2.0, 2.0]),
    }
    made = type(answer)(columns, parts=type(answer.parts)(("layer 0", "layer 1")))
    drawn = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    assert graft.summarise(made, CONFIG, drawn).tolist() == [1.5, 2.0, 3.0]
    assert graft.by_part(made, CONFIG, drawn).tolist() == [[1.0, 1.5], [2.0, 0.0], [0.0, 3.0]]


def test_blocks_that_do_not_fit_are_not_grafted(texts, pair, rng):
    class Deeper(speakers.Speaker):
        depth = 3

    class Nameless(speakers.Speaker):
        depth = 0

    task = speakers.documents(texts)
    for kind, told in (
        (Deeper, "other has 3 blocks of 8 numbers, the baseline 1 blocks of 8"),
        (Nameless, "otherwise"),
    ):
        mine = speakers.evidence_of(kind(), task, name="other", reference=pair[0])
        with pytest.raises(NotMeasurableError, match=told):
            graft.compare(pair[0], mine, CONFIG, rng)
