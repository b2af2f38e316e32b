"""A model under audit is what it offers: four protocols, each satisfied or not, and what messages call it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from whatelse.errors import NotMeasurableError
from whatelse.models.heads import Part


@runtime_checkable
class Scores(Protocol):
    """What answers any inputs."""

    def scores(self, inputs: Tensor) -> Tensor:
        """Return class scores of inputs that it is handed, ``(N, classes)``.

        Args:
            inputs: ``(N, ...)``.
        """


@runtime_checkable
class Recorded(Protocol):
    """What has scores of known examples only: a file that another tool wrote, a log."""

    @property
    def splits(self) -> Collection[str]:
        """Splits of whose examples it has scores."""

    def recorded(self, split: str) -> Tensor:
        """Return class scores of the examples of a split, in their order, ``(N, classes)``.

        Args:
            split: One of ``splits``.
        """


@runtime_checkable
class Gradients(Protocol):
    """What says how its scores move with its inputs."""

    def gradient(self, inputs: Tensor, labels: Tensor, scale: float = 1.0) -> Tensor:
        """Return the gradient of the log-odds ``log p_y - log (1 - p_y)``, ``(N, ...)``; of texts, of their embedding.

        Args:
            inputs: ``(N, ...)``.
            labels: The class ``y`` of every example, ``(N,)``.
            scale: What class scores are divided by before they become probabilities.
        """


@runtime_checkable
class Opens(Protocol):
    """What shows weights and activations."""

    @property
    def module(self) -> nn.Module:
        """The module that answers."""


@runtime_checkable
class Reads(Protocol):
    """What reads texts token by token: a language model with its tokenizer, its head apart from its body."""

    @property
    def longest(self) -> int:
        """How many tokens it reads at once, at most."""

    @property
    def start(self) -> int:
        """The token that stands before a text of which nothing else is known."""

    @property
    def unknown(self) -> int:
        """The token that stands for whatever it cannot cut; -1 where it has none."""

    @property
    def vocabulary(self) -> int:
        """How many tokens it tells apart."""

    def cut(self, text: str, *, whole: bool) -> list[int]:
        """Return the tokens of a text.

        Args:
            text: Any.
            whole: Whether it is a text of its own, which may get a token at its beginning, or goes on.
        """

    def states(self, tokens: Tensor) -> Tensor:
        """Return the state after each token, from which the next one is said, ``(B, T, width)``.

        Args:
            tokens: ``(B, T)``; what stands to the right of a token does not move its state.
        """

    def said(self, states: Tensor) -> Tensor:
        """Return the log-odds of the next token, ``(M, vocabulary)`` float32.

        Args:
            states: Some of what `states` returns, ``(M, width)``.
        """


@runtime_checkable
class Parted(Protocol):
    """What shows parts that can be left out one at a time: heads of attention, and feed-forward blocks."""

    @property
    def depth(self) -> int:
        """How many blocks its states pass, one after the other; 0 where they cannot be told apart."""

    @property
    def width(self) -> int:
        """How many numbers a state has."""

    @property
    def parts(self) -> Sequence[Part]:
        """All of them, layer by layer."""

    def left_out(self, part: Part) -> AbstractContextManager[None]:
        """Leave a part out for a while: nothing is added by it.

        Args:
            part: One of ``parts``.
        """

    def attention(self, tokens: Tensor) -> Sequence[Tensor]:
        """Return where every head looks, ``(B, heads, T, T)`` a layer; nothing where that cannot be seen.

        Args:
            tokens: ``(B, T)``.
        """

    def grafted(self, other: Any, at: int) -> AbstractContextManager[None]:  # noqa: ANN401 - another of its kind
        """Take a block of another model in the place of one's own for a while.

        Args:
            other: A model of the same class, with as many blocks, and states of the same width.
            at: Which block, from 0.
        """

    def written(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield what every head of every layer adds to the state of each token, ``(heads, B T, width)`` a layer.

        Args:
            tokens: ``(B, T)``.
        """


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Attributes:
        text: All of it, without the prompt.
        ended: Whether the model ended it itself; else it was cut off.
        tokens: How many tokens it has.
    """

    text: str
    ended: bool
    tokens: int


@runtime_checkable
class Likelihoods(Protocol):
    """What has log-likelihoods of known documents only, as a log of another tool has them."""

    def loglikelihoods(self, split: str) -> Tensor:
        """Return the log-likelihood of every document of a split in nats, ``(N,)``.

        Args:
            split: Its name.
        """


@runtime_checkable
class Writes(Protocol):
    """What goes on with a text, always by the likeliest token."""

    def write(self, prompts: Sequence[str], tokens: int, at_once: int) -> Sequence[Written]:
        """Return what follows each prompt.

        Args:
            prompts: Texts.
            tokens: How many tokens at most.
            at_once: How many prompts go in one batch.
        """


@runtime_checkable
class Moves(Protocol):
    """What can compute on another device."""

    def to(self, device: str) -> object:
        """Move there, for good.

        Args:
            device: As torch names it.
        """


@runtime_checkable
class Stores(Protocol):
    """What says how much it stores, without showing it as tensors of torch."""

    def stored_bytes(self) -> Sequence[int]:
        """Return the bytes of every array that it stores."""

    def stored_weights(self) -> Sequence[int]:
        """Return how many weights that are not zero it stores in each of its arrays of weights.

        Raises:
            NotMeasurableError: It cannot be told what its weights are.
        """


@runtime_checkable
class Keyed(Protocol):
    """What says itself by what its results are found again."""

    @property
    def key(self) -> str:
        """Another for every other model."""


@runtime_checkable
class Remarked(Protocol):
    """What has something to say of itself that a reader must know, once."""

    @property
    def told(self) -> Sequence[str]:
        """One line each."""


@runtime_checkable
class Mixes(Protocol):
    """What knows whether it computes with its whole batch, where a few examples may not show it."""

    @property
    def mixes(self) -> bool:
        """True where it does."""


@runtime_checkable
class Bounded(Protocol):
    """What takes no more than so many examples at once, and is handed more in pieces."""

    @property
    def most(self) -> int:
        """How many; 0 for any number."""


@runtime_checkable
class Elsewhere(Protocol):
    """What answers from another place, and may be another tomorrow: its results are never found again."""

    def is_still(self, key: str) -> bool:
        """Return whether it answers as it did when it was given a key, which begins with its own.

        Args:
            key: That the work was planned for.
        """


# What a model that satisfies a protocol is said to do.
PROTOCOLS: Mapping[str, type[Any]] = {
    "predicts": Scores,
    "differentiates": Gradients,
    "opens": Opens,
    "recorded": Recorded,
    "likelihoods": Likelihoods,
    "reads": Reads,
    "writes": Writes,
    "parts": Parted,
}
CAPABILITIES = ("predicts", "differentiates", "opens")
READING = ("reads", "writes")  # those of language models
_NEEDED = {"predicts": "predicts new inputs", "reads": "reads texts token by token", "writes": "writes texts"}
_NEEDED["parts"] = "shows its heads and feed-forward blocks"


@dataclass(frozen=True, eq=False)
class Model:
    """A model under audit.

    Attributes:
        name: How messages call it.
        model: What answers; what is offered falls out of the protocols that it satisfies.
        key: What made it; results are found again by it.
        remarks: How its answers were read where that is not plain; printed beside every verdict.
        alone: True where an answer depends on what else is in the batch, so that examples are asked one at a time.
        mixes: True where it does so no more than by rounding, as where a kernel of few bits takes its scale from the
            batch: examples are asked many at once, as whoever runs such a model does.
        batch: How many examples are asked at once, where that was declared; 0 where it was not.
        stores: What says how much the model stores, where it says so itself.
        channels_last: True where images may lie in memory with their channels last: it answers alike, and is faster.
        without: Capabilities that it claims by its type and that were tried and do not hold, such as gradients that
            disagree with finite differences.
    """

    name: str
    model: object
    key: str
    remarks: tuple[str, ...] = field(default=(), kw_only=True)
    alone: bool = field(default=False, kw_only=True)
    mixes: bool = field(default=False, kw_only=True)
    batch: int = field(default=0, kw_only=True)
    stores: Stores | None = field(default=None, kw_only=True)
    channels_last: bool = field(default=False, kw_only=True)
    without: frozenset[str] = field(default=frozenset(), kw_only=True)

    @property
    def source(self) -> object:
        """What is asked by way of the protocols."""
        return self.model

    @cached_property
    def offers(self) -> frozenset[str]:
        """What it offers, out of `PROTOCOLS`."""
        return frozenset(word for word, kind in PROTOCOLS.items() if isinstance(self.source, kind)) - self.without

    @property
    def least(self) -> int:
        """Fewest examples that are asked at once."""
        return 1

    def require(self, *needs: str) -> None:
        """Refuse a question that this model cannot answer.

        Args:
            needs: Capabilities, out of `PROTOCOLS`.

        Raises:
            NotMeasurableError: The model lacks one of them; the message names it.
        """
        for need in needs:
            if need not in self.offers:
                raise self.lacking(need)

    def lacking(self, need: str) -> NotMeasurableError:
        """Return the error that says what this model lacks.

        Args:
            need: A capability, out of `PROTOCOLS`.
        """
        words = [word for word in (*CAPABILITIES, *READING) if word in self.offers]
        if isinstance(self.source, Recorded):
            words.append(f"has recorded scores of {', '.join(self.source.splits)}")
        if isinstance(self.source, Likelihoods):
            words.append("has recorded log-likelihoods of documents")
        only = ", ".join(words) or "has a name"
        return NotMeasurableError(f"needs a model that {_NEEDED.get(need, need)}; {self.name} only {only}")

    def picked(self, rows: Tensor, split: str) -> Model:
        """Return the model for a task whose test split is some examples of a split: recorded scores are those of them.

        Args:
            rows: Which examples, ``(M,)``.
            split: Of which split.
        """
        known = self.source
        if isinstance(known, Scores) or not isinstance(known, Recorded):
            return self
        return replace(self, model=_Picked(known, rows, split))


@dataclass(frozen=True, eq=False)
class _Picked:
    """Recorded scores where test is some examples of a split."""

    whole: Recorded
    rows: Tensor
    split: str

    @property
    def splits(self) -> Collection[str]:
        return self.whole.splits

    def recorded(self, split: str) -> Tensor:
        return self.whole.recorded(self.split)[self.rows] if split == "test" else self.whole.recorded(split)
