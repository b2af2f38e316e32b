import csv
import random
from collections import Counter

import numpy as np
import pytest
import torch

from whatelse import opening, registry
from whatelse.datasets import adult
from whatelse.errors import MissingExtraError, TaskError

NUMBERS = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")


def people(count, seed, *, dot=""):
    """Made-up rows in the form of UCI's files."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        age = rng.randint(17, 90)
        job = rng.choice(("Private", "State-gov", "?"))
        sex, race = rng.choice(("Female", "Male")), rng.choice(("Black", "White", "Other"))
        rich = ">50K" if i % (3 + seed) == 0 else "<=50K"
        school = ("HS-grad", "9", "Divorced", "Sales", "Wife")
        rows.append([str(age), job, "1000", *school, race, sex, "0", "0", "40", "Cuba", rich + dot])
    return rows


def write(path, rows, header=True):
    lines = [",".join(adult.COLUMNS)] if header else ["|1x3 Cross validator"]
    path.write_text("\n".join([*lines, *(", ".join(row) for row in rows), ""]))


@pytest.fixture
def small(at):
    (at / "adult").mkdir()
    write(at / "adult" / "adult.data", people(200, 1))
    write(at / "adult" / "adult.test", people(100, 2, dot="."))
    return at / "adult"


def test_groups_labels_and_unknowns_are_those_of_the_file(small):
    task = opening.load_task("adult")
    assert {n: len(s) for n, s in task.splits.items()} == {"train": 180, "select": 20, "test": 100, "calibration": 180}
    rows = people(100, 2)
    place = {name: i for i, name in enumerate(adult.COLUMNS)}
    for name in ("sex", "race"):
        told = Counter(row[place[name]] for row in rows)
        codes = Counter(task.test.groups[name].tolist())
        assert {task.group_names[name][c]: n for c, n in codes.items()} == told
    ages = [int(row[0]) for row in rows]
    bands = torch.bincount(task.test.groups["age"], minlength=4).tolist()
    assert bands == [sum(low < a <= high for a in ages) for low, high in ((0, 25), (25, 40), (40, 60), (60, 99))]
    assert task.group_names["age"] == ("to 25", "over 25 to 40", "over 40 to 60", "over 60")
    assert int(task.test.targets.sum()) == 20
    assert int(task.test.inputs[:, task.features.index("workclass=unknown")].sum()) == sum(r[1] == "?" for r in rows)
    assert task.bounds is None
    assert task.modality == "table"
    assert not any("fnlwgt" in name for name in task.features)


def test_files_of_uci_itself_are_read_too(small):
    before = opening.load_task("adult").key
    write(small / "adult.data", people(200, 1), header=False)
    write(small / "adult.test", people(100, 2, dot="."), header=False)
    assert opening.load_task("adult").key == before


def test_test_rows_decide_nothing_and_limits_cut(small):
    one = opening.load_task("adult(limit=50, limit_test=30)")
    assert [len(one.splits[n]) for n in ("train", "select", "test")] == [50, 20, 30]
    rows = people(100, 2, dot=".")
    for row in rows:
        row[0], row[1], row[13] = "99999", "Never-heard-of", "Atlantis"
    write(small / "adult.test", rows)
    two = opening.load_task("adult(limit=50, limit_test=30)")
    assert two.features == one.features
    assert torch.equal(two.train.inputs, one.train.inputs)
    column = two.features.index("native-country=Cuba")
    assert two.test.inputs[:, column].eq(0).all(), "a country that train has not is in no column"
    assert two.test.inputs[:, two.features.index("workclass=unknown")].eq(1).all()


def test_a_model_can_be_blind_to_a_group(small):
    task = opening.load_task("adult(leave_out='sex,race,age,fnlwgt')")
    assert not any(name.split("=")[0] in {"sex", "race", "age"} for name in task.features)
    assert set(task.test.groups) == {"sex", "race", "age"}
    with pytest.raises(TaskError, match="leave_out: no column 'gender'"):
        opening.load_task("adult(leave_out='gender')")


def bunch(sizes, order):
    """What scikit-learn returns for Adult, version 2: a frame of categories and numbers, both files in a row."""
    pandas = pytest.importorskip("pandas")
    from sklearn.utils import Bunch

    parts = {"train": people(sizes[0], 1), "test": people(sizes[1], 2)}
    frame = pandas.DataFrame(
        [row for name in order for row in parts[name]], columns=[*adult.COLUMNS[:-1], "class"]
    ).replace("?", np.nan)
    for name in frame.columns:
        number = name in NUMBERS or name == "fnlwgt"
        frame[name] = frame[name].astype("float64" if number else "category")
    return Bunch(frame=frame, data=frame[list(adult.COLUMNS[:-1])], target=frame["class"])


@pytest.mark.parametrize("order", [("test", "train"), ("train", "test")])
def test_openml_gives_the_same_task_as_the_files(small, order, monkeypatch):
    from_files = opening.load_task("adult")
    monkeypatch.delenv("WHATELSE_DATA")
    monkeypatch.setattr(adult, "_TRAIN", (200, 50))
    monkeypatch.setattr(adult, "_TEST", (100, 20))
    asked = []

    def fetch(name, **rest):
        asked.append((name, rest["version"]))
        return bunch((200, 100), order)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    fetched = opening.load_task("adult")
    assert asked == [("adult", 2)]
    assert fetched.features == from_files.features
    assert fetched.key == from_files.key


def test_other_rows_from_openml_are_refused(monkeypatch):
    monkeypatch.delenv("WHATELSE_DATA", raising=False)
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *_, **__: bunch((200, 100), ("test", "train")))
    with pytest.raises(TaskError, match="other rows than UCI's"):
        opening.load_task("adult")


def test_what_is_missing_is_said_in_one_line(at, monkeypatch):
    with pytest.raises(
        TaskError, match=r"data adult: no file .*adult\.data; put it there, or set WHATELSE_DATA"
    ) as error:
        opening.load_task("adult")
    assert "\n" not in str(error.value)
    monkeypatch.delenv("WHATELSE_DATA")

    def offline(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", offline)
    with pytest.raises(TaskError, match=r"OpenML does not give it \(no route to host\); set WHATELSE_DATA"):
        opening.load_task("adult")
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'whatelse\[openml\]'"):
        opening.load_task("adult")


@pytest.mark.known_answer
def test_the_real_table_is_counted_as_by_hand(real):
    folder = real("adult")
    task = opening.load_task("adult")
    with (folder / "adult.test").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {n: len(s) for n, s in task.splits.items()} == {
        "train": 29_305,
        "select": 3_256,
        "test": 16_281,
        "calibration": 256,
    }
    for name in ("sex", "race"):
        told = Counter((row[name], row["income"].rstrip(".") == ">50K") for row in rows)
        pairs = zip(task.test.groups[name].tolist(), task.test.targets.tolist(), strict=True)
        found = Counter((task.group_names[name][g], bool(t)) for g, t in pairs)
        assert found == told
    assert int(task.test.targets.sum()) == 3_846, "as UCI's page says"
    numbers = task.train.inputs[:, [task.features.index(n) for n in NUMBERS]].double()
    assert numbers.mean(0).abs().max() < 1e-6
    assert (numbers.std(0, correction=0) - 1).abs().max() < 1e-5
    words = [i for i, n in enumerate(task.features) if "=" in n]
    assert set(task.train.inputs[:, words].unique().tolist()) == {0.0, 1.0}
    own = [i for i, n in enumerate(task.features) if n.startswith("occupation=")]
    assert task.train.inputs[:, own].sum(1).eq(1).all(), "one of them is on in every row"


@pytest.mark.known_answer
def test_scales_are_those_of_scikit_learn_fitted_on_train(real):
    from sklearn.preprocessing import StandardScaler

    folder = real("adult")
    task = opening.load_task("adult(limit=500, limit_test=200)")
    with (folder / "adult.data").open(newline="") as file:
        train = [[float(row[n]) for n in NUMBERS] for row in csv.DictReader(file)]
    with (folder / "adult.test").open(newline="") as file:
        test = [[float(row[n]) for n in NUMBERS] for row in csv.DictReader(file)]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(7))[3_256:3_756]
    scaler = StandardScaler().fit([train[i] for i in order.tolist()])
    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(7))[:200]
    wanted = scaler.transform([test[i] for i in chosen.tolist()])
    columns = [task.features.index(n) for n in NUMBERS]
    np.testing.assert_allclose(task.test.inputs[:, columns].numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_the_door_is_in_the_list():
    assert {"adult", "fashion_mnist", "sst2", "table"} <= set(registry.names("datasets"))
