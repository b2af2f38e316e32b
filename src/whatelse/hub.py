"""The hub of Hugging Face where there is no network: what was fetched before is used, and nothing is waited for.

Without this its libraries try again for half a minute before they say that there is no network.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

_SECONDS = 5.0  # that the hub may take to answer anything at all


@contextmanager
def reached() -> Generator[None]:
    """Let the hub's libraries look only at what was fetched before, where the hub does not answer.

    Yields:
        Nothing.
    """
    from huggingface_hub import constants  # noqa: PLC0415 - an extra, imported where it is needed

    # The library of data sets keeps the word for itself, where it was imported.
    told: list[Any] = [constants, *([sys.modules["datasets.config"]] if "datasets.config" in sys.modules else [])]
    before = [one.HF_HUB_OFFLINE for one in told]
    try:
        for one in told if not _answers() else ():
            one.HF_HUB_OFFLINE = True
        yield
    finally:
        for one, kept in zip(told, before, strict=True):
            one.HF_HUB_OFFLINE = kept


def fetched(name: str, patterns: Sequence[str]) -> str:
    """Return the folder of a repository's files, fetched where they were not before.

    Args:
        name: Of the repository, ``owner/name``.
        patterns: Which files, such as ``*.json``; of others nothing is fetched.

    Raises:
        Exception: Whatever the hub's libraries raise: there is no such repository, or no way to it.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    with reached():
        return str(snapshot_download(name, allow_patterns=list(patterns)))


def _answers() -> bool:
    from huggingface_hub import constants, get_session  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception:  # noqa: BLE001 - no network, no such name, a proxy that refuses: errors of several libraries
        return False
    return True
