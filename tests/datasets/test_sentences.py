"""Sentences with a label a word: the same task however they are written, cut as sentences, one line where wrong."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whatelse import opening, testing
from whatelse.auditing import data_check, questions
from whatelse.datasets import _groups, _sentences, _tabular, sentences
from whatelse.errors import SettingError, TaskError, WhatElseError

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def rows(count=60, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        n = int(rng.integers(1, 8))
        tags = [str(t) for t in rng.choice(TAGS, n)]
        words = [f"s{i}", *(f"w{rng.integers(40)}" for _ in range(n - 1))]
        long = ["long" if len(word) > 2 else "short" for word in words]
        found.append({"id": i, "tokens": words, "ner_tags": tags, "source": "ab"[i % 2], "doc": i // 6, "size": long})
    return found


def put(some, file):
    file.write_text("".join(json.dumps(row) + "\n" for row in some))
    return file


def load(file, **told):
    return opening.load_task(opening.data_text(str(file), told))


def said(task, split):
    """Words, tags and groups of a split, sentence by sentence."""
    part, found = task.split(split), []
    names = task.class_names
    for i, ((sentence, place), target) in enumerate(
        zip(part.inputs.long().tolist(), part.targets.tolist(), strict=True)
    ):
        if place == 0:
            found.append(([], [], []))
        words, tags, groups = found[-1]
        words.append(task.sentences[sentence][place])
        tags.append(names[target] if names else target)
        groups.append({g: int(codes[i]) for g, codes in part.groups.items()})
    return found


@pytest.fixture
def file(tmp_path):
    return put(rows(), tmp_path / "said.jsonl")


@pytest.mark.known_answer
def test_the_same_sentences_are_the_same_task_however_they_are_written(file, tmp_path):
    task = load(file, split="test", groups="source,size")
    assert task.modality == "words"
    assert task.class_names == tuple(sorted(TAGS))
    pd.DataFrame(rows()).to_parquet(tmp_path / "said.parquet")
    assert load(tmp_path / "said.parquet", split="test", groups="source,size").key == task.key
    codes = [row | {"ner_tags": [sorted(TAGS).index(t) for t in row["ner_tags"]]} for row in rows()]
    numbers = load(
        put(codes, tmp_path / "codes.jsonl"), split="test", classes=",".join(sorted(TAGS)), groups="source,size"
    )
    assert numbers.key == task.key
    other = [
        {"said": row["tokens"], "pos": row["ner_tags"], **{k: row[k] for k in ("source", "size")}} for row in rows()
    ]
    assert (
        load(put(other, tmp_path / "o.jsonl"), split="test", text="said", target="pos", groups="source,size").key
        == task.key
    )


@pytest.mark.known_answer
def test_every_word_has_its_tag_and_the_groups_of_its_sentence_or_its_own(file):
    task = load(file, groups="source,size,source*size")
    known = {tuple(row["tokens"]): row for row in rows()}
    seen = [one for split in ("train", "select", "test") for one in said(task, split)]
    assert len(seen) == len(rows())
    for words, tags, groups in seen:
        row = known[tuple(words)]
        assert tags == row["ner_tags"]
        assert [task.group_names["source"][g["source"]] for g in groups] == [row["source"]] * len(words)
        assert [task.group_names["size"][g["size"]] for g in groups] == row["size"]
        both = [f"{row['source']}{_groups.AND}{size}" for size in row["size"]]
        assert [task.group_names["source*size"][g["source*size"]] for g in groups] == both


def test_sentences_are_cut_and_limited_whole_and_are_the_clusters(file):
    task = load(file, limit=7)
    assert [len(said(task, split)) for split in ("train", "select", "test")] == [7, 4, 7]
    sizes = [len(words) for words, _, _ in said(task, "test")]
    _, drawn = torch.unique_consecutive(task.test.clusters, return_counts=True)
    assert drawn.tolist() == sizes
    kept = {int(s) for split in task.splits.values() for s in split.inputs[:, 0]}
    assert kept == set(range(len(task.sentences))), "sentences that nothing asks for are not read"
    assert len(said(load(file, limit=9, split="test"), "test")) == 9
    first = load(file)
    assert torch.equal(first.calibration.inputs, first.train.inputs), "fewer than 256 sentences"
    few = opening.load_task(f"sentences(path={str(file)!r}, calibration=3)")
    assert len(said(few, "calibration")) == 3


def test_documents_are_on_one_side_and_a_sentence_twice_is_one(file, tmp_path):
    task = load(file, cluster="doc")
    owners = [set(task.split(name).clusters.tolist()) for name in ("train", "select", "test")]
    assert all(not a & b for i, a in enumerate(owners) for b in owners[i + 1 :])
    assert set.union(*owners) == set(range(10))
    twice = load(put([*rows(), *rows()], tmp_path / "twice.jsonl"))
    assert len(twice.sentences) == len(rows())
    owners = [set(twice.split(name).clusters.tolist()) for name in ("train", "select", "test")]
    assert all(not a & b for i, a in enumerate(owners) for b in owners[i + 1 :])
    seen = data_check.look(twice, questions.read_questions(questions.default()))
    assert sum(seen.alike.within.values()) == sum(len(row["tokens"]) for row in rows())
    assert not any(seen.alike.in_test.values())


def test_members_test_and_another_source_are_files(file, tmp_path):
    more = put(rows(20, 1), tmp_path / "more.jsonl")
    task = load(file, members=str(more))
    assert (len(said(task, "train")), len(said(task, "select")), len(said(task, "test"))) == (20, 6, 54)
    given = f"sentences(path={str(file)!r}, test_path={str(more)!r}, shifted={str(more)!r})"
    task = opening.load_task(given)
    assert (len(said(task, "test")), len(said(task, "shifted"))) == (20, 20)
    with pytest.raises(TaskError, match="test_path and members or split"):
        opening.load_task(given[:-1] + ", split='test')")


def test_classes_may_be_those_of_a_models_folder(file, tmp_path):
    place = tmp_path / "ner"
    place.mkdir()
    names = [*TAGS, "B-ORG"]
    (place / "config.json").write_text(json.dumps({"id2label": {str(i): name for i, name in enumerate(names)}}))
    for classes in (place, place / "config.json"):
        assert load(file, classes=str(classes)).class_names == tuple(names)
    (place / "config.json").write_text("{}")
    with pytest.raises(TaskError, match="no id2label with names from 0 in"):
        load(file, classes=str(place))


def test_names_of_classes_that_a_file_of_datasets_holds_are_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    kinds = {
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=TAGS)),
    }
    held = [{"tokens": row["tokens"], "ner_tags": [TAGS.index(t) for t in row["ner_tags"]]} for row in rows()]
    datasets.Dataset.from_list(held, features=datasets.Features(kinds)).to_parquet(str(tmp_path / "said.parquet"))
    task = load(tmp_path / "said.parquet", split="test")
    assert task.class_names == TAGS
    want = {tuple(row["tokens"]): row["ner_tags"] for row in rows()}
    assert all(want[tuple(words)] == tags for words, tags, _ in said(task, "test"))


def test_numbers_without_names_are_classes_in_the_order_of_outputs(tmp_path):
    held = [row | {"ner_tags": [TAGS.index(t) for t in row["ner_tags"]]} for row in rows()]
    task = load(put(held, tmp_path / "c.jsonl"), split="test")
    assert (task.class_names, task.classes) == ((), 5)


def row(**changed):
    return {"tokens": ["Ada", "met", "Alan"], "ner_tags": ["B-PER", "O", "B-PER"]} | changed


WRONG = {
    "unequal": (row(ner_tags=["O"]), {}, r"column 'ner_tags': row 2 has 1 tags for 3 words; one each is needed"),
    "no words": (row(tokens=[], ner_tags=[]), {}, r"column 'tokens': row 2 has no words; leave such rows out"),
    "empty word": (row(tokens=["Ada", " ", "Alan"]), {}, r"column 'tokens': row 2 has an empty word 2; leave such"),
    "plain text": (row(tokens="Ada met Alan"), {}, r"column 'tokens': row 2 is 'Ada met Alan'; a list of words is"),
    "numbers": (row(tokens=[101, 7, 102]), {}, r"column 'tokens': row 2 is \[101, 7, 102\]; a list of words is needed"),
    "one label": (row(ner_tags="PER"), {}, r"column 'ner_tags': row 2 is 'PER'; a list with a tag for each word"),
    "unknown": (row(ner_tags=["B-PER", "O", "B-ORG"]), {"classes": "O,B-PER"},
                r"row 2, word 3 has the tag 'B-ORG'; 2 classes are known: O, B-PER \(--classes\)"),
    "number": (row(ner_tags=[1, 0, 7]), {"classes": "O,B-PER"}, r"row 2, word 3 has the tag 7; 2 classes are known"),
    "negative": (row(ner_tags=[1, 0, -1]), {"classes": "O,B-PER"}, r"row 2, word 3 has the tag -1"),
    "pieces": (row(ner_tags=[1, 0, -100]), {}, r"row 2, word 3 has the tag -100; -100 stands for pieces of words, of"),
    "no tag": (row(ner_tags=["O", None, "O"]), {}, r"row 2, word 2 has the tag None; a name or a whole number is"),
    "group": (row(kind=["a", "b"]), {"groups": "kind"}, r"column 'kind': row 2 has 2 values for 3 words; one each, or"),
    "no group": (row(), {"groups": "sex"}, r"groups: no column 'sex'"),
    "no target": (row(), {"target": "tags"}, r"label: no column 'tags'; did you mean ner_tags.*--target"),
    "several": (row(pos_tags=["N", "V", "N"]), {}, r"it has tags in ner_tags, pos_tags; say which holds .*--target"),
    "cluster": (row(doc=[1, 2, 3]), {"cluster": "doc"}, r"column 'doc': row 2 has 3 values for 1 words"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_in_one_line(what, tmp_path):
    wrong, told, message = WRONG[what]
    plain = {"pos_tags": ["N", "V", "N"]} if what == "several" else {"kind": "a"} if what == "group" else {}
    plain |= {"doc": 1} if what == "cluster" else {}
    file = put([row(**plain), wrong, row(**plain)], tmp_path / "bad.jsonl")
    with pytest.raises(TaskError, match=message) as error:
        load(file, split="test", **told)
    assert "\n" not in str(error.value)
    assert "sentences, bad.jsonl" in str(error.value)


def test_a_file_is_opened_by_what_its_rows_hold(file, tmp_path):
    assert opening.data_call(str(file))[0] == "sentences"
    plain = put([{"text": "Ada met Alan", "label": "x"}] * 3, tmp_path / "plain.jsonl")
    assert opening.data_call(str(plain))[0] == "table"
    vectors = put([{"x": 1, "embedding": [0.1, 0.2], "y": 1}] * 3, tmp_path / "vectors.jsonl")
    assert opening.data_call(str(vectors))[0] == "table"
    (tmp_path / "broken.jsonl").write_text("{")
    assert opening.data_call(str(tmp_path / "broken.jsonl"))[0] == "table"
    pieces = put([{"input_ids": [101, 5, 102], "labels": [-100, 1, -100]}] * 3, tmp_path / "pieces.jsonl")
    with pytest.raises(TaskError, match="its columns are input_ids, labels; tokens or words with a list of words, or"):
        load(pieces)
    with pytest.raises(SettingError, match="--bounds: data sentences has no such setting"):
        load(file, bounds="0,1")
    with pytest.raises(TaskError, match=r"data sentences: path='x.csv'; a file that ends in .jsonl"):
        opening.load_task("sentences(path='x.csv')")
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(TaskError, match="it has no rows; a sentence a row is needed"):
        opening.load_task(f"sentences(path={str(tmp_path / 'none.jsonl')!r})")


def test_what_was_understood_is_told(file):
    config = sentences.Config(path=str(file), groups="source", cluster="doc", split="test")
    seen = {c.name: c for c in sentences.describe(config)}
    words = sum(len(r["tokens"]) for r in rows())
    assert {name: c.role for name, c in seen.items()} == {
        "id": "not read", "tokens": "input", "ner_tags": "target",
        "source": "group", "doc": "cluster", "size": "not read",
    }  # fmt: skip
    assert seen["tokens"].kind == seen["ner_tags"].kind == f"a list of {words}"
    assert (seen["ner_tags"].distinct, seen["doc"].distinct, seen["doc"].kind) == (5, 10, "one a sentence")
    found = data_check.look(sentences.load(config), questions.read_questions(questions.default()))
    assert (found.modality, found.sentences, found.clusters) == ("words", 54, 9)
    gates = {gate.label: gate for gate in found.gates}
    assert (gates["accuracy"].n, gates["accuracy"].can) == (9, "no")
    assert gates["F1 of whole entities"].can == "not foretold"
    assert gates["accuracy under attack"].why == "words are read once, in their sentences"
    assert gates["bytes"].can == "not foretold"
    assert found.alike.looked == 0, "places are no distances"


def test_nothing_is_trained_on_places_of_words(file):
    with pytest.raises(TaskError, match="its examples are words of sentences, which nothing here learns to read"):
        load(file).check_training()


def test_inputs_are_places_of_words(file):
    task = load(file, split="test")
    moved = replace(task.test, inputs=task.test.inputs + torch.tensor([0.0, 8.0]))
    with pytest.raises(TaskError, match=r"row 0 is \[.*\]; no sentence has a word there"):
        replace(task, splits={**task.splits, "test": moved})
    wide = replace(task.test, inputs=task.test.inputs.repeat(1, 2))
    with pytest.raises(TaskError, match=r"a sentence and a place in it, \(N, 2\)"):
        replace(task, splits=dict.fromkeys(task.splits, wide))


def test_of_other_data_nothing_is_asked_about_words():
    found = data_check.look(testing.images(), questions.read_questions(questions.default()))
    assert "F1 of whole entities" not in {gate.label for gate in found.gates}


def test_it_keeps_the_contract(file):
    testing.check("loader", "sentences", path=str(file))


WORD = st.one_of(st.text(max_size=3), st.integers(-101, 3), st.none(), st.lists(st.text(max_size=2), max_size=2))
ROW = st.dictionaries(
    st.sampled_from(["tokens", "ner_tags", "tags", "g", "x"]), st.one_of(WORD, st.lists(WORD, max_size=4)), max_size=5
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROW, min_size=1, max_size=6), st.sampled_from(["", "g", "x"]), st.sampled_from(["", "g"]))
def test_any_rows_give_a_task_or_one_line(some, groups, cluster):
    plan = sentences.Config(groups=groups, cluster=cluster, split="test")
    try:
        task = _sentences.task("t", {"": some}, {"": "x"}, _tabular.Plan.of(plan))
    except WhatElseError as error:
        told = str(error).splitlines()
        task = None
    assert len(told) == 1 if task is None else len(task.test) == len(task.test.clusters)
