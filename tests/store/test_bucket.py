import importlib.util
import json
import time

import fsspec
import pytest
import torch

from whatelse.errors import MissingExtraError, StoreError
from whatelse.nets import cnn
from whatelse.store import bucket, cached, folder, places
from whatelse.store.bucket import Bucket
from whatelse.store.folder import Folder
from whatelse.store.sealed import file_of
from whatelse.study import run_study, spec


@pytest.fixture
def store(buckets):
    return places.at(buckets())


def files():
    return fsspec.filesystem("s3", use_listings_cache=False)


def raw(store, kind, name="k"):
    return files().cat_file(store.where(file_of(kind, name)))


def overwrite(store, kind, held, name="k"):
    files().pipe_file(store.where(file_of(kind, name)), held)


def keep(store, kind, name="k", value=1.0):
    if kind == "models":
        store.save_model(name, torch.nn.Linear(2, 3), {"seconds": value})
    elif kind in {"effects", "failed"}:
        store.save_record(kind, name, {"error": value})
    else:
        store.save(kind, name, {"values": torch.full((20,), value)}, {"why": ""})


def test_tensors_records_and_models_come_back_on_another_machine(store, rng, tmp_path, monkeypatch):
    model = cnn.build(cnn.Config(width=2), (1, 8, 8), 3, rng)
    store.save("values", "k", {"values": torch.tensor([[1.0, 2.0]])}, {"why": "", "notes": ["ä"]})
    store.save_record("failed", "k", {"error": "x"})
    store.save_model("m", model, {"seconds": 1.0})
    monkeypatch.setenv("WHATELSE_CACHE", str(tmp_path))
    there = places.at(store.url)
    tensors, meta = there.load("values", "k")
    assert tensors["values"].tolist() == [[1.0, 2.0]]
    assert meta == {"why": "", "notes": ["ä"]}
    assert there.load_record("failed", "k") == {"error": "x"}
    x = torch.rand(2, 1, 8, 8, generator=rng)
    assert torch.equal(there.load_model("m")(x), model(x))
    assert there.origin("models", "m") == store.origin("models", "m") is not None
    there.forget("failed", "k")
    there.forget("failed", "k")
    assert not store.has("failed", "k")
    assert store.absent("failed", "k")
    assert store.origin("failed", "k") is None
    with pytest.raises(StoreError, match=r"cannot read s3://.*/failed/k\.json: there is no such file"):
        store.load_record("failed", "k")


def test_a_file_is_the_same_bytes_in_a_folder_and_at_an_address(store, tmp_path):
    """So that a folder that was copied there goes on there, and back."""
    for kind in ("values", "effects"):
        keep(store, kind)
        keep(Folder(tmp_path), kind)
        assert raw(store, kind) == Folder(tmp_path).path(kind, "k").read_bytes()


@pytest.mark.parametrize("kind", folder.KINDS)
def test_what_is_damaged_or_cut_counts_as_absent_and_is_remembered_until_it_is_made_again(kind, store):
    keep(store, kind)
    keep(store, kind, "other")
    assert store.has(kind, "k")
    whole = raw(store, kind)
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], bytes(len(whole)), raw(store, kind, "other")):
        overwrite(store, kind, damaged)
        fresh = store.fresh()
        assert not fresh.has(kind, "k")
        assert fresh.whole([(kind, "k"), (kind, "other"), (kind, "no")]) == {(kind, "other")}
        assert not fresh.absent(kind, "k")
        assert list(fresh.damaged) == [file_of(kind, "k")]
        keep(fresh, kind)
        assert fresh.has(kind, "k")


def test_what_another_machine_writes_is_seen_though_an_earlier_version_was_read(store):
    keep(store, "effects", value=1.0)
    assert store.whole([("effects", "k")])
    assert store.load_record("effects", "k") == {"error": 1.0}
    keep(places.at(store.url), "effects", value=2.0)
    assert store.fresh().load_record("effects", "k") == {"error": 2.0}
    store.near([("effects", "k")])
    assert store.load_record("effects", "k") == {"error": 2.0}
    keep(store, "effects", value=3.0)
    assert store.load_record("effects", "k") == {"error": 3.0}


def test_what_was_read_once_is_read_from_this_machine_and_a_spoiled_copy_is_not(store, tmp_path, monkeypatch):
    monkeypatch.setenv("WHATELSE_CACHE", str(tmp_path / "cache"))
    keep(store, "values")
    store.load("values", "k")
    (copy,) = (tmp_path / "cache").iterdir()
    assert copy.read_bytes() == raw(store, "values")
    assert (tmp_path / "cache").stat().st_mode & 0o77 == 0

    def unread(*_):
        raise AssertionError("it was read over the network")

    with monkeypatch.context() as patch:
        patch.setattr(type(store._files()), "cat_file", unread)
        assert store.load("values", "k")[0]["values"].tolist() == [1.0] * 20
    copy.write_bytes(b"spoiled")
    assert store.load("values", "k")[0]["values"].tolist() == [1.0] * 20
    assert not store.damaged
    assert copy.read_bytes() == raw(store, "values")


