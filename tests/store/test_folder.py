import errno
import json
import os
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from whatelse.errors import StoreError
from whatelse.nets import cnn
from whatelse.store import folder
from whatelse.store.folder import Folder, KeptEvidence


def test_keys_do_not_move():
    """If this fails, results of earlier releases can no longer be found. Raise VERSION of the item instead."""
    made = folder.key("prune.magnitude", 1, {"sparsity": 0.9}, "parent", "task", seed=3)
    assert made == "prune.magnitude-412036304e0f4da0"


def test_everything_that_decides_a_result_is_in_its_key():
    base = folder.key("a", 1, {"x": 1}, "m", seed=0)
    others = [
        folder.key("b", 1, {"x": 1}, "m", seed=0),
        folder.key("a", 2, {"x": 1}, "m", seed=0),
        folder.key("a", 1, {"x": 2}, "m", seed=0),
        folder.key("a", 1, {"x": 1}, "n", seed=0),
        folder.key("a", 1, {"x": 1}, "m", seed=1),
    ]
    assert len({base, *others}) == 6
    assert folder.key("a", 1, {"x": 1, "y": 2}, seed=0) == folder.key("a", 1, {"y": 2, "x": 1}, seed=0)


def test_tensors_and_records_come_back(tmp_path):
    s = Folder(tmp_path / "results")
    s.save("values", "k", {"values": torch.tensor([[1.0, 2.0]])}, {"why": "", "notes": ["ä"]})
    tensors, meta = s.load("values", "k")
    assert tensors["values"].tolist() == [[1.0, 2.0]]
    assert meta == {"why": "", "notes": ["ä"]}
    s.save_record("failed", "k", {"error": "x"})
    assert s.load_record("failed", "k") == {"error": "x"}
    s.forget("failed", "k")
    s.forget("failed", "k")
    assert not s.has("failed", "k")


def test_a_model_comes_back_without_running_code(tmp_path, rng):
    s = Folder(tmp_path)
    model = cnn.build(cnn.Config(width=2), (1, 8, 8), 3, rng)
    s.save_model("m", model, {"seconds": 1.0})
    x = torch.rand(2, 1, 8, 8, generator=rng)
    assert torch.equal(s.load_model("m")(x), model(x))
    assert b"pickle" not in s.path("models", "m").read_bytes()


def test_a_write_that_is_cut_leaves_nothing_that_counts(tmp_path, monkeypatch):
    s = Folder(tmp_path)

    def cut(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        s.save_record("failed", "k", {"error": "x"})
    assert not s.has("failed", "k")


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    s = Folder(tmp_path)
    s.save_record("failed", "done", {"error": "x"})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device; finished cells are kept"):
        s.save_record("failed", "k", {"error": "x"})
    assert [p.name for p in (tmp_path / "failed").iterdir()] == ["done.json"]


def test_a_damaged_file_is_named(tmp_path):
    s = Folder(tmp_path)
    for kind in ("values", "failed"):
        path = s.path(kind, "k")
        path.parent.mkdir()
        path.write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"k\.safetensors is damaged; delete it or run again"):
        s.load("values", "k")
    with pytest.raises(StoreError, match=r"k\.json is damaged; delete it or run again"):
        s.load_record("failed", "k")
    assert s.damaged == {}, "what is read and refused is told by the error"


def keep(s, kind, name="k"):
    if kind == "models":
        s.save_model(name, torch.nn.Linear(2, 3), {"seconds": 1.0})
    elif kind in {"effects", "failed"}:
        s.save_record(kind, name, {"error": "x"})
    else:
        s.save(kind, name, {"values": torch.arange(200.0)}, {"why": ""})
    return s.path(kind, name)


