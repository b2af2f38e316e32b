"""A kept file is believed whole or not at all."""

import hashlib
import io
import json
import re
import struct

import pytest
import safetensors.torch
import torch

from whatelse.store import seal
from whatelse.store.seal import DamagedError

TENSORS = {
    "values": {"values": torch.arange(6.0).view(2, 3), "clusters": torch.tensor([1, 2])},
    "half": {"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.zeros(0), "c": torch.tensor(True)},
    "empty": {},
    "named like the checksum": {'checksum": "' + "0" * 64: torch.ones(1)},
}
BOTH = torch.arange(4.0)
TENSORS |= {"in one memory": {"before": BOTH, "after": BOTH, "end": BOTH[2:], "turned": BOTH.view(2, 2).T}}
RECORDS = [{}, {"why": 'ä " \\ \n'}, {"checksum": "0" * 64}, {"a": [1.5, None, {"checksum": "f" * 64}]}]


def packed(held, record=None):
    return b"".join(seal.of_tensors("values", "k", held, {"why": ""} if record is None else record))


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("name", TENSORS)
def test_tensors_and_records_come_back(name, record):
    raw = packed(TENSORS[name], record)
    assert seal.check(raw, "values", "k", packed=True) == record
    found = seal.unpacked(raw)
    assert {n: (t.dtype, t.tolist()) for n, t in found.items()} == {
        n: (t.dtype, t.tolist()) for n, t in TENSORS[name].items()
    }
    raw = b"".join(seal.of_record("effects", "k", record))
    assert seal.check(raw, "effects", "k", packed=False) == record


@pytest.mark.known_answer
def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place():
    for raw in (packed(TENSORS["values"]), b"".join(seal.of_record("effects", "k", {"a": 1}))):
        told = re.search(rb"[0-9a-f]{64}", raw)[0]
        assert hashlib.sha256(raw.replace(told, b"0" * 64)).hexdigest().encode() == told


def test_other_tools_read_the_tensors():
    raw = packed(TENSORS["values"])
    assert safetensors.torch.load(raw)["values"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert packed(TENSORS["values"]) == raw, "the same result is the same bytes"


@pytest.mark.parametrize("kind", ["tensors", "record"])
def test_not_one_byte_may_change(kind):
    told = {"why": "", "notes": ["n"]}
    raw = packed(TENSORS["values"], told) if kind == "tensors" else b"".join(seal.of_record("values", "k", told))
    for i in range(len(raw)):
        for flip in (1, 32, 128):
            other = bytearray(raw)
            other[i] ^= flip
            with pytest.raises(DamagedError):
                seal.check(bytes(other), "values", "k", packed=kind == "tensors")


@pytest.mark.parametrize("kind", ["tensors", "record"])
def test_nor_may_it_be_cut_grow_or_be_zeroed(kind):
    is_packed = kind == "tensors"
    held = {"values": torch.rand(500, generator=torch.Generator().manual_seed(0))}
    raw = packed(held) if is_packed else b"".join(seal.of_record("values", "k", {"a": list(range(600))}))
    sectors = [raw[:i] + bytes(512) + raw[i + 512 :] for i in range(0, len(raw) - 512, 512)]
    broken = [*(raw[:i] for i in range(0, len(raw), 37)), raw + b"\0", raw + raw, bytes(len(raw)), b"{}", *sectors]
    broken += [raw[:8] + bytes(len(raw) - 8), struct.pack("<Q", 2**63) + raw[8:], b"[" * 100_000]
    for other in broken:
        with pytest.raises(DamagedError):
            seal.check(other, "values", "k", packed=is_packed)


def test_a_whole_file_of_another_result_is_not_this_one():
    raw = packed(TENSORS["values"])
    for kind, key in (("values", "j"), ("models", "k"), ("evidence", "k")):
        with pytest.raises(DamagedError, match="another result under its name"):
            seal.check(raw, kind, key, packed=True)


def test_a_file_of_an_earlier_or_a_later_release_says_so(monkeypatch):
    earlier = safetensors.torch.save({"values": torch.ones(2)}, metadata={"whatelse": json.dumps({"why": ""})})
    with pytest.raises(DamagedError, match="earlier releases"):
        seal.check(earlier, "values", "k", packed=True)
    with pytest.raises(DamagedError, match="earlier releases"):
        seal.check(b'{"effects": []}', "effects", "k", packed=False)
    with pytest.raises(DamagedError, match="not a whole file"):
        seal.check(earlier[:-1], "values", "k", packed=True)
    monkeypatch.setattr(seal, "FORMAT", 3)
    later = packed(TENSORS["values"])
    monkeypatch.undo()
    with pytest.raises(DamagedError, match="format 3, not 2"):
        seal.check(later, "values", "k", packed=True)


def test_where_a_file_was_made_stands_in_its_beginning():
    for held, is_packed in ((packed(TENSORS["values"]), True), (b"".join(seal.of_record("e", "k", {})), False)):
        assert seal.origin(io.BytesIO(held), packed=is_packed) == seal.here()
    for other in (b"", b"{}", b"[]", bytes(99), struct.pack("<Q", 2**63), b"\xff" * 99):
        for is_packed in (True, False):
            assert seal.origin(io.BytesIO(other), packed=is_packed) is None
    told = seal.here()
    assert told.torch == torch.__version__
    assert all((told.whatelse, told.numpy, told.machine))
