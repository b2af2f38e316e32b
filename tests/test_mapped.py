"""Large tensors lie in a file that nobody else sees, and are refused where the disk has no room for them."""

import os
import re
from pathlib import Path

import pytest
import torch

from whatelse import mapped
from whatelse.errors import TaskError


def unshared():
    """Bytes that this process alone holds, which no file gives back."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def test_a_small_one_is_a_tensor_as_any():
    found = mapped.empty((3, 2), torch.float32, "data", TaskError)
    assert (tuple(found.shape), found.dtype) == ((3, 2), torch.float32)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what memory is its own")
def test_a_large_one_takes_no_memory_of_its_own_and_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr(mapped, "LARGE", 2**20)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = unshared()
    found = mapped.empty((64, 2**18), torch.float32, "data", TaskError)
    for row in range(64):
        found[row] = row
    assert unshared() - before < 2**24 < found.nbytes
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(found[:, 7], torch.arange(64.0))
    assert torch.equal(found[[3, 5]].mean(1), torch.tensor([3.0, 5.0]))


def test_what_the_disk_has_no_room_for_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(TaskError, match=r"data would take .* on the disk of .*; .* may be taken; TMPDIR names another"):
        mapped.empty((2**30, 2**30), torch.float32, "data", TaskError)


def test_a_disk_that_fills_up_meanwhile_is_one_line(monkeypatch, tmp_path):
    def full(file, start, count):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(mapped, "LARGE", 2**10)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(TaskError, match="No space left on device"):
        mapped.empty((2**10, 2**4), torch.float32, "data", TaskError)


def test_where_no_folder_is_named_it_lies_on_a_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    assert os.path.isdir(mapped.place())
    monkeypatch.delenv("TMPDIR")
    assert mapped.place() == "/var/tmp" or not os.access("/var/tmp", os.W_OK)  # noqa: S108
