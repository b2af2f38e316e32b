"""Methods, behaviours, nets and data loaders, found by their path: a new file is a new item."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

from whatelse.errors import MissingExtraError, UnknownItemError, nearest, shown

Kind = Literal[
    "methods",
    "behaviours",
    "nets",
    "layers",
    "datasets",
    "controls",
    "engines",
    "exhibits",
    "surfaces",
    "gate_surfaces",
]
_ROOT = Path(__file__).parent
_SECTION = re.compile(r"^(Reading|Cost|Limits|Source):\n", re.MULTILINE)
WORDS = {
    "methods": "method",
    "behaviours": "behaviour",
    "nets": "net",
    "layers": "file of layers",
    "datasets": "data loader",
    "controls": "control",
    "engines": "engine",
    "exhibits": "kind of exhibit",
    "surfaces": "surface",
    "gate_surfaces": "surface of the gate",
}
# Where the files of a kind are, if not in a folder of its name.
FOLDERS = {"exhibits": "exhibits/kinds", "surfaces": "report/surfaces", "gate_surfaces": "gate/surfaces"}


@dataclass(frozen=True)
class Card:
    """What a listing says of an item, read from its source without importing it.

    Attributes:
        name: Dotted name, such as ``prune.magnitude``.
        summary: First sentence of the docstring.
        definition: What stands between the first sentence and the first section; paragraphs are kept apart.
        reading: What stands under ``Reading:``; empty where there is no such section, as in a method.
        cost: What stands under ``Cost:``; as above.
        limits: What stands under ``Limits:``; as above.
        source: What stands under ``Source:``.
        needs: Capabilities that a behaviour asks for, sorted; empty for a method.
        settings: Names of its settings, in order.
        constants: The remaining upper-case constants that are plain values, such as ``VERSION``.
    """

    name: str
    summary: str
    definition: str
    reading: str
    cost: str
    limits: str
    source: str
    needs: tuple[str, ...]
    settings: tuple[str, ...]
    constants: dict[str, object]


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """List the dotted names of all items of a kind, such as ``prune.magnitude``, sorted.

    Only file names are read, so that a listing needs none of the optional packages.

    Args:
        kind: Which folder to look in.
    """
    root = _ROOT / folder(kind)
    found = (p.relative_to(root).with_suffix("") for p in root.rglob("*.py"))
    return tuple(sorted(".".join(p.parts) for p in found if not p.name.startswith("_")))


def folder(kind: Kind) -> str:
    """Return where the files of a kind are, below this package.

    Args:
        kind: Any.
    """
    return FOLDERS.get(kind, kind)


def load(kind: Kind, name: str) -> ModuleType:
    """Import one item.

    Args:
        kind: Which folder to look in.
        name: A dotted name from `names`.

    Raises:
        UnknownItemError: No file has that name; the message offers the nearest ones.
        MissingExtraError: The item needs a package that is not installed.
    """
    check(kind, name)
    try:
        return import_module(f"whatelse.{folder(kind).replace('/', '.')}.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{name} needs the package {error.name!r}, which is not installed") from error


def check(kind: Kind, name: str) -> None:
    """Refuse a name that no file has, without importing anything.

    Args:
        kind: Which folder to look in.
        name: A dotted name.

    Raises:
        UnknownItemError: No file has that name; the message offers the nearest ones.
    """
    if name not in names(kind):
        raise UnknownItemError(f"no {WORDS[kind]} named {shown(name)}; {nearest(name, names(kind))}")


@cache
def card(kind: Kind, name: str) -> Card:
    """Return what a listing says of an item, from its source text alone.

    Args:
        kind: Which folder to look in.
        name: A dotted name from `names`.
    """
    check(kind, name)
    tree = ast.parse((_ROOT / folder(kind) / Path(*name.split("."))).with_suffix(".py").read_text("utf-8"))
    summary, definition, sections = _sections(ast.get_docstring(tree) or "")
    constants: dict[str, object] = {}
    settings: tuple[str, ...] = ()
    for node in tree.body:
        if isinstance(node, ast.Assign):
            constants |= _constants(node)
        elif isinstance(node, ast.ClassDef) and node.name == "Config":
            settings = tuple(
                s.target.id for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
            )
    needs = constants.pop("NEEDS", ())
    return Card(
        name=name,
        summary=summary,
        definition=definition,
        reading=sections.get("Reading", ""),
        cost=sections.get("Cost", ""),
        limits=sections.get("Limits", ""),
        source=sections.get("Source", ""),
        needs=needs if isinstance(needs, tuple) else (),
        settings=settings,
        constants=constants,
    )


def _sections(text: str) -> tuple[str, str, dict[str, str]]:
    """Return first sentence, definition and what stands under each section of a docstring, without line breaks."""
    head, *rest = _SECTION.split(text)
    first, _, definition = head.partition("\n\n")
    named = {name: _joined(body) for name, body in zip(rest[::2], rest[1::2], strict=True)}
    return _joined(first), _joined(definition), named


def _joined(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _constants(node: ast.Assign) -> dict[str, object]:
    target = node.targets[0]
    pairs = zip(target.elts, node.value.elts, strict=True) if _both_tuples(node) else [(target, node.value)]  # type: ignore[attr-defined]
    found: dict[str, object] = {}
    for left, right in pairs:
        if isinstance(left, ast.Name) and left.id.isupper() and not left.id.startswith("_"):
            value = () if ast.unparse(right) == "set()" else ast.literal_eval(right)
            found[left.id] = tuple(sorted(value)) if isinstance(value, set) else value
    return found


def _both_tuples(node: ast.Assign) -> bool:
    return isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
