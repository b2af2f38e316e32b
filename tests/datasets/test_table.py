"""One table, however it is written: read as pandas and pyarrow read it, or refused in one line."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whatelse import opening
from whatelse.datasets import table
from whatelse.errors import TaskError
from whatelse.tasks.task import Task

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def people(count=300):
    rng = np.random.default_rng(0)
    age = rng.integers(17, 91, count).astype(float)
    age[::11] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "pay": rng.normal(size=count).round(6),
            "sex": rng.choice(["f", "m"], count),
            "town": np.where(np.arange(count) % 7 == 0, None, rng.choice(["north", "süd, west"], count)),
            "old": rng.random(count) > 0.5,
            "person": rng.integers(0, 60, count),
            "class": rng.choice([0, 2, 5], count),
        }
    )


@pytest.fixture
def frame():
    return people()


def put(frame, place):
    frame.to_csv(place / "p.csv", index=False)
    frame.to_csv(place / "p.tsv", index=False, sep="\t")
    frame.to_parquet(place / "p.parquet")
    frame.to_json(place / "p.jsonl", orient="records", lines=True, double_precision=15)
    return place


def load(path, **given):
    return table.load(table.Config(path=str(path), **{"label": "class", **given}))


def order(count):
    return torch.randperm(count, generator=torch.Generator().manual_seed(7)).numpy()


@pytest.mark.known_answer
def test_the_same_table_is_the_same_task_however_it_is_written(frame, tmp_path):
    put(frame, tmp_path)
    asked = {"groups": "sex,town,age:25,40,60,sex*old", "cluster": "person", "categories": "old"}
    tasks = [load(tmp_path / f"p.{kind}", **asked) for kind in ("csv", "tsv", "parquet", "jsonl")]
    assert len({task.key for task in tasks}) == 1
    assert len({task.names for task in tasks}) == 1
    assert tasks[0].class_names == ("0", "2", "5"), "labels with gaps are counted through"


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_numbers_are_those_of_pandas(kind, frame, tmp_path):
    frame = frame.drop(columns=["town", "old", "sex"])
    put(frame, tmp_path)
    task = load(tmp_path / f"p.{kind}", scale="none", split="test", select=0.2)
    assert len(task.train) == 0
    got = torch.cat([task.split("select").inputs, task.test.inputs]).numpy()
    wanted = frame.iloc[order(len(frame))]
    assert task.features == ("age", "age=unknown", "pay", "person")
    assert np.array_equal(got[:, 1] == 1, wanted["age"].isna())
    there = wanted["age"].notna().to_numpy()
    assert np.array_equal(got[there, 0], wanted["age"].to_numpy(np.float32)[there])
    assert np.allclose(got[~there, 0], frame["age"].mean()), "a missing number is the mean"
    assert np.array_equal(got[:, 2], wanted["pay"].to_numpy(np.float32))
    assert np.array_equal(got[:, 3], wanted["person"].to_numpy(np.float32))


@pytest.mark.known_answer
def test_groups_are_those_of_cut_and_qcut(frame, tmp_path):
    put(frame, tmp_path)
    task = load(tmp_path / "p.csv", groups="age:25,40,60,sex*age:q3", split="test")
    wanted = frame.iloc[order(len(frame))]["age"]
    cut = pd.cut(wanted, [-np.inf, 25, 40, 60, np.inf], labels=False).fillna(-1)
    codes = torch.cat([task.split("select").groups["age"], task.test.groups["age"]]).numpy()
    assert np.array_equal(codes, cut)
    assert task.group_names["age"] == ("to 25", "over 25 to 40", "over 40 to 60", "over 60")
    assert (codes == -1).sum() == frame["age"].isna().sum()
    both = torch.cat([task.split(s).groups["sex*age"] for s in ("select", "test")]).numpy()
    thirds = pd.qcut(wanted, 3, labels=False)
    sex = (frame.iloc[order(len(frame))]["sex"] == "m").astype(int)
    assert np.array_equal(both, (3 * sex + thirds).fillna(-1))
    assert task.group_names["sex*age"][0].startswith("f x to ")


def test_quantiles_are_those_of_train_where_there_is_one(frame, tmp_path):
    put(frame, tmp_path)
    frame.assign(age=frame["age"] + 100).to_csv(tmp_path / "members.csv", index=False)
    task = load(tmp_path / "p.csv", groups="age:q2", members=str(tmp_path / "members.csv"))
    assert set(task.test.groups["age"].tolist()) == {-1, 0}, "everybody is younger than the median member"
    assert len(task.train) == len(frame)
    assert len(task.test) + len(task.split("select")) == len(frame)


def test_nobody_is_on_two_sides(frame, tmp_path):
    put(frame, tmp_path)
    task = load(tmp_path / "p.csv", cluster="person")
    sides = [set(task.split(name).clusters.tolist()) for name in ("train", "select", "test")]
    assert sum(map(len, sides)) == len(set.union(*sides)) == frame["person"].nunique()
    assert sum(len(task.split(name)) for name in ("train", "select", "test")) == len(frame)
    assert "person" not in task.features
    assert 0.2 < len(task.test) / len(frame) < 0.4


def test_classes_come_in_the_order_that_is_asked_for(frame, tmp_path):
    put(frame, tmp_path)
    task = load(tmp_path / "p.csv", classes="5,1,0,2", split="test")
    assert task.classes == 4
    assert torch.bincount(task.test.targets, minlength=4)[1] == 0
    codes = torch.cat([task.split("select").targets, task.test.targets])
    wanted = frame.iloc[order(len(frame))]["class"].map({5: 0, 1: 1, 0: 2, 2: 3})
    assert codes.tolist() == wanted.tolist()


LINES = "age,sex,y\n" + "".join(f"{i},{'fm'[i % 2]},{'no' if i % 3 else 'yes'}\n" for i in range(30))


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        (LINES, {"label": "Y"}, r"label: no column 'Y'.*\(--target\)"),
        (LINES, {"classes": "no,maybe"}, r"row 1 is 'yes'; classes are no, maybe; name all of them \(--classes\)"),
        (LINES, {"classes": "no,no"}, "two names or more are needed, each once"),
        ("y,a\nno,1\nno,2\nno,3\n", {"classes": "no,yes"}, "every row is 'no'"),
        (LINES, {"groups": "age:25,99"}, r"no row has a 'age' over 99; leave that cut out"),
        (LINES, {"groups": "age:40,25"}, "rising numbers such as age:25,40,60"),
        (LINES, {"groups": "sex:2,3"}, "'sex' holds values that are no numbers"),
        (LINES, {"groups": "sex,sex"}, "'sex' stands twice"),
        (LINES, {"groups": "sexe"}, "groups: no column 'sexe'; did you mean sex"),
        (LINES, {"cluster": "who"}, "cluster: no column 'who'"),
        (LINES, {"bounds": "1,0"}, r"bounds='1,0'; two rising numbers are needed"),
        (
            LINES,
            {"bounds": "0,1", "scale": "none", "leave_out": "sex"},
            r"inputs of .* reach from .*; they look like pix",
        ),
        (LINES, {"test_path": "x", "split": "test"}, "test_path and members or split"),
        (LINES.replace("7,m,no", "seven,m,no"), {}, r"column 'age': row 8 is no number, as most are; mend it"),
        (LINES.replace("7,m,no", "7,m,"), {}, "row 8 has no label"),
        (LINES.replace("7,m,no", "7,m,NaN"), {}, "row 8 has no label"),
        (LINES.replace("7,m,no", "7,no"), {}, "row 8 has 2 values; the header has 3; put quotes around"),
        (LINES.replace("sex", "age", 1), {}, "the column 'age' stands twice"),
        (LINES.replace(",", ";"), {}, r"the one column is called 'age;sex;y'; ',' is needed.*delimiter=';'"),
        ("", {}, "a line with the names of the columns and rows below it are needed"),
        ("age,sex,y\n", {}, "rows below it are needed"),
        (
            "name,y\n" + "".join(f"n{i},{i % 2}\n" for i in range(400)),
            {},
            "different texts in .* rows are no categories",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_line(text, given, message, tmp_path):
    (tmp_path / "t.csv").write_text(text, "utf-8")
    with pytest.raises(TaskError, match=message) as error:
        load(tmp_path / "t.csv", **{"label": "y", **given})
    assert "\n" not in str(error.value)


def test_another_delimiter_and_a_mark_of_the_encoding_are_read(tmp_path):
    (tmp_path / "t.csv").write_text(LINES.replace(",", ";"), "utf-8-sig")
    assert load(tmp_path / "t.csv", label="y", delimiter=";").features[0] == "age"


def test_files_that_are_none(frame, tmp_path):
    put(frame, tmp_path)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "p.parquet").read_bytes()[:-40])
    (tmp_path / "latin.csv").write_bytes("age,y\n1,jä\n".encode("latin-1"))
    frame.assign(many=[[1, 2]] * len(frame)).to_parquet(tmp_path / "lists.parquet")
    (tmp_path / "bad.jsonl").write_text('{"age": 1, "class": 0}\n{"age": 2\n')
    (tmp_path / "list.jsonl").write_text('{"age": [1], "class": 0}\n')
    (tmp_path / "twice.jsonl").write_text('{"age": 1, "age": 2, "class": 0}\n')
    for name, message in {
        "cut.parquet": "no Parquet file that can be read.*write it again",
        "latin.csv": r"byte 0xe4 is no UTF-8 text; write the file as UTF-8",
        "lists.parquet": r"column 'many' holds list<.*; leave the column out",
        "bad.jsonl": "line 2 is no JSON",
        "list.jsonl": r"column 'age': row 1 is \[1\]; numbers and texts are needed",
        "twice.jsonl": "the column 'age' stands twice",
        "none.csv": "No such file",
    }.items():
        with pytest.raises(TaskError, match=message) as error:
            load(tmp_path / name)
        assert "\n" not in str(error.value)
    assert "many" not in load(tmp_path / "lists.parquet", leave_out="many").features, "what is left out is not read"


def test_a_number_that_is_none_among_thousands_is_named(tmp_path):
    lines = [f"{i / 7},{i % 2}" for i in range(20_000)]
    lines[18_000] = "oops,1"
    (tmp_path / "t.csv").write_text("\n".join(["a,y", *lines]))
    with pytest.raises(TaskError, match=r"column 'a': row 18001 is no number, as most are, but 'oops'"):
        load(tmp_path / "t.csv", label="y")


def test_what_was_understood_of_every_column(frame, tmp_path):
    frame = frame.assign(same=1, copy=frame["class"].map({0: "a", 2: "b", 5: "c"}), name=[f"n{i}" for i in range(300)])
    put(frame, tmp_path)
    config = table.Config(path=str(tmp_path / "p.csv"), label="class", groups="sex", cluster="person", leave_out="pay")
    seen = {one.name: one for one in table.describe(config)}
    assert (seen["age"].kind, seen["age"].missing) == ("numbers", frame["age"].isna().sum())
    assert (seen["sex"].kind, seen["sex"].role, seen["sex"].distinct) == ("yes or no", "input, group", 2)
    assert {name: seen[name].role for name in ("class", "person", "pay")} == {
        "class": "target",
        "person": "cluster",
        "pay": "left out",
    }
    assert seen["same"].told == "constant"
    assert "equals the target" in seen["copy"].told
    assert "a value of its own" in seen["name"].told
    assert seen["town"].missing == frame["town"].isna().sum()


def test_options_beside_the_data_are_settings_of_the_loader(frame, tmp_path):
    put(frame, tmp_path)
    path = str(tmp_path / "p.csv")
    text = opening.data_text(path, {"target": "class", "groups": "sex,age:25,40", "limit": 50})
    assert text == f"table(path={path!r}, label='class', groups='sex,age:25,40', limit=50)"
    assert opening.load_task(text).key == load(path, groups="sex,age:25,40", limit=50).key
    assert opening.load_task(text).key != load(path, groups="sex,age:25,41", limit=50).key


WORD = st.text(alphabet='ab01.,;"\n\t é?-', max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(WORD, min_size=1, max_size=4), max_size=12),
    quoted=st.booleans(),
    cluster=st.sampled_from(["", "b"]),
)
def test_any_text_gives_a_task_or_one_line(rows, quoted, cluster, tmp_path):
    lines = [",".join(json.dumps(v) if quoted else v for v in row) for row in rows]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *lines]), "utf-8")
    try:
        task = load(tmp_path / "t.csv", label="y", groups="a,b:q2", select=0.3, cluster=cluster)
    except TaskError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either is right
    else:
        assert isinstance(task, Task)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much a program took")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_million_rows_take_less_than_two_gigabytes(kind, tmp_path):
    rng = np.random.default_rng(0)
    part = pd.DataFrame({f"c{i}": rng.normal(size=1_000_000).astype(np.float32) for i in range(20)})
    part["y"] = np.arange(1_000_000) % 2
    path = tmp_path / f"big.{kind}"
    part.to_csv(path, index=False) if kind == "csv" else part.to_parquet(path)
    code = f"""
        from pathlib import Path
        from whatelse.datasets import table
        task = table.load(table.Config(path={str(path)!r}, label="y", split="test"))
        assert len(task.test) + len(task.split("select")) == 1_000_000
        task.key
        # Of this program: what resource tells begins with the peak of whoever started it.
        print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert int(run.stdout) * 1024 < 2 * 10**9


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_whole_numbers_are_named_without_a_point(kind, frame, tmp_path):
    put(frame.assign(level=[1.0, 2.0, None] * 100), tmp_path)
    assert load(tmp_path / f"p.{kind}", groups="level").group_names["level"] == ("1", "2")


