"""Whatever happens to kept files and to the processes that write them, the findings are those of a quiet run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from whatelse import registry
from whatelse.errors import StoreError
from whatelse.findings import codec, record
from whatelse.findings.record import Timing
from whatelse.store import folder as store
from whatelse.store import seal
from whatelse.study import run, run_study, spec

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

WAYS = {
    "empty": lambda raw, other: b"",
    "cut": lambda raw, other: raw[: len(raw) * 2 // 3],
    "zeros": lambda raw, other: bytes(len(raw)),
    "zero body": lambda raw, other: raw[: len(raw) // 2] + bytes(len(raw) - len(raw) // 2),
    "zero sector": lambda raw, other: raw[:64] + bytes(min(512, len(raw) - 64)) + raw[64 + 512 :],
    "one bit": lambda raw, other: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:],
    "a digit": lambda raw, other: raw.replace(b"1", b"2"),
    "longer": lambda raw, other: raw + b"\n",
    "another of its kind": lambda raw, other: other,
}


def broken(evidence, config, rng):
    if evidence.subject.name == "twin":
        raise RuntimeError("broken on purpose")
    return WHOLE(evidence, config, rng)


ITEM = registry.load("behaviours", "generalization.accuracy")
WHOLE = ITEM.measure


@pytest.fixture
def conducted(tiny, tmp_path, inline, monkeypatch):
    """Findings of the tiny study under one seed, of which one cell always fails, and what was said; without times."""
    monkeypatch.setattr(run, "engine", lambda *_: inline)
    monkeypatch.setattr(ITEM, "measure", broken)
    study = spec.parse(tiny.replace("seeds = [0, 1]", "seeds = [0]"), "tiny")

    def call(results):
        said = []
        found = run_study.run_study(study, results, show=lambda state: said.append(list(state.remarks)))
        return found, said[-1]

    return call


def without_times(found):
    return replace(found, created="", timing=Timing())


def files(results):
    return sorted(p for p in results.rglob("*") if p.is_file() and p.name != "LAYOUT")


def test_damage_of_every_kind_is_found_made_again_and_said(conducted, tmp_path):
    whole, said = conducted(tmp_path / "whole")
    assert said == []
    assert whole.timing.damaged_and_made_again is None
    kept = files(tmp_path / "whole")
    assert {p.parent.name for p in kept} == set(store.KINDS)
    for way, damage in WAYS.items():
        results = tmp_path / way
        shutil.copytree(tmp_path / "whole", results)
        mine = files(results)
        raws = [p.read_bytes() for p in mine]
        hurt = 0
        for i, path in enumerate(mine):
            other = next((r for p, r in zip(mine, raws, strict=True) if p.parent == path.parent and p != path), b"")
            path.write_bytes(damage(raws[i], other))
            hurt += path.read_bytes() != raws[i]
        assert hurt > len(mine) / 2
        found, said = conducted(results)
        assert without_times(found) == without_times(whole), way
        assert said, way
        assert all("made again" in line and "\n" not in line for line in said)
        assert [p.relative_to(results) for p in files(results)] == [p.relative_to(tmp_path / "whole") for p in kept]
        assert 0 < found.timing.damaged_and_made_again <= hurt
    again, said = conducted(results)
    assert said == [], "all is whole again"
    assert without_times(again) == without_times(whole)


@pytest.mark.parametrize("kind", ["models", "values", "evidence", "effects"])
def test_one_damaged_file_is_named_and_costs_only_its_own_job(kind, conducted, tmp_path):
    results = tmp_path / "results"
    whole, _ = conducted(results)
    held = [p for p in files(results) if p.parent.name == kind]
    for path in held[:: max(1, len(held) // 5)]:
        raw = path.read_bytes()
        path.write_bytes(WAYS["one bit"](raw, b""))
        times = {p: p.stat().st_mtime_ns for p in files(results)}
        found, said = conducted(results)
        assert without_times(found) == without_times(whole)
        if kind == "evidence" and said == []:
            continue  # nothing was asked of it
        assert len(said) == 1
        assert f"{kind}/{path.name}" in said[0]
        assert json.loads(codec.dumps(found.timing)), "what is told is plain"
        if kind != "effects":
            again = seal.unpacked(path.read_bytes())
            assert all(torch.equal(again[n], t) for n, t in seal.unpacked(raw).items()), "the same to the last bit"
        moved = {p.parent.name for p in files(results) if p.stat().st_mtime_ns != times.get(p)} - {"failed", "effects"}
        assert moved <= {kind}, "what is whole is left alone"


def test_a_model_that_was_deleted_is_made_again(conducted, tmp_path):
    whole, _ = conducted(tmp_path)
    for path in (tmp_path / "models").glob("prune.magnitude-*"):
        path.unlink()
    found, said = conducted(tmp_path)
    assert without_times(found) == without_times(whole)
    assert said == []


def test_results_of_an_earlier_release_are_made_again_and_said_once(conducted, tmp_path):
    results = tmp_path / "results"
    whole, _ = conducted(results)
    for path in files(results):
        raw = path.read_bytes()
        if path.suffix == ".json":
            path.write_text(json.dumps(json.loads(raw)["record"]))
        else:
            meta = seal.check(raw, path.parent.name, path.stem, packed=True)
            path.write_bytes(seal.save_tensors(seal.unpacked(raw), {"whatelse": json.dumps(meta)}))
    found, said = conducted(results)
    assert without_times(found) == without_times(whole)
    assert all(line.endswith("made again: no checksum, as in files of earlier releases") for line in said)
    assert conducted(results)[1] == []


def test_results_of_another_release_or_machine_are_told_apart(conducted, tmp_path, monkeypatch):
    whole, _ = conducted(tmp_path)
    assert whole.environment.made_elsewhere == ""
    here = seal.here()
    there = replace(here, torch="1.0", machine="Plan9 mips, R4000, DEFAULT")
    for path in (tmp_path / "values").glob("generalization.accuracy-*"):
        path.unlink()
    monkeypatch.setattr(seal, "here", lambda: there)
    mixed, _ = conducted(tmp_path)
    monkeypatch.setattr(seal, "here", lambda: here)
    found, said = conducted(tmp_path)
    assert found.findings == whole.findings
    told = (
        f"torch 1.0 where here is {torch.__version__}, machine Plan9 mips, R4000, DEFAULT where here is {here.machine}"
    )
    # Three models did not fail; the effects that rest on them are made anew where a cell is tried again.
    kept = {p for p in files(tmp_path) if p.parent.name in {"models", "values"}}
    assert found.environment.made_elsewhere == f"3 of {len(kept) + 2} results ({told})"
    assert said == [
        f"made elsewhere: 3 of {len(kept) + 2} results ({told}); another results folder has everything made here"
    ]
    monkeypatch.setattr(seal, "here", lambda: there)
    assert mixed.environment.made_elsewhere, "the others were made here"


def test_damage_that_comes_while_a_study_runs_ends_it_in_one_line(conducted, tmp_path, monkeypatch):
    whole = store.Folder.save

    def rots(self, kind, name, tensors, meta):
        whole(self, kind, name, tensors, meta)
        if name.startswith("generalization.accuracy"):
            path = self.path(kind, name)
            path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(store.Folder, "save", rots)
    with pytest.raises(
        StoreError, match="is damaged; delete it or run again to have it made again: the checksum does not fit"
    ):
        conducted(tmp_path)
    monkeypatch.setattr(store.Folder, "save", whole)
    found, _ = conducted(tmp_path)
    assert without_times(found) == without_times(conducted(tmp_path / "quiet")[0])


KILLED = """
import json, os, signal, sys
from pathlib import Path
from whatelse.engines.inline import Inline
from whatelse.findings import codec, record
from whatelse.study import run, run_study, spec

