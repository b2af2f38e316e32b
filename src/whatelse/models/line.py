"""Requests to one address: sent again where that may help, ended where they hang."""

from __future__ import annotations

import http.client
import json
import math
import os
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from whatelse.errors import ArtifactError, SettingError, TaskError, cut, in_short, shown

HEADER, TIMEOUT, BATCH = "WHATELSE_ENDPOINT_HEADER", "WHATELSE_ENDPOINT_TIMEOUT", "WHATELSE_ENDPOINT_BATCH"
_SECONDS = 30.0  # for an answer
_TRIES, _PAUSE, _LONGEST = 5, 0.2, 10.0  # seconds, doubled at every try
_BUSY, _BROKEN, _MOVED, _FINE = 429, 500, 300, 200
_CHUNK = 2**16
_ROOM, _EACH = 2**20, 64  # bytes of an answer, and of each number in it


class Line:
    """A connection that is opened anew where it broke.

    Attributes:
        address: As the user typed it.
        requests: How many were sent.
        most: Examples of a request; 0 for as many as are asked at once.
    """

    def __init__(self, address: str) -> None:
        self._open: http.client.HTTPConnection | None = None
        self.address, self.requests = address, 0
        self._parts = _parts(address)
        self._header = _header()
        self._seconds = _number(TIMEOUT, _SECONDS)
        self.most = int(_number(BATCH, 0))

    def __del__(self) -> None:
        self._close()

    def asked(self, beside: str = "") -> dict[str, Any]:
        """Return what the address says of itself.

        Args:
            beside: What follows the address.

        Raises:
            TaskError: It does not answer.
        """
        return self._answer("GET", beside, b"", _ROOM)

    def sent(self, given: Mapping[str, Any], numbers: int, beside: str = "") -> dict[str, Any]:
        """Return the answer to what is sent.

        Args:
            given: As JSON.
            numbers: How many the answer may hold.
            beside: What follows the address.

        Raises:
            TaskError: It does not answer.
        """
        return self._answer("POST", beside, json.dumps(given).encode(), _ROOM + _EACH * numbers)

    def shown(self, value: object, most: int) -> str:
        """Return what the address said as a message shows it, without what authenticates, which it may repeat.

        Args:
            value: As `whatelse.errors.shown` takes it.
            most: Characters.
        """
        return cut(self._safe(shown(value, _ROOM)), most)

    def _safe(self, text: str) -> str:
        for whole in self._header.values():
            for secret in (whole, *whole.split()[1:]):
                text = text.replace(secret, "...")
        return text

    def _answer(self, method: str, beside: str, body: bytes, room: int) -> dict[str, Any]:
        told, pause = "", _PAUSE
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(min(pause, _LONGEST))
                pause *= 2
            try:
                status, held, wait = self._once(method, beside, body, room)
            except TimeoutError as error:
                self._close()
                raise TaskError(
                    f"{self.address} gave no answer within {self._seconds:g} seconds; {TIMEOUT}=SECONDS waits longer"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                self._close()
                told = in_short(error)
                continue
            if status != _BUSY and status < _BROKEN:
                return self._read(status, held)
            told, pause = f"status {status}", max(pause, wait)
        raise TaskError(f"{self.address} did not answer at {_TRIES} tries, after {self.requests} requests: {told}")

    def _once(self, method: str, beside: str, body: bytes, room: int) -> tuple[int, bytes, float]:
        """Return the status, the answer, and how long to wait before the next try.

        Raises:
            TaskError: The answer is too long.
            TimeoutError: It takes too long.
        """
        if self._open is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            self._open = kind(self._parts.hostname or "", self._parts.port, timeout=self._seconds)
        self.requests += 1
        path = (self._parts.path.rstrip("/") + beside) or "/"
        self._open.request(method, path, body or None, {"Content-Type": "application/json", **self._header})
        with _ending(self._open.sock, self._seconds):
            answer = self._open.getresponse()
            parts: list[bytes] = []
            while part := answer.read1(_CHUNK):
                parts.append(part)
                if sum(map(len, parts)) > room:
                    self._close()
                    raise TaskError(f"{self.address} answers with more than {room:,} bytes; scores alone are needed")
            answer.read()  # ends what was read in parts; raises where some is missing
        wait = answer.headers.get("Retry-After", "")
        return answer.status, b"".join(parts), float(wait) if wait.isdecimal() else 0.0

    def _read(self, status: int, held: bytes) -> dict[str, Any]:
        if not _FINE <= status < _MOVED:
            said = cut(self._safe(" ".join(held.decode("utf-8", "replace").split())), 120)
            hint = f"; what authenticates goes into {HEADER}" if status in {401, 403} else ""
            raise TaskError(f"{self.address} answers with status {status}: {said or 'nothing'}{hint}")
        try:
            found = json.loads(held)
        except (ValueError, RecursionError) as error:
            raise TaskError(f"{self.address} answers with what is no JSON, {len(held)} bytes") from error
        if not isinstance(found, dict):
            raise TaskError(f"{self.address} answers with a {type(found).__name__}; an object is needed")
        return found

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


@contextmanager
def _ending(sock: socket.socket, seconds: float) -> Generator[None]:
    """Hang up after a time, also on what sends a byte now and then.

    Raises:
        TimeoutError: The time was over.
        OSError: The connection broke.
        HTTPException: The answer is none.
    """
    over = threading.Event()

    def hang_up() -> None:
        over.set()
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        if over.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
    if over.is_set():
        raise TimeoutError


def _parts(address: str) -> SplitResult:
    """Return the parts of an address.

    Raises:
        ArtifactError: It is none, or holds what should stand in no file.
    """
    try:
        parts = urlsplit(address)
        fits = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits or not address.isascii() or not address.isprintable() or " " in address:
        raise ArtifactError(f"{address}: no address; http(s)://host:port/path is needed")
    if parts.username or parts.password or parts.query or parts.fragment:
        shorter = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ArtifactError(
            f"{shorter}: an address without user, password, ? and # is needed, as it is written into findings; what "
            f"authenticates goes into {HEADER}, such as 'Authorization: Bearer ...'"
        )
    return parts


def _header() -> dict[str, str]:
    """Return the header of the environment.

    Raises:
        SettingError: It is none; it is not printed.
    """
    given = os.environ.get(HEADER, "")
    if not given:
        return {}
    name, colon, value = given.partition(":")
    whole = name.strip() + value.strip()
    if not colon or not name.strip() or not value.strip() or not whole.isprintable() or not whole.isascii():
        raise SettingError(f"{HEADER} is no header; 'Name: value' is needed, such as 'Authorization: Bearer ...'")
    return {name.strip(): value.strip()}


def _number(name: str, usual: float) -> float:
    """Return a number of the environment.

    Raises:
        SettingError: It is none.
    """
    given = os.environ.get(name, "")
    try:
        found = float(given) if given else usual
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and (found > 0 or not given)):
        raise SettingError(f"{name}={given!r}; a number above 0 is needed")
    return found
