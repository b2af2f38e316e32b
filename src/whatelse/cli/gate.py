"""Holding findings against budgets."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from whatelse import registry
from whatelse.cli.files import probe, write
from whatelse.cli.options import Quiet

ORDER = 6


def command(
    findings: Annotated[str, typer.Argument(metavar="FINDINGS.json", help="What --json wrote.")] = "",
    budgets: Annotated[str, typer.Option("--budgets", metavar="FILE", help="What damage is accepted.")] = "",
    candidate: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this one; may be repeated.")] = None,
    junit: Annotated[str, typer.Option("--junit", metavar="FILE", help="Write the decision as JUnit XML.")] = "",
    markdown: Annotated[str, typer.Option("--markdown", metavar="FILE", help="Write it as Markdown.")] = "",
    json_file: Annotated[str, typer.Option("--json", metavar="FILE", help="Write it as JSON; - for stdout.")] = "",
    copy: Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the default budgets.")] = "",
    quiet: Quiet = False,
) -> None:
    """Hold findings against budgets: exit code 0 GO, 1 NO-GO, 2 INCONCLUSIVE, 3 unusable input.

    Without --budgets the default ones decide; --copy gives them to you as a start for your own.
    """
    from whatelse.gate import budgets as owners
    from whatelse.gate import terminal
    from whatelse.gate.command import rule

    if copy:
        write(copy, owners.default())
        return
    asked = {form: n for form, n in (("junit", junit), ("markdown", markdown), ("json", json_file)) if n}
    for name in asked.values():
        probe(name)
    decision, texts = rule(findings, budgets, candidate or (), registry.names("behaviours"), asked)
    for form, name in asked.items():
        write(name, texts[form])
    if not quiet and "-" not in asked.values():
        terminal.print_gate(decision, Console())
    raise typer.Exit(decision.code)
