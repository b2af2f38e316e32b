"""What stands in the place of a budget that is demanded, and what the default budgets say of language models."""

import pytest

from whatelse.errors import BudgetError
from whatelse.findings.record import parse
from whatelse.gate import budgets as owners
from whatelse.gate.decide import decide

ACCURACY = """
[[budgets]]
behaviour = "generalization.accuracy"
most = 0.01
instead = ["language.likelihood", "language.stereotype"]
[[budgets]]
behaviour = "language.likelihood"
most = 0.01
demanded = false
"""


def likelihood(world, effect=0.001, se=0.001):
    told = {"label": "negative log-likelihood a byte", "behaviour": "language.likelihood", "unit": "nats"}
    return world.finding(effect, se, better="lower", primary=True, **told)


def told(gate):
    return {a.budget.behaviour: a.decision for a in gate.rulings[0].answers}


def test_what_speaks_in_its_place_keeps_a_budget_from_being_missing(world):
    gate = world.gate(ACCURACY, likelihood(world))
    assert (gate.verdict, told(gate)["generalization.accuracy"]) == ("GO", "not asked")
    why = gate.rulings[0].answers[0].why
    assert why == "not in the findings; language.likelihood speaks in its place"


def test_without_it_the_budget_is_missing_as_ever(world):
    other = world.finding(primary=True, behaviour="generalization.calibration", label="calibration")
    gate = world.gate(ACCURACY, other, known=["generalization.accuracy", "language.likelihood", "language.stereotype"])
    assert (gate.verdict, told(gate)["generalization.accuracy"]) == ("INCONCLUSIVE", "missing")


def test_what_is_there_is_asked_whatever_else_speaks(world):
    gate = world.gate(ACCURACY, likelihood(world), world.finding(-0.06, 0.01))
    assert (gate.verdict, told(gate)["generalization.accuracy"]) == ("NO-GO", "exceeded")


def test_what_speaks_in_its_place_must_itself_be_shown(world):
    assert world.gate(ACCURACY, likelihood(world, 0.009, 0.01)).verdict == "INCONCLUSIVE"
    unmeasured = {"verdict": "not measurable", "why": "other tokenizers", "effect": None, "low": None, "high": None}
    assert world.gate(ACCURACY, likelihood(world) | unmeasured | {"tails": []}).verdict == "INCONCLUSIVE"


def test_a_misspelled_one_is_an_error_with_the_nearest_name(world):
    wrong = ACCURACY.replace('"language.stereotype"', '"language.stereotypes"')
    known = ["generalization.accuracy", "language.likelihood", "language.stereotype"]
    with pytest.raises(BudgetError, match=r"budgets\[0\]\.instead: no 'language.stereotypes'; .*language.stereotype"):
        world.gate(wrong, likelihood(world), known=known)


def test_the_default_budgets_let_texts_and_pairs_go_that_kept_theirs(world):
    emerged = {"behaviour": "language.transitions", "label": "stereotypes that emerged"}
    pairs = [
        world.finding(0.0, 0.001, better="lower", primary=True, behaviour="language.stereotype", label="stereotypes"),
        world.finding(0.1, 0.001, better="lower", **emerged),
    ]
    default = owners.parse(owners.default())

    def verdict(*found):
        return decide(default, parse(world.document(*found))).verdict

    assert verdict(likelihood(world)) == "GO"
    assert verdict(likelihood(world, 0.05)) == "NO-GO"
    assert verdict(likelihood(world, -0.2)) == "NO-GO", "implausible"
    assert verdict(pairs[0]) == "GO"
    assert verdict(*pairs) == "NO-GO"
    assert verdict(world.finding(primary=True)) == "GO"
