"""What a store offers: results by kind and key, believed only where they are whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn

from whatelse.store.seal import Origin


class Store(Protocol):
    """Where results are kept and found again: a folder, `whatelse.store.folder.Folder`, or a place that has an address.

    It is sent to workers with every job, so that it must survive that.

    Attributes:
        damaged: What was found damaged, by name, and why.
    """

    def __hash__(self) -> int:
        """Return the same number for the same place."""

    @property
    def damaged(self) -> dict[str, str]:
        """What was found damaged, by name, and why."""

    def fresh(self) -> Store:
        """Return the same results, with nothing remembered of what was found damaged."""

    def where(self, file: str = "") -> str:
        """Return how messages call the store, or a file in it."""

    def former(self) -> bool:
        """Return whether it holds results of a layout that is read no more."""

    def has(self, kind: str, name: str) -> bool:
        """Say whether a result is there and whole; one that is damaged is not, and is remembered."""

    def whole(self, wanted: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return which of some results are there and whole; damaged ones are remembered."""

    def near(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Have some results at hand that are read next, one after the other."""

    def absent(self, kind: str, name: str) -> bool:
        """Say whether there is nothing of a result, whole or damaged."""

    def origin(self, kind: str, name: str) -> Origin | None:
        """Return where a result was made; None where it is absent or does not say."""

    def save(self, kind: str, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Keep tensors with a JSON-ready record beside them."""

    def load(self, kind: str, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the record of a result."""

    def save_record(self, kind: str, name: str, record: Mapping[str, Any]) -> None:
        """Keep a JSON-ready record."""

    def load_record(self, kind: str, name: str) -> dict[str, Any]:
        """Return a record."""

    def save_model(self, name: str, model: nn.Module, meta: Mapping[str, Any]) -> None:
        """Keep a model as data, with the description that rebuilds it."""

    def load_model(self, name: str) -> nn.Module:
        """Return a model, frozen and in evaluation mode; no code of what is kept is run."""

    def forget(self, kind: str, name: str) -> None:
        """Remove a result, if it is there."""

    def prepare(self) -> None:
        """See that results can be written, and clear away what killed processes left behind."""

    def marked(self) -> AbstractContextManager[str]:
        """Leave a mark while a run goes on, by which a worker knows that it sees the same store and no namesake."""

    def sees(self, mark: str) -> bool:
        """Say whether a mark is here."""
