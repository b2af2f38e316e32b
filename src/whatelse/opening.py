"""What a user types for a model or for data, opened: a folder, a factory in Python, a data loader, a file of arrays."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from whatelse import items, limits, recipe
from whatelse.artifacts import checkpoint
from whatelse.artifacts import folder as artifact
from whatelse.errors import ArtifactError, TaskError
from whatelse.models.asked import asked
from whatelse.modules import foretell
from whatelse.modules.lent import check_filled, rest
from whatelse.tasks.task import Task

# Test examples that a model is asked, to see whether it fits, and values that they may have together.
_LOOKED, _VALUES = 64, 400_000


def load_task(text: str, *, max_memory: int | str | None = None) -> Task:
    """Return the task that a text names.

    Args:
        text: A data loader with its settings, such as ``digits`` or ``digits(noise=0.3)``, or the path of a file of
            arrays (.npz or .safetensors).
        max_memory: Bytes that a file's data may take, or a text such as ``8G``; by default 2 GiB, or 16 times what
            the file holds where that is more.

    Raises:
        TaskError: The data cannot be used.
        UnknownItemError: There is no such door.
        SettingError: A setting is unknown or out of range.
    """
    name, given = data_call(text)
    loader = items.loader(name)
    with limits.within(max_memory):
        return loader.load(loader.configure(given))


def data_call(text: str) -> tuple[str, dict[str, Any]]:
    """Return the loader that a text names, with its settings.

    Args:
        text: As `load_task` takes it.

    Raises:
        RecipeError: It is no call.
    """
    if Path(text).suffix in {".npz", ".safetensors"}:
        return "arrays", {"path": text}
    return recipe.read_call(text if "(" in text else f"{text}()", "--data")


def open_model(text: str, task: Task, weights: str = "") -> nn.Module:
    """Return the model that a text names, frozen and in evaluation mode, after passing it two examples of the task.

    A folder may be anyone's: loading it and its first answer are held to `limits` of memory and time.

    Args:
        text: A folder that this toolkit wrote; or ``file.py:name`` or ``package.module:name``: a module, or a
            function without arguments that returns one (that Python is the user's own and is run); or a small
            network of this toolkit, untrained, such as ``cnn(width=8)``.
        task: Gives the shape of the inputs and the number of classes.
        weights: A state dict for it, .safetensors or a PyTorch checkpoint that holds no code; ``file:name`` where
            several in it fit, such as ``run.pth:ema``.

    Raises:
        ArtifactError: There is no such model, it asks for more than it may, or its weights do not fit or would run
            code.
        NotMeasurableError: It has tensors without numbers: lazy layers, or the meta device.
        TaskError: The model and the task do not fit each other.
    """
    folder = os.path.isdir(text)  # False also of a name that no file may have
    if folder and weights:
        raise ArtifactError(f"--weights {weights}: the folder {text} has its own weights; leave one of them out")
    model = _opened(text, task)
    if weights:
        checkpoint.fill(model, weights)
    check_filled(model, text)
    rest(model)
    if folder:
        with foretell.foretold(text, artifact.held(text), ArtifactError):
            check_fit(model, task, text)
    else:
        check_fit(model, task, text)
    return model


def open_models(texts: Mapping[str, str], task: Task) -> dict[str, nn.Module]:
    """Return the models that texts name, each as `open_model` does, without those of an empty text.

    Args:
        texts: By name.
        task: Gives the shape of the inputs and the number of classes.

    Raises:
        ArtifactError: There is no such model.
        TaskError: A model and the task do not fit each other.
    """
    return {name: open_model(text, task) for name, text in texts.items() if text}


def _opened(text: str, task: Task) -> nn.Module:
    if os.path.isdir(text):
        return artifact.load(text)
    if ":" in text:
        return _made(text)
    if text.endswith(")"):
        with foretell.foretold(text, 0, ArtifactError):
            return _net(text, task)
    raise ArtifactError(
        f"{text}: no such folder; a model is a folder written by whatelse compress, or file.py:function "
        "(with --weights for a checkpoint)"
    )


def short_names(texts: Sequence[str]) -> list[str]:
    """Return what models are called by in a report: the last part of what was typed, whole where that is not unique.

    Args:
        texts: As `open_model` takes them.

    Raises:
        ArtifactError: One is given twice.
    """
    for text in texts:
        if texts.count(text) > 1:
            raise ArtifactError(
                f"{text} is given twice, and findings go by names; to hold a model against itself write one of them "
                "another way, such as ./net.py:f beside net.py:f"
            )
    short = [Path(text).resolve().name if ":" not in text else text.rpartition(":")[2] for text in texts]
    return [
        name if short.count(name) == 1 and name != "baseline" else text for name, text in zip(short, texts, strict=True)
    ]


def _net(text: str, task: Task) -> nn.Module:
    name, given = recipe.read_call(text, "MODEL")
    net = items.net(name)
    # Its first weights; a recipe's train.scratch draws its own.
    return net.build(net.configure(given), task.shape, task.classes, torch.Generator().manual_seed(0))


def _made(text: str) -> nn.Module:
    place, _, name = text.rpartition(":")
    try:
        with _beside(place):
            found = getattr(_module(place), name, None)
            made = found if isinstance(found, nn.Module) or found is None else found()
    except ArtifactError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise ArtifactError(f"{text}: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ArtifactError(
            f"{text}: got {type(made).__name__}; a torch.nn.Module, or a function returning one, is needed"
        )
    return made


@contextmanager
def _beside(place: str) -> Generator[None, None, None]:
    """Let the user's Python import what stands beside it, as it does when run: a file's folder, or the current one."""
    folder = str(Path(place).resolve().parent if place.endswith(".py") else Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise ArtifactError(f"{place}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up
    spec.loader.exec_module(module)
    return module


def check_fit(model: nn.Module, task: Task, name: str) -> None:
    """Refuse a model that cannot take a task's inputs or has another number of classes.

    Args:
        model: Any module.
        task: The task.
        name: How the message calls the model.

    Raises:
        TaskError: They do not fit; both sides are printed.
    """
    try:
        few = max(2, min(_LOOKED, _VALUES // max(1, prod(task.shape))))
        asked(model, name, task.test.inputs[:few], task.classes)
    except TaskError as error:
        raise TaskError(f"task {task.name} and model do not fit: {error}") from error
