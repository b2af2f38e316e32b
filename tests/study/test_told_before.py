"""What was found of models before the work starts is said then, and not only once all of it is done."""

import pytest
import torch
from torch import nn

from whatelse import opening
from whatelse.auditing.questions import read_questions
from whatelse.cli import progress
from whatelse.study import audit

ASKED = """
name = "short"
title = "Short"
draws = 100
rows = [{ name = "all", title = "All" }]
[[measurements]]
row = "all"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
primary = true
"""


class Linear(nn.Module):
    def __init__(self, spoiled=False):
        super().__init__()
        self.layer, self.spoiled = nn.Linear(64, 10), spoiled
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))
        self.eval()

    def forward(self, x):
        return self.layer(x.flatten(1)) * (float("nan") if self.spoiled else 1.0)


class Alone:
    """The same answers, of what shows nothing else."""

    def __init__(self, module):
        self.module_, self.key = module, "alone"

    def scores(self, inputs):
        with torch.no_grad():
            return self.module_(inputs)


@pytest.fixture(scope="module")
def digits():
    return opening.load_task("digits")


def told(candidate, task):
    base = Linear()
    candidate.load_state_dict(base.state_dict())
    return audit.dry_run(base, {"small": candidate}, task, read_questions(ASKED, "q.toml")).told


def test_an_answer_that_is_no_number_is_told_before_the_work(digits):
    lines = told(Linear(spoiled=True), digits)
    assert "small: output: baseline names more than one class; this model holds NaN or infinity" in lines
    assert told(Linear(), digits) == ()


def test_the_command_line_prints_it_before_and_where_nothing_is_run(digits, capsys):
    base, bad = Linear(), Linear(spoiled=True)
    bad.load_state_dict(base.state_dict())
    asked = read_questions(ASKED, "q.toml")
    progress.foretell(audit.dry_run(base, {"small": bad}, digits, asked))
    assert capsys.readouterr().out.startswith("checked: small: output: baseline names more than one class;")


def test_what_shows_no_mode_and_no_weights_differs_in_neither(digits):
    base = Linear()
    lines = audit.dry_run(base, {"small": Alone(base)}, digits, read_questions(ASKED, "q.toml")).told
    assert not [line for line in lines if "mode" in line or "dtype" in line]
