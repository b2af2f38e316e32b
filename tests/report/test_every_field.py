"""Whatever a study or an audit writes into its findings stands on the page, or in the list of what is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest
import torch

import whatelse
from tests.report.test_page import Reader
from whatelse.engines import Engine
from whatelse.findings.record import parse
from whatelse.report.page import render
from whatelse.study import audit, run, run_study, spec
from whatelse.tasks.task import Split, Task

STUDY = """
name = "rich"
title = "Rich"
description = "Something of everything."
seeds = [0]
draws = 200
[net]
item = "mlp"
settings = { hidden = "16" }
[tasks.noisy]
data = "digits"
settings = { noise = 0.3 }
title = "Digits"
description = "Real ones."
baseline = "train.scratch(epochs=3)"
references = 2
[controls]
placebo = "train.finetune(epochs=1)"
random = "train.scratch(epochs=0)"
twin = ""
[[candidates]]
name = "half"
family = "prune"
kind = "by size"
level = "strong"
recipe = "prune.magnitude(sparsity=0.9) > train.finetune(epochs=1)"
again = true
[[rows]]
name = "overfitting"
title = "Overfitting"
question = "Is it?"
survey = "It is."
cited = "Somebody"
[[rows]]
name = "later"
title = "Later"
status = "not measured yet"
[[measurements]]
row = "overfitting"
item = "generalization.accuracy"
label = "accuracy"
tasks = ["noisy"]
margin = 0.02
gain = 0.5
primary = true
[[measurements]]
row = "overfitting"
item = "fairness.group"
label = "by group"
tasks = ["noisy"]
settings = { group = "digit" }
margin = 0.02
[[measurements]]
row = "overfitting"
item = "mechanism.cka"
label = "similarity"
tasks = ["noisy"]
margin = 0.02
[[claims]]
row = "overfitting"
claim = "It does."
source = "Somebody 1999"
supports = "Something."
expect = [{ direction = "not worse", label = "accuracy", families = ["prune"] }]
"""
ASKED = """
name = "rich"
title = "Rich"
draws = 200
[[rows]]
name = "performance"
title = "Accuracy"
[[measurements]]
row = "performance"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
primary = true
"""
# What is not written on the page, and why. Everything below a name that ends in a dot is meant.
LEFT_OUT = {
    "schema": "the form of the file: a reader refuses another",
    "study.name": "the title is its heading",
    "rows[].name": "an address: the title stands for it",
    "rows[].cited": "the claims name their sources",
    "rows[].label": "the primary question's own, which its findings show",
    "rows[].behaviour": "the primary question's own, which its findings show",
    "rows[].task": "the primary question's own, which its findings show",
    "candidates[].knob": "in the recipe",
    "findings[].row": "the section of that row",
    "claims[].row": "the section of that row",
    "exhibits[].row": "the section of that row",
    "exhibits[].items[].index": "the picture is shown; of examples without one the number comes first",
    "findings[].id": "an address, by which claims name findings",
    "findings[].title": "the first line of the behaviour's page; the label asks the question",
    "findings[].agreement": "decides which floor is shown",
    "findings[].leading": "decides which finding stands in the table",
    "findings[].stands": "decides the verdict beside the doubts, which are both shown",
    "findings[].against": "the control is shown by its kind",
    "findings[].p": "shown as adjusted",
    "findings[].se": "shown as intervals",
    "findings[].tails": "read by the gate; the 95 % interval is that of the first",
    "findings[].per_seed": "drawn as dots",
    "findings[].held": "their mean is the control's level",
    "findings[].primary": "the first question of its row",
    "findings[].doubts": "the first of validity",
    "findings[].notes": "the others of validity",
    "findings[].parts.": "drawn; the largest change is told in words",
    "claims[].because[]": "an address of a finding in the same row",
    "exhibits[].kind": "decides how the items are drawn",
    "exhibits[].items[].image": "a picture",
    "exhibits[].items[].maps.": "a picture",
    "potential[].behaviour": "the label asks the question",
    "potential[].candidates[]": "one for each level, which is shown",
    "potential[].harm[]": "shown as whether it is within what may be lost",
    "potential[].shown[]": "a tick beside the level",
}
# Names by which one part of the record finds another: looked up as they are.
LINKS = {
    *("tasks[].name", "rows[].name", "candidates[].name", "findings[].row", "findings[].candidate"),
    *("findings[].control", "findings[].task", "claims[].row", "claims[].because[]", "findings[].id"),
    *("exhibits[].row", "exhibits[].task", "exhibits[].candidate", "potential[].label", "potential[].task"),
    *("findings[].label", "comparability.splits[].task", "candidates[].family", "potential[].family"),
    *("candidates[].kind", "potential[].kind"),
}
# One of a few words each: looked up as they are.
WORDS = {
    *("rows[].status", "rows[].better", "candidates[].role", "candidates[].level", "findings[].better"),
    *("findings[].verdict", "claims[].outcome", "exhibits[].kind", "comparability.pairs.*[].outcome"),
    *("findings[].parts.better", "findings[].over", "findings[].control"),
}
# Numbers that are missing unless something special was asked for, and must be shown where they are not.
MISSING = {
    "findings[].of": 1,
    "findings[].clusters": 1,
    "findings[].needed": 1,
    "findings[].needed_seeds": 1,
    "findings[].floors": {"measurement": 0.1, "compression": 0.1},
    "findings[].share": {"value": 0.1, "low": 0.1, "high": 0.1},
    "candidates[].parameters": 1,
    "candidates[].bytes": 1,
    "candidates[].macs": 1,
    "potential[].potential": 0.1,
    "potential[].unbroken": 0.1,
    "findings[].why": "why",
    "comparability.splits[].remark": "remark",
}
OWN = {"settings", "splits", "environment", "timing", "pairs"}  # hold names of the user's own, not fields


class Inline(Executor):
    def submit(self, call: Any, /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*args))
        return future


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "engine", lambda *_: Engine(Inline(), 1, lambda: None))
        found = run_study.run_study(spec.parse(STUDY, "rich"), tmp_path_factory.mktemp("rich"))
    assert found["exhibits"]
    assert found["potential"]
    return found


@pytest.fixture(scope="module")
def audited() -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=draw)
    split = Split(x, (x[:, 0] > 0).long(), (x[:, 0] > 0).long())
    task = Task("toy", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split))
    models = [torch.nn.Linear(3, 2) for _ in range(2)]
    for model in models:
        model.weight.data, model.bias.data = torch.eye(2, 3).flip(0) * 3, torch.zeros(2)
    found = whatelse.audit(models[0], {"small": models[1]}, task, audit.questions(ASKED), remeasure=1)
    assert found["comparability"]["remarks"]
    return found


def leaves(data: Any, path: str = "", name: str = "") -> Iterator[tuple[str, Any, Any, Any]]:
    """Every value that holds no others: its path, without numbers and the user's own names, and where it stands."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        here = f"{path}[]" if isinstance(data, list) else f"{path}.{'*' if name in OWN else key}".lstrip(".")
        if value == []:
            yield f"{here}[]", None, data, key
        elif isinstance(value, (dict, list)):
            yield from leaves(value, here, key if isinstance(data, dict) else "")
        else:
            yield here, value, data, key


