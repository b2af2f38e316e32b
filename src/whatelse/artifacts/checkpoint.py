"""A file of weights opened and fitted to a model: as it is first, then without what wrappers put around names.

Training scripts save more than weights, under names of their own: ``{"epoch": 3, "state_dict": ...}``, Lightning's
``model.`` before every name, a running mean of the weights beside them. Every mapping of names to tensors in the file
is held against the names of the model; nothing is taken that does not fit all of it.
"""

from __future__ import annotations

import difflib
import os
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from whatelse import limits
from whatelse.errors import ArtifactError, Told, WhatElseError

# What torch's own wrappers put into names, anywhere; what scripts and Lightning put in front of all of them.
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_FRONTS = (
    *("model", "net", "network", "backbone", "student", "teacher"),
    *("ema", "ema_model", "model_ema", "averaged_model", "swa_model"),
)
_AVERAGES = re.compile(r"ema|swa|averag|teacher|shadow", re.IGNORECASE)
_DEEPEST, _MOST = 4, 500  # mappings inside mappings, and how many of them are looked at
# What counts passes, of a batch normalization or of torch's averaged models: it changes no answer, and may be absent.
_COUNTER = ("num_batches_tracked", "n_averaged")


@dataclass(frozen=True)
class _State:
    """Entries of a file that may be weights: where they stand, by name, and what stands beside them elsewhere."""

    name: str
    entries: Mapping[str, Any]
    aside: tuple[str, ...] = ()
    versions: Any = None  # of the modules that wrote them, as torch keeps them

    @property
    def called(self) -> str:
        return self.name or "the file as it is"


@dataclass(frozen=True)
class _Fit:
    """Weights held against a model: where in the file each of its names stands, and what does not fit."""

    state: _State
    names: Mapping[str, str]
    lacking: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        told = [f"they lack {', '.join(self.lacking[:3])} ({_names(self.lacking)})"] if self.lacking else []
        told += [f"the model has no {', '.join(self.extra[:3])} ({_names(self.extra)})"] if self.extra else []
        near = difflib.get_close_matches(self.lacking[0], self.extra, n=1) if self.lacking and self.extra else []
        told += [f"nearest to {self.lacking[0]} is {near[0]}"] if near else []
        return told + self.wrong[:2]

    @property
    def distance(self) -> int:
        return len(self.lacking) + len(self.extra) + len(self.wrong)


def fill(model: nn.Module, asked: str) -> None:
    """Fill a model with the weights of a file.

    Args:
        model: Its tensors are overwritten.
        asked: A .safetensors file or a PyTorch checkpoint; ``file:name`` for one of several weights in it.

    Raises:
        ArtifactError: The file cannot be read, would run code, or none of its weights fits the model, or several do.
    """
    path, name = _place(asked)
    where, own = f"weights {asked}", model.state_dict(keep_vars=True)
    states = list(_states(_read(path, f"weights {path}"), own))
    bare = [state for one in states for state in _unwrapped(one)]
    if name:
        known = (
            ", ".join(dict.fromkeys(state.name for state in (*states, *bare) if state.name))
            or "nothing that has a name"
        )
        states, bare = ([s for s in several if s.name == name] for several in (states, bare))
        if not (states or bare):
            raise ArtifactError(f"{where}: nothing called {name!r} in it; it has {known}")
    if not (states or bare):
        raise ArtifactError(f"{where}: no state dict; a mapping of names to tensors is needed")
    tried = [_fit(own, state, [_bare(n) for n in own]) for state in bare]
    chosen = _chosen([_fit(own, state, list(own)) for state in states], str(path), tried) or _chosen(tried, str(path))
    if chosen:
        told = _told(own, chosen, bare=any(chosen is one for one in tried), named=bool(name))
        _load(model, chosen, where)
        for line in told:
            warnings.warn(f"{where}: {line}", Told, stacklevel=2)
    else:
        _refuse_or_load(model, [_fit(own, state, list(own)) for state in states], tried, where)
    lost = [name for name, held in model.state_dict().items() if _lost(held)]
    if lost:
        some = f"{', '.join(lost[:3])} ({_names(lost)})"
        warnings.warn(
            f"{where}: NaN stands in {some}; the training may have diverged before they were saved",
            stacklevel=2,
            category=Told,
        )


def _told(own: Mapping[str, Any], fit: _Fit, *, bare: bool, named: bool) -> list[str]:
    """Return what is worth saying of weights that were taken: what stands beside them, their names, their type."""
    lines = []
    if fit.state.aside and not named:
        beside = f"{', '.join(fit.state.aside[:3])} ({_names(fit.state.aside)})"
        lines.append(f"taken is {fit.state.called}; left aside are {beside}")
    elif bare:
        lines.append(f"taken is {fit.state.called}; names are matched without what wrappers put into them")
    pairs = ((fit.state.entries[there], own[name]) for name, there in fit.names.items())
    kinds = {
        tuple(str(t.dtype).removeprefix("torch.") for t in (given, mine))
        for given, mine in pairs
        if isinstance(given, Tensor)
        and isinstance(mine, Tensor)
        and given.is_floating_point()
        and mine.is_floating_point()
    }
    lines += [f"weights stored as {a} are computed with as {b}, as the model has them" for a, b in kinds if a != b]
    return lines


