"""Files to start an item with: a small one that works and keeps its contract, and its test, both to be edited."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from string import Template

from whatelse import registry
from whatelse.errors import ItemError, StoreError
from whatelse.kinds import KINDS, Kind, check_name, kind_of

# What differs between a file of one's own, which says what it is, and one among ours, which goes by its path and which
# the suite holds against the contract.
_ELSEWHERE = {
    "declared": 'ITEM = "$word $name"\n',
    "path": "from pathlib import Path\n",
    "gap": "\n",
    "begin": '\nFILE = Path(__file__).with_name("$last.py")\nregistry.add(FILE)\n\n\n'
    '@pytest.mark.parametrize("check", testing.checks("$word"), ids=str)\n'
    "def test_it_keeps_the_contract(check):\n    check(FILE)\n\n\n",
    "mark": "",
}
_OURS = {
    "declared": "",
    "path": "",
    "gap": "",
    "begin": "\n\n",
    "mark": "@pytest.mark.known_answer\n",
}


def write(word: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Write a file that is an item and the file that tests it, and return where they are.

    In a checkout of this project they lie where its own do; anywhere else side by side in the folder.

    Args:
        word: Its kind, such as ``behaviour``.
        name: Its dotted name, such as ``fairness.my_gap``.
        folder: Where.

    Raises:
        UnknownItemError: There is no such kind.
        ItemError: There is no template for it, or the name cannot be its name or is taken.
        StoreError: A file of that name is there already, or cannot be written.
    """
    kind = kind_of(word)
    texts = _templates(kind)
    check_name(kind, name, registry.ours(kind), f"whatelse new {word} {name}")
    if name in registry.names(kind):
        raise ItemError(f"whatelse new {word} {name}: there is a {KINDS[kind].said} of that name; choose another one")
    inside = (folder / "src" / "whatelse" / "kinds.py").is_file()
    if not inside and name.rpartition(".")[2] in sys.stdlib_module_names:
        raise ItemError(
            f"whatelse new {word} {name}: a file of that name would hide Python's own module; choose another name"
        )
    places = _inside(kind, name, folder) if inside else _beside(name, folder)
    words = {"word": KINDS[kind].word, "name": name, "last": name.rpartition(".")[2]}
    words["called"] = name.replace("_", " ")  # of a control, in studies and findings
    differs = {key: Template(text).substitute(words) for key, text in (_OURS if inside else _ELSEWHERE).items()}
    for place in places:
        if place.exists():
            raise StoreError(f"{place} is there already; nothing was written: choose another name or another folder")
    for place, text in zip(places, texts, strict=True):
        _write(place, Template(text).substitute(words, known=_known(text, inside=inside), **differs))
    if inside:
        _open_family(places[0].parent, kind)
    return places


def _templates(kind: Kind) -> tuple[str, str]:
    """Return the texts of the item and of its test.

    Raises:
        ItemError: There are none for the kind.
    """
    files = resources.files("whatelse.templates")
    found = [files.joinpath(f"{name}.txt") for name in (kind, f"test_{kind}")]
    if not all(file.is_file() for file in found):
        known = [room.word for other, room in KINDS.items() if files.joinpath(f"{other}.txt").is_file()]
        raise ItemError(
            f"no template of the kind {KINDS[kind].word}; there are {', '.join(known)}; start from one of ours: "
            f"{', '.join(registry.ours(kind))}, in whatelse/{KINDS[kind].folder}"
        )
    return found[0].read_text("utf-8"), found[1].read_text("utf-8")


def _known(text: str, *, inside: bool) -> str:
    """Return what a test imports of this package: what its text uses, and beside a user's file what takes that up."""
    used = [name for name in ("items", "opening", "registry", "surfaces", "testing") if f"{name}." in text]
    return ", ".join(sorted({*used, *(() if inside else ("registry", "testing"))}))


def _inside(kind: Kind, name: str, folder: Path) -> tuple[Path, Path]:
    *families, last = name.split(".")
    below = Path(KINDS[kind].folder, *families)
    return folder / "src" / "whatelse" / below / f"{last}.py", folder / "tests" / below / f"test_{last}.py"


def _beside(name: str, folder: Path) -> tuple[Path, Path]:
    last = name.rpartition(".")[2]
    return folder / f"{last}.py", folder / f"test_{last}.py"


def _open_family(folder: Path, kind: Kind) -> None:
    """Make a new family a package, as all of ours are."""
    start = folder / "__init__.py"
    if not start.exists():
        _write(start, f'"""{KINDS[kind].word.capitalize()}s of the family {folder.name}."""\n')


def _write(place: Path, text: str) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror}") from error
