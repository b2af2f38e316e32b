"""Checkpoints of llama2.c as models and tokenizers of transformers.

A file is a header of seven integers and then the numbers of every matrix, float32, in the order of llama2.c's first
format: all of it is read, and its size must be what its header asks for. Of neighbors that llama2.c rotates together
transformers rotates halves: rows of queries and keys are put in that order. The tokenizer is ``tokN.bin`` for N tokens,
or ``tokenizer.bin``: pieces with scores, merged by the highest; what is left is bytes.

Source:
    Karpathy, llama2.c, 2023, github.com/karpathy/llama2.c (``run.c``, ``export.py`` version 0); halves: the conversion
    of Llama in transformers (``permute``).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse import limits
from whatelse.errors import ArtifactError, MissingExtraError, in_short
from whatelse.modules.lent import quietly

_HEADER, _FLOAT = struct.Struct("<7i"), 4
_BYTES = 256  # pieces that stand for single bytes, behind three special ones
_SPECIAL = ("<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Sizes:
    """What a header says.

    Attributes:
        dim: Width of a state.
        hidden: Width of a perceptron.
        layers: How many blocks.
        heads: Of attention.
        few: Heads of keys and values.
        vocab: Tokens.
        longest: Tokens that it reads at once.
        tied: Whether its head is its table of tokens.
    """

    dim: int
    hidden: int
    layers: int
    heads: int
    few: int
    vocab: int
    longest: int
    tied: bool

    @property
    def size(self) -> int:
        """Width of a head."""
        return self.dim // self.heads

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the tensors of the file, in their order."""
        d, n = self.dim, self.layers
        kv = self.few * self.size
        return {
            "embed": (self.vocab, d),
            "input_layernorm": (n, d),
            "self_attn.q_proj": (n, d, d),
            "self_attn.k_proj": (n, kv, d),
            "self_attn.v_proj": (n, kv, d),
            "self_attn.o_proj": (n, d, d),
            "post_attention_layernorm": (n, d),
            "mlp.gate_proj": (n, self.hidden, d),
            "mlp.down_proj": (n, d, self.hidden),
            "mlp.up_proj": (n, self.hidden, d),
            "norm": (d,),
            "rotations": (self.longest, self.size),
            **({} if self.tied else {"head": (self.vocab, d)}),
        }

    def numbers(self) -> int:
        """Return how many numbers the file holds."""
        return sum(int(np.prod(shape, dtype=np.int64)) for shape in self.shapes().values())


def sizes(text: str) -> Sizes | None:
    """Return what the header of a file says; None where there is no such file, or it is not of that size.

    Args:
        text: The path of any file.
    """
    try:
        limits.regular(Path(text))
        with open(text, "rb") as file:
            dim, hidden, layers, heads, few, vocab, longest = _HEADER.unpack(file.read(_HEADER.size))
        held = os.path.getsize(text)
    except (OSError, struct.error, ArtifactError):
        return None
    found = Sizes(dim, hidden, layers, heads, few, abs(vocab), longest, vocab > 0)
    if min(dim, hidden, layers, heads, few, abs(vocab), longest) < 1 or dim % heads or heads % few or found.size % 2:
        return None
    return found if held == _HEADER.size + _FLOAT * found.numbers() else None