run.engine = lambda *_: Inline()
file, folder = map(Path, sys.argv[1:])
study = spec.parse(file.read_text(), "tiny")
move = Path.replace

def conducted(name):
    (folder / f"{name}.json").write_text(codec.dumps(run_study.run_study(study, folder / name)))

def life(moment):
    # A process that is killed at its third write, before or after the file is moved into place.
    left = 3
    def dies(self, target):
        nonlocal left
        left -= 1
        if left == 0 and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        move(self, target)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    Path.replace = dies
    conducted("cut")

conducted("quiet")
kills = 0
while not (folder / "cut.json").exists():
    child = os.fork()
    if child == 0:
        life("before" if kills % 2 else "after")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    kills += status != 0
print(kills)
"""


def launched(call, folder):
    # The sources as they are found here, from whichever tree; one thread, as a worker has.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", *call], cwd=folder, env=environment, **pipes)


@pytest.mark.slow
def test_killed_again_and_again_a_study_ends_as_if_nothing_had_been(tiny, tmp_path):
    (tmp_path / "tiny.toml").write_text(tiny.replace("seeds = [0, 1]", "seeds = [0]"))
    running = launched([KILLED, "tiny.toml", "."], tmp_path)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert int(out) >= 10
    cut, quiet = (record.load(tmp_path / f"{name}.json") for name in ("cut", "quiet"))
    assert without_times(cut) == without_times(quiet)
    kept = [{p.relative_to(r) for p in files(r)} for r in (tmp_path / "cut", tmp_path / "quiet")]
    halves = {p for p in kept[0] if ".part" in p.name or p.name.startswith(".run-")}
    assert halves, "kills leave files that nothing believes, and marks of their runs"
    assert kept[0] - halves == kept[1]


def children_of(number):
    """Process numbers of the children of a process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == number:
            found.append(int(folder.name))
    return found


def alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def trains(number):
    """Whether a process has computed for some seconds since it loaded torch."""
    try:
        ticks = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[11]
        return "torch" in Path(f"/proc/{number}/maps").read_text() and int(ticks) > 4 * os.sysconf("SC_CLK_TCK")
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes where Linux lists them")
def test_workers_end_with_the_process_that_started_them(tiny, tmp_path):
    # Training that takes many minutes, so that no worker ends by itself.
    slow = tiny.replace("values = { epochs = 2 }", "values = { epochs = 10000 }").replace("batch=20", "batch=1")
    (tmp_path / "tiny.toml").write_text(slow)
    call = ["from whatelse.cli.app import main; main()", "study", "tiny.toml", "--quiet", "--workers", "1"]
    parent = launched(call, tmp_path)
    workers, deadline = [], time.monotonic() + 120
    while parent.poll() is None and not any(map(trains, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
        workers = children_of(parent.pid)
    parent.kill()
    killed = time.monotonic()
    while any(map(alive, workers)) and time.monotonic() < killed + 10:
        time.sleep(0.02)
    lived = time.monotonic() - killed
    for worker in filter(alive, workers):
        os.kill(worker, signal.SIGKILL)
    _, err = parent.communicate()
    assert workers, err
    assert parent.returncode == -signal.SIGKILL, err
    assert lived < 3, f"workers lived on for {lived:.1f} s"
