"""Measure one pair under one seed: which answers are right, bytes as written, time of a pass, time to compress."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from _peers import tasks
from _peers.pairs import PAIRS, Pair
from _peers.quantize import Session
from _peers.train import further
from whatelse.artifacts import folder as artifact
from whatelse.artifacts.compress import compress
from whatelse.tasks.task import Task

_TURNS, _BATCH = 31, 64

Side = tuple[nn.Module, dict[str, Any]]


def part(net: str, seed: int, folder: Path, shrink: int) -> None:
    """Measure all pairs of a network under a seed, each into a file; what is there already is left.

    Args:
        net: Key of `tasks.ARENAS`.
        seed: Decides everything random.
        folder: Where the files go.
        shrink: Divides the number of examples, for a quick trial.
    """
    task = tasks.load(net, shrink)
    baseline = _baseline(net, seed, folder, task)
    _keep(folder / f"{net}-{seed}-baseline.json", _one(baseline, task, *_written(baseline)))
    peers: dict[tuple[str, bool], Side] = {}
    for pair in PAIRS:
        path = folder / f"{net}-{seed}-{pair.key}.json"
        if pair.net == net and not path.exists():
            started = time.perf_counter()
            _keep(path, _pair(pair, baseline, task, seed, peers))
            print(f"{net} {seed} {pair.ours} | {pair.name}: {time.perf_counter() - started:.0f} s", flush=True)


def _keep(path: Path, record: dict[str, Any]) -> None:
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(record) + "\n", "utf-8")
    aside.replace(path)


def _baseline(net: str, seed: int, folder: Path, task: Task) -> nn.Module:
    place, arena = folder / f"{net}-{seed}", tasks.ARENAS[net]
    if not (place / artifact.RECORD).exists():  # written last
        untrained = tasks.network(net, torch.Generator().manual_seed(seed))
        made = compress(untrained, f"train.scratch(epochs={arena.epochs}, rate={arena.rate})", task, seed)
        artifact.save(made.model, place, {"seed": seed})
    plain = tasks.network(net, torch.Generator().manual_seed(seed))  # of its own class, as a user has it
    plain.load_state_dict(artifact.load(place).state_dict())
    return plain.eval().requires_grad_(requires_grad=False)


def _pair(
    pair: Pair, baseline: nn.Module, task: Task, seed: int, peers: dict[tuple[str, bool], Side]
) -> dict[str, Any]:
    """Return the record of a pair; a peer that serves several pairs is made once."""
    known, side = (pair.name, pair.tune is not None), "ours"
    try:
        model, ours = _ours(pair, baseline, task, seed)
        side = "peer"
        if known not in peers:
            peers[known] = _theirs(pair, baseline, task, seed)
    except Exception as error:  # one side that fails is a result
        return {"failed": f"{side}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    other, peer = peers[known]
    return {"ours": ours, "peer": peer, "ratios": _ratios([baseline, model, other], task.test.inputs[:_BATCH])}


def _ours(pair: Pair, baseline: nn.Module, task: Task, seed: int) -> Side:
    started = time.perf_counter()
    made = compress(baseline, pair.ours, task, seed).model
    seconds = time.perf_counter() - started
    made = _finished(made, pair, task, seed)
    return made, _one(made, task, *_written(made)) | {"seconds": seconds}


def _theirs(pair: Pair, baseline: nn.Module, task: Task, seed: int) -> Side:
    started = time.perf_counter()
    made = pair.peer(deepcopy(baseline), task, seed)
    seconds = time.perf_counter() - started
    made = _finished(made, pair, task, seed)
    return made, _one(made, task, _saved(made), 0) | {"seconds": seconds}


def _finished(model: nn.Module, pair: Pair, task: Task, seed: int) -> nn.Module:
    if pair.tune:
        further(model, task, seed, pair.tune)
    return model.eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def _one(model: nn.Module, task: Task, size: int, architecture: int) -> dict[str, Any]:
    said = torch.cat([model(part) for part in torch.split(task.test.inputs, 250)]).argmax(1)
    return {
        "right": said.eq(task.test.targets).int().tolist(),
        "bytes": size,
        "architecture": architecture,
        "nonzero": _nonzero(model),
    }


def _nonzero(model: nn.Module) -> int:
    """Return how many parameters are not zero; 0 where weights are no parameters."""
    plain = [p for p in model.parameters() if type(p.data) is Tensor]
    return sum(int(p.count_nonzero()) for p in plain)


def _written(model: nn.Module) -> tuple[int, int]:
    """Return the bytes of a folder of ours, and those of the architecture in it."""
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(model, Path(folder), {})
        sizes = [(Path(folder) / name).stat().st_size for name in (artifact.MODEL, artifact.ARCHITECTURE)]
    return sum(sizes), sizes[1]


def _saved(model: nn.Module) -> int:
    if isinstance(model, Session):
        return len(model.content)
    with tempfile.NamedTemporaryFile() as file:
        torch.save(model.state_dict(), file.name)
        return Path(file.name).stat().st_size


@torch.no_grad()
def _ratios(models: list[nn.Module], inputs: Tensor) -> dict[str, list[float]]:
    """Return the time of a pass of ours and of the peer as multiples of the baseline's, the three measured in turn."""
    rows = []
    for _ in range(2 + _TURNS):
        row = []
        for model in models:
            started = time.perf_counter()
            model(inputs)
            row.append(time.perf_counter() - started)
        rows.append(row)
    turns = rows[2:]
    whole = [statistics.median(row[i] for row in turns) for i in range(3)]
    return {
        "ours": [row[1] / row[0] for row in turns],
        "peer": [row[2] / row[0] for row in turns],
        "milliseconds": [1000 * t for t in whole],
    }
