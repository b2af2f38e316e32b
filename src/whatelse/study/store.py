"""Results on disk under a key made from what produced them: finished work is found, never redone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from whatelse.errors import StoreError
from whatelse.nets import _artifact

KINDS = ("models", "values", "evidence", "effects", "failed")


def key(name: str, version: int, given: Mapping[str, Any], *inputs: str, seed: int) -> str:
    """Name a result by everything that decides it.

    Settings at their default are left out by the caller, so that a new setting whose default changes nothing
    leaves old keys as they were.

    Args:
        name: Dotted name of the item.
        version: Its VERSION; raised when the same settings would give another number.
        given: Its settings that differ from their default.
        inputs: Keys of the models and data that it was given.
        seed: The seed of the study under which it was made.
    """
    text = json.dumps([name, version, dict(given), inputs, seed], sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Store:
    """A folder of results, each one file, written aside and moved into place in one step.

    Attributes:
        root: The folder; made when the first result is written.
    """

    root: Path

    def path(self, kind: str, name: str) -> Path:
        """Return where a result lies or would lie.

        Args:
            kind: One of `KINDS`.
            name: Its key.
        """
        suffix = ".json" if kind in {"effects", "failed"} else ".safetensors"
        return self.root / kind / f"{name}{suffix}"

    def has(self, kind: str, name: str) -> bool:
        """Say whether a result is there; a file that is there is whole.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The folder cannot be looked into.
        """
        path = self.path(kind, name)
        try:
            return path.exists()
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error

    def save(self, kind: str, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Keep tensors with a JSON record beside them in one file.

        Args:
            kind: One of `KINDS`.
            name: Its key.
            tensors: What to keep.
            meta: JSON-ready record.

        Raises:
            StoreError: The folder cannot be written.
        """
        whole = {n: t.contiguous() for n, t in tensors.items()}
        self._write(self.path(kind, name), save_tensors(whole, metadata={"whatelse": json.dumps(dict(meta))}))

    def load(self, kind: str, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the record of a result.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The file is absent or damaged.
        """
        path = self.path(kind, name)
        raw = self._read(path)
        try:
            tensors = load_tensors(raw)
            header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
            return tensors, json.loads(header["__metadata__"]["whatelse"])
        except (SafetensorError, ValueError, KeyError) as error:
            raise StoreError(f"{path} is damaged; delete it to have it made again") from error

    def save_record(self, kind: str, name: str, record: Mapping[str, Any]) -> None:
        """Keep a JSON record.

        Args:
            kind: ``effects`` or ``failed``.
            name: Its key.
            record: JSON-ready data.

        Raises:
            StoreError: The folder cannot be written.
        """
        self._write(self.path(kind, name), json.dumps(dict(record)).encode())

    def load_record(self, kind: str, name: str) -> dict[str, Any]:
        """Return a JSON record.

        Args:
            kind: ``effects`` or ``failed``.
            name: Its key.

        Raises:
            StoreError: The file is absent or damaged.
        """
        path = self.path(kind, name)
        try:
            return dict(json.loads(self._read(path)))
        except ValueError as error:
            raise StoreError(f"{path} is damaged; delete it to have it made again") from error

    def save_model(self, name: str, model: nn.Module, meta: Mapping[str, Any]) -> None:
        """Keep a model as safetensors, with the description that rebuilds it.

        Args:
            name: Its key.
            model: The model.
            meta: JSON-ready record, such as the seconds that it took.

        Raises:
            StoreError: The folder cannot be written, or the model holds a layer that cannot be described.
        """
        tensors, spec = _artifact.encode(model)
        self.save("models", name, tensors, {**meta, "spec": spec})

    def load_model(self, name: str) -> nn.Module:
        """Return a model, frozen and in evaluation mode. No code of the file is run.

        Args:
            name: Its key.

        Raises:
            StoreError: The file is absent or damaged.
        """
        tensors, meta = self.load("models", name)
        return _artifact.decode(tensors, meta["spec"])

    def forget(self, kind: str, name: str) -> None:
        """Remove a result, if it is there.

        Args:
            kind: One of `KINDS`.
            name: Its key.
        """
        self.path(kind, name).unlink(missing_ok=True)

    def _write(self, path: Path, raw: bytes) -> None:
        part = path.with_suffix(f".part{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise StoreError(f"cannot write {path}: {error.strerror}; finished cells are kept") from error

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error


@dataclass(frozen=True)
class KeptEvidence:
    """Observations of one model on one task, kept in a store for the next process that asks.

    Attributes:
        store: Where.
        of: Key of the model.
        task: Key of the task.
    """

    store: Store
    of: str
    task: str

    def load(self, name: str) -> dict[str, Tensor] | None:
        """Return the tensors kept under a name, or None.

        Args:
            name: What `Evidence.once` was asked for.
        """
        found = self._key(name)
        return self.store.load("evidence", found)[0] if self.store.has("evidence", found) else None

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name.

        Args:
            name: What `Evidence.once` was asked for.
            tensors: The observation.
        """
        self.store.save("evidence", self._key(name), tensors, {"name": name})

    def _key(self, name: str) -> str:
        return key("evidence", 3, {"name": name}, self.of, self.task, seed=0)
