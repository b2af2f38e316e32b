"""What a listing says of an item, read from the text of its file: nothing is imported, nothing is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from whatelse.errors import ItemError, in_short

_SECTION = re.compile(r"^(Reading|Cost|Limits|Source):\n", re.MULTILINE)
_READ = ("NEEDS", "SUFFIXES", "ITEM")  # what is acted on before a file is imported


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
        origin: Where it comes from: empty for ours, a package with its version, or a file.
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
    origin: str = ""


def read(text: str, name: str, where: str, origin: str = "") -> Card:
    """Return the card of an item.

    Args:
        text: Of its file.
        name: Its dotted name.
        where: How a message calls the file.
        origin: Where the item comes from.

    Raises:
        ItemError: The text is not Python, or what is acted on before it is imported is no plain value.
    """
    tree = parsed(text, where)
    summary, definition, sections = _sections(ast.get_docstring(tree) or "")
    found = constants(tree, where)
    needs = found.pop("NEEDS", ())
    return Card(
        name=name,
        summary=summary,
        definition=definition,
        reading=sections.get("Reading", ""),
        cost=sections.get("Cost", ""),
        limits=sections.get("Limits", ""),
        source=sections.get("Source", ""),
        needs=needs if isinstance(needs, tuple) else (),
        settings=tuple(_settings(tree)),
        constants=found,
        origin=origin,
    )


def parsed(text: str, where: str) -> ast.Module:
    """Return the syntax of a file.

    Args:
        text: Of the file.
        where: How a message calls it.

    Raises:
        ItemError: It is not Python.
    """
    try:
        return ast.parse(text)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise ItemError(f"{where}{line}: {error.msg}; the file of an item is Python") from error
    except (ValueError, MemoryError, RecursionError) as error:  # zeros in it, or nested deeper than Python reads
        raise ItemError(f"{where}: {in_short(error)}; the file of an item is Python") from error


def constants(tree: ast.Module, where: str) -> dict[str, object]:
    """Return the upper-case constants of a file that are plain values; sets as sorted tuples.

    Args:
        tree: Its syntax.
        where: How a message calls it.

    Raises:
        ItemError: One that is acted on before the file is imported has to be computed.
    """
    found: dict[str, object] = {}
    for name, value in _assigned(tree):
        if not name.isupper() or name.startswith("_"):
            continue
        try:
            plain = () if ast.unparse(value) == "set()" else ast.literal_eval(value)
            found[name] = tuple(sorted(plain)) if isinstance(plain, set) else plain
        except (ValueError, TypeError) as error:
            if name in _READ:
                raise ItemError(
                    f"{where}: {name} is {ast.unparse(value)[:80]}; it is read without running the file, so write "
                    "it out as plain values"
                ) from error
    return found


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _paired(target, node.value)


def _paired(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for left, right in zip(target.elts, value.elts, strict=True):
            yield from _paired(left, right)


def _settings(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            yield from (
                s.target.id for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
            )


def _sections(text: str) -> tuple[str, str, dict[str, str]]:
    """Return first sentence, definition and what stands under each section of a docstring, without line breaks."""
    head, *rest = _SECTION.split(text)
    first, _, definition = head.partition("\n\n")
    named = {name: _joined(body) for name, body in zip(rest[::2], rest[1::2], strict=True)}
    return _joined(first), _joined(definition), named


def _joined(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
