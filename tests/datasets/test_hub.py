"""Data sets through Hugging Face's own library, from folders: there is no network in tests."""

import json

import numpy as np
import pytest
import torch

from whatelse import opening
from whatelse.datasets import images, table
from whatelse.errors import MissingExtraError, TaskError

datasets = pytest.importorskip("datasets")
pd = pytest.importorskip("pandas")
image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Their library without a network, with a cache of its own."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)  # noqa: FBT003 - what they read


def rows(count, seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"age": rng.integers(17, 90, count), "sex": rng.choice(["f", "m"], count), "y": np.arange(count) % 2}
    )


def load(text, **options):
    return opening.load_task(opening.data_text(text, options))


@pytest.mark.known_answer
def test_a_folder_of_tables_is_the_same_task_as_its_files(tmp_path):
    place = tmp_path / "people"
    place.mkdir()
    rows(80, 0).to_csv(place / "train.csv", index=False)
    rows(60, 1).to_csv(place / "test.csv", index=False)
    task = load(f"hf:{place}", target="y", groups="sex,age:40")
    files = {"path": str(place / "train.csv"), "test_path": str(place / "test.csv")}
    assert task.key == table.load(table.Config(**files, label="y", groups="sex,age:40")).key
    assert len(load(f"hf:{place}", target="y", split="train").test) == 72, "the rest chooses"


# Their reader leaves the files of metadata open, and Python says so when it finds them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.known_answer
def test_a_folder_of_images_is_the_same_task_as_the_folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 16)):
        (tmp_path / "pets" / split).mkdir(parents=True)
        told = pd.DataFrame({"file_name": [f"{i:02}.png" for i in range(count)]})
        told = told.assign(label=np.where(np.arange(count) % 2, "dog", "cat"), site=rng.choice(["x", "y"], count))
        told.to_csv(tmp_path / "pets" / split / "metadata.csv", index=False)
        for name in told["file_name"]:
            image.fromarray(rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)).save(tmp_path / "pets" / split / name)
    one = load(f"hf:{tmp_path / 'pets'}", groups="site")
    two = images.load(images.Config(path=str(tmp_path / "pets"), groups="site"))
    assert one.key == two.key
    assert one.names == two.names


@pytest.mark.parametrize("names", [("z", "a"), ("tench, Tinca tinca", " goldfish")])
def test_classes_that_the_data_set_names_keep_their_names_and_order(names, tmp_path, monkeypatch):
    kinds = datasets.Features({"x": datasets.Value("float32"), "label": datasets.ClassLabel(names=list(names))})
    made = datasets.Dataset.from_dict({"x": torch.randn(50).tolist(), "label": [0, 1] * 25}, features=kinds)
    monkeypatch.setattr(datasets, "load_dataset", lambda place, config: datasets.DatasetDict({"validation": made}))
    task = load("hf:some/one", split="test")
    assert task.class_names == names
    assert len(task.train) == 0
    assert len(task.test) == 45


def test_what_cannot_be_had_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(TaskError, match=r"hub, hf:some/nothing: cannot be reached, or is not there") as error:
        load("hf:some/nothing")
    assert "\n" not in str(error.value)
    rows(40, 0).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(TaskError, match=r"label: no column 'label'; did you mean age\? \(--target\)"):
        load(f"hf:{tmp_path}")
    with pytest.raises(TaskError, match="split: no split 'dev'"):
        load(f"hf:{tmp_path}", target="y", split="dev")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"whatelse\[data\]"):
        load("hf:some/nothing")


@pytest.mark.known_answer
def test_a_folder_of_sentences_is_the_same_task_as_its_file(tmp_path):
    (tmp_path / "said").mkdir()
    words = [{"tokens": [f"s{i}", "met", "Ada"], "ner_tags": ["O", "O", "B-PER"], "id": i} for i in range(40)]
    file = tmp_path / "said" / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in words))
    task = load(f"hf:{tmp_path / 'said'}", split="test")
    assert (task.modality, task.class_names) == ("words", ("B-PER", "O"))
    assert task.key == opening.load_task(f"sentences(path={str(file)!r}, split='test')").key
    kinds = datasets.Features({
        "tokens": datasets.List(datasets.Value("string")),
        "pos": datasets.List(datasets.ClassLabel(names=["N", "V, of being"])),
    })  # fmt: skip
    (tmp_path / "named").mkdir()
    held = [{"tokens": row["tokens"], "pos": [0, 1, 0]} for row in words]
    datasets.Dataset.from_list(held, features=kinds).to_parquet(str(tmp_path / "named" / "test.parquet"))
    assert load(f"hf:{tmp_path / 'named'}", split="test", target="pos").class_names == ("N", "V, of being")
    with pytest.raises(TaskError, match="it has no column ner_tags, .*; say which holds a list with a tag a word"):
        load(f"hf:{tmp_path / 'named'}", split="test")
