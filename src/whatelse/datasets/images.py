"""A folder of images of one's own: one folder inside it for every class, with PNG, JPEG, WebP or BMP files.

``path/cat/1.png`` is of class ``cat``; classes are in order of the alphabet. Or a file ``metadata.csv``
(``metadata.jsonl``, ``metadata.parquet``) beside the images says of each ``file_name`` what there is to know: its
``label``, and columns that make ``groups`` or name the ``cluster`` of whose image it is. The images are shuffled once
and for all and cut into the shares ``test`` and ``select`` and the rest, train; ``split='test'`` says that none of them
is train, and ``members`` is a folder of images that the model was trained on. Or ``path`` holds the folders ``test``
and, if there are such, ``train``, ``validation`` (or ``select``) and ``shifted``, each laid out so. ``split`` then
names the one that verdicts are given on.

Every image becomes ``size`` by ``size`` pixels in [0, 1], scaled without regard to its proportions, or stays as large
as it is (``size=0``); gray or red, green and blue. Four bytes a number are kept, those of many images in a file on the
disk instead of in memory. Groupings: ``class``.

Source:
    The layouts of torchvision's ImageFolder and of imagefolder in Hugging Face's datasets; scaling: Pillow, bilinear
    with antialiasing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from whatelse.datasets import _bounds, _column, _examples, _groups, _pictures, _read, _tabular
from whatelse.datasets._column import Column
from whatelse.errors import TaskError, nearest
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION = 2
_KINDS = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_SPLITS = {"train": "train", "select": "select", "validation": "select", "val": "select", "valid": "select"}
_SPLITS |= {"dev": "select", "test": "test", "shifted": "shifted"}
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE, _LABEL, _CLASS = "file_name", "label", "class"


@dataclass(frozen=True)
class Config:
    """Settings of a folder of images."""

    path: str = param("", "The folder.")
    size: int = param(32, "Height and width in pixels, 0 as they are; nets.cnn takes multiples of 4.", low=0, high=4096)
    color: str = param("rgb", "What a pixel is.", choices=tuple(_pictures.MODES))
    label: str = param("", "Column of metadata with the class; empty for label, or the folders.", option="target")
    groups: str = param("", f"Columns of metadata that make groups, {_groups.HELP}.")
    members: str = param("", "A folder of images that the model was trained on.")
    cluster: str = param("", "Column of metadata that says whose image it is, such as patient_id.")
    split: str = param("", "The folder that verdicts are given on; test where no image of path is train.")
    classes: str = param("", "Names of the classes in the order of the model's outputs, joined by commas.")
    bounds: str = param("", f"{_bounds.HELP}; empty for 0,1.")
    test: float = param(0.3, "Share of images held back for verdicts, without a folder test.", low=0.01, high=0.9)
    select: float = param(0.1, "Share of the others held back for choices, without a folder.", low=0.01, high=0.9)
    calibration: int = param(256, "Images of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of images of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return a folder of images as a task.

    Args:
        config: Which folder, and what becomes of its images.

    Raises:
        TaskError: There is no such folder, it has no images of two classes, or a file cannot be read.
        MissingExtraError: Pillow is not installed.
    """
    place = Path(config.path)
    plan, folders = _folders(place, config)
    if config.members:
        folders[_tabular.MEMBERS] = Path(config.members)
    labels = {each: _labelled(folder, config) for each, folder in folders.items()}
    label = labels[_tabular.WHOLE]
    by_folder = label == _CLASS
    known = _classes(folders.get(_tabular.MEMBERS, folders[_tabular.WHOLE])) if by_folder else ()
    plan = replace(plan, label=label)
    sources = {each: _source(folder, known, plan.texts(), config) for each, folder in folders.items()}
    name = place.name or "images"
    return _examples.task(name, sources, "images", plan, known=known, bounds=(0.0, 1.0), by_class=by_folder)


def takes(text: str) -> bool:
    """Return whether a text names a folder.

    Args:
        text: What a user types.
    """
    return os.path.isdir(text)  # False also of a name that no file may have


