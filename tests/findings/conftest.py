"""The fixtures of reports."""

from tests.report.conftest import _made, document, file, findings, rendered

__all__ = ["_made", "document", "file", "findings", "rendered"]
