import numpy as np
import pytest
import torch

from whatelse.attacks import words
from whatelse.behaviours.language import robustness
from whatelse.errors import NotMeasurableError
from whatelse.tasks.language import Passage
from whatelse.testing import speakers

QUESTIONS = [
    *("where did the other doctor leave", "never again would they answer", "a cat sat", "she said nothing more"),
    *("who knows the little brother", "what is the longest river", "the teacher forgot", "which planet"),
    *("some of the houses burned", "why is water", "all those children", "how many letters"),
]
PASSAGES = [Passage(text, tuple("eotnahirs")) for text in QUESTIONS]
TARGETS = [7, 8, 3, 8, 0, 8, 3, 2, 8, 8, 1, 4]


def evidence(passages=PASSAGES, targets=TARGETS, **told):
    task = speakers.task_of("choices", passages, targets)
    return speakers.evidence_of(speakers.Speaker(**told), task)


@pytest.mark.known_answer
def test_it_is_the_accuracy_on_items_that_were_misspelled_by_hand(ones, rng, monkeypatch):
    """Every word of four letters or more is turned around in its middle, at every severity: known by its letters."""
    monkeypatch.setattr(robustness, "_SHARES", (1.0,))
    monkeypatch.setattr(
        words, "misspelled", lambda word: {word[0] + word[-2:0:-1] + word[-1]} if len(word) > 3 else set()
    )
    turned = [
        Passage(" ".join(w[0] + w[-2:0:-1] + w[-1] if len(w) > 3 else w for w in p.context.split()), p.continuations)
        for p in PASSAGES
    ]
    right = torch.tensor(TARGETS)
    expected = [(evidence(some).logits().argmax(1) == right).double() for some in (PASSAGES, turned)]
    assert not torch.equal(*expected)
    answer = robustness.measure(evidence(), robustness.Config(), rng)
    assert answer["0"].tolist() == expected[0].tolist()
    assert answer["1"].tolist() == expected[1].tolist()
    assert robustness.summarise(answer, robustness.Config(), ones(answer)) == pytest.approx([float(expected[1].mean())])
    parts = robustness.by_part(answer, robustness.Config(), ones(answer))
    assert parts == pytest.approx(np.array([[float(one.mean()) for one in expected]]))


@pytest.mark.known_answer
def test_slips_are_those_of_the_paper_and_as_many_as_asked():
    text = " ".join(["another", "word", "a", "the"] * 200)
    for share in (0.1, 0.4):
        made = robustness._slipped(text, share, torch.Generator().manual_seed(3)).split(" ")
        changed = [(a, b) for a, b in zip(text.split(" "), made, strict=True) if a != b]
        assert all(b in words.misspelled(a) for a, b in changed)
        assert len(changed) / 400 == pytest.approx(share, abs=0.06)
        assert {a for a, _ in changed} == {"another", "word"}


def test_every_model_gets_the_same_slips_in_any_order(rng):
    config = robustness.Config(draws=1)
    one = robustness.measure(evidence(), config, rng)
    two = robustness.measure(evidence(PASSAGES[::-1], TARGETS[::-1]), config, rng)
    for name in one.columns:
        assert one[name].tolist() == two[name][::-1].tolist()
    again = robustness.measure(evidence(), robustness.Config(draws=1, seed=5), rng)
    assert any(one[name].tolist() != again[name].tolist() for name in one.columns)


def test_what_cannot_be_misspelled_is_said(said, rng):
    with pytest.raises(NotMeasurableError, match="nothing could be misspelled"):
        robustness.measure(evidence([Passage("a cat", (" a", " b"))] * 2, [0, 1]), robustness.Config(), rng)
    with pytest.raises(NotMeasurableError, match="needs a model that reads texts"):
        robustness.measure(said([[0.0, 1.0]] * 2, [0, 1]), robustness.Config(), rng)