def _lost(held: Any) -> bool:  # noqa: ANN401 - tensors, or what a module says besides
    """Return whether a tensor holds what is not a number; infinities are at home in masks."""
    if not isinstance(held, Tensor) or not (held.is_floating_point() or held.is_complex()):
        return False
    dense = _dense(held)
    return bool((dense if dense.dtype.itemsize > 1 else dense.float()).isnan().any())  # no byte has isnan everywhere


def _states(found: Any, own: Mapping[str, Any]) -> Iterator[_State]:  # noqa: ANN401 - whatever a file holds
    """Yield every mapping to tensors in what a file holds, the outermost first, at most `_MOST` of them."""
    waiting: list[tuple[Any, str, int]] = [(found, "", 0)]
    while waiting:
        here, name, depth = waiting.pop(0)
        if not isinstance(here, Mapping):
            continue
        entries = {str(key): v for key, v in here.items() if isinstance(v, Tensor) or key in own}
        if any(isinstance(v, Tensor) for v in entries.values()):
            yield _State(name, entries, versions=getattr(here, "_metadata", None))
        inner = [(v, f"{name}.{k}".lstrip("."), depth + 1) for k, v in here.items() if isinstance(v, Mapping)]
        waiting += inner if depth < _DEEPEST and len(waiting) < _MOST else []


def _unwrapped(state: _State) -> Iterator[_State]:
    """Yield weights without what wrappers put into names, then the parts of them that stand under a usual prefix."""
    bare = {_bare(name): value for name, value in state.entries.items()}
    if len(bare) < len(state.entries):  # two names would be one
        return
    waiting = [replace(state, entries=bare)]
    while waiting:
        here = waiting.pop(0)
        yield here
        for front in _FRONTS:
            under = {n.removeprefix(f"{front}."): v for n, v in here.entries.items() if n.startswith(f"{front}.")}
            if under:
                aside = tuple(n for n in here.entries if not n.startswith(f"{front}."))
                name = f"{here.name}.{front}".lstrip(".")
                waiting.append(_State(name, under, (*here.aside, *aside)))


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _fit(own: Mapping[str, Any], state: _State, called: list[str]) -> _Fit:
    """Hold weights against the tensors of a model, which may go by other names."""
    if len(set(called)) < len(called):
        return _Fit(state, {}, list(own))
    names = {mine: there for mine, there in zip(own, called, strict=True) if there in state.entries}
    taken = {id(own[name]): state.entries[there] for name, there in names.items()}  # tied ones are one tensor
    lacking = [n for n, v in own.items() if n not in names and id(v) not in taken and not n.endswith(_COUNTER)]
    extra = sorted(n for n in set(state.entries) - set(names.values()) if not n.endswith(_COUNTER))
    wrong = [text for n, there in names.items() if (text := _wrong(n, own[n], state.entries[there]))]
    for name, there in names.items():
        if not wrong and _differ(state.entries[there], taken[id(own[name])]):
            wrong.append(f"{name} is tied to another tensor in the model, and has values of its own in the file")
    return _Fit(state, names, lacking, extra, wrong)


def _wrong(name: str, mine: Any, given: Any) -> str:  # noqa: ANN401 - tensors, or what a module says besides
    """Return why a tensor cannot become another one."""
    if not isinstance(mine, Tensor) or not isinstance(given, Tensor):
        return "" if isinstance(mine, Tensor) == isinstance(given, Tensor) else f"{name} is no tensor on both sides"
    if given.is_meta:
        return f"{name} has no values in the file"
    if not is_lazy(mine) and mine.shape != given.shape and not name.endswith(_COUNTER):
        return f"{name} is {tuple(given.shape)} where the model has {tuple(mine.shape)}"
    kinds = [str(t.dtype).removeprefix("torch.") for t in (given, mine)]
    numbers = [(t.is_floating_point(), t.is_complex(), t.is_quantized) for t in (given, mine)]
    if numbers == [(True, False, False), (False, False, False)] and (name.endswith(_COUNTER) or _is_whole(given)):
        return ""  # a script that stores all of a state dict in half precision does not spare counters and places
    # Codes of a quantized model are no weights, though they would be copied without a word.
    return "" if numbers[0] == numbers[1] else f"{name} is {kinds[0]} where the model has {kinds[1]}"


def _is_whole(given: Tensor) -> bool:
    """Return whether all numbers are whole, and so small that their type tells each from the next."""
    dense = _dense(given)
    return bool((dense == dense.round()).all()) and bool((dense.abs() <= 2 / torch.finfo(dense.dtype).eps).all())


def _differ(one: Any, other: Any) -> bool:  # noqa: ANN401 - as above
    if one is other or not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return False
    return one.shape != other.shape or not torch.equal(_dense(one), _dense(other))


