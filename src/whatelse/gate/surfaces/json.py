"""The decision as JSON: numbers in the unit of the findings, null where there is none."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from whatelse.findings.record import Findings
from whatelse.gate import _words as words
from whatelse.gate.decide import Answer, Gate

HELP = "Write it as JSON; - for stdout."

SCHEMA = 1


def render(gate: Gate, findings: Findings) -> str:
    """Return the decision as a JSON document.

    Args:
        gate: As decided.
        findings: On which.
    """
    record = {
        "schema": SCHEMA,
        "verdict": gate.verdict,
        "code": gate.code,
        "title": gate.title,
        "checked": list(gate.checked),
        "findings": {"study": findings.study.name, "created": findings.created, "whatelse": findings.whatelse},
        "candidates": [
            {
                "name": ruling.candidate,
                "verdict": ruling.verdict,
                "because": words.because(ruling),
                "answers": [_answer(answer) for answer in ruling.answers],
            }
            for ruling in gate.rulings
        ],
    }
    return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _answer(answer: Answer) -> dict[str, Any]:
    question, moved = answer.question, answer.question.harm
    ends = (None, None) if moved is None else (moved.lower(), moved.upper())
    lower, upper = (end if end is not None and math.isfinite(end) else None for end in ends)
    return {
        "budget": asdict(answer.budget),
        "finding": None if question.finding is None else question.finding.id,
        "label": question.place.label,
        "task": question.place.task,
        "group": question.group or None,
        "tier": answer.tier,
        "n": question.n,
        "lost": None if moved is None else moved.lost,
        "gained": None if moved is None else moved.gained,
        "unit": question.unit or None,
        "harm": None if moved is None else moved.value,
        "lower": lower,
        "upper": upper,
        "p": answer.p,
        "adjusted_p": answer.adjusted_p,
        "decision": answer.decision,
        "why": answer.why,
        "settle": answer.settle,
        "notes": list(answer.notes),
    }
