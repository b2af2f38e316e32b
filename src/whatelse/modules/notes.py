"""What a method says of the model that it made, beyond what its weights show: what it left alone and why."""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from torch import nn

# Beside the models and not in them, so that a note is neither copied nor saved, nor told of the next step again.
_SAID: WeakKeyDictionary[nn.Module, tuple[dict[str, str], list[str]]] = WeakKeyDictionary()


def note(model: nn.Module, left: Mapping[str, str], *said: str) -> None:
    """Write down what the maker of a model has to say of it.

    Args:
        model: What was made.
        left: For every layer that was left alone the reason, by the name that it had before.
        said: Sentences about the whole.
    """
    _SAID[model] = dict(left), list(said)


def noted(model: nn.Module) -> tuple[dict[str, str], list[str]]:
    """Return what was written down of a model: reasons by layer, and sentences.

    Args:
        model: What a method returned.
    """
    return _SAID.get(model, ({}, []))
