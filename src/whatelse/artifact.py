"""A compressed model as a folder: tensors as safetensors, the architecture and the record as JSON, and no pickle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from whatelse.errors import ArtifactError, StoreError
from whatelse.nets import _artifact

FORMAT = 1
MODEL, ARCHITECTURE, RECORD = "model.safetensors", "architecture.json", "recipe.json"


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
    tensors, spec = _artifact.encode(model)
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        # In one piece, as save_file would make a file that only its owner reads.
        (place / MODEL).write_bytes(to_bytes(tensors))
        write_json(place / ARCHITECTURE, {"format": FORMAT, **spec})
        write_json(place / RECORD, record or {})
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write {place}: {error}") from error


def load(folder: str | os.PathLike[str]) -> nn.Module:
    """Return the model of a folder that `save` wrote, frozen and in evaluation mode; no code of the files is run.

    Args:
        folder: Holds ``model.safetensors`` and ``architecture.json``.

    Raises:
        ArtifactError: A file is absent, damaged, of a newer format, or names what is not allowed.
    """
    place = Path(folder)
    for name in (MODEL, ARCHITECTURE):
        if not (place / name).is_file():
            raise ArtifactError(f"{place}: no {name} there; a saved model is a folder with {MODEL} and {ARCHITECTURE}")
    try:
        spec = json.loads((place / ARCHITECTURE).read_text("utf-8"))
        if not isinstance(spec, dict) or spec.get("format") != FORMAT:
            raise ArtifactError(f"{place / ARCHITECTURE}: not of format {FORMAT}, the one that this release reads")
        return _artifact.decode(load_file(place / MODEL), spec)
    except KeyError as error:
        raise ArtifactError(f"{place} is damaged: {ARCHITECTURE} has no {error}") from error
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise ArtifactError(f"{place} is damaged: {error}") from error


def prove(folder: Path, inputs: Tensor, outputs: Tensor) -> None:
    """Load a folder in a fresh process and compare what the model says there with what it said here, bit for bit.

    Args:
        folder: What `save` wrote.
        inputs: ``(N, ...)``.
        outputs: What the model in memory returned for them.

    Raises:
        ArtifactError: The process failed, or its outputs differ.
    """
    given, said = folder / "given.part", folder / "said.part"
    save_file({"inputs": inputs.contiguous()}, given)
    # -P: nothing in the current folder is imported. As many threads as here, as sums of floats depend on them.
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-P", "-m", "whatelse._answer", str(folder), str(given), str(said)]
    try:
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise ArtifactError(f"a fresh process could not load {folder}: {reason}")
        told = load_file(said)["outputs"]
    finally:
        given.unlink(missing_ok=True)
        said.unlink(missing_ok=True)
    if not torch.equal(told, outputs):
        worst = float((told - outputs).abs().max()) if told.shape == outputs.shape else float("nan")
        raise ArtifactError(f"{folder}: the reloaded model is another one, its outputs differ by up to {worst:.3g}")


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON.

    Args:
        path: Where.
        record: JSON-ready data.
    """
    path.write_text(json.dumps(dict(record), indent=1, allow_nan=False) + "\n", "utf-8")
