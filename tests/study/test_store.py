import os

import pytest
import torch

from whatelse.errors import StoreError
from whatelse.nets import cnn
from whatelse.study import store
from whatelse.study.store import KeptEvidence, Store


def test_keys_do_not_move():
    """If this fails, results of earlier releases can no longer be found. Raise VERSION of the item instead."""
    made = store.key("prune.magnitude", 1, {"sparsity": 0.9}, "parent", "task", seed=3)
    assert made == "prune.magnitude-412036304e0f4da0"


def test_everything_that_decides_a_result_is_in_its_key():
    base = store.key("a", 1, {"x": 1}, "m", seed=0)
    others = [
        store.key("b", 1, {"x": 1}, "m", seed=0),
        store.key("a", 2, {"x": 1}, "m", seed=0),
        store.key("a", 1, {"x": 2}, "m", seed=0),
        store.key("a", 1, {"x": 1}, "n", seed=0),
        store.key("a", 1, {"x": 1}, "m", seed=1),
    ]
    assert len({base, *others}) == 6
    assert store.key("a", 1, {"x": 1, "y": 2}, seed=0) == store.key("a", 1, {"y": 2, "x": 1}, seed=0)


def test_tensors_and_records_come_back(tmp_path):
    s = Store(tmp_path / "results")
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
    s = Store(tmp_path)
    model = cnn.build(cnn.Config(width=2), (1, 8, 8), 3, rng)
    s.save_model("m", model, {"seconds": 1.0})
    x = torch.rand(2, 1, 8, 8, generator=rng)
    assert torch.equal(s.load_model("m")(x), model(x))
    assert b"pickle" not in s.path("models", "m").read_bytes()


def test_a_write_that_is_cut_leaves_nothing_that_counts(tmp_path, monkeypatch):
    s = Store(tmp_path)

    def cut(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        s.save_record("failed", "k", {"error": "x"})
    assert not s.has("failed", "k")


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    s = Store(tmp_path)
    s.save_record("failed", "done", {"error": "x"})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device; finished cells are kept"):
        s.save_record("failed", "k", {"error": "x"})
    assert [p.name for p in (tmp_path / "failed").iterdir()] == ["done.json"]


def test_a_damaged_file_is_named(tmp_path):
    s = Store(tmp_path)
    for kind in ("values", "failed"):
        path = s.path(kind, "k")
        path.parent.mkdir()
        path.write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"k\.safetensors is damaged; delete it"):
        s.load("values", "k")
    with pytest.raises(StoreError, match=r"k\.json is damaged; delete it"):
        s.load_record("failed", "k")


def test_kept_evidence_belongs_to_its_model_and_task(tmp_path):
    kept = KeptEvidence(Store(tmp_path), "model", "task")
    kept.save("pass test", {"logits": torch.ones(2)})
    assert kept.load("pass test")["logits"].tolist() == [1, 1]
    assert kept.load("pass train") is None
    assert KeptEvidence(Store(tmp_path), "model", "other").load("pass test") is None
