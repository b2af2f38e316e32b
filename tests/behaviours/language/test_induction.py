import numpy as np
import pytest
import torch

from whatelse.behaviours.language import induction
from whatelse.errors import NotMeasurableError
from whatelse.testing import speakers

CONFIG = induction.Config(texts=6, tokens=10)


@pytest.mark.known_answer
@pytest.mark.parametrize(("kind", "head"), [("induction", 1), ("previous", 0)])
def test_scores_are_those_of_the_pattern_that_is_mixed_in(pair, ones, rng, kind, head):
    """A tenth of the attention of the moved speaker lies evenly on all letters so far."""
    config = induction.Config(kind, texts=6, tokens=10)
    answer = induction.compare(*pair, config, rng)
    assert list(answer.columns) == [f"before layer 0 head {head}", f"after layer 0 head {head}"]
    assert answer[f"before layer 0 head {head}"].tolist() == [1.0] * 6
    places = range(11, 21) if kind == "induction" else range(1, 21)
    expected = np.mean([0.9 + 0.1 / (1 + place) for place in places])
    assert answer[f"after layer 0 head {head}"] == pytest.approx([expected] * 6, rel=1e-6)
    assert induction.summarise(answer, config, ones(answer)) == pytest.approx([expected], rel=1e-6)
    assert answer.notes == (f"1 of the baseline's 4 heads; layer 0 head {head}: 1 → {expected:.2g}",)


def test_all_heads_of_a_kind_count_and_texts_are_resampled(pair, rng):
    config = induction.Config("previous", least=0.2, texts=4, tokens=10)
    answer = induction.compare(*pair, config, rng)
    assert len(answer.columns) == 6, "those that fade look at the letter before, too"
    drawn = np.array([[3.0, 0.0, 0.0, 1.0]])
    own = answer.table(*(name for name in answer.columns if name.startswith("after")))
    assert induction.summarise(answer, config, drawn) == pytest.approx([(3 * own[0].mean() + own[3].mean()) / 4])


def test_identity_is_the_baseline_itself(pair, texts, ones, rng):
    state = rng.get_state()
    one = induction.compare(pair[0], pair[0], CONFIG, rng)
    rng.set_state(state)
    same = speakers.evidence_of(speakers.Speaker(), speakers.documents(texts), reference=pair[0])
    two = induction.compare(pair[0], same, CONFIG, rng)
    assert induction.summarise(one, CONFIG, ones(one)).tolist() == [1.0]
    assert induction.summarise(two, CONFIG, ones(two)).tolist() == [1.0]


def test_texts_come_twice_and_no_letter_twice_in_one(pair, rng):
    drawn = induction._drawn(pair[0], CONFIG, rng)
    assert drawn.shape == (6, 21)
    assert bool((drawn[:, 0] == 0).all())
    assert torch.equal(drawn[:, 1:11], drawn[:, 11:])
    assert all(len(set(row[1:11].tolist())) == 10 and not {0, 1} & set(row[1:].tolist()) for row in drawn)


def test_what_a_baseline_does_not_have_is_not_measurable(texts, rng):
    task = speakers.documents(texts)
    blind = speakers.evidence_of(speakers.Speaker(moved=2.0), task)
    told = (
        r"needs induction heads, which the baseline does not have: its best, layer 0 head \d, scores 0\.\d+, and 0\.4"
    )
    with pytest.raises(NotMeasurableError, match=told):
        induction.compare(blind, blind, CONFIG, rng)

    class Hidden(speakers.Speaker):
        def attention(self, tokens):
            return ()

    hidden = speakers.evidence_of(Hidden(), task, name="other")
    with pytest.raises(NotMeasurableError, match="needs to see where heads look; other does not show it"):
        induction.compare(hidden, hidden, CONFIG, rng)
    short = speakers.evidence_of(speakers.Speaker(longest=8), task, name="short")
    with pytest.raises(NotMeasurableError, match="needs room for 9 tokens; short reads 8"):
        induction.compare(short, short, CONFIG, rng)


def test_every_row_is_of_its_own_text(texts, rng):
    class Uneven(speakers.Speaker):
        def attention(self, tokens):
            share = tokens[:, 1].double() / 100
            return tuple(seen * share[:, None, None, None] for seen in super().attention(tokens))

    uneven, config = speakers.evidence_of(Uneven(), speakers.documents(texts)), induction.Config(least=0.01, texts=6)
    state = rng.get_state()
    first = induction._drawn(uneven, config, rng)[:, 1].double() / 100
    rng.set_state(state)
    answer = induction.compare(uneven, uneven, config, rng)
    assert len(set(first.tolist())) > 1
    assert answer["before layer 0 head 1"] == pytest.approx(first.numpy(), rel=1e-6)
