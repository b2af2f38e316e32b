import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from whatelse.answer import Answer, Parts
from whatelse.attacks import beam
from whatelse.behaviours.robustness import text
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models.subject import Subject
from whatelse.tasks.task import Task

WORDS = ("", "(unknown)", "a", "film", "good", "great", "trail", "trial", "form", "from", "awful", "dull")
LENGTH = 6
SIDES = ("pooled", "baseline own", "baseline pooled")
# Slips that make another word: trail and trial, form and from; every word of four letters may become unknown.
SLIPS = {3: {1}, 4: {1}, 5: {1}, 6: {1, 7}, 7: {1, 6}, 8: {1, 9}, 9: {1, 8}, 10: {1}, 11: {1}}
SYNONYMS = "good, great,unheard\nawful , dull\ntrial,\n film\nawful,good, a long one\na,film,trail,form\n"
ALIKE = {4: {5, 10}, 5: {4}, 10: {11, 4}, 11: {10}, 2: {3, 6, 8}, 3: {2, 6, 8}, 6: {2, 3, 8}, 8: {2, 3, 6}}


class Bag(torch.nn.Module):
    """A bag of words: the score of a class is the sum of the weights of the words; padding has none."""

    def __init__(self, weights):
        super().__init__()
        self.embedding = torch.nn.Embedding(*weights.shape)
        self.embedding.weight = torch.nn.Parameter(weights, requires_grad=False)

    def forward(self, x):
        return self.embedding(x.long()).sum(1)


def bag_of(seed):
    weights = torch.randn(len(WORDS), 2, generator=torch.Generator().manual_seed(seed))
    weights[0] = 0
    weights[1] *= 0.3
    return weights


@pytest.fixture
def bags(toy):
    rng = torch.Generator().manual_seed(7)
    weights = [bag_of(1), bag_of(2)]
    texts = torch.randint(1, len(WORDS), (60, LENGTH), generator=rng)
    texts[torch.arange(LENGTH) >= torch.randint(2, LENGTH + 1, (60, 1), generator=rng)] = 0
    labels = Bag(weights[0])(texts).argmax(1)
    labels[::10] = 1 - labels[::10]
    split = toy.split_of(texts.float(), labels)
    splits = dict.fromkeys(("train", "calibration", "select", "test"), split)
    task = Task("toy", 2, None, splits, vocabulary=len(WORDS), words=WORDS)
    base, mine = (evidence_of(Bag(w), task) for w in weights)
    return SimpleNamespace(weights=weights, texts=texts, labels=labels, task=task, base=base, mine=mine)


def evidence_of(model, task):
    return Evidence(Subject("bag", model, "key", without=frozenset({"differentiates", "opens"})), task)


def config(**given):
    return text.Config(**{"examples": 1000, "edits": 2, **given})


def brute_force(bags, weights, others, edits):
    """Whether a text stays right whatever at most so many of its words become, all choices tried."""
    found = []
    for ids, label in zip(bags.texts.tolist(), bags.labels.tolist(), strict=True):
        margin = (weights[:, label] - weights[:, 1 - label]).double().tolist()
        every = [
            sum(margin[i] for i in choice)
            for choice in itertools.product(*({i, *others.get(i, ())} for i in ids))
            if sum(a != b for a, b in zip(choice, ids, strict=True)) <= edits
        ]
        found.append(min(every) > 0)
    return found


@pytest.fixture
def thesaurus(tmp_path):
    path = tmp_path / "synonyms.txt"
    path.write_text(SYNONYMS, "utf-8")
    return str(path)


@pytest.mark.known_answer
@pytest.mark.parametrize(("kind", "others"), [("characters", SLIPS), ("synonyms", ALIKE)])
def test_a_bag_of_words_withstands_what_brute_force_says(bags, rng, thesaurus, kind, others):
    answer = text.compare(bags.base, bags.mine, config(kind=kind, edits=2, synonyms=thesaurus), rng)
    assert list(answer.columns) == [f"{of}, {many}" for of in SIDES for many in ("0 words", "1 word", "2 words")]
    values = answer.matrix()
    base, mine = ([brute_force(bags, w, others, e) for e in range(3)] for w in bags.weights)
    assert values[:, :3].T.astype(bool).tolist() == mine
    # Its own worst texts are the worst: those of the other model take nothing more.
    assert values[:, 3:6].T.astype(bool).tolist() == base
    assert np.array_equal(values[:, 3:6], values[:, 6:])
    share = text.by_part(answer, config(), np.ones((1, 60)))[0]
    assert share == pytest.approx([np.mean(m) for m in mine])
    assert 1 > share[0] > share[1] > share[2] > 0
    assert text.summarise(answer, config(), np.ones((1, 60))) == pytest.approx(share[2])


class Gated(torch.nn.Module):
    """Unlike a bag: two words together decide, and nothing hints at it before both are there."""

    def forward(self, x):
        unknown = (x == 1).sum(1)
        hint = 0.1 * (x == 7).sum(1)
        return torch.stack([torch.where(unknown >= 2, 5.0, 0.0) + hint, torch.ones(len(x))], 1)