def opened(text: str, known: Sizes) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a checkpoint.

    Args:
        text: Its path.
        known: What `sizes` returned.

    Raises:
        ArtifactError: It has no tokenizer beside it, or takes more memory than it may.
        MissingExtraError: transformers is not installed.
    """
    held = os.path.getsize(text)
    limits.check(held, held, text, ArtifactError)
    tokenizer = _tokenizer(text, known)
    return _model(known, _tensors(text, known)), tokenizer


def _tensors(text: str, sizes: Sizes) -> dict[str, Tensor]:
    """Return the tensors of a file by the names of transformers."""
    numbers = torch.from_numpy(np.fromfile(text, "<f4", offset=_HEADER.size).astype(np.float32, copy=False))
    parts = numbers.split([int(np.prod(shape)) for shape in sizes.shapes().values()])  # type: ignore[no-untyped-call] # torch's own
    told = {name: part.view(shape) for (name, shape), part in zip(sizes.shapes().items(), parts, strict=True)}
    for name, heads in (("self_attn.q_proj", sizes.heads), ("self_attn.k_proj", sizes.few)):
        pairs = told[name].view(sizes.layers, heads, sizes.size // 2, 2, sizes.dim)
        told[name] = pairs.transpose(2, 3).reshape(told[name].shape)
    state = {"model.embed_tokens.weight": told.pop("embed"), "model.norm.weight": told.pop("norm")}
    state["lm_head.weight"] = state["model.embed_tokens.weight"] if sizes.tied else told.pop("head")
    del told["rotations"]  # which transformers makes itself
    for name, tensor in told.items():
        state |= {f"model.layers.{at}.{name}.weight": tensor[at] for at in range(sizes.layers)}
    return state


def _model(sizes: Sizes, state: dict[str, Tensor]) -> Any:  # noqa: ANN401 - of transformers
    transformers = _library()
    config = transformers.LlamaConfig(
        vocab_size=sizes.vocab,
        hidden_size=sizes.dim,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.few,
        max_position_embeddings=sizes.longest,
        rms_norm_eps=1e-5,
        tie_word_embeddings=sizes.tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
    )
    with quietly():
        model = transformers.LlamaForCausalLM(config)
        model.load_state_dict(state)
    return model


def _tokenizer(text: str, sizes: Sizes) -> Any:  # noqa: ANN401 - of transformers
    """Return the tokenizer beside a checkpoint.

    Raises:
        ArtifactError: There is none, or it is of another size.
    """
    place = Path(text).parent
    paths = [place / f"tok{sizes.vocab}.bin", place / "tokenizer.bin"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ArtifactError(f"{text}: no tokenizer beside it, {paths[0].name} or {paths[1].name}; put it there")
    try:
        limits.regular(path)
        told = _pieces(path.read_bytes(), sizes.vocab)
    except (OSError, struct.error, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path}: it holds no {sizes.vocab} pieces of a tokenizer of llama2.c: {in_short(error)}"
        ) from error
    return _merging(told, sizes.longest)


def _pieces(raw: bytes, count: int) -> list[tuple[str, float]]:
    """Return the pieces of a tokenizer, each with its score.

    Raises:
        struct.error: There are fewer, or more.
    """
    found, at = [], 4  # behind the length of the longest
    for _ in range(count):
        score, length = struct.unpack_from("<fi", raw, at)
        found.append((raw[at + 8 : at + 8 + length].decode(), score))
        at += 8 + length
    if at != len(raw) or count < len(_SPECIAL) + _BYTES:
        raise struct.error(f"{len(raw)} bytes, {at} in its pieces")
    return found


def _merging(told: list[tuple[str, float]], longest: int) -> Any:  # noqa: ANN401 - of transformers
    """Return the tokenizer of transformers that merges pieces as llama2.c does, the highest score first."""
    transformers = _library()
    from tokenizers import Tokenizer, decoders, models, normalizers, processors  # noqa: PLC0415 - an extra

    first = len(_SPECIAL)
    known = {name: at for at, name in enumerate([*_SPECIAL, *(piece for piece, _ in told[first:])])}
    ranked = sorted(told[first + _BYTES :], key=lambda one: -one[1])
    merges = [
        (piece[:cut], piece[cut:])
        for piece, _ in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]
    inner = Tokenizer(models.BPE(known, merges, unk_token=_SPECIAL[0], byte_fallback=True))
    inner.normalizer = normalizers.Prepend(" ")
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    inner.post_processor = processors.TemplateProcessing(
        single=f"{_SPECIAL[1]} $A", special_tokens=[(_SPECIAL[1], known[_SPECIAL[1]])]
    )
    names = dict(zip(("unk_token", "bos_token", "eos_token"), _SPECIAL, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=longest, **names)


def _library() -> Any:  # noqa: ANN401 - transformers
    try:
        with quietly():
            import transformers  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(
            "a checkpoint of llama2.c needs transformers: pip install 'whatelse[transformers]'"
        ) from error
    return transformers
