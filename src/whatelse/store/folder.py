"""Results on disk under a key made from what produced them: finished work is found, never redone."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from whatelse.errors import StoreError
from whatelse.modules import codec
from whatelse.store import seal
from whatelse.store.protocol import Store
from whatelse.store.seal import DamagedError, Origin, Pieces

KINDS = ("models", "values", "evidence", "effects", "failed")
_RECORDS = {"effects", "failed"}
_LAYOUT = "LAYOUT"  # a file that says how answers are laid out; folders of releases before 0.2 have none
_WRITTEN = (b"2\n",)
# Seconds after which a file that was never finished belongs to nobody: no write takes that long on any disk.
_ABANDONED = 24 * 3600


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
class Folder:
    """A folder of results, each one file, written aside and moved into place in one step.

    A file is believed if its checksum fits and it says that it is the result that was asked for. One that is not
    counts as absent, so that it is made again, and is remembered in ``damaged``, so that this is said.

    Attributes:
        root: The folder; made when the first result is written.
        damaged: What was found damaged: below the root, and why.
    """

    root: Path
    damaged: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def fresh(self) -> Folder:
        """Return the same results, with nothing remembered of what was found damaged."""
        return Folder(self.root)

    def former(self) -> bool:
        """Return whether the folder holds results that a release before 0.2 wrote, whose answers are read no more."""
        return any((self.root / kind).is_dir() for kind in KINDS) and not (self.root / _LAYOUT).exists()

    def path(self, kind: str, name: str) -> Path:
        """Return where a result lies or would lie.

        Args:
            kind: One of `KINDS`.
            name: Its key.
        """
        suffix = ".json" if kind in _RECORDS else ".safetensors"
        return self.root / kind / f"{name}{suffix}"

    def has(self, kind: str, name: str) -> bool:
        """Say whether a result is there and whole; one that is damaged is not, and is remembered.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The folder cannot be looked into, or something that is no file is in the way.
        """
        try:
            return self._checked(kind, name) is not None
        except DamagedError as error:
            self.damaged[str(self.path(kind, name).relative_to(self.root))] = str(error)
            return False

    def absent(self, kind: str, name: str) -> bool:
        """Say whether there is no file of a result, whole or damaged.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The folder cannot be looked into, or something that is no file is in the way.
        """
        return not _there(self.path(kind, name))

    def origin(self, kind: str, name: str) -> Origin | None:
        """Return where a result was made, without checking it; None where it is absent or does not say.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The file cannot be read.
        """
        path = self.path(kind, name)
        try:
            with path.open("rb") as file:
                return seal.origin(file, packed=kind not in _RECORDS)
        except (FileNotFoundError, NotADirectoryError):
            return None
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
        self._write(self.path(kind, name), seal.of_tensors(kind, name, tensors, meta))

    def load(self, kind: str, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the record of a result.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The file is absent or damaged.
        """
        raw, meta = self._whole(kind, name)
        return seal.unpacked(raw), meta

    def save_record(self, kind: str, name: str, record: Mapping[str, Any]) -> None:
        """Keep a JSON record.

        Args:
            kind: ``effects`` or ``failed``.
            name: Its key.
            record: JSON-ready data.

        Raises:
            StoreError: The folder cannot be written.
        """
        self._write(self.path(kind, name), seal.of_record(kind, name, record))

    def load_record(self, kind: str, name: str) -> dict[str, Any]:
        """Return a JSON record.

        Args:
            kind: ``effects`` or ``failed``.
            name: Its key.

        Raises:
            StoreError: The file is absent or damaged.
        """
        return self._whole(kind, name)[1]

    def save_model(self, name: str, model: nn.Module, meta: Mapping[str, Any]) -> None:
        """Keep a model as safetensors, with the description that rebuilds it.

        Args:
            name: Its key.
            model: The model.
            meta: JSON-ready record, such as the seconds that it took.

        Raises:
            StoreError: The folder cannot be written, or the model holds a layer that cannot be described.
        """
        tensors, spec = codec.encode(model)
        self.save("models", name, tensors, {**meta, "spec": spec})

    def load_model(self, name: str) -> nn.Module:
        """Return a model, frozen and in evaluation mode. No code of the file is run.

        Args:
            name: Its key.

        Raises:
            StoreError: The file is absent or damaged.
        """
        tensors, meta = self.load("models", name)
        return codec.decode(tensors, meta["spec"])

    def forget(self, kind: str, name: str) -> None:
        """Remove a result, if it is there.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: It cannot be removed.
        """
        path = self.path(kind, name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove {path}: {error.strerror}; finished cells are kept") from error

    def prepare(self) -> None:
        """Make the folders, see that they can be written to, and clear away what killed processes left half-written.

        Raises:
            StoreError: One cannot be written.
        """
        self._write(self.root / _LAYOUT, _WRITTEN)
        for kind in KINDS:
            self._write(self.path(kind, "probe"), (b"whatelse",), lasting=False)
            for left in (self.root / kind).glob("*.part*"):
                with suppress(OSError):  # another process may clear it away, or finish it, at this moment
                    if time.time() - left.stat().st_mtime > _ABANDONED:
                        left.unlink()

    def _whole(self, kind: str, name: str) -> tuple[bytes, dict[str, Any]]:
        path = self.path(kind, name)
        try:
            found = self._checked(kind, name)
        except DamagedError as error:
            raise StoreError(f"{path} is damaged; delete it or run again to have it made again: {error}") from error
        if found is None:
            raise StoreError(f"cannot read {path}: {os.strerror(errno.ENOENT)}")
        return found

    def _checked(self, kind: str, name: str) -> tuple[bytes, dict[str, Any]] | None:
        path = self.path(kind, name)
        try:
            if not _there(path):
                return None
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EIO:  # a sector that cannot be read
                raise DamagedError(os.strerror(errno.EIO)) from error
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        return raw, dict(seal.check(raw, kind, name, packed=kind not in _RECORDS))

    def _write(self, path: Path, pieces: Pieces, *, lasting: bool = True) -> None:
        if not any((self.root / name).exists() for name in (_LAYOUT, *KINDS)) and path.name != _LAYOUT:
            self._write(self.root / _LAYOUT, _WRITTEN)  # nobody wrote here before
        # No other process has the name: process numbers repeat, on other machines and in containers.
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            if lasting:
                part.replace(path)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}; finished cells are kept") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _there(path: Path) -> bool:
    """Say whether there is a file.

    Raises:
        StoreError: It cannot be looked at, or is no file: nothing may be read from a pipe, nor moved over a folder.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise StoreError(f"{path} is in the way: a file or nothing must be there; move it away and run again")
    return True


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