def completed(data: Any, path: str = "", name: str = "") -> None:
    """Put a number where one is missing."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        here = f"{path}[]" if isinstance(data, list) else f"{path}.{'*' if name in OWN else key}".lstrip(".")
        if value in (None, "") and here in MISSING:
            data[key] = json.loads(json.dumps(MISSING[here]))
        elif isinstance(value, (dict, list)):
            completed(value, here, key if isinstance(data, dict) else "")


def left_out(path: str) -> bool:
    return any(path == name or path.startswith((f"{name}[", name if name.endswith(".") else f"{name}."))
               for name in LEFT_OUT)  # fmt: skip


def sentinel(path: str, value: Any, k: int) -> tuple[Any, list[str]]:
    """The k-th value of the kind of a value, and how the page may write it."""
    if path in LINKS | WORDS:
        return value, [str(value)]
    if path == "created":
        return "2031-03-07T11:12:13+00:00", ["7 March 2031, 11:12"]
    if isinstance(value, str):
        return f"zq{k:03}z", [f"zq{k:03}z"]
    if isinstance(value, int):
        n = 7001 + 13 * k
        return n, [f"{n:,}", str(n), f"{n / 1000:.1f}"]
    x = (11 + k % 89) / 100
    return x, [f"{x:.2f}", f"{x:g}", f"{100 * x:.0f}", f"{x:.1f} s"]


def marked(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The record with a value of its own for every field, and by field how the page may write it."""
    made = json.loads(json.dumps(record))
    for finding in made["findings"]:
        finding.setdefault("of", None)
    completed(made)
    codes: dict[str, int] = {}
    wanted: dict[str, list[str]] = {}
    for path, value, place, key in list(leaves(made)):
        if left_out(path) and path not in LINKS | WORDS:
            continue
        k = codes.setdefault(path, len(codes))
        if value is None or isinstance(value, bool):
            continue
        place[key], shown = sentinel(path, value, k)
        wanted[path] = list(dict.fromkeys([*wanted.get(path, []), *(s for s in shown if s)]))
    return made, {path: shown for path, shown in wanted.items() if shown}


def written(text: str, shown: str) -> bool:
    if not shown[0].isdigit():
        return shown.lower() in text.lower()
    return re.search(rf"(?<![\d.,]){re.escape(shown)}0*(?![\d,]|\.\d)", text) is not None


@pytest.mark.parametrize("source", ["studied", "audited"])
def test_every_field_stands_on_the_page_or_among_those_left_out(source: str, request: pytest.FixtureRequest) -> None:
    made, wanted = marked(request.getfixturevalue(source))
    text = " ".join(Reader(render(parse(made))).text)
    missing = {
        path: shown
        for path, shown in wanted.items()
        if not left_out(path) and not any(written(text, one) for one in shown)
    }
    assert not missing, "\n".join(f"{path}: {shown}" for path, shown in missing.items())


def test_nothing_is_left_out_that_no_record_has(studied: dict[str, Any], audited: dict[str, Any]) -> None:
    known = {path for record in (studied, audited) for path, *_ in leaves(record)}
    stale = [name for name in LEFT_OUT if not any(left(path, name) for path in known)]
    assert not stale


def left(path: str, name: str) -> bool:
    return path == name or path.startswith((f"{name}[", name if name.endswith(".") else f"{name}."))
