"""What a user types for a model or for data, opened: a folder, a factory in Python, a data door, a file of arrays."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from whatelse import artifact, recipe, registry, settings
from whatelse.asked import asked
from whatelse.errors import ArtifactError, TaskError
from whatelse.lent import rest
from whatelse.task import Task

_LOOKED = 64  # test examples that a model is asked, to see whether it fits


def load_task(text: str) -> Task:
    """Return the task that a text names.

    Args:
        text: A data door with its settings, such as ``digits`` or ``digits(noise=0.3)``, or the path of a file of
            arrays (.npz or .safetensors).

    Raises:
        TaskError: The data cannot be used.
        UnknownItemError: There is no such door.
        SettingError: A setting is unknown or out of range.
    """
    if Path(text).suffix in {".npz", ".safetensors"}:
        name, given = "arrays", {"path": text}
    else:
        name, given = recipe.read_call(text if "(" in text else f"{text}()", "--data")
    door = registry.load("data", name)
    task = door.load(settings.build(door.Config, given, f"data {name}"))
    assert isinstance(task, Task)
    return task


def open_model(text: str, task: Task, weights: str = "") -> nn.Module:
    """Return the model that a text names, frozen and in evaluation mode, after passing it two examples of the task.

    Args:
        text: A folder that this toolkit wrote; or ``file.py:name`` or ``package.module:name``: a module, or a
            function without arguments that returns one (that Python is the user's own and is run); or a small
            network of this toolkit, untrained, such as ``cnn(width=8)``.
        task: Gives the shape of the inputs and the number of classes.
        weights: A state dict for it, .safetensors or a PyTorch checkpoint that holds nothing but tensors.

    Raises:
        ArtifactError: There is no such model, or its weights do not fit or would run code.
        TaskError: The model and the task do not fit each other.
    """
    folder = Path(text).is_dir()
    if folder and weights:
        raise ArtifactError(f"--weights {weights}: the folder {text} has its own weights; leave one of them out")
    if folder:
        model = artifact.load(text)
    elif ":" in text:
        model = _made(text)
    elif text.endswith(")"):
        model = _net(text, task)
    else:
        raise ArtifactError(
            f"{text}: no such folder; a model is a folder written by whatelse compress, or file.py:function "
            "(with --weights for a checkpoint)"
        )
    if weights:
        _fill(model, _state(Path(weights)), weights)
    rest(model)
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


def short_names(texts: Sequence[str]) -> list[str]:
    """Return what models are called by in a report: the last part of what was typed, whole where that is not unique.

    Args:
        texts: As `open_model` takes them.
    """
    short = [Path(text).resolve().name if ":" not in text else text.rpartition(":")[2] for text in texts]
    return [
        name if short.count(name) == 1 and name != "baseline" else text for name, text in zip(short, texts, strict=True)
    ]


def _net(text: str, task: Task) -> nn.Module:
    name, given = recipe.read_call(text, "MODEL")
    net = registry.load("nets", name)
    config = settings.build(net.Config, given, f"nets.{name}")
    # Its first weights; a recipe's train.scratch draws its own.
    made = net.build(config, task.shape, task.classes, torch.Generator().manual_seed(0))
    assert isinstance(made, nn.Module)
    return made


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


def _state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # torch remarks on old pickles; they are refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"--weights {path}: {getattr(error, 'strerror', None) or error}") from error
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"--weights {path}: refused, as it holds more than tensors and loading it would run code; where it comes "
            "from, save model.state_dict() with safetensors.torch.save_file"
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ArtifactError(f"--weights {path}: no state dict; a mapping of names to tensors is needed")
    # nn.DataParallel prefixes every name.
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _fill(model: nn.Module, state: dict[str, Tensor], where: str) -> None:
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ArtifactError(f"--weights {where} do not fit the model: {str(error).splitlines()[-1].strip()}") from error
    if missing or unexpected:
        lacks = f"they lack {', '.join(missing[:3])}" if missing else f"the model has no {', '.join(unexpected[:3])}"
        raise ArtifactError(f"--weights {where} do not fit the model: {lacks} ({len(missing) + len(unexpected)} names)")


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
        asked(model, name, task.test.inputs[:_LOOKED], task.classes)
    except TaskError as error:
        raise TaskError(f"task {task.name} and model do not fit: {error}") from error
