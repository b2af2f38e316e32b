"""The body and the head of a causal language model of transformers, asked apart: the head is the model with a stub."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from whatelse.errors import ArtifactError


class _Made(tuple[Tensor]):
    """What a body returns, with nothing but states: in any form that models ask for."""

    __slots__ = ()

    @property
    def last_hidden_state(self) -> Tensor:
        """The states, ``(1, M, width)``."""
        return self[0]

    def __getattr__(self, name: str) -> None:
        """Return None for whatever else some bodies return, such as attentions.

        Raises:
            AttributeError: It is one of Python's own.
        """
        if name.startswith("__"):
            raise AttributeError(name)


class _Stub(nn.Module):
    """A body that returns the states that it was handed."""

    def __init__(self) -> None:
        super().__init__()
        self.states = torch.empty(0)

    def forward(self, *args: object, **options: object) -> _Made:
        """Return them as bodies of transformers do."""
        del args, options
        return _Made((self.states,))


class Head:
    """A model whose body is a stub: the same head, the same configuration, no copy of a weight.

    Attributes:
        body: The stub.
        model: The model.

    Args:
        model: Of transformers.
        body: Name of its body.
    """

    def __init__(self, model: nn.Module, body: str) -> None:
        self.body = _Stub()
        # Some heads ask a part of their body, such as OPT's its decoder: the stub stands for that as well.
        vars(self.body).update(dict.fromkeys(model.get_submodule(body)._modules, self.body))
        self.model = copy.copy(model)
        self.model._modules = {**model._modules, body: self.body}


def parted(name: str, model: nn.Module) -> tuple[nn.Module, Head]:
    """Return the body of a model, and the model with a stub in its place.

    Args:
        name: How messages call it.
        model: Of transformers.

    Raises:
        ArtifactError: It has none by the name that transformers gives it.
    """
    called = str(getattr(model, "base_model_prefix", ""))
    body = model._modules.get(called)
    if body is None:
        kind = type(model).__name__
        raise ArtifactError(f"{name}: a {kind} has no body {called!r} apart from its head, and cannot be read in parts")
    return body, Head(model, called)
