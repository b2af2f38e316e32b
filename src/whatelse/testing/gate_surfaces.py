"""The contract of surfaces of the gate: what shows a decision, in a file or in a terminal."""

from __future__ import annotations

from dataclasses import replace

from whatelse.findings.record import Findings
from whatelse.gate import budgets
from whatelse.gate.decide import Gate, Verdict, decide
from whatelse.testing import surfaces
from whatelse.testing.contract import Case

# Of the one finding of the sample: it is shown to lose more, less, and neither.
_MOST: dict[Verdict, float] = {"NO-GO": 0.02, "GO": 0.5, "INCONCLUSIVE": 0.1}
_BUDGETS = """
title = "Sample"
[[budgets]]
behaviour = "generalization.accuracy"
most = {most}
why = "Nobody would notice."
groups = ["*"]
groups_tier = "advisory"
[[budgets]]
behaviour = "generalization.brier"
tier = "supporting"
most = 0.05
demanded = false
"""


def it_shows_every_decision(case: Case) -> None:
    """Demand a text, or print, from a decision of every kind, and another one for each.

    Args:
        case: The surface.
    """
    found = {verdict: surfaces.text(case, *gate(verdict)) for verdict in _MOST}
    for verdict, text in found.items():
        case.demand(isinstance(text, str) and text.strip(), f"of {verdict} it gives nothing to read")
    case.demand(len(set(found.values())) == len(found), "it shows one decision as it shows another")


def it_repeats_and_writes_nothing_itself(case: Case) -> None:
    """Demand the same text of the same decision, and no file of its own: where it goes is the user's to say.

    Args:
        case: The surface.
    """
    surfaces.repeats(case, *gate())


CHECKS = (surfaces.its_parts_are_in_order, it_shows_every_decision, it_repeats_and_writes_nothing_itself)


def gate(verdict: Verdict = "NO-GO") -> tuple[Gate, Findings]:
    """Return a small decision, and the findings that it was made on.

    Args:
        verdict: What was decided.
    """
    found = surfaces.findings()
    (worse,) = found.findings
    assert worse.effect is not None
    tails = tuple((level, worse.effect - 0.04, worse.effect + 0.04) for level in (0.05, 0.025, 0.01))
    found = replace(found, findings=(replace(worse, tails=tails, leading=True),))
    decided = decide(budgets.parse(_BUDGETS.format(most=_MOST[verdict])), found)
    assert decided.verdict == verdict
    return decided, found
