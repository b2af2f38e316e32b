"""Holding findings against budgets."""

from __future__ import annotations

from typing import Annotated

import typer

from whatelse import registry
from whatelse.cli.files import probe, render, write
from whatelse.cli.options import Files, Items, Quiet, with_files

ORDER = 6


@with_files("gate_surfaces")
def command(
    findings: Annotated[str, typer.Argument(metavar="FINDINGS.json", help="What --json wrote.")] = "",
    budgets: Annotated[str, typer.Option("--budgets", metavar="FILE", help="What damage is accepted.")] = "",
    candidate: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this one; may be repeated.")] = None,
    *,
    files: Files,
    copy: Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the default budgets.")] = "",
    items: Items = None,
    quiet: Quiet = False,
) -> None:
    """Hold findings against budgets: exit code 0 GO, 1 NO-GO, 2 INCONCLUSIVE, 3 unusable input.

    Without --budgets the default ones decide; --copy gives them to you as a start for your own.
    """
    del items  # taken up when they were read
    from whatelse.gate import budgets as owners
    from whatelse.gate.command import rule

    if copy:
        write(copy, owners.default())
        return
    probe(*files.values())
    decision, found = rule(findings, budgets, candidate or (), registry.names("behaviours"))
    render("gate_surfaces", files, decision, found, quiet=quiet)
    raise typer.Exit(decision.code)
