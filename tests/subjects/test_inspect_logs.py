"""Logs that Inspect itself wrote, as data and as models: paired by task, number, epoch and content, refused by name."""

import json
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import zstandard

import whatelse
from whatelse import limits, opening
from whatelse.cli.app import app
from whatelse.errors import MissingExtraError, StudyError, TaskError
from whatelse.tasks import evals
from whatelse.testing import speakers

LOGS = Path(__file__).parent / "evals"
BASE, SMALL = (str(LOGS / f"colors_{name}.eval") for name in ("base", "small"))


def members(path):
    """All members of a log as JSON, unpacked by hand."""
    raw, found = Path(path).read_bytes(), {}
    with zipfile.ZipFile(path) as file:
        for part in file.infolist():
            start = part.header_offset + 30 + sum(struct.unpack("<HH", raw[part.header_offset + 26 :][:4]))
            data = zstandard.ZstdDecompressor().decompressobj().decompress(raw[start : start + part.compress_size])
            found[part.filename] = json.loads(data)
    return found


def put(held, file, method=zipfile.ZIP_DEFLATED):
    """A log as older releases packed it."""
    with zipfile.ZipFile(file, "w", method) as made:
        for name, value in held.items():
            made.writestr(name, value if isinstance(value, str) else json.dumps(value))
    return str(file)


def of(held, name, **told):
    """The same members, with something else in one of them."""
    return held | {name: held[name] | told}


@pytest.mark.known_answer
def test_accuracies_are_those_that_inspect_wrote_and_flips_those_of_its_samples():
    held = [members(path) for path in (BASE, SMALL)]
    task = opening.load_task(opening.data_text(BASE, {"groups": "topic"}))
    said = {f.label: f for f in whatelse.audit(BASE, {"small": SMALL}, task).findings}
    theirs = [one["header.json"]["results"]["scores"][0]["metrics"]["accuracy"]["value"] for one in held]
    assert (said["graded right"].before, said["graded right"].after) == tuple(theirs)
    right = [
        {name: one["scores"]["choice"]["value"] == "C" for name, one in some.items() if name.startswith("samples/")}
        for some in held
    ]
    lost = [right[0][name] and not right[1][name] for name in right[0]]
    moved = [right[0][name] != right[1][name] for name in right[0]]
    assert said["lost (right before, wrong after)"].after == pytest.approx(sum(lost) / 8)
    assert said["graded otherwise"].after == pytest.approx(sum(moved) / 8)
    assert (said["graded right"].n, said["graded right"].clusters) == (8, 4), "epochs of a sample are drawn together"
    assert task.test.groups["topic"].tolist() == [0, 1] * 4
    assert said["bytes"].verdict == "not measurable"


def test_a_log_beside_itself_is_exactly_nothing():
    found = whatelse.audit(BASE, {"same": BASE}, BASE)
    assert all((f.effect or 0) == 0 for f in found.findings)


def test_the_first_scorer_is_read_where_none_is_named_and_another_by_its_name(tmp_path):
    sums = str(LOGS / "sums_base.eval")
    for scorer, named in (("", "match"), ("includes", "includes"), ("match", "match")):
        theirs = [one["scores"][named]["value"] for name, one in members(sums).items() if name.startswith("samples/")]
        assert [one.right for one in evals.read(Path(sums), scorer)] == [value == "C" for value in theirs]
        assert {one.mark.scorer for one in evals.read(Path(sums), scorer)} == {named}
    other = str(LOGS / "sums_small.eval")
    call = f"inspect(path={sums!r}, scorer='includes')"
    found = whatelse.audit(sums, {"small": other}, call)
    assert {f.label: f for f in found.findings}["graded right"].after == 1
    (said,) = (f for f in found.findings if f.label == "graded right")
    assert any("graded right or wrong by 'includes'" in told for told in said.validity)
    assert not any("better than chance" in told for told in said.validity), "all of them are to be right"
    with pytest.raises(TaskError, match="it has no scores of 'matches'; did you mean match"):
        evals.read(Path(sums), "matches")


def test_logs_of_older_releases_need_no_package(tmp_path, monkeypatch):
    old = [put(members(path), tmp_path / f"{i}.eval") for i, path in enumerate((BASE, SMALL))]
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert whatelse.audit(old[0], {"small": old[1]}, old[0]).findings
    with pytest.raises(MissingExtraError, match=r"packed by zstandard, as Inspect does: pip install 'whatelse\[insp"):
        opening.load_task(BASE)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("colors_warm", "other solvers or settings, such as a temperature; run Inspect on both models alike"),
        ("colors_template", "sample q0 of epoch 1 is not that of colors_base: a log of another template"),
        ("colors_items", "a log of other items: input, choices or target"),
        ("sums_base", "it has no scores of 'choice'"),
    ],
)
def test_a_log_of_other_questions_is_refused_by_name(name, text):
    with pytest.raises(TaskError) as caught:
        whatelse.audit(BASE, {"other": str(LOGS / f"{name}.eval")}, BASE)
    assert text in str(caught.value)
    assert f"{name}.eval" in str(caught.value)
    assert "\n" not in str(caught.value)


