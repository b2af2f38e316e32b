"""Results on disk under a key made from what produced them: finished work is found, never redone."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from whatelse.errors import StoreError
from whatelse.store import seal
from whatelse.store.protocol import Store
from whatelse.store.seal import DamagedError, Origin, Pieces
from whatelse.store.sealed import KINDS as KINDS
from whatelse.store.sealed import LAYOUT, MARK, WRITTEN, Sealed, file_of, is_record

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
class Folder(Sealed):
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

    def where(self, file: str = "") -> str:
        """Return how messages call the folder, or a file in it.

        Args:
            file: Below the root; empty for the folder.
        """
        return str(self.root / file)

    def path(self, kind: str, name: str) -> Path:
        """Return where a result lies or would lie.

        Args:
            kind: One of `KINDS`.
            name: Its key.
        """
        return self.root / file_of(kind, name)

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
                return seal.origin(file, packed=not is_record(kind))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error

    def prepare(self) -> None:
        """Make the folders, see that they can be written to, and clear away what killed processes left behind.

        Raises:
            StoreError: One cannot be written, or another release lays out its results in a way not known here.
        """
        self.former()
        self._put(LAYOUT, (WRITTEN,))
        for kind in KINDS:
            self._write(self.path(kind, "probe"), (b"whatelse",), lasting=False)
        for left in (*self.root.glob(f"{MARK}*"), *(p for kind in KINDS for p in (self.root / kind).glob("*.part*"))):
            with suppress(OSError):  # another process may clear it away, or finish it, at this moment
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()

    def _any(self) -> bool:
        return any((self.root / kind).is_dir() for kind in KINDS)

    def _there(self, file: str) -> bool:
        return _is_there(self.root / file)

    def _copies(self, file: str) -> Iterator[bytes]:
        path = self.root / file
        try:
            if _is_there(path):
                yield path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno == errno.EIO:  # a sector that cannot be read
                raise DamagedError(os.strerror(errno.EIO)) from error
            raise StoreError(f"cannot read {path}: {error.strerror}") from error

    def _put(self, file: str, pieces: Pieces) -> None:
        if file != LAYOUT and not self._any() and not (self.root / LAYOUT).exists():
            self._write(self.root / LAYOUT, (WRITTEN,))  # nobody wrote here before
        self._write(self.root / file, pieces)

    def _remove(self, file: str) -> None:
        path = self.root / file
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove {path}: {error.strerror}; finished cells are kept") from error

    def _write(self, path: Path, pieces: Pieces, *, lasting: bool = True) -> None:
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


def _is_there(path: Path) -> bool:
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