@pytest.mark.parametrize("kind", folder.KINDS)
def test_what_is_damaged_counts_as_absent_and_is_remembered_until_it_is_made_again(kind, tmp_path):
    s = Folder(tmp_path)
    path, other = keep(s, kind), keep(s, kind, "other")
    assert s.has(kind, "k")
    raw = path.read_bytes()
    broken = [b"", raw[:-1], raw[: len(raw) // 2], bytes(len(raw)), raw[:-1] + bytes([raw[-1] ^ 1]), other.read_bytes()]
    for damaged in broken:
        path.write_bytes(damaged)
        fresh = Folder(tmp_path)
        assert not fresh.has(kind, "k")
        assert not fresh.absent(kind, "k")
        assert list(fresh.damaged) == [f"{kind}/{path.name}"]
        keep(fresh, kind)
        assert fresh.has(kind, "k")
    assert not s.has(kind, "none")
    assert s.absent(kind, "none")
    assert s.damaged == {}


def test_what_an_earlier_release_kept_is_not_believed(tmp_path):
    s = Folder(tmp_path)
    (tmp_path / "values").mkdir()
    (tmp_path / "effects").mkdir()
    tensors = {"values": torch.ones(2)}
    s.path("values", "k").write_bytes(safetensors.torch.save(tensors, {"whatelse": json.dumps({"why": ""})}))
    s.path("effects", "k").write_text(json.dumps({"effects": []}))
    assert not s.has("values", "k")
    assert not s.has("effects", "k")
    assert set(s.damaged.values()) == {"no checksum, as in files of earlier releases"}


@pytest.mark.parametrize("kind", folder.KINDS)
def test_something_else_in_the_place_of_a_file_is_said_in_one_line(kind, tmp_path):
    s = Folder(tmp_path)
    s.path(kind, "folder").mkdir(parents=True)
    os.mkfifo(s.path(kind, "pipe"))  # reading it would wait for ever
    s.path(kind, "loop").symlink_to(s.path(kind, "loop"))
    for name, words in (
        ("folder", "is in the way"),
        ("pipe", "is in the way"),
        ("loop", "cannot read .*symbolic links"),
    ):
        for call in (s.has, s.absent, lambda *a: s.load(*a)):
            with pytest.raises(StoreError, match=words) as refused:
                call(kind, name)
            assert "\n" not in str(refused.value)
    with pytest.raises(StoreError, match="cannot write .*folder"):
        keep(s, kind, "folder")
    with pytest.raises(StoreError, match="cannot remove .*folder"):
        s.forget(kind, "folder")
    assert not list(tmp_path.rglob("*.part"))


def test_a_sector_that_cannot_be_read_is_damage_and_a_file_without_permission_is_not(tmp_path, monkeypatch):
    s = Folder(tmp_path)
    keep(s, "values")
    for number, words in ((errno.EIO, ""), (errno.EACCES, "Permission denied")):

        def fails(path, number=number):
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr(Path, "read_bytes", fails)
        if words:
            with pytest.raises(StoreError, match=f"cannot read .*: {words}"):
                s.has("values", "k")
        else:
            assert not s.has("values", "k")
            assert list(s.damaged.values()) == [os.strerror(errno.EIO)]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(number, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match=f"cannot write .*: {os.strerror(number)}; finished cells are kept"):
        Folder(tmp_path / "results").prepare()


@pytest.mark.parametrize("kind", folder.KINDS)
def test_so_is_one_with_a_file_where_a_folder_should_be(kind, tmp_path):
    (tmp_path / kind).write_text("in the way")
    s = Folder(tmp_path)
    assert not s.has(kind, "k")
    with pytest.raises(StoreError, match=f"cannot write .*{kind}.*: File exists; finished cells are kept"):
        s.prepare()


def test_preparing_leaves_nothing_and_clears_only_what_is_old(tmp_path):
    s = Folder(tmp_path)
    path = keep(s, "values")
    now, old = path.with_name(".a.safetensors.0f.part"), [path.with_name(n) for n in (".b.part", "c.part123")]
    long_ago = time.time() - 3 * 24 * 3600
    for left in (now, *old):
        left.write_bytes(b"half")
    for aged in (path, *old):
        os.utime(aged, (long_ago, long_ago))
    s.prepare()
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted([path, now, tmp_path / "LAYOUT"])
    assert s.has("values", "k")


def test_two_writers_of_one_process_number_lose_nothing(tmp_path):
    # As two containers that share a folder: their processes have the same number, and no thread has its own.
    s, failed = Folder(tmp_path), []

    def write(name):
        try:
            for i in range(80):
                s.save("values", f"same-{i % 4}", {"values": torch.full((2000,), float(i % 4))}, {"why": ""})
                s.save("values", f"{name}-{i}", {"values": torch.full((10,), float(i))}, {"why": ""})
        except Exception as error:  # a thread's own goes nowhere
            failed.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    for name in "ab":
        assert [int(s.load("values", f"{name}-{i}")[0]["values"][0]) for i in range(80)] == list(range(80))
    assert [s.load("values", f"same-{i}")[0]["values"].unique().tolist() for i in range(4)] == [[i] for i in range(4)]
    assert len(list((tmp_path / "values").iterdir())) == 2 * 80 + 4


def test_a_reader_beside_writers_sees_whole_files_only(tmp_path):
    s, stop, seen = Folder(tmp_path), threading.Event(), []
    keep(s, "values")

    def write():
        while not stop.is_set():
            keep(s, "values")

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = [s.has("values", "k") for _ in range(100)]
    stop.set()
    for writer in writers:
        writer.join()
    assert all(seen)


def test_where_a_result_was_made_is_known(tmp_path):
    s = Folder(tmp_path)
    for kind in folder.KINDS:
        keep(s, kind)
        assert s.origin(kind, "k").torch == torch.__version__
        assert s.origin(kind, "none") is None


def test_kept_evidence_belongs_to_its_model_and_task(tmp_path):
    kept = KeptEvidence(Folder(tmp_path), "model", "task")
    kept.save("pass test", {"logits": torch.ones(2)})
    assert kept.load("pass test")["logits"].tolist() == [1, 1]
    assert kept.load("pass train") is None
    assert KeptEvidence(Folder(tmp_path), "model", "other").load("pass test") is None


def test_damaged_evidence_is_as_if_it_had_never_been_kept(tmp_path):
    kept = KeptEvidence(Folder(tmp_path), "model", "task")
    kept.save("pass test", {"logits": torch.ones(2)})
    (path,) = (tmp_path / "evidence").iterdir()
    path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    assert kept.load("pass test") is None
    assert list(kept.store.damaged) == [f"evidence/{path.name}"]


@pytest.mark.parametrize("kind", folder.KINDS)
def test_a_folder_that_was_first_written_today_is_not_taken_for_a_former_one(kind, tmp_path):
    # Whatever comes first: a checklist is kept before the folder is prepared.
    s = Folder(tmp_path / "new")
    assert not s.former()
    keep(s, kind)
    assert not s.former()


def test_a_folder_of_a_release_before_stays_one_until_it_is_prepared(tmp_path):
    (tmp_path / "values").mkdir()
    s = Folder(tmp_path)
    keep(s, "effects")
    assert s.former()
    s.prepare()
    assert not s.former()
