"""An audit as JUnit XML: a suite for each candidate, a case for each primary question, as CI systems show them.

Worsened is a failure, a cell that stopped an error; what is open is skipped with the reason. Nothing here is a
decision: a question that is skipped did not pass, and budgets are the gate's.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from whatelse.findings import phrasing as words
from whatelse.findings.record import Finding, Findings
from whatelse.findings.roles import Role

HELP = "Write the verdicts as JUnit XML."

_KINDS = {"worsened": "failure", "failed": "error", "improved": "", "unchanged": ""}
_PLURALS = (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))


def render(findings: Findings) -> str:
    """Return the XML document.

    Args:
        findings: As loaded.
    """
    root = Element("testsuites", name=words.xml(f"whatelse {findings.study.name}"))
    for candidate in findings.candidates:
        if candidate.role is Role.CANDIDATE:
            asked = [f for f in findings.findings if f.primary and f.candidate == candidate.name]
            _suite(root, candidate.name, asked)
    for name in ("tests", *(plural for plural, _ in _PLURALS)):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, candidate: str, asked: list[Finding]) -> None:
    suite = SubElement(root, "testsuite", name=words.xml(candidate), tests=str(len(asked)))
    kinds = [_case(suite, finding) for finding in asked]
    for plural, kind in _PLURALS:
        suite.set(plural, str(kinds.count(kind)))


def _case(suite: Element, finding: Finding) -> str:
    """Add a case and return the kind of its result, nothing where it passed."""
    name = f"{finding.behaviour}/{finding.label}" + (f" ({finding.task})" if finding.task else "")
    case = SubElement(suite, "testcase", classname=words.xml(finding.candidate), name=words.xml(name), time="0")
    holder = SubElement(case, "properties")
    for key, value in words.facts(finding):
        SubElement(holder, "property", name=words.xml(key), value=words.xml(value))
    kind = _KINDS.get(finding.verdict, "skipped")
    if kind:
        effect = "" if finding.effect is None else words.signed(finding.effect, finding.unit)
        told = f"{finding.verdict}{f' {effect}' if effect else ''}: {words.reason(finding)}"
        result = SubElement(case, kind, message=words.xml(told))
        if kind != "skipped":
            result.set("type", finding.verdict)
    return kind
