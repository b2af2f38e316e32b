"""The command line: thin, and nothing in it that the library does not do.

A command is a file beside this one that has a function ``command``: its parameters are the options, its docstring is
the help. ``ORDER`` says where it stands in the help; those that have none come last. Commands import what is heavy
inside the function, so that no command waits for what another one needs.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import typer

from whatelse import registry
from whatelse.errors import WhatElseError

UNUSABLE, INTERRUPTED = 3, 130

app = typer.Typer(
    name="whatelse",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="You compressed the model. [bold]What else changed?[/bold]\n\nCompress PyTorch models, measure everything "
    "else that changed, and get verdicts that statistics can defend. Exit codes: 0 done, 3 unusable input, "
    "130 interrupted (finished work is kept); of gate also 1 NO-GO and 2 INCONCLUSIVE.",
)


def commands() -> dict[str, ModuleType]:
    """Return the files that are commands, by name, in the order of the help."""
    files = [p for p in Path(__file__).parent.glob("*.py") if "\ndef command(" in p.read_text("utf-8")]
    found = {p.stem: import_module(f"whatelse.cli.{p.stem}") for p in sorted(files)}
    return dict(sorted(found.items(), key=lambda one: getattr(one[1], "ORDER", len(found))))


def _named(words: Sequence[str]) -> Iterator[str]:
    """Yield the files that --items names."""
    for word, following in pairwise((*words, "")):
        if word == "--items":
            yield following
        elif word.startswith("--items="):
            yield word.removeprefix("--items=")


# Before there are options: a surface of the user's own brings one. What is wrong with a file, --items says itself.
for _place in _named(sys.argv[1:]):
    with suppress(WhatElseError):
        registry.add(_place)

for _name, _file in commands().items():
    app.command(_name)(_file.command)


def main() -> None:
    """Run the command line; every error of the user's is one line on stderr and exit code 3."""
    warnings.showwarning = _warn
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        _fail(error.format_message(), UNUSABLE)
    except WhatElseError as error:
        _fail(str(error), UNUSABLE)
    except SystemExit as error:  # of no command of ours: they return their code
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if frame.f_globals["__name__"].startswith(("typer.", "rich.")):  # completion, a pipe that nobody reads
            raise
        _fail(f"code of a model or of data ended the program (exit {error.code}); let it return instead", UNUSABLE)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        _fail(
            "interrupted; finished cells are kept, nothing half-written is: run the same command again to go on",
            INTERRUPTED,
        )
    sys.exit(code if isinstance(code, int) else 0)


def _warn(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Say what is warned of in one line, without the lines of code around it."""
    kind = "" if issubclass(category, UserWarning) else f"{category.__name__}: "
    sys.stderr.write(f"warning: {kind}{' '.join(str(message).split())}\n")


def _fail(message: str, code: int) -> None:
    one_line = " ".join(message.split())
    sys.stderr.write(f"whatelse: {one_line}\n")
    sys.exit(code)