def _folders(place: Path, config: Config) -> tuple[_tabular.Plan, dict[str, Path]]:
    """Return what is done with the images, and the folder of each part of the data.

    Raises:
        TaskError: There is no such folder, or it has not the split that is asked for.
    """
    if not config.path or not place.is_dir():
        raise TaskError(f"data images: path={config.path!r}: no such folder")
    plan = _tabular.Plan.of(config)
    given = {_SPLITS[p.name]: p for p in sorted(place.iterdir()) if p.name in _SPLITS and p.is_dir()}
    named = place / config.split
    if "test" not in given and not (config.split and named.is_dir()):
        if config.split not in {"", "test"}:
            known = [p.name for p in place.iterdir() if p.is_dir()]
            raise TaskError(
                f"data images: split: no folder {config.split!r} in {place}; {nearest(config.split, known)}"
            )
        return plan, {_tabular.WHOLE: place}
    test = named if config.split else given["test"]
    rest = {name: folder for name, folder in given.items() if folder != test and name != "test"}
    if config.members:
        rest.pop("train", None)
    if "train" not in rest:
        return replace(plan, split="test"), {_tabular.WHOLE: test, **rest}
    return replace(plan, split=""), {_tabular.WHOLE: rest.pop("train"), "test": test, **rest}


def _labelled(folder: Path, config: Config) -> str:
    """Return the column that has the class; folders make one of their own where there is no metadata.

    Raises:
        TaskError: A column is asked for, and there is no metadata.
    """
    if _metadata(folder) is not None:
        return config.label or _LABEL
    if config.label not in {"", _CLASS}:
        raise TaskError(f"data images: label={config.label!r} (--target), and {folder} has no {_METADATA[0]}")
    return _CLASS


def _metadata(folder: Path) -> Path | None:
    return next((folder / name for name in _METADATA if (folder / name).is_file()), None)


def _classes(place: Path) -> tuple[str, ...]:
    if not place.is_dir():
        raise TaskError(f"data images: {place}: no such folder")
    names = tuple(sorted(p.name for p in place.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < 2:
        found = ", ".join(names) or "none"
        raise TaskError(f"data images: {place}: folders of two classes or more are needed; it has {found}")
    return names


def _source(folder: Path, known: tuple[str, ...], texts: set[str], config: Config) -> _examples.Source:
    """Return the images of a folder, and what stands beside them.

    Raises:
        TaskError: There are none, or metadata names a file that is not there.
    """
    listed = _metadata(folder)
    if listed is not None:
        where = f"images, {listed.name}"
        columns = dict(_read.read(listed, where, texts={*texts, _FILE}))
        if _FILE not in columns:
            raise TaskError(f"data {where}: no column {_FILE!r}; {nearest(_FILE, columns)}")
        paths = _inside(folder, columns.pop(_FILE), where)
    else:
        found = [(p, name) for name in known for p in sorted((folder / name).rglob("*")) if _is_image(p)]
        paths = [path for path, _ in found]
        columns = {_CLASS: _column.of([name for _, name in found])}
    if not paths:
        raise TaskError(f"data images: {folder}: no images are left for it")
    return _examples.Source(
        lambda i: _pictures.pixels(paths[i], str(paths[i]), config.color, config.size),
        lambda i: str(paths[i]),
        columns,
        sum(path.stat().st_size for path in paths),
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _KINDS and path.is_file()


def _inside(folder: Path, names: Column, where: str) -> list[Path]:
    """Return the files that metadata names, which lie in its folder.

    Raises:
        TaskError: One is not there, or lies elsewhere.
    """
    root = folder.resolve()
    found = []
    for row in range(len(names)):
        path = folder / names.at(row)
        if not path.resolve().is_relative_to(root) or not path.is_file():
            got = f"row {row + 1} is {names.at(row)!r}"
            raise TaskError(f"data {where}, column {_FILE!r}: {got}; no such file in {folder}")
        found.append(path)
    return found
