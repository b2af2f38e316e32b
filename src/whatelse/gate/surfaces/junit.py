"""The decision as JUnit XML: a suite for each candidate, a case for each question, as CI systems show them.

A budget that makes a NO-GO is a failure, one that keeps a GO away an error, one that is not decided otherwise skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from whatelse.findings.phrasing import xml
from whatelse.findings.record import Findings
from whatelse.gate import _words as words
from whatelse.gate.decide import Answer, Gate, Ruling
from whatelse.gate.degradation import LEVEL

HELP = "Write the decision as JUnit XML."


def render(gate: Gate, findings: Findings) -> str:
    """Return the XML document.

    Args:
        gate: As decided.
        findings: On which; nothing else of them is told.
    """
    del findings
    root = Element("testsuites", name="whatelse gate")
    for ruling in gate.rulings:
        _suite(root, ruling, gate.checked)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, ruling: Ruling, checked: Sequence[str]) -> None:
    suite = SubElement(root, "testsuite", name=xml(ruling.candidate))
    cases = [_case(suite, ruling, answer) for answer in ruling.answers]
    suite.set("tests", str(len(cases)))
    if checked:
        SubElement(suite, "system-out").text = xml("\n".join(f"checked: {line}" for line in checked))
    for plural, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(plural, str(cases.count(kind)))


def _case(suite: Element, ruling: Ruling, answer: Answer) -> str:
    """Add a case and return the kind of its result, nothing where it passed."""
    name = f"{answer.budget.behaviour}/{words.name(answer)}" if answer.budget.behaviour else words.name(answer)
    case = SubElement(suite, "testcase", classname=xml(ruling.candidate), name=xml(name), time="0")
    holder = SubElement(case, "properties")
    for key, value in _properties(answer):
        SubElement(holder, "property", name=key, value=xml(value))
    kind = _kind(answer)
    if kind:
        parts = (f"{answer.tier}: {answer.decision}", _compared(answer), words.remarks(answer))
        result = SubElement(case, kind, message=xml("; ".join(part for part in parts if part)))
        if kind != "skipped":
            result.set("type", answer.decision)
            result.text = xml(answer.budget.why)
    return kind


def _kind(answer: Answer) -> str:
    if answer.broken:
        return "failure"
    if answer.open:
        return "error"
    return "" if answer.decision == "within" else "skipped"


def _compared(answer: Answer) -> str:
    if answer.question.harm is None:
        return ""
    return f"harm {words.harm(answer)} ({words.bound(answer)}), budget {words.budget(answer)}"


def _properties(answer: Answer) -> list[tuple[str, str]]:
    question, finding = answer.question, answer.question.finding
    one, moved = question.part or finding, question.harm
    values = {
        "tier": answer.tier,
        "decision": answer.decision,
        "task": question.place.task or None,
        "control": None if finding is None else finding.control,
        "effect": None if one is None else one.effect,
        "harm": None if moved is None else moved.value,
        "bound": None if moved is None else moved.upper(LEVEL),
        "budget": answer.budget.most,
        "unit": question.unit or None,
        "p_adjusted": answer.adjusted_p,
        "n": question.n,
        "lost": None if moved is None else moved.lost,
        "gained": None if moved is None else moved.gained,
        "seeds": None if finding is None else finding.seeds,
    }
    return [(key, str(value)) for key, value in values.items() if value is not None]
