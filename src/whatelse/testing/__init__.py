"""The contract of items, for whoever writes one: what ours are held against, and small tasks to test them on.

    import pytest
    from whatelse import testing

    @pytest.mark.parametrize("check", testing.checks("behaviour"), ids=str)
    def test_it_keeps_the_contract(check):
        check("fairness.my_gap")            # or the path of its file

A check that the item fails raises `ContractError`, one line; one that cannot be made here raises ``unittest.SkipTest``,
which test frameworks report. `check` makes all of them at once. `answering` and `predicting` give evidence of a model
whose every answer is given, so that a test can say by hand what a behaviour must find. `problem` gives a search
strategy something to search in, and `scored` what a search would tell it of a configuration.
"""

from __future__ import annotations

from whatelse.testing.contract import Case, Check, ContractError, check, checks
from whatelse.testing.exhibits import asked
from whatelse.testing.gate_surfaces import gate
from whatelse.testing.problems import problem, scored
from whatelse.testing.samples import (
    Canned,
    answering,
    evidence_of,
    images,
    models,
    predicting,
    sentences,
    split_of,
    task_of,
    texts,
)
from whatelse.testing.search_surfaces import searched
from whatelse.testing.surfaces import findings

__all__ = [
    "Canned",
    "Case",
    "Check",
    "ContractError",
    "answering",
    "asked",
    "check",
    "checks",
    "evidence_of",
    "findings",
    "gate",
    "images",
    "models",
    "predicting",
    "problem",
    "scored",
    "searched",
    "sentences",
    "split_of",
    "task_of",
    "texts",
]