def _chosen(fits: list[_Fit], path: str, further: Sequence[_Fit] = ()) -> _Fit | None:
    """Return the weights that fit; where an average of weights fits too, the plain ones.

    Of ``further`` ones, which fit without what wrappers put into their names, none is taken and all are told.

    Raises:
        ArtifactError: Several fit, and they differ.
    """
    whole: list[_Fit] = []
    for fit in fits:
        if not fit.problems and all(_apart(fit, other) for other in whole):
            whole.append(fit)
    plain = [fit for fit in whole if not _AVERAGES.search(fit.state.name)] or whole
    if len(plain) > 1:
        several = " and ".join(fit.state.called for fit in plain)
        one = plain[-1].state.name
        raise ArtifactError(
            f"weights {path}: {several} fit the model and differ; choose one: {path}:{one} where the file is named, "
            f"or --weights-key {one} beside --weights"
        )
    if not plain:
        return None
    for fit in further:
        if not fit.problems and all(_apart(fit, other) for other in whole):
            whole.append(fit)
    others = [fit.state for fit in whole if fit is not plain[0]]
    if others:
        choose = "".join(f", {path}:{state.name} takes the other" for state in others[:1] if state.name)
        several = ", ".join(dict.fromkeys(state.called for state in others[:3]))
        warnings.warn(f"{path}: taken is {plain[0].state.called}; {several} would fit too{choose}", Told, stacklevel=2)
    return plain[0]


def _apart(one: _Fit, other: _Fit) -> bool:
    pairs = (
        (one.state.entries[there], other.state.entries.get(other.names.get(n, ""))) for n, there in one.names.items()
    )
    return any(_differ(a, b) for a, b in pairs)


def _load(model: nn.Module, fit: _Fit, where: str) -> list[str]:
    """Fill a model, and return what it lacks or has too much all the same.

    Raises:
        ArtifactError: The model refuses them.
    """
    given = OrderedDict((name, _dense(fit.state.entries[there])) for name, there in fit.names.items())
    given |= {name: fit.state.entries[name] for name in fit.extra}
    if fit.state.versions is not None:
        given._metadata = fit.state.versions  # type: ignore[attr-defined] # how torch hands them over
    try:
        found = model.load_state_dict(given, strict=False)
    except Exception as error:  # whatever a module's own hooks raise
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise ArtifactError(f"{where} do not fit the model: {reason}") from error
    return [*found.missing_keys, *found.unexpected_keys]


def _refuse_or_load(model: nn.Module, as_is: list[_Fit], tried: list[_Fit], where: str) -> None:
    """Let the model's own hooks try weights whose names alone do not fit, as after a change of a class; or refuse.

    Raises:
        ArtifactError: They do not fit.
    """
    nearest = min([*as_is, *tried], key=lambda fit: fit.distance)
    plain = min(as_is, key=lambda fit: fit.distance, default=None)
    if plain and not plain.wrong and plain.lacking and plain.extra and not _load(model, plain, where):
        return
    names = ", ".join(dict.fromkeys(fit.state.called for fit in [*as_is, *tried]))
    told = "; ".join(nearest.problems)
    raise ArtifactError(f"{where} do not fit the model: {told}; tried: {names}, with and without prefixes of wrappers")


def _dense(value: Any) -> Any:  # noqa: ANN401 - as above
    return value.to_dense() if isinstance(value, Tensor) and value.layout is not torch.strided else value


def _names(several: Sequence[str]) -> str:
    return f"{len(several)} name{'s' if len(several) > 1 else ''}"


def _place(asked: str) -> tuple[Path, str]:
    """Return the file, and the name behind a colon where there is one."""
    path, _, name = asked.rpartition(":")
    return (Path(path), name) if os.path.exists(path) and not os.path.exists(asked) else (Path(asked), "")


def _read(path: Path, where: str) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        held = limits.regular(path)
        if path.suffix == ".safetensors":
            limits.check(held, held, where, ArtifactError)
            return load_file(path)
        limits.check(_declared(path, held), held, where, ArtifactError)
        with warnings.catch_warnings(action="ignore"):  # torch remarks on old pickles; they are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except WhatElseError:
        raise
    except OSError as error:
        raise ArtifactError(f"{where}: {error.strerror or error}") from error
    except Exception as error:  # a damaged file raises errors of many kinds
        raise ArtifactError(f"{where}: {_why(path, error)}") from error


def _declared(path: Path, held: int) -> int:
    """Return how many bytes the parts of a file say that they have."""
    if not zipfile.is_zipfile(path):
        return held
    with zipfile.ZipFile(path) as parts:
        return sum(part.file_size for part in parts.infolist())


def _why(path: Path, error: Exception) -> str:
    safe = "where it comes from, save model.state_dict() with safetensors.torch.save_file"
    if path.suffix == ".safetensors":
        return f"no safetensors file, or a damaged one: {' '.join(str(error).split())[:200]}"
    if "TorchScript" in str(error):
        return f"refused, as it is a TorchScript program and loading it would run code; {safe}"
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return f"refused, as it holds a {named[1]} besides tensors and loading it would run code; {safe}"
    return f"refused, as it is damaged, or holds more than tensors and loading it would run code; {safe}"
