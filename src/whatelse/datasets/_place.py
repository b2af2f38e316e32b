"""Where the real data lies: in a folder that WHATELSE_DATA names, or at OpenML, through scikit-learn."""

from __future__ import annotations

import importlib
import os
from importlib import resources
from pathlib import Path
from typing import Any

from whatelse.errors import MissingExtraError, TaskError

VARIABLE = "WHATELSE_DATA"


def folder(name: str, files: tuple[str, ...]) -> Path | None:
    """Return the folder of a data set inside the one that the environment names; None where it names none.

    Args:
        name: Of the folder.
        files: What must be in it.

    Raises:
        TaskError: The environment names a folder, and the data is not there.
    """
    root = os.environ.get(VARIABLE, "")
    if not root:
        return None
    place = Path(root) / name
    for file in files:
        if not (place / file).is_file():
            raise TaskError(f"data {name}: no file {place / file}; put it there, or set {VARIABLE} to where it lies")
    return place


def shipped(path: str) -> Path:
    """Return the path of a file; of one that comes with the package where ``whatelse/...`` names no other.

    Args:
        path: As a user types it; what the environment says may stand in it, as ``$WHATELSE_DATA/...``.

    Raises:
        TaskError: The environment does not say it, or there is no such file.
    """
    asked, path = path, os.path.expandvars(path)
    if "$" in asked and not os.path.exists(path):
        told = "the environment does not say what stands there" if "$" in path else f"there is no {path}"
        raise TaskError(f"path={asked!r}: {told}; set the variable to the folder that holds it")
    if path.startswith("whatelse/") and not os.path.exists(path):
        return Path(str(resources.files("whatelse"))).joinpath(*path.split("/")[1:])
    return Path(path)


def openml(name: str, title: str, version: int, *, as_frame: bool) -> Any:  # noqa: ANN401 - scikit-learn's Bunch
    """Return a data set of OpenML as scikit-learn fetches it; it keeps a copy, so the second time is fast.

    Args:
        name: Of the data loader, for messages.
        title: The name at OpenML.
        version: The version at OpenML.
        as_frame: Columns of a pandas frame with the names of categories; else arrays of numbers.

    Raises:
        MissingExtraError: scikit-learn or pandas is not installed.
        TaskError: OpenML cannot be reached, or does not have the data any more.
    """
    try:
        importlib.import_module("pandas")  # scikit-learn reads with it
        from sklearn import datasets  # noqa: PLC0415 - an extra, imported where it is needed
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"data {name} needs scikit-learn and pandas to fetch it: pip install 'whatelse[openml]'; "
            f"or set {VARIABLE} to a folder that holds {name}"
        ) from error
    try:
        return datasets.fetch_openml(title, version=version, as_frame=as_frame, parser="pandas")
    except (OSError, ValueError) as error:  # no network; no such data set; a damaged copy
        reason = " ".join(str(error).split())[:200]
        raise TaskError(
            f"data {name}: OpenML does not give it ({reason}); set {VARIABLE} to a folder that holds {name}"
        ) from error
