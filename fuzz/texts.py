"""Files of text: questions, studies, budgets and findings, changed by chance, and those crafted."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from _child import Case
from _mutate import plain, raw, text

from whatelse import testing
from whatelse.auditing import questions
from whatelse.findings import record, searched
from whatelse.gate import budgets
from whatelse.study import spec

_NUMBER = "9" * 5000


def readers() -> dict[str, tuple[str, Callable[[Path], object]]]:
    """Return a whole text of every kind, and what reads such a file."""
    return {
        "questions.toml": (questions.default(), lambda path: questions.read_questions(spec.find(str(path)), str(path))),
        "study.toml": (spec.shipped()["adult"], spec.read),
        "budgets.toml": (budgets.default(), budgets.read),
        "findings.json": (_findings(), record.load),
        "search.json": (testing.searched().to_json(), searched.load),
    }


def _findings() -> str:
    """Return findings with every kind of part."""
    row = {"name": "r", "title": "R", "status": "measured", "survey": "s", "cited": "c"}
    candidate = {"name": "small", "family": "f", "role": "candidate", "recipe": "quantize.int8()"}
    finding = {
        **{"id": "1", "row": "r", "behaviour": "generalization.accuracy", "label": "accuracy", "task": "data"},
        **{"candidate": "small", "control": "baseline", "primary": True, "verdict": "unchanged", "unit": "accuracy"},
        **{"better": "higher", "n": 100, "before": 0.9, "after": 0.89, "effect": -0.01, "low": -0.02, "high": 0.0},
        "tails": [[0.05, -0.02, 0.0]],
        "parts": {"kind": "group", "items": [{"name": "a", "before": 0.9, "after": 0.9, "n": 50}]},
    }
    tree = {"class_": "0", "n": 3, "feature": "x", "threshold": 0.5, "left": {"class_": "1", "n": 1}}
    exhibits = [{"row": "r", "kind": "tree", "task": "data", "candidate": "small", "tree": tree}]
    whole = {
        **{"schema": 1, "whatelse": "0.1.0", "created": "now", "seeds": [0], "environment": {}, "timing": {}},
        "study": {"name": "s", "title": "S", "description": "", "file": ""},
        "tasks": [{"name": "data", "title": "D", "description": "", "splits": {"test": 100}}],
        **{"rows": [row], "candidates": [candidate], "findings": [finding], "exhibits": exhibits},
        "claims": [{"row": "r", "claim": "c", "source": "s", "supports": "", "outcome": "supported", "reason": "x"}],
    }
    return json.dumps(whole, indent=1)


def mutated(count: int, rng: random.Random, place: Path) -> Iterator[Case]:
    """Yield files of text, each changed at some places.

    Args:
        count: How many.
        rng: Source of the changes.
        place: Where they are written.
    """
    every = readers()
    for number in range(count):
        name = rng.choice(list(every))
        whole, read = every[name]
        path = place / f"{number}-{name}"
        way = rng.random()
        if way < 0.1:
            path.write_bytes(raw(whole.encode(), rng))
        elif name.endswith("json") and way < 0.8:
            path.write_text(json.dumps(plain(json.loads(whole), rng)), "utf-8")
        else:
            path.write_text(text(whole, rng), "utf-8")
        yield Case(path.name, lambda path=path, read=read: read(path))


def crafted(place: Path) -> Iterator[Case]:
    """Yield files that nest, swell, or are none.

    Args:
        place: Where they are written.
    """
    texts = {
        "nested-arrays": "x = " + "[" * 100_000,
        "nested-tables": ".".join("a" * 3000) + " = 1",
        "long-number": f"draws = {_NUMBER}",
        "large-number": f"draws = 1{'0' * 400}",
        "large-margin": f"[[measurements]]\nrow = 'r'\nitem = 'x'\nlabel = 'l'\nmargin = 1{'0' * 400}",
        "large-budget": f"[[budgets]]\nlabel = 'x'\nmost = 1{'0' * 400}",
        "no-number": "[[budgets]]\nlabel = 'x'\nmost = nan",
        "list-in-place-of-table": "measurements = 3\nbudgets = [1, 2]\nrows = ['x']",
        "long-line": "title = '" + "x" * 10**6 + "'",
        "zero-byte": "title = 'a\0b'",
        "empty": "",
    }
    data = {
        "nested-lists": "[" * 200_000,
        "nested-objects": '{"a":' * 100_000,
        "long-number": f'{{"schema": {_NUMBER}}}',
        "large-number": f'{{"schema": 1, "seeds": [1{"0" * 400}]}}',
        "no-number": '{"schema": NaN}',
        "half-a-letter": '{"schema": "\\ud800"}',
        "empty": "",
    }
    for kind, (_, read) in readers().items():
        for name, said in (data if kind.endswith("json") else texts).items():
            path = place / f"{name}-{kind}"
            path.write_text(said, "utf-8")
            yield Case(path.name, lambda path=path, read=read: read(path))
        os.mkfifo(place / f"pipe-{kind}")
        (place / f"folder-{kind}").mkdir()
        (place / f"device-{kind}").symlink_to("/dev/zero")
        with (place / f"large-{kind}").open("wb") as file:
            file.truncate(3 * 2**30)  # a file with a hole: it takes no disk
        for name in ("pipe", "folder", "device", "large", "absent"):
            yield Case(f"{name}-{kind}", lambda path=place / f"{name}-{kind}", read=read: read(path))
        yield Case(f"name-of-no-file-{kind}", lambda read=read: read(Path("a\0b")))