FIRST = "samples/q0_epoch_1.json"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda held: {k: v for k, v in held.items() if k != FIRST}, "it has no sample q0 of epoch 1, which"),
        (lambda held: held | {"samples/again.json": held[FIRST]}, "it has a sample twice in one epoch"),
        (lambda held: of(held, "header.json", status="error"), "its status is 'error'; a log of Inspect that ended"),
        (lambda held: of(held, "header.json", results=None), "it has no scores; a log that was scored is needed"),
        (lambda held: of(held, FIRST, scores={}, error={"m": 1}), "no score of 'choice': it ended in an error"),
        (lambda held: of(held, FIRST, scores={"choice": {"value": 0.5}}), "graded it 0.5; grades of right or wrong"),
        (lambda held: of(held, FIRST, scores={"choice": {"value": {"a": 1}}}), "graded it {'a': 1}; grades of right"),
        (lambda held: held | {FIRST: "[" * 100_000}, f"{FIRST} is no JSON"),
        (lambda held: held | {FIRST: "[]"}, f"{FIRST} is no JSON object"),
        (lambda held: of(held, FIRST, epoch="one"), f"{FIRST}: no id and epoch"),
        (lambda held: {k: v for k, v in held.items() if k != "header.json"}, "no header.json"),
        (lambda held: {"header.json": held["header.json"]}, "it has no samples"),
        (lambda held: of(held, "header.json", eval={"task": "other"}), "is not that of colors_base: a log of another"),
    ],
)
def test_what_is_wrong_with_a_log_is_said_in_one_line(tmp_path, change, text):
    other = put(change(members(SMALL)), tmp_path / "other.eval")
    with pytest.raises(TaskError) as caught:
        whatelse.audit(BASE, {"other": other}, BASE)
    assert text in str(caught.value)
    assert "other.eval" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_log_that_unpacks_to_more_than_is_allowed_is_refused_before(tmp_path):
    bomb = put(members(BASE) | {"samples/far.json": " " * 2**20}, tmp_path / "bomb.eval")
    with limits.within("1M"), pytest.raises(TaskError, match=r"would take 13\..* MiB of memory; allowed are 1 MiB"):
        evals.read(Path(bomb))


def test_bytes_that_are_not_what_the_archive_says_are_refused(tmp_path):
    raw = bytearray(Path(BASE).read_bytes())
    with zipfile.ZipFile(BASE) as file:
        part = file.getinfo(FIRST)
    start = part.header_offset + 30 + sum(struct.unpack("<HH", raw[part.header_offset + 26 :][:4]))
    for name, at, byte in (("packed", start + 60, 0x55), ("head", part.header_offset, 0), ("frame", start, 0)):
        broken = bytearray(raw)
        broken[at] ^= 0xFF if byte else 0x01
        file = tmp_path / f"{name}.eval"
        file.write_bytes(broken)
        with pytest.raises(TaskError, match=f"{name}.eval: .*{FIRST}"):
            evals.read(file)
    longer = bytes(raw).replace(struct.pack("<I", part.file_size), struct.pack("<I", part.file_size - 1))
    (tmp_path / "size.eval").write_bytes(longer)
    with pytest.raises(TaskError, match="is damaged: its bytes are not those that were packed"):
        evals.read(tmp_path / "size.eval")


def test_other_models_and_other_data_are_refused(tmp_path):
    with pytest.raises(TaskError, match="the data are documents; say --data with a log of the same questions"):
        opening.open_model(BASE, speakers.documents(["a b"]))
    task = opening.load_task(BASE)
    with pytest.raises(TaskError, match="reads texts, the data are answers that Inspect graded"):
        speakers.subject_of(speakers.Speaker(), "speaker", task)
    with pytest.raises(StudyError, match=r"--from-logs: .* is no log of lm-eval"):
        app(["audit", "--from-logs", str(LOGS / "make.py"), SMALL], standalone_mode=False)
    shutil.copy(LOGS / "make.py", tmp_path / "text.eval")
    assert not evals.looks(tmp_path / "text.eval")


def test_two_logs_are_audited_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app(
        ["audit", "--from-logs", BASE, SMALL, "--groups", "topic", "--json", "a.json", "--quiet"], standalone_mode=False
    )
    said = {f["label"] for f in json.loads(Path("a.json").read_text())["findings"]}
    assert {"graded right", "graded right in the worst group", "gap of grades between groups"} <= said
