"""The pages of commands and of Python that the site has: from the command line itself, and from docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

import whatelse
from whatelse import testing
from whatelse.cli.app import app

_SECTION = re.compile(r"(Args|Raises|Attributes|Yields|Returns):$")
_ENTRY = re.compile(r" {4}(\w+): (.*)")
_CODE = re.compile(r"``([^`]*)``")


def pages() -> dict[str, str]:
    """Return the text of both pages by their place on the site."""
    return {"commands.md": _commands(), "python.md": _python()}


def _commands() -> str:
    """Return a section for every command, with all of its options."""
    group: Any = typer.main.get_command(app)
    head = (
        "# Commands\n\nThis page is made from the command line itself: `whatelse COMMAND --help` says the same.\n\n"
        "Exit codes: 0 done; 3 unusable input, one line on standard error; 130 interrupted, with all finished work "
        "kept; of `gate` also 1 NO-GO and 2 INCONCLUSIVE."
    )
    return "\n\n".join([head, *(_command(name, command) for name, command in group.commands.items())]) + "\n"


def _command(name: str, command: Any) -> str:  # noqa: ANN401 - typer names no type for it
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join(["whatelse", name, "[OPTIONS]", *(one.metavar or one.name.upper() for one in arguments)])
    parts = [f"## {name}", f"`{usage}`", _plain(command.help or "")]
    if arguments:
        parts.append(
            _table(["argument", "what it is"], [[f"`{a.metavar or a.name}`", a.help or ""] for a in arguments])
        )
    panels = dict.fromkeys(one.rich_help_panel for one in command.params if one not in arguments)
    for panel in panels:
        options = [one for one in command.params if one not in arguments and one.rich_help_panel == panel]
        rows = [[_option(one), one.help or "", _default(one)] for one in options]
        parts += [f"**{panel}**"] if panel else []
        parts.append(_table(["option", "what it does", "default"], rows))
    return "\n\n".join(parts)


def _option(option: Any) -> str:  # noqa: ANN401 - as above
    names = ", ".join(f"`{name}`" for name in option.opts)
    return (
        names if option.is_flag else f"{names} {option.metavar or option.type_descriptor.annotation.__name__.upper()}"
    )


def _default(option: Any) -> str:  # noqa: ANN401 - as above
    return f"`{option.default}`" if option.default not in ("", None, False, ()) else ""


def _python() -> str:
    """Return a section for every public name."""
    head = (
        "# Python\n\nWhat `import whatelse` offers; this page is made from the docstrings. "
        "[Models that are objects](models/objects.md) shows it at work."
    )
    parts = [_name("whatelse", name, getattr(whatelse, name)) for name in whatelse.__all__]
    after = "# whatelse.testing\n\n" + _plain(inspect.getdoc(testing) or "")
    offered = [_name("whatelse.testing", name, getattr(testing, name)) for name in testing.__all__]
    return "\n\n".join(
        [head, *parts, after.replace("# ", "## ", 1), *(one.replace("## ", "### ", 1) for one in offered)]
    )


def _name(where: str, name: str, thing: Any) -> str:  # noqa: ANN401 - any public object
    signature = "" if inspect.isclass(thing) and issubclass(thing, Exception) else _signature(thing)
    head = f"## {where}.{name}\n\n```text\n{name}{signature}\n```\n\n{_docstring(inspect.getdoc(thing) or '')}"
    return head + (_methods(thing) if inspect.isclass(thing) else "")


def _methods(kind: type) -> str:
    """Return a list of what a class of ours offers, in its own order, with the first line of each docstring."""
    lines = []
    for name, part in vars(kind).items():
        whole = part.fget if isinstance(part, property) else part
        if name.startswith("_") or not (inspect.isfunction(whole) and whole.__doc__):
            continue
        called = ", ".join(list(inspect.signature(whole).parameters)[1:])
        shown = name if isinstance(part, property) else f"{name}({called})"
        lines.append(f"- `{shown}`: {_plain(whole.__doc__.strip().partition(chr(10))[0])}")
    return "\n\n**Offers**\n\n" + "\n".join(lines) if lines else ""


def _signature(thing: Any) -> str:  # noqa: ANN401 - any public object
    try:
        whole = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    # Fields that a dataclass keeps for itself.
    shown = [one for one in whole.parameters.values() if not one.name.startswith("_")]
    returned = whole.return_annotation if not inspect.isclass(thing) else inspect.Signature.empty
    found = str(whole.replace(parameters=shown, return_annotation=returned)).replace("<factory>", "...")
    short = re.sub(r"\b(?:[a-z_]+\.)+([A-Z]\w*)", r"\1", found).replace("'", "")
    return short if len(short) < _LONG else re.sub(r", (?=\*|\w+:)", ",\n    ", short).replace("(", "(\n    ", 1)


_LONG = 100


def _docstring(text: str) -> str:
    """Return a docstring as Markdown: its sections as lists."""
    lines = []
    for part in _joined(text):
        section, entry = _SECTION.match(part), _ENTRY.match(part)
        if section:
            lines += [f"**{section[1]}**", ""]
        elif entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        else:
            lines.append(part.strip() if not part.startswith("    ") else part)
    return _CODE.sub(r"`\1`", "\n".join(lines))


def _joined(text: str) -> Iterator[str]:
    """Yield the lines of a docstring, those of one entry joined."""
    held = ""
    for line in text.split("\n"):
        if held and line.startswith(" " * 8):
            held += f" {line.strip()}"
            continue
        if held:
            yield held
        held = line if _ENTRY.match(line) else ""
        if not held:
            yield line
    if held:
        yield held


def _plain(text: str) -> str:
    return _CODE.sub(r"`\1`", text)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
