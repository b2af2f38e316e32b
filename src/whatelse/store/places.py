"""Where results are, as a user names it: a folder, or an address that several machines reach."""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from pathlib import Path

from whatelse.errors import StoreError
from whatelse.store.bucket import Bucket, check
from whatelse.store.folder import Folder
from whatelse.store.protocol import Store

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")
_SHORTENED = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]")


def at(place: str | Path) -> Store:
    """Return the results of a place.

    Args:
        place: A folder, or an address that fsspec opens, such as ``s3://bucket/prefix``.

    Raises:
        StoreError: It is an address that nothing opens, or was one before it was made a path.
        MissingExtraError: The package behind the address is not installed.
    """
    text = str(place)
    if _SHORTENED.match(text):
        raise StoreError(f"results={text!r}: a path has no address; give it as a text, with both slashes")
    if not _ADDRESS.match(text) or text.startswith("file://"):
        return Folder(Path(text.removeprefix("file://")).resolve())  # workers may stand in another folder
    if "::" in text:
        raise StoreError(f"--results {text}: one address alone is needed, such as s3://BUCKET/PREFIX")
    url = text.rstrip("/")
    if url.endswith(":"):
        raise StoreError(f"--results {text}: no bucket is named; give {url}//BUCKET/PREFIX")
    check(url)
    return Bucket(url)


@lru_cache(maxsize=8)
def see(store: Store, mark: str) -> None:
    """Refuse to work where results are kept elsewhere: nothing that others finish would be found here.

    Args:
        store: Where results are kept.
        mark: That whoever planned left there.

    Raises:
        StoreError: This process looks at another place, or cannot look.
    """
    if not store.sees(mark):
        raise StoreError(
            f"a worker on {platform.node()} does not see the results in {store.where()}: all of them need a place that "
            "they reach, --results s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, or a folder that every machine mounts at "
            "the same path; what is finished is kept"
        )
