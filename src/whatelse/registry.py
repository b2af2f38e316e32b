"""Every item by its kind and name, from three places in one table, and none is imported to be listed.

Ours are found by their path: a new file in the folder of its kind is a new item. Those of other packages are found by
entry points: the group is ``whatelse.<kind>``, such as ``whatelse.behaviours``; the name is the item's, the value its
module. Those of a file that the user names (``--items mine.py``, or `add`) say what they are in one line of the file,
such as ``ITEM = "behaviour fairness.my_gap"``.

Only a file that the user names himself is run, and packages that he installed: what a study, a findings file or a
model names is looked up among these and never opened as a path.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, metadata, util
from pathlib import Path
from types import ModuleType

from whatelse import cards
from whatelse.cards import Card as Card
from whatelse.errors import ItemError, MissingExtraError, UnknownItemError, in_short, nearest, shown
from whatelse.kinds import KINDS as KINDS
from whatelse.kinds import Kind as Kind
from whatelse.kinds import check_name, kind_of

_ROOT = Path(__file__).parent
_DIGEST = 16  # characters of a file's hash


@dataclass(frozen=True)
class Source:
    """Where an item is written.

    Attributes:
        kind: Its kind.
        name: Its dotted name.
        module: What to import; for a file, what its module is called once it ran.
        origin: What else its results depend on beside its version: empty for ours, package and version for one of an
            entry point, a hash of the text for one of a file.
        path: The file, for one that the user named.
        text: Of that file.
    """

    kind: Kind
    name: str
    module: str
    origin: str = ""
    path: str = ""
    text: str = field(default="", repr=False, compare=False)

    @property
    def where(self) -> str:
        """How a message calls it: the file that the user named, else the item, with the package that brought it."""
        if self.path:
            return Path(self.path).name
        return f"{KINDS[self.kind].said} {self.name}{f' of {self.origin}' if self.origin else ''}"

    @property
    def comes_from(self) -> str:
        """What a listing says: nothing of ours, the package with its version, or the file."""
        return Path(self.path).name if self.path else self.origin


@dataclass(frozen=True)
class Added:
    """A file of items as a job carries it to a worker.

    Attributes:
        path: Where it is.
        origin: Hash of the text that it had when the work was planned.
    """

    path: str
    origin: str


_ADDED: dict[tuple[Kind, str], Source] = {}


def names(kind: Kind) -> tuple[str, ...]:
    """List the dotted names of all items of a kind, such as ``prune.magnitude``, sorted.

    Only file names and entry points are read, so that a listing needs none of the optional packages.

    Args:
        kind: Of `KINDS`.
    """
    theirs = {source.name for source in (*_installed(kind), *_ADDED.values()) if source.kind == kind}
    return tuple(sorted({*ours(kind), *theirs}))


@cache
def ours(kind: Kind) -> tuple[str, ...]:
    """List the dotted names of the items of a kind that this package brings, sorted.

    Args:
        kind: Of `KINDS`.
    """
    root = _ROOT / KINDS[kind].folder
    found = (p.relative_to(root).with_suffix("") for p in root.rglob("*.py"))
    return tuple(sorted(".".join(p.parts) for p in found if not p.name.startswith("_")))


def find(kind: Kind, name: str) -> Source:
    """Return where an item is written, without importing anything.

    Args:
        kind: Of `KINDS`.
        name: A dotted name.

    Raises:
        UnknownItemError: There is none of that name; the message offers the nearest ones.
        ItemError: There are several of that name.
    """
    found = [source for source in _installed(kind) if source.name == name]
    found += [_ADDED[kind, name]] if (kind, name) in _ADDED else []
    if name in ours(kind):
        found.append(Source(kind, name, f"whatelse.{KINDS[kind].folder.replace('/', '.')}.{name}"))
    if not found:
        raise UnknownItemError(f"no {KINDS[kind].said} named {shown(name)}; {nearest(name, names(kind))}")
    if len(found) > 1:
        several = " and ".join(source.comes_from or "whatelse itself" for source in found)
        raise ItemError(f"{KINDS[kind].said} {name}: {several} have one of that name; uninstall or rename one of them")
    return found[0]


def check(kind: Kind, name: str) -> None:
    """Refuse a name that no item has, without importing anything.

    Args:
        kind: Of `KINDS`.
        name: A dotted name.

    Raises:
        UnknownItemError: There is none of that name; the message offers the nearest ones.
        ItemError: There are several of that name.
    """
    find(kind, name)


def load(kind: Kind, name: str) -> ModuleType:
    """Import one item.

    Args:
        kind: Of `KINDS`.
        name: A dotted name from `names`.

    Raises:
        UnknownItemError: There is none of that name; the message offers the nearest ones.
        MissingExtraError: The item needs a package that is not installed.
        ItemError: Its file is from elsewhere and cannot be imported, or there are several of that name.
    """
    source = find(kind, name)
    try:
        return _run(source) if source.path else import_module(source.module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{name} needs the package {error.name!r}, which is not installed") from error
    except Exception as error:
        if not source.origin:
            raise
        raise ItemError(f"{source.where}: {type(error).__name__} on import: {in_short(error)}") from error


def card(kind: Kind, name: str) -> Card:
    """Return what a listing says of an item, from the text of its file alone.

    Args:
        kind: Of `KINDS`.
        name: A dotted name from `names`.

    Raises:
        UnknownItemError: There is none of that name; the message offers the nearest ones.
        ItemError: Its file cannot be read, or there are several of that name.
    """
    return _card(find(kind, name))


def add(place: str | Path, origin: str = "") -> tuple[Source, ...]:
    """Take up the item of a file, or of every file of a folder that declares one, and return where they are written.

    It is known in this process from then on. The same file again changes nothing; one whose text has changed since
    takes the place of the former. Nothing of it is run before the item is used.

    Args:
        place: A file whose constant ``ITEM`` says kind and name, such as ``"behaviour fairness.my_gap"``; or a folder.
        origin: Hash of the text that it must have, as `added` gives it; empty for whatever it has.

    Raises:
        ItemError: There is no such file, it does not say what it is, its name is taken, or its text is another one.
    """
    path = Path(place)
    if path.is_dir():
        files = [file for file in sorted(path.glob("*.py")) if not file.name.startswith(("_", "test_"))]
        files = [file for file in files if _declared(_text(file), file.name)]
        if not files:
            raise ItemError(f"{place}: no file in this folder says what it is; {_SAYS}")
        return tuple(source for file in files for source in add(file))
    source = _source(path)
    if origin and source.origin != origin:
        raise ItemError(
            f"{place}: it changed after the work was planned; finished cells are kept: run again to measure with the "
            "item as it is now"
        )
    _check_free(source)
    _ADDED[source.kind, source.name] = source
    return (source,)


def added() -> tuple[Added, ...]:
    """Return every file that was added, as jobs carry them: a worker calls ``add(one.path, one.origin)`` for each."""
    return tuple(Added(source.path, source.origin) for _, source in sorted(_ADDED.items()))


_SAYS = 'a file of your own says what it is by one constant, such as ITEM = "behaviour fairness.my_gap"'


@cache
def _installed(kind: Kind) -> tuple[Source, ...]:
    """Return the items of a kind that other packages bring; read from what they declare, not from their code."""
    found = []
    for point in metadata.entry_points(group=f"whatelse.{kind}"):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"
        found.append(Source(kind, point.name, point.value, package))
    return tuple(sorted(found, key=lambda source: (source.name, source.origin)))


@cache
def _card(source: Source) -> Card:
    text = source.text if source.path else _text_of(source)
    return cards.read(text, source.name, source.where, source.comes_from)


def _text_of(source: Source) -> str:
    """Return the text of a module: found without importing it where it lies in a folder, as nearly all do.

    Raises:
        ItemError: It has none.
    """
    if not source.origin:
        return (_ROOT / KINDS[source.kind].folder / Path(*source.name.split("."))).with_suffix(".py").read_text("utf-8")
    file = _file(source.module)
    if file is not None:
        return _text(file)
    try:
        return inspect.getsource(load(source.kind, source.name))
    except OSError as error:
        raise ItemError(f"{source.where}: {source.module} has no source text, which a card is read from") from error


def _file(module: str) -> Path | None:
    """Return the file of a module that is not imported, found from its top package, which is not imported either."""
    top, *rest = module.split(".")
    spec = util.find_spec(top)
    if spec is None or not rest:
        return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None
    below = [Path(base, *rest) for base in spec.submodule_search_locations or ()]
    possible = (file for place in below for file in (place.with_suffix(".py"), place / "__init__.py"))
    return next((file for file in possible if file.is_file()), None)


def _source(path: Path) -> Source:
    """Return what the file of a user declares.

    Raises:
        ItemError: It is not there, cannot be read, or does not say what it is.
    """
    where, text = str(path), _text(path)
    said = _declared(text, where)
    if not said:
        raise ItemError(f"{where}: no ITEM; {_SAYS}")
    word, _, name = said.partition(" ")
    try:
        kind = kind_of(word)
    except UnknownItemError as error:
        raise ItemError(f"{where}: ITEM = {shown(said)}: {error}") from error
    check_name(kind, name.strip(), ours(kind), f"{where}: ITEM = {shown(said)}")
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return Source(kind, name.strip(), f"whatelse_added_{digest}", digest, str(path.resolve()), text)


def _declared(text: str, where: str) -> str:
    """Return what a file says that it is; empty where it says nothing.

    Raises:
        ItemError: It is not Python, or ``ITEM`` is not a text.
    """
    said = cards.constants(cards.parsed(text, where), where).get("ITEM", "")
    if not isinstance(said, str):
        raise ItemError(f"{where}: ITEM is {shown(said)}; {_SAYS}")
    return said


def _check_free(source: Source) -> None:
    """Refuse a name that another item has.

    Raises:
        ItemError: It is taken.
    """
    here = _ADDED.get((source.kind, source.name))
    if here is not None and here.path == source.path:
        return
    if source.name in names(source.kind):
        owner = here.path if here else find(source.kind, source.name).origin or "whatelse itself"
        raise ItemError(
            f"{source.where}: {KINDS[source.kind].said} {source.name} is taken, by {owner}; choose another name"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ItemError(f"{path}: {error.strerror}; a Python file with an item is needed") from error
    except ValueError as error:
        raise ItemError(f"{path}: {in_short(error)}; a Python file with an item is needed") from error


def _run(source: Source) -> ModuleType:
    """Return the module of a user's file: its text as it was added, run once."""
    if source.module in sys.modules:
        return sys.modules[source.module]
    module = ModuleType(source.module)
    module.__file__ = source.path
    sys.modules[source.module] = module  # dataclasses in the file look their module up
    try:
        with _beside(source.path):
            exec(compile(source.text, source.path, "exec"), module.__dict__)
    except BaseException:
        del sys.modules[source.module]
        raise
    return module


@contextmanager
def _beside(path: str) -> Generator[None, None, None]:
    """Let a file import what stands beside it, as it does when run."""
    folder = str(Path(path).parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
