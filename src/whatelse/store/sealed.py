"""What all stores share: results are sealed files under names made of kind and key, believed where they are whole."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor, nn

from whatelse.errors import StoreError
from whatelse.modules import codec
from whatelse.store import seal
from whatelse.store.seal import DamagedError, Pieces

KINDS = ("models", "values", "evidence", "effects", "failed")
LAYOUT = "LAYOUT"  # a file that says how answers are laid out; stores of releases before 0.2 have none
WRITTEN = b"2\n"
MARK = ".run-"  # begins the name of a file that says that a run is going on
_RECORDS = {"effects", "failed"}
_LAYOUT_SHOWN = 20  # characters


def is_record(kind: str) -> bool:
    """Return whether results of a kind are records alone, without tensors.

    Args:
        kind: One of `KINDS`.
    """
    return kind in _RECORDS


def file_of(kind: str, name: str) -> str:
    """Return the name of a result's file below the root of a store.

    Args:
        kind: One of `KINDS`.
        name: Its key.
    """
    return f"{kind}/{name}{'.json' if is_record(kind) else '.safetensors'}"


class Sealed(ABC):
    """A store whose files are sealed; where they lie, whoever inherits says.

    Attributes:
        damaged: What was found damaged: its file, and why.
    """

    damaged: dict[str, str]

    @abstractmethod
    def where(self, file: str = "") -> str:
        """Return how messages call the store, or a file in it."""

    @abstractmethod
    def _there(self, file: str) -> bool:
        """Say whether there is a file of a name below the root."""

    @abstractmethod
    def _copies(self, file: str) -> Iterator[bytes]:
        """Yield what a file holds, the copy that is nearest first; nothing where there is none."""

    @abstractmethod
    def _put(self, file: str, pieces: Pieces) -> None:
        """Write a file whole, or not at all."""

    @abstractmethod
    def _remove(self, file: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def _any(self) -> bool:
        """Say whether there is a result of any kind, or a place for one."""

    def former(self) -> bool:
        """Return whether it holds results that a release before 0.2 wrote, whose answers are read no more.

        Raises:
            StoreError: It holds results that another release laid out in a way that is not known here.
        """
        laid_out = next(self._copies(LAYOUT), None)
        if laid_out is None:
            return self._any()
        if laid_out != WRITTEN:
            told = laid_out.decode("utf-8", "replace").strip()[:_LAYOUT_SHOWN]
            raise StoreError(
                f"{self.where()}: another release of whatelse keeps its results there, in layout {told!r}; this one "
                f"reads {WRITTEN.decode().strip()!r}: use that release, or give another --results"
            )
        return False

    def has(self, kind: str, name: str) -> bool:
        """Say whether a result is there and whole; one that is damaged is not, and is remembered.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The store cannot be looked into, or something that is no file is in the way.
        """
        try:
            return self._checked(kind, name) is not None
        except DamagedError as error:
            self.damaged[file_of(kind, name)] = str(error)
            return False

    def whole(self, wanted: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return which of some results are there and whole; damaged ones are remembered.

        Args:
            wanted: Kinds and keys.

        Raises:
            StoreError: The store cannot be looked into.
        """
        return {(kind, name) for kind, name in dict.fromkeys(wanted) if self.has(kind, name)}

    def near(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Have some results at hand that are read next, one after the other; of a folder they are.

        Args:
            wanted: Kinds and keys.
        """
        del wanted

    def absent(self, kind: str, name: str) -> bool:
        """Say whether there is no file of a result, whole or damaged.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The store cannot be looked into, or something that is no file is in the way.
        """
        return not self._there(file_of(kind, name))

    def save(self, kind: str, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Keep tensors with a JSON record beside them in one file.

        Args:
            kind: One of `KINDS`.
            name: Its key.
            tensors: What to keep.
            meta: JSON-ready record.

        Raises:
            StoreError: The store cannot be written.
        """
        self._put(file_of(kind, name), seal.of_tensors(kind, name, tensors, meta))

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
            StoreError: The store cannot be written.
        """
        self._put(file_of(kind, name), seal.of_record(kind, name, record))

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
            StoreError: The store cannot be written, or the model holds a layer that cannot be described.
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
        self._remove(file_of(kind, name))

    @contextmanager
    def marked(self) -> Generator[str]:
        """Leave a mark while a run goes on, by which a worker knows that it sees the same store and no namesake.

        Yields:
            What `sees` asks for.

        Raises:
            StoreError: The store cannot be written.
        """
        mark = secrets.token_hex(16)
        self._put(f"{MARK}{mark}", (b"",))
        try:
            yield mark
        finally:
            with suppress(StoreError):  # whatever ended the run is said; marks of the past are cleared away later
                self._remove(f"{MARK}{mark}")

    def sees(self, mark: str) -> bool:
        """Say whether a mark is here.

        Args:
            mark: As `marked` yields it.

        Raises:
            StoreError: The store cannot be looked into.
        """
        return self._there(f"{MARK}{mark}")

    def _whole(self, kind: str, name: str) -> tuple[bytes, dict[str, Any]]:
        path = self.where(file_of(kind, name))
        try:
            found = self._checked(kind, name)
        except DamagedError as error:
            raise StoreError(f"{path} is damaged; delete it or run again to have it made again: {error}") from error
        if found is None:
            raise StoreError(f"cannot read {path}: there is no such file")
        return found

    def _checked(self, kind: str, name: str) -> tuple[bytes, dict[str, Any]] | None:
        """Return a file that is whole with its record; None where there is none.

        Raises:
            DamagedError: No copy of it is whole.
        """
        wrong: DamagedError | None = None
        for raw in self._copies(file_of(kind, name)):
            try:
                return raw, dict(seal.check(raw, kind, name, packed=not is_record(kind)))
            except DamagedError as error:
                wrong = error
        if wrong is not None:
            raise wrong
        return None
