"""A compressed model as a folder: tensors as safetensors, the architecture and the record as JSON, and no pickle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from whatelse import limits
from whatelse.errors import ArtifactError, StoreError, WhatElseError
from whatelse.modules import codec, foretell

FORMAT = 1
MODEL, ARCHITECTURE, RECORD = "model.safetensors", "architecture.json", "recipe.json"
EXACT = "bit for bit"
_START = 120.0  # Seconds that a process may take to begin, on a machine that is busy.


def save(model: nn.Module, folder: str | os.PathLike[str], record: Mapping[str, Any] | None = None) -> None:
    """Write a model into a folder: ``model.safetensors``, ``architecture.json`` and ``recipe.json``.

    Args:
        model: Built of parts that a saved file may name.
        folder: Made where it does not exist.
        record: JSON-ready; how the model was made, for a reader.

    Raises:
        ArtifactError: The model holds a part that cannot be described.
        StoreError: The folder cannot be written.
    """
    tensors, spec = codec.encode(model)
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        # In one piece, as save_file would make a file that only its owner reads.
        (place / MODEL).write_bytes(to_bytes(tensors))
        write_json(place / ARCHITECTURE, {"format": FORMAT, **spec})
        write_json(place / RECORD, record or {})
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write {place}: {error}") from error


def load(folder: str | os.PathLike[str], *, max_memory: int | str | None = None) -> nn.Module:
    """Return the model of a folder that `save` wrote, frozen and in evaluation mode; no code of the files is run.

    Args:
        folder: Holds ``model.safetensors`` and ``architecture.json``.
        max_memory: Bytes that the model may take, or a text such as ``8G``; by default 2 GiB, or 16 times what the
            folder holds where that is more.

    Raises:
        ArtifactError: A file is absent, damaged, of a newer format, names what is not allowed, or asks for more
            memory than it may.
        SettingError: ``max_memory`` is no size.
    """
    place = Path(folder)
    with limits.within(max_memory):
        return _load(place)


def _load(place: Path) -> nn.Module:
    try:
        held(place)
        spec = json.loads(limits.text(place / ARCHITECTURE))
        if not isinstance(spec, dict) or spec.get("format") != FORMAT:
            raise ArtifactError(f"{place / ARCHITECTURE}: not of format {FORMAT}, the one that this release reads")
        return codec.decode(load_file(place / MODEL), spec)
    except WhatElseError:
        raise
    except KeyError as error:
        raise ArtifactError(f"{place} is damaged: {ARCHITECTURE} has no {error}") from error
    except Exception as error:  # whatever the readers of JSON and of tensors raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(f"{place} is damaged: {reason}") from error


def held(folder: str | os.PathLike[str]) -> int:
    """Return how many bytes the files of a saved model have on disk.

    Args:
        folder: As `load` takes it.

    Raises:
        ArtifactError: One of them is not there, or is no file.
    """
    total = 0
    for name in (MODEL, ARCHITECTURE):
        try:
            total += limits.regular(Path(folder) / name)
        except OSError as error:
            raise ArtifactError(
                f"{folder}: no {name} there ({error.strerror}); a saved model is a folder with {MODEL} and "
                f"{ARCHITECTURE}"
            ) from error
    return total


def answer(folder: Path, inputs: Tensor) -> Tensor:
    """Return what a saved model says of inputs; the first two are asked under the limits of memory and time.

    Args:
        folder: As `load` takes it.
        inputs: ``(N, ...)``.

    Raises:
        ArtifactError: The model cannot be loaded, or asks for more than it may.
    """
    model = load(folder)
    with torch.no_grad():
        with foretell.foretold(str(folder), held(folder), ArtifactError):
            model(inputs[:2])
        outputs: Tensor = model(inputs)
    return outputs


def prove(folder: Path, inputs: Tensor, outputs: Tensor) -> str:
    """Load a folder in a fresh process and compare what the model says there with what it said here; return how near.

    The process ends after a time that grows with what it is given, and takes no more memory than `limits` allow.

    Args:
        folder: What `save` wrote.
        inputs: ``(N, ...)``.
        outputs: What the model in memory returned for them.

    Raises:
        ArtifactError: The process failed, took too long, or its outputs differ.
    """
    limit = limits.current()
    pairs = -(-len(inputs) // 2)  # the limits are those of two examples
    room, seconds = pairs * limit.room(held(folder)), _START + pairs * limit.time(held(folder))
    program, failed = ("-m", "whatelse.artifacts.reload"), "a fresh process could not load {}"
    told = afresh(folder, inputs, program, seconds, failed, more=(str(room),), environment=limit.environment())
    if not torch.equal(told, outputs):
        far = apart(told, outputs)
        raise ArtifactError(f"{folder}: the reloaded model is another one, its outputs differ by {far}")
    return EXACT


def afresh(
    folder: Path,
    inputs: Tensor,
    program: Sequence[str],
    seconds: float,
    failed: str,
    *,
    more: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Tensor:
    """Return what a model says when a fresh process loads its folder.

    Args:
        folder: What was written; two files lie in it meanwhile.
        inputs: ``(N, ...)``.
        program: What Python runs; it is told the folder, and the files of inputs and of outputs.
        seconds: That it may take.
        failed: What is said where it cannot load the folder, which stands at ``{}``.
        more: What it is told besides.
        environment: Its own, besides ours.

    Raises:
        ArtifactError: The process failed or took too long.
    """
    given, said = folder / "given.part", folder / "said.part"
    save_file({"inputs": inputs.contiguous()}, given)
    # -P: nothing in the current folder is imported. As many threads as here, as sums of floats depend on them.
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **(environment or {})}
    command = [sys.executable, "-P", *program, str(folder), str(given), str(said), *more]
    try:
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=seconds)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise ArtifactError(f"{failed.format(folder)}: {reason}")
        return load_file(said)["outputs"]
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(f"a fresh process did not answer for {folder} in {seconds:.0f} seconds") from error
    finally:
        given.unlink(missing_ok=True)
        said.unlink(missing_ok=True)


def apart(told: Tensor, outputs: Tensor) -> str:
    """Return how far two outputs are apart at most, in words.

    Args:
        told: What a fresh process said.
        outputs: What was said here.
    """
    worst = float((told - outputs).abs().max()) if told.shape == outputs.shape else float("nan")
    return f"up to {worst:.3g}"


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON.

    Args:
        path: Where.
        record: JSON-ready data.
    """
    path.write_text(json.dumps(dict(record), indent=1, allow_nan=False) + "\n", "utf-8")
