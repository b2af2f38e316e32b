"""The contract of openers: forms in which a user names a model."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

from torch import nn

from whatelse import opening, registry
from whatelse.errors import MissingExtraError, WhatElseError
from whatelse.models import take
from whatelse.models.model import Opens, Reads, Recorded, Scores
from whatelse.opening import Opener
from whatelse.tasks.task import Task
from whatelse.testing import samples, written
from whatelse.testing.contract import Case

_FUNCTIONS = {"takes": ("text",), "open_model": ("text", "task", "weights")}
# Endings of files in which people keep models and scores.
_ENDINGS = (
    *(".bin", ".ckpt", ".csv", ".gguf", ".h5", ".joblib", ".json", ".keras", ".mlmodel", ".npy", ".npz", ".onnx"),
    *(".parquet", ".pb", ".pkl", ".pt", ".pt2", ".pth", ".pte", ".safetensors", ".tflite", ".txt", ".ubj", ".xml"),
)
_ANY = (
    *(
        "",
        " ",
        "\0",
        "\n",
        "a\nb",
        ".",
        "..",
        "/",
        "~",
        "\\",
        ":",
        "::",
        "a:",
        ":a",
        "(",
        ")",
        "()",
        "cnn()",
        "a" * 9999,
    ),
    *("cnn(width=8)", "cnn(", "net.py:f", "package.module:name", "C:\\a.npz", "ü☃ 模型", "\udc80", "-", "--json"),
    *("hf:nobody/nothing", "http://nowhere.invalid/x", "s3://nowhere/x.npz", "{}", "%s", "name(a:b)", "x.npz:y"),
)


def its_parts_are_in_order(case: Case) -> None:
    """Demand ``FORM``, ``takes`` and ``open_model``, with what they take and say.

    Args:
        case: The opener.
    """
    form = _opener(case).form
    case.demand(isinstance(form, str) and form.strip() == form != "", f"FORM is {form!r}; say what it takes, in words")
    case.demand("\n" not in form, "FORM has more than one line; messages have it in theirs")
    for name, wanted in _FUNCTIONS.items():
        function = getattr(case.module, name)
        takes = tuple(inspect.signature(function).parameters)
        case.demand(takes == wanted, f"{name} takes {takes}; it must take {wanted}")
        case.demand((function.__doc__ or "").strip(), f"{name} has no docstring")
    first = (case.module.__doc__ or "").strip().partition("\n\n")[0]
    case.demand(first.endswith("."), "its docstring begins with no sentence, which listings print")


def it_says_of_any_text_whether_it_is_its_own(case: Case) -> None:
    """Demand True or False of whatever a user types, also of what no file can be called, and the same each time.

    Args:
        case: The opener.
    """
    takes = _opener(case).takes
    with tempfile.TemporaryDirectory() as folder:
        for text in _texts(case, folder):
            try:
                one, two = takes(text), takes(text)
            except Exception as error:  # noqa: BLE001 - whatever it raises
                case.fail(f"takes({_short(text)}) raised {type(error).__name__}: {error}; answer False")
            case.demand(isinstance(one, bool), f"takes({_short(text)}) is {one!r}; True or False is needed")
            case.demand(one == two, f"takes({_short(text)}) is another the second time")


def it_takes_no_text_of_another_opener(case: Case) -> None:
    """Demand that no other opener takes what it takes: a text that is of two forms opens nothing.

    Args:
        case: The opener.
    """
    mine = _opener(case)
    others = [opening.opener(name) for name in registry.names("openers") if name != case.source.name]
    with tempfile.TemporaryDirectory() as folder:
        for text in _texts(case, folder):
            both = [other.form for other in others if mine.takes(text) and other.takes(text)]
            case.demand(not both, f"it takes {_short(text)}, which is {' and '.join(both)} too")
    given = case.given.get("text")
    case.demand(given is None or mine.takes(given), f"it does not take {given!r}, which it was given to open")


def it_opens_a_model(case: Case) -> None:
    """Demand a module at rest, or what satisfies a protocol, that answers the task and is the same each time.

    Args:
        case: The opener, with a ``text`` that it opens; with the ``task`` where that is not of the sample images.
    """
    opener, task = _opener(case), _task(case)
    try:
        one, two = (opener.open(_given(case), task, "") for _ in range(2))
    except MissingExtraError as error:
        case.skip(str(error))
    kind = type(one).__name__
    right = isinstance(one, (nn.Module, Scores, Recorded, Opens, Reads))
    needed = "a torch.nn.Module, or an object with scores(inputs), recorded(split) or what reads texts"
    case.demand(right, f"it gave {kind}; {needed}")
    if isinstance(one, nn.Module):
        case.demand(not any(part.training for part in one.modules()), "its module is in training mode; call eval()")
        case.demand(not any(p.requires_grad for p in one.parameters()), "its module has parameters that are not frozen")
    key = take.key_of(one, task)
    case.demand(key == take.key_of(two, task), "opened twice it is another model")
    try:
        take.take(one, "its model", key, task, written.generator())
    except WhatElseError as error:
        case.fail(str(error))


def it_refuses_in_one_line(case: Case) -> None:
    """Demand an error of one line where the file is not there, or weights are given that are not.

    Args:
        case: The opener; with a ``text`` that it opens, its weights are tried too.
    """
    opener, task = _opener(case), _task(case)
    with tempfile.TemporaryDirectory() as folder:
        gone = [f"{folder}/nowhere{ending}" for ending in (*_ENDINGS, ".py:f", ":f")]
        given = case.given.get("text")
        gone += [f"{folder}/{Path(given).name}"] if given and Path(given).exists() else []
        asked = [(text, "") for text in gone if opener.takes(text)]
        asked += [(given, f"{folder}/nowhere.pt")] if given else []
        for text, weights in asked:
            what = f"{_short(Path(text).name)}{' with weights' if weights else ''}"
            try:
                opener.open(text, task, weights)
            except MissingExtraError as error:
                case.skip(str(error))
            except WhatElseError as error:
                said = str(error)
            except Exception as error:  # noqa: BLE001 - whatever it raises
                case.fail(f"of {what} it raised {type(error).__name__}: {error}; one line of whatelse.errors is needed")
            else:
                case.fail(f"it opened {what}, which is not there")
            case.demand("\n" not in said, f"of {what} it says more than one line")
            named = "nowhere" in said or Path(text).name in said
            case.demand(named, f"of {what} it says {said!r}; name what was typed")
    if not asked:
        case.skip("no file that is not there is of its form; give one that is: check(item, text=...)")


CHECKS = (
    its_parts_are_in_order,
    it_says_of_any_text_whether_it_is_its_own,
    it_takes_no_text_of_another_opener,
    it_opens_a_model,
    it_refuses_in_one_line,
)


def _opener(case: Case) -> Opener:
    return opening.opener(case.source.name)


def _given(case: Case) -> str:
    if "text" not in case.given:
        case.skip("it needs a text to open: check(item, text=...)")
    text: str = case.given["text"]
    return text


def _task(case: Case) -> Task:
    task: Task = case.given.get("task") or samples.images()
    return task


def _texts(case: Case, folder: str) -> list[str]:
    """Return whatever users may type: names of files that there are, in a folder, and are not; and anything else."""
    given = [case.given["text"]] if "text" in case.given else []
    endings = [*_ENDINGS, *(Path(text).suffix for text in given)]
    folders = [Path(folder, name) for name in ("plain", "cnn()", "a:b", *(f"folder{ending}" for ending in endings))]
    files = [Path(folder, f"file{ending}") for ending in endings]
    for place in folders:
        place.mkdir(exist_ok=True)
    for place in files:
        place.write_bytes(b"nothing")
    gone = [f"nowhere{ending}" for ending in endings]
    return [*_ANY, *map(str, (*folders, *files)), *gone, *(f"{folder}/{name}" for name in gone), *given]


def _short(text: str) -> str:
    return ascii(text if len(text) < 60 else f"{text[:20]}...{text[-20:]}")  # noqa: PLR2004
