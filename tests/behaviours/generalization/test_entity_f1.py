"""F1 of entities: as seqeval finds and counts them, sentence by sentence."""

import numpy as np
import pytest
import torch

from whatelse import items, testing
from whatelse.errors import NotMeasurableError
from whatelse.tasks.task import SPLITS, Split, Task
from whatelse.testing import samples

ITEM = items.behaviour("generalization.entity_f1")
TYPES = ("PER", "LOC", "ORG")
IOB = ("O", *(f"{mark}-{kind}" for kind in TYPES for mark in "BI"))
IOBES = ("O", *(f"{mark}-{kind}" for kind in TYPES for mark in "BIES"))


def entities(tags):
    """The loop of seqeval's ``get_entities``, with its rules of where a chunk ends and begins, one by one."""
    found, before, kind_before, begin = [], "O", "", 0
    for i, tag in enumerate([*tags, "O"]):
        mark, kind = tag[0], tag[1:].partition("-")[2] or "_"
        ends = before in "ES" or (before in "BI" and mark in "BSO")
        ends |= before != "O" and kind_before != kind
        if ends:
            found.append((kind_before, begin, i - 1))
        begins = mark in "BS" or (before in "ESO" and mark in "EI")
        begins |= mark != "O" and kind_before != kind
        if begins:
            begin = i
        before, kind_before = mark, kind
    return found


def counted(true, said, kind=None):
    pairs = [(set(entities(t)), set(entities(s))) for t, s in zip(true, said, strict=True)]
    kept = [({e for e in t if kind in (None, e[0])}, {e for e in s if kind in (None, e[0])}) for t, s in pairs]
    right = sum(len(t & s) for t, s in kept)
    total = sum(len(t) + len(s) for t, s in kept)
    return 2 * right / total if total else np.nan


def told(true, said, names, sentences=None):
    """Evidence of a model that says given tags of the words of sentences."""
    numbers = sentences or range(len(true))
    inputs = torch.tensor([(at, i) for at, tags in zip(numbers, true, strict=True) for i in range(len(tags))])
    words = {at: tuple(f"w{at}.{i}" for i in range(len(tags))) for at, tags in zip(numbers, true, strict=True)}
    targets, answers = (torch.tensor([names.index(t) for tags in some for t in tags]) for some in (true, said))
    split = Split(inputs.float(), targets, targets, clusters=inputs[:, 0])
    task = Task("t", len(names), None, dict.fromkeys(SPLITS, split), class_names=names,
                sentences=tuple(words[at] for at in sorted(words)))  # fmt: skip
    scores = torch.nn.functional.one_hot(answers, len(names)).float()
    table = torch.zeros(len(words), max(map(len, true)), len(names))
    table[inputs[:, 0], inputs[:, 1]] = scores

    class Says(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Parameter(table)

        def forward(self, x):
            return self.table[x[:, 0].long(), x[:, 1].long()]

    return testing.evidence_of(Says(), task)


def drawn(names, count, rng):
    odds = np.array([3.0 if name == "O" else 1.0 for name in names])
    lengths = rng.integers(1, 9, count)
    return [[str(t) for t in rng.choice(names, n, p=odds / odds.sum())] for n in lengths]


def asked(evidence):
    return ITEM.answer(evidence, evidence, ITEM.configure({}), torch.Generator())


@pytest.mark.known_answer
@pytest.mark.parametrize("names", [IOB, IOBES], ids=["IOB2", "IOBES"])
def test_it_is_what_seqeval_counts(names):
    rng = np.random.default_rng(0)
    true = drawn(names, 200, rng)
    said = [[t if rng.random() < 0.7 else str(rng.choice(names)) for t in tags] for tags in true]
    answer = asked(told(true, said, names))
    ones = np.ones((1, len(answer)))
    assert ITEM.summarise(answer, ITEM.configure({}), ones)[0] == pytest.approx(counted(true, said), abs=1e-6)
    want = [counted(true, said, kind) for kind in TYPES]
    assert answer.parts.names == TYPES
    assert ITEM.by_part(answer, ITEM.configure({}), ones)[0] == pytest.approx(want, abs=1e-6)
    # A resample of sentences is what it is of those sentences.
    often = rng.integers(0, 3, len(true))
    again = [[some[i] for i, n in enumerate(often) for _ in range(n)] for some in (true, said)]
    weights = np.repeat(often, [len(tags) for tags in true])[None]
    assert ITEM.summarise(answer, ITEM.configure({}), weights)[0] == pytest.approx(counted(*again), abs=1e-6)


@pytest.mark.known_answer
def test_an_entity_is_its_whole_span_and_sentences_do_not_run_into_each_other():
    true = [["B-PER", "I-PER", "O"], ["B-LOC"], ["I-LOC", "O"]]
    said = [["B-PER", "O", "O"], ["B-LOC"], ["I-LOC", "B-ORG"]]
    answer = asked(told(true, said, IOB))
    ones = np.ones((1, len(answer)))
    assert answer.parts.names == ("PER", "LOC")
    assert answer.notes == ("test has no entity of type ORG",)
    assert ITEM.summarise(answer, ITEM.configure({}), ones)[0] == pytest.approx(2 * 2 / (3 + 4))
    assert ITEM.by_part(answer, ITEM.configure({}), ones).tolist() == [[0.0, 1.0]]


@pytest.mark.known_answer
def test_words_may_come_in_any_order_and_a_sentence_twice():
    rng = np.random.default_rng(1)
    true = drawn(IOB, 40, rng)
    said = [[t if rng.random() < 0.6 else str(rng.choice(IOB)) for t in tags] for tags in true]
    plain = told(true, said, IOB)
    want = counted(true, said)
    for picks in (torch.arange(len(plain.task.test)).flip(0), torch.cat([torch.arange(len(plain.task.test))] * 2)):
        task = samples.with_test(plain.task, plain.task.test.take(picks))
        answer = asked(testing.evidence_of(plain.model, task))
        found = ITEM.summarise(answer, ITEM.configure({}), np.ones((1, len(answer))))[0]
        assert found == pytest.approx(want, abs=1e-6)


def test_what_is_no_entity_is_said():
    tags = [["O", "O"], ["O", "B-PER"]]
    evidence = told(tags, tags, IOB)
    evidence.task = samples.with_test(evidence.task, evidence.task.test.take(torch.tensor([0])))
    with pytest.raises(NotMeasurableError, match="every word of test has the tag O"):
        asked(evidence)
    with pytest.raises(NotMeasurableError, match="needs tags such as B-PER, I-PER and O; the classes here are NOUN, V"):
        asked(told([["NOUN", "V"]], [["NOUN", "V"]], ("NOUN", "V")))
    with pytest.raises(NotMeasurableError, match="needs sentences with a label a word; task sample has none"):
        asked(testing.predicting([0, 1], [0, 1]))
