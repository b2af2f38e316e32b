"""What the fuzzers craft is refused or opened, in time and in memory; and their harness sees faults."""

import importlib.util
import mmap
import random
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

FUZZ = Path(__file__).parents[2] / "fuzz"
KINDS = ("folders", "checkpoints", "data", "texts")


@pytest.fixture(scope="module")
def fuzz():
    """The modules of the fuzzers, by name, as `fuzz/run.py` imports them."""
    sys.path.insert(0, str(FUZZ))
    try:
        names = ("_child", "_mutate", "parsers", *KINDS)
        return {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(FUZZ))


def faults(fuzz, cases):
    outcomes = [(case.name, fuzz["_child"].tried(case)) for case in cases]
    return len(outcomes), [f"{name}: {o}" for name, o in outcomes if o.kind not in {"clean", "refused"}]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_crafted_is_no_fault(kind, fuzz, tmp_path):
    (tmp_path / "crafted").mkdir()
    slow = {
        "layers-pad-again",
        "structure-called-again",
        "calls-einsum",
        "calls-stack",
    }  # in time, but ten seconds of it
    cases = (case for case in fuzz[kind].crafted(tmp_path / "crafted") if case.name not in slow)
    count, found = faults(fuzz, cases)
    assert count > 20
    assert not found


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_changed_by_chance_is_no_fault(kind, fuzz, tmp_path):
    count, found = faults(fuzz, fuzz[kind].mutated(40, random.Random(f"7 {kind}"), tmp_path))
    assert count == 40
    assert not found


def test_every_reader_takes_what_is_whole_and_refuses_in_words(fuzz):
    parsers = fuzz["parsers"]
    rng = random.Random(7)
    for name, door in parsers.doors().items():
        changed = [b"", b"\0", b"\xff" * 300, *(fuzz["_mutate"].raw(door.whole, rng) for _ in range(10))]
        assert [parsers.tried(door, held) for held in [door.whole, *changed]] == [""] * 14, name


def test_a_reader_that_fails_is_told_with_the_place(fuzz):
    parsers = fuzz["parsers"]
    assert "ZeroDivisionError at test_crafted.py" in parsers.tried(parsers.Door(b"", lambda held: 1 / len(held)), b"")


def test_the_harness_tells_what_became_of_an_input(fuzz, monkeypatch):
    from whatelse.errors import TaskError

    def refuses():
        raise TaskError("no")

    def fails():
        raise KeyError("x")

    held = []
    child = fuzz["_child"]
    monkeypatch.setattr(child, "SECONDS", 0.5)
    monkeypatch.setattr(child, "MEMORY", 2**26)
    ways = {"clean": int, "refused": refuses, "traceback": fails, "slow": lambda: time.sleep(1)}
    # Pages of its own: a process that has been larger gives `bytes` what it holds already, and does not grow.
    ways["large"] = lambda: held.append(mmap.mmap(-1, 2**27)) or held[0].write(b"x" * 2**27)
    assert {want: child.tried(child.Case(want, way)).kind for want, way in ways.items()} == {k: k for k in ways}