def test_what_the_search_misses_counts_through_the_other_models_texts(bags, rng):
    # "trail ..." invites the slip to "trial", which leads nowhere; a bag that hates the unknown word finds two of it.
    weights = torch.zeros(len(WORDS), 2)
    weights[1, 0] = 1
    ids = torch.tensor([[6, 6, 6, 6, 6, 6], [2, 2, 2, 2, 2, 2], [2, 2, 2, 2, 2, 0]]).float()
    labels = torch.tensor([1, 1, 0])
    split = type(bags.task.test)(ids, labels, labels)
    task = Task("toy", 2, None, dict.fromkeys(bags.task.splits, split), vocabulary=len(WORDS), words=WORDS)
    gated, bag = evidence_of(Gated(), task), evidence_of(Bag(weights), task)
    answer = text.compare(bag, gated, config(), rng)
    assert answer.matrix()[0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert "its own texts 0.667; those of both models 0.333" in answer.notes[0]
    answer = text.compare(gated, bag, config(), rng)
    assert answer.matrix()[0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0]
    assert text.by_part(answer, config(), np.array([[1, 0, 0]])).tolist() == [[0, 0, 1]]


@pytest.mark.known_answer
def test_what_the_baseline_loses_by_the_candidates_texts_is_credited():
    values = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 0, 1, 1, 1, 1], [0, 0, 1, 0, 1, 0.0]])
    parts = ("0 words", "1 word")
    answer = Answer(dict(zip([f"{s}, {p}" for s in SIDES for p in parts], values.T, strict=True)), parts=Parts(parts))
    weights = np.array([[1, 1, 1], [2, 0, 1]])
    assert text.summarise(answer, config(), weights) == pytest.approx([(1 + 2 - 1) / 3, (2 + 2 - 0) / 3])
    assert text.by_part(answer, config(), weights)[:, 0] == pytest.approx([2 / 3, 2 / 3])


def test_words_change_at_their_place_and_no_more_than_allowed(bags, rng):
    text.compare(bags.base, bags.mine, config(edits=3), rng)
    (found,) = (held["texts"] for name, held in bags.mine._held.items() if name.startswith("text attack"))
    changed = found != bags.texts
    assert changed.sum(2).amax(1).tolist() == [1, 2, 3]
    for new, old in zip(found[changed].tolist(), bags.texts.expand_as(found)[changed].tolist(), strict=True):
        assert new in SLIPS[old]


def test_it_repeats_and_says_what_it_did_and_what_it_costs(bags):
    runs = []
    for batch in (512, 7):
        base, mine = (evidence_of(Bag(w), bags.task) for w in bags.weights)
        base.batch = mine.batch = batch
        for each in (base, mine):
            each.logits()
        runs.append(text.compare(base, mine, config(examples=40), torch.Generator()))
        spent = base.passes.forward + mine.passes.forward - 2 * 60
        limit = text.effort(config(examples=40), bags.task)
        assert 0.5 * limit < spent <= limit
    assert np.array_equal(*(answer.matrix() for answer in runs))
    assert runs[0].matrix().shape == (40, 9)
    assert runs[0].parts.names == ("0 words", "1 word", "2 words")
    (note,) = runs[0].notes
    assert note.startswith("unattacked 0.")
    assert note.endswith("words may change")


def test_small_parts_change_nothing(bags, rng, monkeypatch):
    whole = text.compare(bags.base, bags.mine, config(), rng).matrix()
    monkeypatch.setattr(beam, "_VALUES", 500)
    base, mine = (evidence_of(Bag(w), bags.task) for w in bags.weights)
    assert np.array_equal(text.compare(base, mine, config(), rng).matrix(), whole)


def test_what_cannot_be_asked_is_said_and_costs_nothing(bags, rng, task, linear, toy):
    with pytest.raises(NotMeasurableError, match="set synonyms to the path of a UTF-8 text file"):
        text.compare(bags.base, bags.mine, config(kind="synonyms"), rng)
    assert text.effort(config(kind="synonyms"), bags.task) == 0
    table = toy.evidence_of(linear, task)
    with pytest.raises(NotMeasurableError, match="needs texts; task toy is of table"):
        text.compare(table, table, config(), rng)


@pytest.mark.known_answer
def test_without_a_number_of_edits_it_is_the_one_at_which_the_baseline_keeps_about_half(bags, rng):
    right = brute_force(bags, bags.weights[0], SLIPS, 0)
    kept = {many: sum(brute_force(bags, bags.weights[0], SLIPS, many)) for many in (1, 2, 3)}
    wanted = min(kept, key=lambda many: (abs(kept[many] - sum(right) / 2), many))
    answer = text.compare(bags.base, bags.mine, text.Config(examples=1000), rng)
    assert len(answer.parts.names) == wanted + 1
    assert f"edits {wanted} (" in answer.notes[0]
    assert f"leaves the baseline {kept[wanted]} of the" in answer.notes[0]
