"""The command line: one file a command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from whatelse.cli import app  # noqa: PLC0415 - the parser is not needed by whoever imports the package

    app.main()
