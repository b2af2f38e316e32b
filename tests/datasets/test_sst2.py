import csv
from collections import Counter

import pytest
import torch

from whatelse import opening
from whatelse.datasets import sst2
from whatelse.errors import TaskError

TRAIN = [("a good film", 1), ('a bad " film', 0), ("A good cast in a good film", 1), ("bad", 0)]
TEST = [("good unheard film", 1), ("so bad so bad so bad so bad so bad so bad so bad", 0)]


def write(path, rows):
    path.write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))


@pytest.fixture
def small(at):
    folder = at / "sst2"
    folder.mkdir()
    write(folder / "train.tsv", TRAIN)
    write(folder / "dev.tsv", TRAIN[:2])
    write(folder / "test.tsv", TEST)
    return folder


@pytest.mark.known_answer
def test_ids_are_those_counted_by_hand(small):
    task = opening.load_task("sst2(vocabulary=6, length=5)")
    # good 3, a 4 (lower case), film 3, bad 2, others 1; ties in order of the alphabet: a, film, good, bad.
    ids = {"a": 2, "film": 3, "good": 4, "bad": 5}
    texts = {tuple(row): int(t) for row, t in zip(task.test.inputs.tolist(), task.test.targets, strict=True)}
    assert texts == {(4.0, 1.0, 3.0, 0.0, 0.0): 1, (1.0, 5.0, 1.0, 5.0, 1.0): 0}
    assert task.vocabulary == 6
    assert task.modality == "tokens"
    assert task.train.inputs.max() == max(ids.values())
    assert task.train.inputs.dtype == torch.float32
    bands = dict(zip(task.test.targets.tolist(), task.test.groups["length"].tolist(), strict=True))
    assert bands == {1: 0, 0: 2}, "3 words, and 14"
    assert task.group_names["length"][2] == "over 12 to 20 words"


def test_test_texts_give_no_words(small):
    one = opening.load_task("sst2(vocabulary=8)")
    write(small / "test.tsv", [("zebra " * 50, 1), ("zebra", 0)])
    write(small / "dev.tsv", [("zebra " * 50, 1), ("zebra", 0)])
    two = opening.load_task("sst2(vocabulary=8)")
    assert torch.equal(one.train.inputs, two.train.inputs)
    assert set(two.test.inputs.unique().tolist()) == {0.0, 1.0}


def test_a_transformer_takes_the_texts(small, rng):
    from whatelse.nets import transformer

    task = opening.load_task("sst2(length=9)")
    net = transformer.build(transformer.Config(width=8, heads=2, depth=1, hidden=8), task.shape, 2, rng)
    assert net(task.train.inputs).shape == (4, 2)
    assert transformer.Config().vocabulary == sst2.Config().vocabulary, "both doors fit each other as they come"


@pytest.mark.parametrize("text", ["a text without a label", "good\t2", "\t1", "good\t1\t1"])
def test_a_row_that_makes_no_sense_is_named(small, text):
    (small / "test.tsv").write_text(f"sentence\tlabel\nfine\t1\n{text}\n")
    with pytest.raises(TaskError, match=r"test\.tsv: row 2 is no text"):
        opening.load_task("sst2")


def test_what_is_missing_is_said_in_one_line(small, monkeypatch):
    (small / "test.tsv").write_text("text\tlabel\n")
    with pytest.raises(TaskError, match="no columns sentence and label"):
        opening.load_task("sst2")
    monkeypatch.delenv("WHATELSE_DATA")
    with pytest.raises(TaskError, match=r"data sst2: set WHATELSE_DATA to a folder that holds sst2/train\.tsv"):
        opening.load_task("sst2")


@pytest.mark.known_answer
def test_the_real_texts_are_counted_as_by_hand(real):
    folder = real("sst2")
    task = opening.load_task("sst2(vocabulary=2000)")
    assert {n: len(s) for n, s in task.splits.items()} == {
        "train": 60_614,
        "select": 6_735,
        "test": 872,
        "calibration": 256,
    }
    with (folder / "test.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert int(task.test.targets.sum()) == sum(row["label"] == "1" for row in rows)
    bands = Counter(sum(len(row["sentence"].split()) > cut for cut in (5, 12, 20)) for row in rows)
    assert Counter(task.test.groups["length"].tolist()) == bands
    lengths = task.test.inputs.ne(0).sum(1)
    assert int(lengths.sum()) == sum(min(32, len(row["sentence"].split())) for row in rows)
