"""What language models are asked: documents, items and pairs, however they are written; one line where it is wrong."""

import json

import pandas as pd
import pytest
import torch

from whatelse import opening
from whatelse.datasets import _passages
from whatelse.errors import TaskError
from whatelse.tasks.language import Passage

ITEMS = [
    {"question": "Sky?", "choices": ["red", "blue"], "answer": 1, "kind": "a", "doc": "x"},
    {"question": "Grass?", "choices": ["green", "gray", "pink"], "answer": 0, "kind": "b", "doc": "x"},
    {"question": "Snow? ", "choices": ["black", "white"], "answer": 1, "kind": "a", "doc": "y"},
]


def put(rows, file):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def load(file, **told):
    return opening.load_task(opening.data_text(str(file), told))


def passages(task):
    return task.language.of(task.test.inputs)


def test_what_the_environment_says_may_stand_in_a_path(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("a dog", "utf-8")
    monkeypatch.setenv("WHERE", str(tmp_path))
    assert len(opening.load_task("language(path='$WHERE/text.txt', calibration='${WHERE}/text.txt')").test) == 1
    with pytest.raises(
        TaskError, match=r"path='\$NOWHERE/text.txt': the environment does not say what stands there; set"
    ):
        opening.load_task("language(path='$NOWHERE/text.txt')")
    with pytest.raises(
        TaskError, match=r"path='\$WHERE/none.txt': there is no .*/none.txt; set the variable to the fold"
    ):
        opening.load_task("language(path='$WHERE/none.txt')")


@pytest.mark.known_answer
def test_documents_of_plain_text_are_paragraphs_joined_until_they_are_long_enough(tmp_path):
    file = tmp_path / "text.txt"
    parts = ["a" * 12, "b" * 3, "c" * 20, "d"]
    file.write_text("\n\n".join(parts), "utf-8")
    task = opening.load_task(f"language(path={str(file)!r}, document=15)")
    assert [one.continuations for one in passages(task)] == [
        (f"{'a' * 12}\n\n{'b' * 3}\n\n",),
        (f"{'c' * 20}\n\n",),
        ("d",),
    ]
    assert "".join(one.continuations[0] for one in passages(task)) == file.read_text()
    whole = opening.load_task(f"language(path={str(file)!r}, document=0)")
    assert [one.continuations[0] for one in passages(whole)] == [file.read_text()]
    assert opening.load_task(str(file)).modality == "documents"


@pytest.mark.known_answer
@pytest.mark.parametrize(
    "rows",
    [
        ITEMS,
        [row | {"answer": "ABC"[row["answer"]]} for row in ITEMS],
        [row | {"answer": row["choices"][row["answer"]]} for row in ITEMS],
        [
            {k: v for k, v in row.items() if k != "answer"}
            | {
                "choices": {"text": row["choices"], "label": ["1", "2", "3"][: len(row["choices"])]},
                "answerKey": str(1 + row["answer"]),
            }
            for row in ITEMS
        ],
        [{**row, "ctx": row["question"], "endings": row["choices"], "label": str(row["answer"])} for row in ITEMS],
    ],
    ids=["numbers", "letters", "texts", "labels", "endings"],
)
def test_items_are_the_same_however_they_are_written(tmp_path, rows):
    rows = [
        {k: v for k, v in row.items() if not ("ctx" in row and k in {"question", "choices", "answer"})} for row in rows
    ]
    task = load(put(rows, tmp_path / "items.jsonl"), groups="kind", cluster="doc")
    assert (task.modality, task.classes) == ("choices", 3)
    assert passages(task) == [
        Passage("Sky?", (" red", " blue"), (3, 4)),
        Passage("Grass?", (" green", " gray", " pink"), (5, 4, 4)),
        Passage("Snow? ", ("black", "white"), (5, 5)),  # the space stands there already
    ]
    assert task.test.targets.tolist() == [1, 0, 1]
    assert task.test.groups["kind"].tolist() == [0, 1, 0]
    assert task.test.clusters.tolist() == [0, 0, 1]


@pytest.mark.known_answer
def test_pairs_and_minimal_pairs(tmp_path):
    rows = [{"sent_more": "He works.", "sent_less": "She works.", "bias_type": "gender"}] * 2
    pairs = load(put(rows, tmp_path / "pairs.jsonl"), groups="bias_type")
    assert (pairs.modality, pairs.class_names) == ("pairs", ("stereotype", "anti-stereotype"))
    assert passages(pairs)[1] == Passage("", ("He works.", "She works."))
    assert pairs.test.inputs.flatten().tolist() == [0, 0], "equal ones have one number"
    pd.DataFrame(rows).to_csv(tmp_path / "pairs.csv", index=False)
    assert load(tmp_path / "pairs.csv", groups="bias_type").key == pairs.key
    pd.DataFrame(rows).to_parquet(tmp_path / "pairs.parquet")
    assert load(tmp_path / "pairs.parquet", groups="bias_type").key == pairs.key
    good = load(put([{"sentence_good": "He is.", "sentence_bad": "He are."}], tmp_path / "g.jsonl"))
    assert (good.modality, good.test.targets.tolist()) == ("choices", [0])


def test_nothing_is_train_and_a_share_is_held_back_by_whole_clusters(tmp_path):
    rows = [{"text": f"text {i}", "doc": i // 5} for i in range(100)]
    file = put(rows, tmp_path / "text.jsonl")
    whole = load(file)
    assert [len(whole.split(name)) for name in ("train", "calibration", "select", "test")] == [0, 0, 0, 100]
    cut = opening.load_task(f"language(path={str(file)!r}, cluster='doc', select=0.2)")
    assert (len(cut.split("select")), len(cut.test)) == (20, 80)
    assert not set(cut.split("select").clusters.tolist()) & set(cut.test.clusters.tolist())
    few = load(file, limit=7)
    order = few.test.inputs.flatten().tolist()
    assert len(order) == 7
    assert order == sorted(order) != list(range(7))


def test_a_file_is_taken_for_what_its_first_row_is(tmp_path):
    def taken(row):
        return opening.data_call(str(put([row], tmp_path / "x.jsonl")))[0]

    assert taken({"text": "a"}) == "language"
    assert taken({"text": "a", "id": 3, "url": "x"}) == "language"
    assert taken(ITEMS[0]) == "language"
    assert taken({"stereotype": "a", "anti_stereotype": "b"}) == "language"
    assert taken({"text": "a", "label": "good"}) == "table"
    assert taken({"text": "a", "mood": "good"}) == "table"
    assert taken({"x": 1.0, "y": 2}) == "table"
    assert taken({"tokens": ["a", "b"], "ner_tags": ["O", "O"]}) == "sentences"


@pytest.mark.parametrize(
    ("rows", "told", "text"),
    [
        ([ITEMS[0] | {"choices": ["a"]}], {}, "row 1: choices are ['a']; a list of two or more texts is needed"),
        ([ITEMS[0], ITEMS[0] | {"answer": 2}], {}, "row 2: 'answer' is 2; a number from 0 to 1, a letter up to B"),
        ([ITEMS[0], ITEMS[0] | {"question": 3}], {}, "row 2: 'question' is 3; a text is needed"),
        ([ITEMS[0]], {"target": "anwser"}, "row 1: no column 'anwser'; did you mean answer?"),
        ([{"text": "a"}, {"text": " "}], {}, "row 2: 'text' is ' '; a text is needed"),
        ([{"text": "a"}, {"txt": "b"}], {}, "row 2: 'text' is None; a text is needed"),
        ([{"text": "a"}], {"cluster": "doc"}, "cluster='doc'; one column of text is needed"),
        ([{"text": "a", "doc": "x"}, {"text": "b", "doc": ""}], {"cluster": "doc"}, "row 2 is empty; say what it"),
        ([{"text": "a"}], {"groups": "kind"}, "groups: no column 'kind'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_row(tmp_path, rows, told, text):
    file = put(rows, tmp_path / "x.jsonl")
    with pytest.raises(TaskError) as caught:
        load(file, **told)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused_in_one_line(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "bytes.txt").write_bytes(b"abc\xff")
    for call, text in (
        (str(tmp_path / "empty.txt"), "it is empty; text is needed"),
        (str(tmp_path / "bytes.txt"), "byte 0xff is no UTF-8 text; write the file as UTF-8"),
        (f"language(path={str(tmp_path / 'nowhere.txt')!r})", "No such file"),
        ("language(path='x.npz')", "path='x.npz'; a file that ends in .txt, .jsonl"),
        (
            f"language(path={str(put([{'x': 1}], tmp_path / 'x.jsonl'))!r})",
            "its columns are x; text alone (or --text NAME)",
        ),
    ):
        with pytest.raises(TaskError) as caught:
            opening.load_task(call)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)


def test_passages_that_are_none_are_refused_by_the_task(tmp_path):
    from dataclasses import replace

    task = load(put(ITEMS, tmp_path / "items.jsonl"))
    for change, text in (
        ({"inputs": torch.full((3, 1), 3.0)}, r"row 0 is \[3.0\]; there are 3 passages"),
        ({"inputs": torch.zeros(3, 2)}, "the number of a passage each"),
        ({"targets": torch.tensor([2, 0, 1])}, "target of row 0 is 2; it has 2 choices"),
    ):
        broken = replace(task.test, **change)
        with pytest.raises(TaskError, match=text):
            replace(task, splits={**task.splits, "test": broken})
    with pytest.raises(TaskError, match="what a language model reads; nothing here learns that"):
        task.check_training()


def test_paragraphs_are_never_lost():
    text = "\n\n a\n\n\n\nb \n \n c\n\n"
    for least in (0, 1, 3, 100):
        assert "".join(_passages.documents(text, least, "x")) == text
