"""Results in a place that machines reach by its address, such as ``s3://bucket/prefix``, where they share no disk.

Whatever fsspec opens will do. What a write needs to be trusted is not asked of it: a file that was cut is not whole
(`whatelse.store.seal`), and one that is written twice is the same result. Who may read and write is settled by the
environment, as the package behind the address reads it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from whatelse.errors import MissingExtraError, StoreError, in_short
from whatelse.store import cached, seal
from whatelse.store.seal import Origin, Pieces
from whatelse.store.sealed import KINDS, LAYOUT, MARK, WRITTEN, Sealed, file_of, is_record

T = TypeVar("T")
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}  # the extra of an address
_AT_ONCE = 32  # files that are read beside each other: a read waits far longer than it works
_ABANDONED = 24 * 3600  # seconds after which a mark belongs to a run that was killed
# How a version is called, by who keeps it; the first that is there counts.
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "created", "mtime")
_CHANGED = ("LastModified", "updated", "last_modified", "created", "mtime")


@dataclass(frozen=True)
class Bucket(Sealed):
    """Results below an address.

    Attributes:
        url: The address, without a slash at its end.
        damaged: What was found damaged: below the address, and why.
    """

    url: str
    damaged: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    # Versions that `whole` saw: what is read next needs not be asked for once more. A worker asks for itself.
    _known: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "damaged": self.damaged, "_known": {}}

    def fresh(self) -> Bucket:
        """Return the same results, with nothing remembered of what was found damaged."""
        return Bucket(self.url)

    def where(self, file: str = "") -> str:
        """Return how messages call the place, or a file in it.

        Args:
            file: Below the address; empty for the address.
        """
        return f"{self.url}/{file}" if file else self.url

    def near(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Read some results beside each other, so that copies of them are on this machine.

        Args:
            wanted: Kinds and keys.

        Raises:
            StoreError: The place cannot be reached.
        """
        self.whole(wanted)

    def whole(self, wanted: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return which of some results are there and whole, read beside each other; damaged ones are remembered.

        Args:
            wanted: Kinds and keys.

        Raises:
            StoreError: The place cannot be reached.
        """
        pairs = list(dict.fromkeys(wanted))
        self._known.clear()
        for kind in dict.fromkeys(kind for kind, _ in pairs):
            listed = self._listed(kind)
            self._known.update({f"{kind}/{name}": version for name, version in listed.items()})
        there = [(kind, name) for kind, name in pairs if file_of(kind, name) in self._known]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            whole = threads.map(lambda pair: self.has(*pair), there)
            return {pair for pair, held in zip(there, whole, strict=True) if held}

    def origin(self, kind: str, name: str) -> Origin | None:
        """Return where a result was made, without checking it; None where it is absent or does not say.

        Args:
            kind: One of `KINDS`.
            name: Its key.

        Raises:
            StoreError: The file cannot be read.
        """
        raw = next(self._copies(file_of(kind, name)), None)
        return None if raw is None else seal.origin(io.BytesIO(raw), packed=not is_record(kind))

    def prepare(self) -> None:
        """See that the place can be written to, and clear away the marks of runs that were killed.

        Raises:
            StoreError: It cannot, or another release lays out its results in a way not known here.
        """
        self.former()
        self._put(LAYOUT, (WRITTEN,))
        for name, held in self._inside("").items():
            if name.startswith(MARK) and _age(held) > _ABANDONED:
                with suppress(StoreError):  # another process may clear it away at this moment
                    self._remove(name)

    def _any(self) -> bool:
        return any(name in KINDS for name in self._inside(""))

    def _there(self, file: str) -> bool:
        return file in self._known or self._version(file) is not None

    def _copies(self, file: str) -> Iterator[bytes]:
        version = self._known.get(file)
        version = self._version(file) if version is None else version
        if version is None:
            return
        near = cached.read(self.where(file), version)
        if near is not None:
            yield near
        try:
            with _reached(f"cannot read {self.where(file)}"):
                raw: bytes = self._files().cat_file(self._at(file))
        except FileNotFoundError:  # removed in between
            return
        cached.write(self.where(file), version, raw)
        yield raw

    def _put(self, file: str, pieces: Pieces) -> None:
        self._known.pop(file, None)
        if file != LAYOUT:
            _laid_out(self)
        try:
            with _reached(f"cannot write {self.where(file)}"):
                self._files().pipe_file(self._at(file), b"".join(pieces))
        except FileNotFoundError as error:
            raise StoreError(f"cannot write {self.where(file)}: {in_short(error)}; is there such a bucket?") from error

    def _remove(self, file: str) -> None:
        self._known.pop(file, None)
        with suppress(FileNotFoundError), _reached(f"cannot remove {self.where(file)}"):
            self._files().rm_file(self._at(file))

    def _version(self, file: str) -> str | None:
        """Return what the version of a file is called, empty where it is not told; None where there is no file.

        Raises:
            StoreError: Something that is no file is in the way.
        """
        try:
            with _reached(f"cannot read {self.where(file)}"):
                held = self._files().info(self._at(file))
        except FileNotFoundError:
            return None
        if held["type"] != "file":
            raise StoreError(
                f"{self.where(file)} is in the way: a file or nothing must be there; move it away and run again"
            )
        return _version_of(held)

    def _listed(self, kind: str) -> dict[str, str]:
        held = self._inside(kind)
        return {name: _version_of(one) for name, one in held.items() if one["type"] == "file"}

    def _inside(self, folder: str) -> dict[str, Mapping[str, Any]]:
        """Return what is known of everything in a folder below the address, by name."""
        try:
            with _reached(f"cannot look into {self.where(folder)}"):
                listed = self._files().ls(self._at(folder), detail=True)
        except FileNotFoundError:
            return {}
        return {str(one["name"]).rstrip("/").rpartition("/")[2]: one for one in listed}

    def _at(self, file: str) -> str:
        return f"{_opened(self.url)[1]}/{file}".rstrip("/")

    def _files(self) -> Any:  # noqa: ANN401 - a file system
        return _opened(self.url)[0]


def check(url: str) -> None:
    """Refuse an address that nothing here opens.

    Args:
        url: Such as ``s3://bucket/prefix``.

    Raises:
        StoreError: It is none that is known.
        MissingExtraError: The package behind it is not installed.
    """
    _opened(url)


@cache
def _opened(url: str) -> tuple[Any, str]:
    """Return a file system, and what the address is called there.

    Raises:
        StoreError: The address is none that is known.
        MissingExtraError: The package behind it is not installed.
    """
    import fsspec  # noqa: PLC0415 - only where results are far away

    scheme = url.partition("://")[0]
    try:
        # What others write in the meantime must be seen, so that no listing is kept.
        files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        how = f"pip install 'whatelse[{extra}]'" if extra else in_short(error)
        raise MissingExtraError(f"--results {url}: what opens {scheme}:// is not installed: {how}") from error
    except Exception as error:  # of many kinds, by what is behind the address
        told = f"cannot be opened ({in_short(error)}); give s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, or a folder"
        raise StoreError(f"--results {url}: {told}") from error
    return files, str(root).rstrip("/")


@cache
def _laid_out(store: Bucket) -> None:
    """Say once how results are laid out, where nobody wrote before."""
    if not store._there(LAYOUT) and not store._any():  # noqa: SLF001 - of this file
        store._put(LAYOUT, (WRITTEN,))  # noqa: SLF001


@contextmanager
def _reached(doing: str) -> Generator[None]:
    """Turn what a file system raises into one line; that a file is not there stays what it is.

    Raises:
        StoreError: The place cannot be reached, or refuses.
        FileNotFoundError: There is no such file.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # each package has errors of its own
        raise StoreError(f"{doing}: {in_short(error)}; finished cells are kept") from error


def _version_of(held: Mapping[str, Any]) -> str:
    told = next((str(held[name]) for name in _VERSIONS if held.get(name)), "")
    return f"{told} {held.get('size')}" if told else ""


def _age(held: Mapping[str, Any]) -> float:
    changed = next((held[name] for name in _CHANGED if held.get(name)), None)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    when = changed.timestamp() if isinstance(changed, datetime) else changed
    return 0.0 if when is None else time.time() - when
