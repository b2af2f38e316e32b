import csv
from collections import Counter

import pytest
import torch

from whatelse import opening
from whatelse.errors import TaskError

HEADER = ["id", "age", "job", "town", "code", "class"]


def people(count):
    """Rows whose every value follows from their number."""
    return [
        [str(i), str(20 + i % 50), ("cook", "smith", "?")[i % 3], ("north", "south", "")[i % 5 // 2], str(i % 4)]
        + [("no", "yes")[i % 2]]
        for i in range(count)
    ]


def write(path, rows, header=HEADER):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "people.csv", people(200))


def load(path, **given):
    given = {"label": "class", "leave_out": "id", **given}
    return opening.load_task(f"table(path='{path}', {', '.join(f'{k}={v!r}' for k, v in given.items())})")


@pytest.mark.known_answer
def test_columns_become_numbers_as_worked_by_hand(path):
    task = load(path, groups="town,age,job", categories="code", calibration=20)
    assert {n: len(s) for n, s in task.splits.items()} == {"train": 126, "calibration": 20, "select": 14, "test": 60}
    assert task.features == (
        *("age", "job=cook", "job=smith", "job=unknown", "town=north", "town=south", "town=unknown"),
        *("code=0", "code=1", "code=2", "code=3"),
    )
    order = torch.randperm(200, generator=torch.Generator().manual_seed(7)).tolist()
    rows = people(200)
    test, train = [rows[i] for i in order[:60]], [rows[i] for i in order[74:]]
    ages = [float(row[1]) for row in train]
    mean = sum(ages) / len(ages)
    deviation = (sum((a - mean) ** 2 for a in ages) / len(ages)) ** 0.5
    wanted = torch.tensor([(float(row[1]) - mean) / deviation for row in test])
    torch.testing.assert_close(task.test.inputs[:, 0], wanted, rtol=1e-5, atol=1e-6)
    assert task.train.inputs[:, 0].mean().abs() < 1e-6
    jobs = {"cook": [1, 0, 0], "smith": [0, 1, 0], "?": [0, 0, 1]}
    assert task.test.inputs[:, 1:4].tolist() == [jobs[row[2]] for row in test]
    assert task.test.targets.tolist() == [int(row[5] == "yes") for row in test]
    towns = {"north": 0, "south": 1, "": -1}
    assert task.test.groups["town"].tolist() == [towns[row[3]] for row in test]
    assert task.group_names["town"] == ("north", "south")
    assert len(task.group_names["age"]) == 4
    counts = Counter(task.train.groups["age"].tolist())
    assert max(counts.values()) - min(counts.values()) <= 8, "quarters of train"
    assert task.bounds is None


def test_a_numeric_code_is_a_number_unless_said(path):
    assert load(path).features[-1] == "code"


def test_files_of_their_own_are_test_and_shifted(path, tmp_path):
    test, later = write(tmp_path / "t.csv", people(40)), write(tmp_path / "l.csv", people(30))
    task = load(path, test_path=str(test), shifted=str(later), groups="town", limit=25)
    assert {n: len(s) for n, s in task.splits.items()} == {
        "train": 25,
        "select": 20,
        "test": 25,
        "shifted": 25,
        "calibration": 25,
    }
    whole = load(path, test_path=str(test), shifted=str(later), groups="town")
    assert len(whole.split("shifted")) == 30
    assert len(whole.train) == 180
    assert -1 in whole.split("shifted").groups["town"]


def test_values_that_train_has_not_are_counted(path, tmp_path):
    rows = people(40)
    for row in rows[:6]:
        row[2], row[4] = "pilot", "9"
    test = write(tmp_path / "t.csv", rows)
    with pytest.warns(UserWarning, match="that train has not") as told:
        task = load(path, test_path=str(test), groups="code", categories="code")
    assert sorted(str(w.message) for w in told) == [
        "data table, t.csv: 6 of 40 rows have a 'code' that train has not",
        "data table, t.csv: 6 of 40 rows have a 'job' that train has not",
    ]
    at = task.features.index("job=unknown")
    assert int(task.test.inputs[:, at].sum()) == 6 + sum(row[2] == "?" for row in rows)
    codes = [i for i, n in enumerate(task.features) if n.startswith("code=")]
    assert int(task.test.inputs[:, codes].sum()) == 34, "no column for what train never lacks"
    assert task.group_names["code"][-1] == "9"
    assert int((task.test.groups["code"] == 4).sum()) == 6, "whoever train never has is a group all the same"


@pytest.mark.parametrize(
    ("row", "column", "value", "given", "message"),
    [
        (3, 5, "", {}, r"people\.csv, column 'class': row 4 has no label"),
        (3, 5, "0.5", {}, r"column 'class': row 4 is '0\.5'; a class is needed"),
        (7, 1, "old", {}, r"column 'age': row 8 is no number, as most are; mend it"),
        (0, 0, "0", {"label": "clas"}, r"label: no column 'clas'; did you mean class"),
        (0, 0, "0", {"label": ""}, "label: no column ''"),
        (0, 0, "0", {"groups": "sex"}, "groups: no column 'sex'"),
        (0, 0, "0", {"label": "id", "leave_out": ""}, r"column 'id': 200 labels in 200 rows; are they classes"),
        (0, 0, "0", {"leave_out": "id,age,job,town,code"}, "no column is left"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_row(tmp_path, row, column, value, given, message):
    rows = people(200)
    rows[row][column] = value
    with pytest.raises(TaskError, match=message) as error:
        load(write(tmp_path / "people.csv", rows), **given)
    assert "\n" not in str(error.value)


def test_a_label_is_checked_in_every_file(path, tmp_path):
    rows = people(40)
    rows[12][5] = "maybe"
    with pytest.raises(TaskError, match=r"t\.csv, column 'class': row 13 is 'maybe'; train has no, yes"):
        load(path, shifted=str(write(tmp_path / "t.csv", rows)))
    with pytest.raises(TaskError, match=r"t\.csv: no column 'class'"):
        load(path, test_path=str(write(tmp_path / "t.csv", [r[:5] for r in rows], HEADER[:5])))
    rows = people(40)
    rows[30][1] = "young"
    with pytest.raises(TaskError, match=r"t\.csv, column 'age': row 31 is no number"):
        load(path, test_path=str(write(tmp_path / "t.csv", rows)))


def test_constant_labels_are_refused(tmp_path):
    rows = [[*row[:5], "yes"] for row in people(50)]
    with pytest.raises(TaskError, match=r"column 'class': every row is 'yes'; a task needs two classes"):
        load(write(tmp_path / "one.csv", rows))


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(TaskError, match=r"data table, none\.csv: No such file"):
        load(tmp_path / "none.csv")
    for text, message in (
        ("class\n", "rows below it are needed"),
        ("class,class\n1,2\n", "'class' stands twice"),
        ("class,age\nyes,1\nno\n", "row 2 has 1 values; the header has 2"),
        ("class,age\nyes,1\nno,2\n", "2 rows are too few"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(TaskError, match=message):
            load(tmp_path / "bad.csv", leave_out="")
    (tmp_path / "bad.csv").write_bytes(b"class\n\xff\xfe\n")
    with pytest.raises(TaskError, match=r"bad\.csv"):
        load(tmp_path / "bad.csv")


def test_a_column_of_one_value_is_zero_and_missing_numbers_are_the_mean(tmp_path):
    rows = [["3.1", "" if i % 4 == 0 else str(i), ("no", "yes")[i % 2]] for i in range(80)]
    task = load(write(tmp_path / "x.csv", rows, ["same", "size", "class"]), leave_out="")
    assert task.features == ("same", "size", "size=unknown")
    assert task.train.inputs[:, 0].abs().max() == 0
    absent = task.test.inputs[:, 2] == 1
    assert task.test.inputs[absent, 1].eq(0).all()
    assert task.test.inputs[~absent, 1].ne(0).all()


def test_a_file_with_tabs_and_a_mark_of_its_encoding(tmp_path):
    lines = ["\t".join(HEADER), *("\t".join(row) for row in people(60))]
    (tmp_path / "p.tsv").write_text("\n".join(lines), encoding="utf-8-sig")
    assert load(tmp_path / "p.tsv").name == "p"


@pytest.mark.known_answer
def test_a_real_table_of_another_country_is_read(real):
    path = real("dutch") / "dutch.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    task = load(path, label="occupation", leave_out="", groups="sex", categories="edu_level,marital_status")
    counts, labels = Counter(), 0
    for name in ("train", "select", "test"):
        split = task.split(name)
        counts.update(task.group_names["sex"][code] for code in split.groups["sex"].tolist())
        labels += int(split.targets.sum())
    assert counts == Counter(row["sex"] for row in rows)
    assert labels == sum(row["occupation"] == "1" for row in rows)
