"""Whatever a study or an audit writes into its findings stands on the page, or in the list of what is left out."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
import torch
from rich.console import Console

import whatelse
from tests.report.test_page import Reader
from whatelse.auditing import questions
from whatelse.findings import codec
from whatelse.findings.record import Findings, parse
from whatelse.gate import budgets
from whatelse.gate.decide import decide
from whatelse.gate.surfaces import json as gate_record
from whatelse.report import page
from whatelse.report.page import render
from whatelse.report.surfaces import card, markdown, terminal
from whatelse.study import run_study, spec
from whatelse.tasks.task import Split, Task

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

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
own_controls = ["recompressed"]
[[rows]]
name = "overfitting"
title = "Overfitting"
question = "Is it?"
survey = "It is."
cited = "Somebody"
[[rows]]
name = "later"
title = "Later"
survey = "It will."
cited = "Somebody else"
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
    "rows[].task": "the primary question's own, which its findings show",
    "candidates[].knob": "in the recipe",
    "findings[].row": "the section of that row",
    "claims[].row": "the section of that row",
    "exhibits[].row": "the section of that row",
    "exhibits[].items[].index": "the picture is shown; of examples without one the number comes first",
    "findings[].id": "an address, by which claims name findings",
    "findings[].leading": "decides which finding stands in the table",
    "findings[].verdict_if_one_sided": "decides the verdict beside the doubts, which are both shown",
    "findings[].tails": "read by the gate; the 95 % interval is that of the first",
    "findings[].per_seed": "drawn as dots",
    "findings[].primary": "the first question of its row",
    "findings[].doubts": "the first of validity",
    "findings[].parts.": "drawn; the largest change is told in words",
    "claims[].because[]": "an address of a finding in the same row",
    "exhibits[].kind": "decides how the items are drawn",
    "exhibits[].items[].image": "a picture",
    "exhibits[].items[].maps.": "a picture",
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
    *("findings[].parts.better", "findings[].unit_of_analysis", "findings[].control"),
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
    "environment.made_elsewhere": "elsewhere",
    "timing.damaged_and_made_again": 1,
    **{f"timing.{kind}_s": 1.5 for kind in ("training", "compressing", "measuring", "analyzing")},
    "comparability.splits[].remark": "remark",
}
OWN = {"settings", "splits", "pairs"}  # hold names of the user's own, not fields


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = run_study.run_study(
        spec.parse(STUDY, "rich"), tmp_path_factory.mktemp("rich"), on="inline", show_examples=True
    )
    assert found.exhibits
    assert found.potential
    return codec.to_json(found)


@pytest.fixture(scope="module")
def audited() -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=draw)
    split = Split(x, (x[:, 0] > 0).long(), (x[:, 0] > 0).long())
    task = Task("toy", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split))
    models = [torch.nn.Linear(3, 2) for _ in range(2)]
    for model in models:
        model.weight.data, model.bias.data = torch.eye(2, 3).flip(0) * 3, torch.zeros(2)
    found = whatelse.audit(models[0], {"small": models[1]}, task, questions.read_questions(ASKED), remeasure=1)
    assert found.comparability.remarks
    return codec.to_json(found)


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
    x = (11 + (k + 20) % 89) / 100  # no interval may lie across the end of the round
    return x, [f"{x:.2f}", f"{x:g}", f"{100 * x:.0f}", f"{x:.1f} s"]


def marked(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The record with a value of its own for every field, and by field how the page may write it."""
    made = json.loads(json.dumps(record))
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


# What no surface reads, and who does.
READ_ELSEWHERE = {
    "Findings.schema": "the reader of files",
    **dict.fromkeys(
        ("Apart.brief", "Apart.made_by", "Apart.page", "Apart.told"),
        "tests/report/test_apart.py, on a row that has one",
    ),
    "Claim.because": "the reader of files, which refuses a claim on what is not there, and callers from Python",
}


def records(kind: Any = Findings) -> Iterator[Any]:
    """Every record that findings hold."""
    seen: set[Any] = set()

    def below(kind: Any) -> Iterator[Any]:
        if dataclasses.is_dataclass(kind) and kind not in seen:
            seen.add(kind)
            yield kind
            for hint in get_type_hints(kind).values():
                yield from below(hint)
        for inner in get_args(kind):
            yield from below(inner)

    return below(kind)


def test_every_field_is_read_by_some_surface(
    studied: dict[str, Any], audited: dict[str, Any], document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [parse(studied), parse(audited), parse(document)]
    asked = budgets.parse(budgets.default())
    read: set[str] = set()

    def spied(kind: Any) -> None:
        names, plain = {f.name for f in dataclasses.fields(kind)}, kind.__getattribute__

        def spy(self: Any, name: str) -> Any:
            if name in names:
                read.add(f"{kind.__name__}.{name}")
            return plain(self, name)

        monkeypatch.setattr(kind, "__getattribute__", spy)

    kinds = list(records())
    for kind in kinds:
        spied(kind)
    for findings in every:
        page.render(findings)
        markdown.render(findings)
        card.render(findings)
        terminal.show(findings, Console(file=io.StringIO()))
    for findings in every[:2]:
        gate_record.render(decide(asked, findings), findings)
    unread = {f"{kind.__name__}.{f.name}" for kind in kinds for f in dataclasses.fields(kind)} - read
    assert unread == set(READ_ELSEWHERE), " ".join(sorted(unread ^ set(READ_ELSEWHERE)))
