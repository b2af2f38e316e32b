"""A causal language model of transformers with its own tokenizer: its body and its head, asked apart.

Scores of a whole document would be its tokens times the vocabulary. States are kept in their place, and log-odds made
of a few at a time by the model's own head, with whatever it does to them: the model is called with a body that
returns the states that it is handed. That both together are the model is tried on a probe.

Source:
    Which token stands before a text, and how many a model takes, are those of lm-evaluation-harness (Gao et al. 2023,
    doi:10.5281/zenodo.10256836), ``HFLM.prefix_token_id`` and ``max_length``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from whatelse.errors import ArtifactError, in_short
from whatelse.layers.compressed import remarks
from whatelse.models import branching, heads, held, steps
from whatelse.models.branching import Bundle
from whatelse.models.heads import Layer, Part
from whatelse.models.model import Stores, Written
from whatelse.models.parted import parted
from whatelse.modules.decoder import Decoder
from whatelse.modules.lent import copied, quietly, rest

# How models call the most tokens that they take, and what is taken where neither they nor the tokenizer say it.
_LONGEST, _USUAL, _NONE = ("n_positions", "max_position_embeddings", "n_ctx"), 2048, 10**12
_PROBE = 24  # tokens that body and head are tried on
_EXACT = 1e-5  # of log-odds, relative to the largest
_CHUNK = 2**20


class Causal:
    """A causal language model.

    Attributes:
        name: How messages call it.
        model: Of transformers, at rest.
        tokenizer: Likewise.
        longest: How many tokens it reads at once, at most.
        start: The token that stands before a text.
        unknown: The token for what cannot be cut; -1 where there is none.
        vocabulary: How many tokens it tells apart.

    Args:
        name: How messages call it.
        model: Of transformers, at rest, on whose own device it computes.
        tokenizer: Likewise.
        stores: Says what it stores, where that is not what it computes with.
        key: What its results are found by; empty for its content.
        told: What else a reader must know of it.

    Raises:
        ArtifactError: Its tokenizer is not its own, or its head cannot be asked apart from its body.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        tokenizer: Any,  # noqa: ANN401 - of transformers
        *,
        stores: Stores | None = None,
        key: str = "",
        told: Sequence[str] = (),
    ) -> None:
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self._stores, self._key, self._told = stores, key, tuple(told)
        config: Any = model.config
        self.longest = _longest(config, tokenizer)
        self.unknown = -1 if tokenizer.unk_token_id is None else int(tokenizer.unk_token_id)
        self.start = _start(name, config, tokenizer)
        self._beginning = str(tokenizer.decode([self.start]))
        table: Any = model.get_input_embeddings()  # type: ignore[operator] # of transformers
        self.vocabulary = int(config.get_text_config().vocab_size)
        _check_tokens(name, tokenizer, int(table.weight.shape[0]) if hasattr(table, "weight") else self.vocabulary)
        self._body, self._head = parted(name, model)
        self._check_parts()

    @classmethod
    def of(cls, name: str, decoder: Decoder, key: str = "") -> Causal:
        """Return the language model of a module that methods treat, at rest.

        Args:
            name: How messages call it.
            decoder: The module.
            key: What its results are found by; empty for its content.

        Raises:
            ArtifactError: As the constructor.
        """
        rest(decoder)
        return cls(name, decoder.lm, decoder.words.tokenizer, key=key)

    def decoder(self) -> Decoder:
        """Return a copy as the module that methods treat, which computes in float32.

        Raises:
            ArtifactError: Its layers are of another library.
        """
        try:
            return Decoder.of(copied(self.model), self.tokenizer)
        except ArtifactError as error:
            raise ArtifactError(f"{self.name}: {error}") from error

    @property
    def told(self) -> tuple[str, ...]:
        """What a reader must know of it."""
        kinds = sorted({str(p.dtype).removeprefix("torch.") for p in self.model.parameters() if p.is_floating_point()})
        reads = f"{self.name} reads by its own tokenizer, {self.longest} tokens at once at most"
        layers = dict.fromkeys(remarks(self.model).values())
        return (f"{reads}, and computes in {', '.join(kinds) or 'its own types'}", *layers, *self._told)

    @cached_property
    def key(self) -> str:
        """SHA-256 of its weights, its configuration and its tokenizer, or of the file that it was read from."""
        if self._key:
            return self._key
        digest = hashlib.sha256(f"{self.model.config}\n{self.start} {self.longest}".encode())
        digest.update(repr(sorted(self.tokenizer.get_vocab().items())).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(_bytes(tensor))
        return f"causal-{digest.hexdigest()[:16]}"

    def stored_bytes(self) -> Sequence[int]:
        """Return the bytes of every tensor that it stores."""
        return (self._stores or held.of(self.model)).stored_bytes()

    def stored_weights(self) -> Sequence[int]:
        """Return how many numbers of every parameter are not zero."""
        return (self._stores or held.of(self.model)).stored_weights()

    def to(self, device: str) -> Causal:
        """Move to a device, for good.

        Args:
            device: As torch names it.
        """
        self.model.to(device)
        return self

    def cut(self, text: str, *, whole: bool) -> list[int]:
        """Return the tokens of a text.

        Args:
            text: Any.
            whole: Whether it is a text of its own, which gets whatever the tokenizer puts at its beginning, or goes on.

        Raises:
            ArtifactError: It cannot be cut, or into tokens that the model does not have.
        """
        begins = self._beginning and text.startswith(self._beginning)  # it has its beginning already
        with quietly():  # of texts that are longer than the model takes at once
            found: list[int] = self.tokenizer.encode(
                text, **({} if whole and not begins else {"add_special_tokens": False})
            )
        if found and max(found) >= self.vocabulary:
            raise ArtifactError(_foreign(self.name, max(found), self.vocabulary))
        return found

    @torch.no_grad()
    def states(self, tokens: Tensor) -> Tensor:
        """Return the state after each token, ``(B, T, width)``, where the model computes.

        Args:
            tokens: ``(B, T)``.
        """
        found: Tensor = self._body(input_ids=tokens.to(self._place), use_cache=False)[0]
        return found

    @cached_property
    def branches(self) -> bool:
        """Whether texts that begin alike may be read once up to where they part: tried on a probe."""
        return branching.tried(self._body, self.vocabulary, self.longest, self._place)

    @torch.no_grad()
    def branched(self, bundle: Bundle) -> tuple[Tensor, Tensor]:
        """Return the states after the tokens of trunks, ``(B, P, width)``, and of branches, ``(K, T, width)``.

        Args:
            bundle: Trunks, and what follows them.
        """
        return branching.states(self._body, Bundle(*(one.to(self._place) for one in bundle)), self.longest)

    @torch.no_grad()
    def said(self, states: Tensor) -> Tensor:
        """Return the log-odds of the next token, ``(M, vocabulary)`` float32, where the model computes.

        Args:
            states: ``(M, width)``.
        """
        self._head.body.states = states.to(self._place)[None]
        found: Tensor = self._head.model(input_ids=torch.zeros(1, len(states), dtype=torch.int64, device=self._place))[
            0
        ]
        return found[0].float()

    @torch.no_grad()
    def write(self, prompts: Sequence[str], tokens: int, at_once: int) -> list[Written]:
        """Return what follows each prompt, always the likeliest token.

        Prompts stand to the right of their batch, as all that write have them.

        Args:
            prompts: Texts.
            tokens: How many at most.
            at_once: How many prompts go in one batch.
        """
        from transformers import GenerationConfig

        ends = self.model.generation_config.eos_token_id  # type: ignore[union-attr] # of transformers
        end = ends if isinstance(ends, list) else [ends] if ends is not None else []
        padding = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.start
        how = GenerationConfig(  # type: ignore[no-untyped-call] # of transformers
            max_new_tokens=tokens, do_sample=False, num_beams=1, eos_token_id=end or None, pad_token_id=padding
        )
        cuts = [self.cut(prompt, whole=True)[-(self.longest - tokens) :] or [self.start] for prompt in prompts]
        found: list[Written] = []
        for at in range(0, len(cuts), at_once):
            some = cuts[at : at + at_once]
            width = max(map(len, some))
            ids = torch.tensor([[padding] * (width - len(one)) + one for one in some])
            mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in some])
            with quietly():
                made: Tensor = self.model.generate(  # type: ignore[operator] # of transformers
                    input_ids=ids.to(self._place), attention_mask=mask.to(self._place), generation_config=how
                )
            rows = made[:, width:].tolist()
            found += [self._written_as(row, end) for row in rows]
        return found

    def _written_as(self, row: Any, end: Any) -> Written:  # noqa: ANN401 - lists of whole numbers
        """Return what was written, without the token that ends it and all behind."""
        stop = next((at for at, token in enumerate(row) if token in end), len(row))
        return Written(str(self.tokenizer.decode(row[:stop])), stop < len(row), stop)

    @property
    def parts(self) -> Sequence[Part]:
        """Heads of attention and feed-forward blocks, layer by layer; none where they cannot be told apart."""
        return heads.parts(self._layers)

    def left_out(self, part: Part) -> AbstractContextManager[None]:
        """Leave a part out for a while: nothing is added by it.

        Args:
            part: One of ``parts``.
        """
        return heads.left_out(self._layers, part)

    @property
    def depth(self) -> int:
        """How many blocks its states pass, one after the other; 0 where they cannot be told apart."""
        return len(heads.stack(self.model))

    @property
    def width(self) -> int:
        """How many numbers a state has."""
        return int(self.model.config.get_text_config().hidden_size)  # type: ignore[union-attr,operator] # of transformers

    def attention(self, tokens: Tensor) -> Sequence[Tensor]:
        """Return where every head looks, ``(B, heads, T, T)`` a layer; nothing where that cannot be seen.

        Args:
            tokens: ``(B, T)``.
        """
        return heads.attention(self.model, self._body, tokens.to(self._place))

    def grafted(self, other: Causal, at: int) -> AbstractContextManager[None]:
        """Take a block of another model in the place of one's own for a while.

        Args:
            other: With as many blocks, and states of the same width.
            at: Which block, from 0.
        """
        return heads.grafted(heads.stack(self.model)[at], heads.stack(other.model)[at])

    def steps(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the linear layers that are stored in few bits, and the step of every weight, ``(out, in)``."""
        return steps.steps(self.model)

    def weight(self, name: str) -> Tensor | None:
        """Return the weight of a linear layer as floats, ``(out, in)``; None where there is none of that name.

        Args:
            name: Of the layer.
        """
        return steps.weight(self.model, name)

    def written(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield what every head of every layer adds to the state of each token, ``(heads, B T, width)`` a layer.

        Args:
            tokens: ``(B, T)``.
        """
        with heads.mixing(self._layers) as mixed:
            self.states(tokens)
        yield from (heads.written(self._layers, at, one.flatten(0, 1)) for at, one in enumerate(mixed))

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        return heads.layers(self.model)

    @property
    def _place(self) -> torch.device:
        return next(self.model.parameters()).device

    def _check_parts(self) -> None:
        """Refuse a model whose head, handed the states of its body, does not say what the model says.

        Raises:
            ArtifactError: It does not, or cannot be called.
        """
        ids = torch.arange(min(_PROBE, self.vocabulary, self.longest))[None]
        try:
            with torch.no_grad(), quietly():
                whole: Tensor = self.model(input_ids=ids)[0][0].float()
                parted = self.said(self.states(ids)[0])
        except Exception as error:  # whatever a model of a stranger raises
            raise ArtifactError(
                f"{self.name}: its head cannot be called apart from its body: {in_short(error)}"
            ) from error
        off = float((whole - parted).abs().max() / whole.abs().max().clamp(min=1e-12))
        if whole.shape != parted.shape or off > _EXACT:
            raise ArtifactError(
                f"{self.name}: its head, handed the states of its body, says otherwise than the model (by {off:.1g} of "
                "the largest score); only models that score a state by itself are read"
            )


def _longest(config: Any, tokenizer: Any) -> int:  # noqa: ANN401 - of transformers
    told = config.get_text_config()
    known = next((int(value) for name in _LONGEST if (value := getattr(told, name, None))), 0)
    asked = int(tokenizer.model_max_length) if tokenizer.model_max_length < _NONE else 0
    return known or asked or _USUAL


def _start(name: str, config: Any, tokenizer: Any) -> int:  # noqa: ANN401 - of transformers
    """Return the token that stands before a text.

    Raises:
        ArtifactError: There is none.
    """
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, config.bos_token_id)
    found = next((one for one in known if one is not None), None)
    if found is None:
        raise ArtifactError(
            f"{name}: its tokenizer has neither a bos_token nor an eos_token, so that nothing can stand before the "
            "first token of a text; name one in its tokenizer_config.json"
        )
    return int(found)


def _check_tokens(name: str, tokenizer: Any, rows: int) -> None:  # noqa: ANN401 - of transformers
    """Refuse a tokenizer with tokens that a model has no vector for.

    Raises:
        ArtifactError: It has some.
    """
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise ArtifactError(_foreign(name, largest, rows))


def _foreign(name: str, largest: int, rows: int) -> str:
    told = f"its tokenizer has a token {largest}, the model vectors for {rows}"
    return f"{name}: {told}; it is not the tokenizer of this model: save the one it was trained with beside it"


def _bytes(tensor: Tensor) -> bytes:
    try:
        found: bytes = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    except Exception:  # packed by a library that shows no bytes
        return repr(tensor).encode()
    return found
