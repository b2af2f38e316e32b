"""What a user types for a model or for data, opened: by files in ``openers`` and ``datasets``, found by path."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from whatelse import items, limits, recipe, registry
from whatelse.errors import ArtifactError, SettingError, TaskError
from whatelse.models import preparation
from whatelse.models.causal import Causal
from whatelse.models.completions import PARTED
from whatelse.models.preparation import Preparation
from whatelse.models.take import Given
from whatelse.parts import Parts
from whatelse.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Opener:
    """A form in which a user names a model.

    Attributes:
        name: Of its file.
        form: What it takes, for messages.
        takes: Whether a text is of this form.
        open: From a text, a task and the name of weights, or nothing, to a model.
        own: Why nothing may be declared to be done to its inputs, such as ``has a processor of its own``; or empty.
    """

    name: str
    form: str
    takes: Callable[[str], bool]
    open: Callable[[str, Task, str], Given]
    own: str = ""


def opener(name: str) -> Opener:
    """Return a form in which a user names a model.

    Args:
        name: Of its file.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    return _opener(registry.find("openers", name))


@cache
def _opener(source: registry.Source) -> Opener:
    parts = Parts(source)
    return Opener(source.name, parts.need("FORM"), parts.need("takes"), parts.need("open_model"), parts.get("OWN", ""))


def load_task(text: str, *, max_memory: int | str | None = None) -> Task:
    """Return the task that a text names.

    Args:
        text: A data loader with its settings, such as ``digits`` or ``digits(noise=0.3)``; or what a loader opens by
            itself: a file (.csv, .parquet, .jsonl, .npz, ...), a folder of images, ``hf:owner/name``, or
            ``file.py:function``.
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
        ItemError: Several loaders open such a file.
        TaskError: It is a file that no loader opens.
    """
    if "(" in text and not os.path.exists(text):  # False also of a name that no file may have
        return recipe.read_call(text, "--data")
    if text in registry.names("datasets"):
        return text, {}
    taking = next((one for one in map(items.loader, registry.names("datasets")) if one.takes(text)), None)
    # What a file holds says more than how its name ends: sentences with a label a word lie in the files of tables.
    loader = (taking if os.path.isfile(text) else None) or items.loader_of(text) or taking
    if loader is not None:
        return loader.name, {"path": text}
    if os.path.isfile(text):
        known = sorted({suffix for name in registry.names("datasets") for suffix in items.loader(name).suffixes})
        raise TaskError(
            f"data {text}: no loader opens {Path(text).suffix or 'such'} files; there are {', '.join(known)}"
        )
    return recipe.read_call(f"{text}()", "--data")


def data_text(text: str, options: Mapping[str, str | int]) -> str:
    """Return the call that a text for data and options beside it stand for: settings of whichever loader it is.

    Args:
        text: As `load_task` takes it.
        options: By the names that command lines use, without those that are not given.

    Raises:
        SettingError: The loader has no such setting, or the text says another value.
        RecipeError: The text is no call.
        TaskError: No loader opens it.
    """
    if not options:
        return text
    name, given = data_call(text)
    called = {f.metadata.get("option") or f.name: f.name for f in fields(items.loader(name).config)}
    for option, value in options.items():
        if option not in called:
            known = ", ".join(called) or "none"
            raise SettingError(f"--{option}: data {name} has no such setting; it has {known}; leave it out")
        if given.get(called[option], value) != value:
            said = f"{called[option]}={given[called[option]]!r}"
            raise SettingError(f"--{option}={value!r}, and the call says {said}; leave one of them out")
        given[called[option]] = value
    return f"{name}({', '.join(f'{setting}={value!r}' for setting, value in given.items())})"


