"""A question with answers and models from memory, and a study."""

import json
from types import SimpleNamespace

import pytest

from tests.study.conftest import small
from whatelse import items
from whatelse.auditing.questions import Measurement
from whatelse.exhibits.asked import Asked, Candidate
from whatelse.findings import codec
from whatelse.findings.exhibits import Exhibit

__all__ = ["small"]


def asked_of(
    task,
    *,
    item="generalization.accuracy",
    row="overfitting",
    seeds=(0,),
    names=("half",),
    answers=(),
    evidence=(),
    **more,
):
    """A question; answers and evidence go by name and seed."""
    given = {"measurement": Measurement(row, item, ["clean"], 0.02, "accuracy", primary=True)}
    given |= {"behaviour": items.behaviour(item), "task": task, "seeds": seeds, "twin": "twin"}
    given |= {"candidates": tuple(Candidate(name, "baseline") for name in names)}
    answers, evidence = dict(answers), dict(evidence)
    given |= {"answer_of": lambda *of: answers.get(of), "evidence_of": lambda *of: evidence.get(of)}
    return Asked(**(given | more))


def there_and_back(exhibit):
    """An exhibit as JSON has it, without what is missing or was not left out, after it was read again."""
    text = codec.dumps(exhibit)
    assert codec.record(Exhibit, json.loads(text), "exhibit") == exhibit
    return json.loads(
        text, object_hook=lambda found: {k: v for k, v in found.items() if v is not None and (k, v) != ("left_out", 0)}
    )


@pytest.fixture
def made():
    """The helpers of this file."""
    return SimpleNamespace(asked_of=asked_of, there_and_back=there_and_back)
