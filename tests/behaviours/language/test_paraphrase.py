import numpy as np
import pytest
import torch

from whatelse.behaviours.language import _wording, paraphrase
from whatelse.errors import NotMeasurableError
from whatelse.tasks.language import Passage
from whatelse.testing import speakers

RULES = _wording.RULES


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("rule", "text", "worded"),
    [
        ("contracted", "What is the color of a cat that is not fed?", "What's the color of a cat that's not fed?"),
        ("contracted", "They are late and I am not, so it cannot be.", "They're late and I'm not, so it can't be."),
        ("contracted", "This is an island, whatever is said.", None),
        ("contracted", "Tell me what it is. I know who they are, and will not.", None),
        ("written out", "It's late, they're here and won't go.", "It's late, they are here and will not go."),
        ("written out", "Isn't this odd? Don't go. Why can't he stay?", None),
        ("written out", "It's the cat's milk.", None),  # whose it is, or what it is, is not known
        ("spelled otherwise", "Gray colors of the theatre", "Grey colours of the theater"),
        ("spelled otherwise", "discolored and centered", None),
        ("numbers in words", "He has 3 apples and 12 pears.", "He has three apples and twelve pears."),
        ("numbers in words", "3 + 4 = 7, 3.5 meters, 13 apples, $5 bills, 2x, x = 4 and y", None),
        ("a word before", "What is it?", "So what is it?"),
        ("a word before", "Whatever it is", None),
        ("no mark at the end", "Who was it? Tell me. ", "Who was it? Tell me"),
        ("no mark at the end", "He said: ...", None),
    ],
)
def test_rules_word_what_they_know_and_leave_the_rest(rule, text, worded):
    assert RULES[rule](text) == (text if worded is None else worded)


QUESTIONS = [
    *("who is not at home?", "the color of milk is", "3 cats sat on a mat", "what is the longest river"),
    *("they are at the theater", "nothing at all", "why do we not answer?", "we will see 5 horses run"),
]
PASSAGES = [Passage(text, tuple("eotnahirs")) for text in QUESTIONS]
TARGETS = [7, 8, 3, 8, 0, 8, 3, 2]


def evidence(passages=PASSAGES, targets=TARGETS, **told):
    task = speakers.task_of("choices", passages, targets)
    return speakers.evidence_of(speakers.Speaker(**told), task)


@pytest.mark.known_answer
def test_it_is_the_accuracy_on_questions_worded_by_hand(ones, rng):
    right = torch.tensor(TARGETS)
    before = evidence().logits().argmax(1) == right
    total = asked = was = 0
    parts = {}
    for name, rule in RULES.items():
        moved = [i for i, text in enumerate(QUESTIONS) if rule(text) != text]
        if not moved:
            continue
        made = [Passage(rule(QUESTIONS[i]), tuple("eotnahirs")) for i in moved]
        hits = evidence(made, [TARGETS[i] for i in moved]).logits().argmax(1) == right[moved]
        parts[name] = float(hits.double().mean())
        total, asked, was = total + int(hits.sum()), asked + len(moved), was + int(before[moved].sum())
    assert {"contracted", "spelled otherwise", "numbers in words", "a word before", "no mark at the end"} == {*parts}
    answer = paraphrase.measure(evidence(), paraphrase.Config(), rng)
    assert paraphrase.summarise(answer, paraphrase.Config(), ones(answer)) == pytest.approx([total / asked])
    assert answer.parts.names == ("as they were", *parts)
    found = paraphrase.by_part(answer, paraphrase.Config(), ones(answer))
    assert found == pytest.approx(np.array([[was / asked, *parts.values()]]))
    assert 0 < total < asked
    assert total != was


def test_items_that_no_rule_touches_weigh_nothing(rng):
    answer = paraphrase.measure(evidence(), paraphrase.Config(), rng)
    weights = np.ones((2, len(PASSAGES)))
    weights[1, 5] = 40  # "nothing at all"
    one, two = paraphrase.summarise(answer, paraphrase.Config(), weights)
    assert one == two


def test_what_cannot_be_worded_otherwise_is_said(said, rng):
    with pytest.raises(NotMeasurableError, match="no rule found anything"):
        paraphrase.measure(evidence([Passage("a cat", (" a", " b"))] * 2, [0, 1]), paraphrase.Config(), rng)
    with pytest.raises(NotMeasurableError, match="needs a model that reads texts"):
        paraphrase.measure(said([[0.0, 1.0]] * 2, [0, 1]), paraphrase.Config(), rng)