def test_copies_take_no_more_than_they_may_and_those_go_that_were_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("WHATELSE_CACHE", str(tmp_path))
    monkeypatch.setattr(cached, "MOST", 250)
    monkeypatch.setattr(cached, "_BETWEEN", 0)
    for at in range(3):
        cached.write("place", str(at), bytes(100))
        time.sleep(0.02)
        cached.read("place", "0")
    assert [cached.read("place", str(at)) is None for at in range(3)] == [False, True, False]
    monkeypatch.setenv("WHATELSE_CACHE", "")
    cached.write("place", "4", bytes(100))
    assert cached.read("place", "0") is None
    assert cached.read("place", "4") is None


def test_a_place_without_versions_is_read_anew_each_time(tmp_path, monkeypatch):
    monkeypatch.setenv("WHATELSE_CACHE", str(tmp_path / "cache"))
    assert bucket._version_of({"size": 3}) == ""
    cached.write("place", "", b"abc")
    assert cached.read("place", "") is None
    assert not (tmp_path / "cache").exists()


def test_a_mark_tells_a_place_from_its_namesake(tmp_path, store):
    for here, there in ((Folder(tmp_path / "a"), Folder(tmp_path / "b")), (store, Bucket(f"{store.url}/below"))):
        keep(there, "effects")
        with here.marked() as mark:
            assert here.fresh().sees(mark)
            assert not there.sees(mark)
        assert not here.sees(mark)


def test_marks_of_runs_that_were_killed_are_cleared_away_after_a_day(store, monkeypatch, tmp_path):
    local = Folder(tmp_path)
    for one in (store, local):
        old = one.marked()
        mark = old.__enter__()  # and the process is killed
        one.prepare()
        assert one.sees(mark)
        with monkeypatch.context() as patch:
            late = time.time() + 2 * 24 * 3600
            patch.setattr(time, "time", lambda late=late: late)
            one.prepare()
        assert not one.sees(mark)


def test_results_of_a_layout_that_is_not_known_are_refused_by_name(store, tmp_path):
    local = Folder(tmp_path / "results")
    for one in (store, local):
        keep(one, "effects")
        assert not one.former()
        one._put("LAYOUT", (b"3\n",))
        for refused in (one.former, one.prepare):
            with pytest.raises(StoreError, match="another release of whatelse keeps its results there, in layout '3'"):
                refused()


def test_results_that_were_copied_there_from_a_release_before_layouts_are_known_as_such(store):
    files().pipe_file(store.where("values/old.safetensors"), b"x")
    assert store.former()
    keep(store, "effects")
    assert store.former()
    store.prepare()
    assert not store.former()


def test_an_address_that_nothing_opens_is_refused_in_one_line(buckets):
    buckets()
    for url, error, said in (
        ("gs://b/c", MissingExtraError, r"what opens gs:// is not installed: pip install 'whatelse\[gs\]'"),
        ("foo://x/y", StoreError, "Protocol not known: foo.*; give s3://BUCKET/PREFIX"),
        ("s3:/b/x", StoreError, "give it as a text, with both slashes"),
        ("s3://", StoreError, "no bucket is named; give s3://BUCKET/PREFIX"),
        ("simplecache::s3://b/x", StoreError, "one address alone is needed"),
    ):
        if url.startswith("gs") and importlib.util.find_spec("gcsfs"):
            continue
        with pytest.raises(error, match=said) as told:
            places.at(url)
        assert "\n" not in str(told.value)
    with pytest.raises(StoreError, match="cannot write s3://no-such-bucket/x/LAYOUT: .*; is there such a bucket"):
        places.at("s3://no-such-bucket/x").prepare()


def test_a_folder_is_a_folder_by_whatever_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("results", tmp_path / "results", f"file://{tmp_path}/results"):
        assert places.at(name) == Folder(tmp_path / "results")


@pytest.mark.slow
def test_a_study_at_an_address_finds_what_a_folder_finds_and_finds_it_again(buckets, tiny, tmp_path):
    study = spec.parse(tiny, "tiny")
    url = buckets()
    at_home = run_study.run_study(study, tmp_path / "results", on="inline")
    first = run_study.run_study(study, url, on="inline")
    asked = []
    again = run_study.run_study(study, url, on="inline", show=lambda state: asked.append(len(state.reports)))
    assert first.findings == at_home.findings
    assert first.exhibits == at_home.exhibits
    assert again == first
    assert set(asked) == {0}, "no job ran"
    spoiled = next(name for name in files().find(url) if "/values/" in name)
    files().pipe_file(spoiled, json.dumps({}).encode())
    remarks = []
    made = run_study.run_study(study, url, on="inline", show=lambda state: remarks.extend(state.remarks))
    assert made.findings == first.findings
    assert any("1 kept file cannot be believed" in said for said in remarks)