def test_a_limit_moves_no_column_of_members(frame, tmp_path):
    put(frame, tmp_path)
    frame.assign(town=[f"t{i % 40}" for i in range(300)]).to_csv(tmp_path / "members.csv", index=False)
    asked = {"members": str(tmp_path / "members.csv"), "split": "test"}
    with pytest.warns(UserWarning, match="that train has not"):
        whole, few = (load(tmp_path / "p.csv", limit=limit, **asked) for limit in (0, 20))
    assert whole.features == few.features
    assert torch.equal(whole.test.inputs[:20], few.test.inputs)


@pytest.fixture
def letters(tmp_path):
    rows = [f"{'good' if i % 3 else 'bad'} film, number {i}" for i in range(60)]
    told = {
        "said": rows,
        "mood": ["up" if i % 3 else "down" for i in range(60)],
        "who": [f"p{i % 2}" for i in range(60)],
    }
    pd.DataFrame(told).to_csv(tmp_path / "letters.csv", index=False)
    return tmp_path / "letters.csv", rows


@pytest.mark.known_answer
def test_a_column_of_texts_is_read_as_it_was_written_and_as_ids_of_its_words(letters):
    path, rows = letters
    task = load(path, label="mood", text="said", groups="who")
    assert (task.modality, task.shape, task.features) == ("tokens", (128,), ())
    assert set(task.train.texts + task.test.texts) <= set(rows)
    for split in ("train", "select", "test"):
        part = task.split(split)
        for line, ids, target in zip(part.texts, part.inputs, part.targets, strict=True):
            words = [task.words[int(i)] for i in ids if i]
            known = [w if w in task.words else "(unknown)" for w in line.lower().split()]
            assert words == known
            assert task.class_names[int(target)] == ("up" if "good" in line else "down")
    assert task.group_names == {"who": ("p0", "p1")}


def test_what_is_told_of_a_table_of_texts(letters):
    seen = {
        c.name: c for c in table.describe(table.Config(path=str(letters[0]), label="mood", text="said", groups="who"))
    }
    assert (seen["said"].role, seen["said"].kind, seen["said"].told) == ("input", "texts", "")
    assert (seen["mood"].role, seen["who"].role) == ("target", "left out, group")


@pytest.mark.parametrize(
    ("text", "told"), [("sait", "text: no column 'sait'; did you mean said"), ("who,said", "no column 'who,said'")]
)
def test_a_column_of_texts_that_is_not_there_is_one_line(letters, text, told):
    with pytest.raises(TaskError, match=told):
        load(letters[0], label="mood", text=text)


def test_a_row_without_words_is_named(letters, tmp_path):
    frame = pd.read_csv(letters[0])
    frame.loc[4, "said"] = " "
    frame.to_csv(tmp_path / "gap.csv", index=False)
    with pytest.raises(TaskError, match="column 'said': row 5 has no text; leave such rows out"):
        load(tmp_path / "gap.csv", label="mood", text="said")