def open_model(text: str, task: Task, weights: str = "") -> Given:
    """Return the model that a text names: a torch module, frozen and in evaluation mode, or recorded scores.

    Args:
        text: A folder that this toolkit wrote; or ``file.py:name`` or ``package.module:name``: a module, or a
            function without arguments that returns one (that Python is the user's own and is run); or a small
            network of this toolkit, untrained, such as ``cnn(width=8)``; or a file of recorded scores. Every file in
            ``openers`` opens one form.
            Behind an ``@`` may stand weights for it: ``net.py:make@run.pth``.
        task: The examples: models are tried on a few, scores are held against all.
        weights: A state dict for it, .safetensors or a PyTorch checkpoint that holds no code; ``file:name`` where
            several in it fit, such as ``run.pth:ema``.

    Raises:
        ArtifactError: There is no such model, it asks for more than it may, or its weights do not fit or would run
            code.
        NotMeasurableError: It has tensors without numbers: lazy layers, or the meta device.
        TaskError: The model and the task do not fit each other.
    """
    text, beside = parted(text)
    if beside and weights:
        raise ArtifactError(f"weights {weights}: {text} has weights already, {beside}; leave one of them out")
    weights = weights or beside
    every = [opener(name) for name in registry.names("openers")]
    fits = [one for one in every if one.takes(text)]
    if len(fits) == 1:
        return fits[0].open(text, task, weights)
    if fits:
        several = " or ".join(one.form for one in fits)
        raise ArtifactError(f"{text}: it could be {several}; name it another way")
    raise ArtifactError(f"{text}: no such folder or file; a model is {'; or '.join(one.form for one in every)}")


def own(text: str) -> str:
    """Return why nothing may be declared to be done to the inputs of a model; empty where something may.

    Args:
        text: As `open_model` takes it.
    """
    text, _ = parted(text)
    fits = [one for one in map(opener, registry.names("openers")) if one.takes(text)]
    return fits[0].own if len(fits) == 1 else ""


def parted(text: str) -> tuple[str, str]:
    """Return what names a model, and weights for it where they stand behind an ``@``: a file, or one with a name in it.

    Args:
        text: As `open_model` takes it.

    Raises:
        ArtifactError: There is no such file.
    """
    model, _, weights = text.rpartition("@")
    plain = ":" not in model and not model.endswith(")") and not os.path.exists(model)
    if not model or os.path.exists(text) or "://" in text or plain:
        return text, ""
    if not (os.path.exists(weights) or os.path.exists(weights.rpartition(":")[0])):
        raise ArtifactError(f"{text}: no such file {weights}; behind @ stand weights for {model}")
    return model, weights


def preparations(options: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, Preparation]:
    """Return what is done to the inputs of every model, as a user types it.

    Args:
        options: By the name of a field of `Preparation`: values, each for all models, or ``MODEL=VALUE`` for one.
        names: Names of all models.

    Raises:
        TaskError: A model is not known, or a value is none; the message names the option.
    """
    return preparation.read(options, names)


def open_module(text: str, task: Task, weights: str = "") -> nn.Module:
    """Return the torch module that a text names, for what changes or writes modules; of a language model a `Decoder`.

    Args:
        text: As `open_model` takes it.
        task: Likewise.
        weights: Likewise.

    Raises:
        ArtifactError: It is none; or as `open_model`.
        NotMeasurableError: As `open_model`.
        TaskError: Likewise.
    """
    found = open_model(text, task, weights)
    if isinstance(found, Causal):
        return found.decoder()
    if not isinstance(found, nn.Module):
        raise ArtifactError(f"{text}: a torch module is needed; it is none, and can only be audited")
    return found


def served(texts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return models as a user types them, with the names of what is served at their addresses behind these.

    Args:
        texts: As `open_model` takes them.
        names: One for each address, in their order; nothing where an address serves one model alone.

    Raises:
        ArtifactError: There are more or fewer names than addresses.
    """
    places = [at for at, text in enumerate(texts) if "://" in text]
    if names and len(names) != len(places):
        told = f"--model is given {len(names)} times for {len(places)} addresses"
        raise ArtifactError(f"{told}; one for each, in their order")
    named = dict(zip(places, names, strict=False))
    return [f"{text}{PARTED}{named[at]}" if at in named else text for at, text in enumerate(texts)]


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
    short = [_short(text) for text in texts]
    return [
        name if short.count(name) == 1 and name != "baseline" else text for name, text in zip(short, texts, strict=True)
    ]


def _short(text: str) -> str:
    if "://" in text:
        return text.rstrip("/").rpartition(PARTED if PARTED in text else "/")[2]
    model, _, weights = text.rpartition("@")
    if model and weights and not os.path.exists(text):
        return Path(weights).name
    return Path(os.path.realpath(text)).name if ":" not in text else text.rpartition(":")[2]
