"""A search in Markdown: answers and tables, in which nothing of the record is markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whatelse import testing
from whatelse.report.search_surfaces.markdown import render


@pytest.mark.known_answer
def test_the_answers_then_the_confirmation_then_the_budgets() -> None:
    lines = render(testing.searched()).splitlines()
    assert lines[0] == "## ✓ Trial 2 keeps every budget, at 12 % of the baseline (2.0 kB of 16 kB)."
    assert "Recipe: `quantize.uniform(bits=4)`" in lines
    at = lines.index("### The confirmation, in order")
    assert lines[at + 4 : at + 7] == [
        "| 1 | ✓ GO | 25 % |  |",
        "| **2** | ✓ GO | 12 % |  |",
        "| 3 | ? INCONCLUSIVE | 10 % | accuracy is at most +2.1 pp, of 2.0 pp |",
    ]
    at = lines.index("### The budgets")
    assert lines[at + 4 : at + 6] == [
        "| accuracy by group: sex=female | 5.0 pp | +3.5 pp | +4.9 pp |  | 2 |",
        "| accuracy | 2.0 pp | +0.60 pp | +1.6 pp | +1.3 pp | 2 |",
    ]
    assert lines[-1] == "whatelse 0, 5 trials, 1 failed, uniform(), seed 0."


def test_nothing_of_the_record_is_markup() -> None:
    made = testing.searched()
    evil = "a|b <b> `c` *d* [e](f)\n# g"
    trials = tuple(replace(trial, recipe=evil) for trial in made.trials)
    held = tuple(replace(one, because=(evil,)) for one in made.finalists)
    text = render(replace(made, trials=trials, finalists=held, remarks=(evil,), strategy=evil))
    code, rest = [part for part in text.split("\n\n") if part.startswith("Recipe")], text.replace("Recipe: ```", "")
    assert code == ["Recipe: ```a|b <b> `c` *d* [e](f) # g```"]
    assert "<b>" not in rest.replace(code[0].removeprefix("Recipe: ```"), "")
    assert "\n# g" not in text
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.replace("\\|", "").count("|") in {5, 7}
