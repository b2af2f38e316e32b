"""A GGUF file, as llama.cpp serves it: its blocks dequantized, the architecture rebuilt as the class of transformers.

The gguf library turns blocks into numbers as llama.cpp does, and transformers puts them into its own class. What is
measured is therefore what the stored numbers say in float32; llama.cpp multiplies most blocks with rounded activations,
which is not in it. Bytes are those of the file.

Every number of the file must be in the model: what transformers does not read would be missing without a word. Factors
of rotary frequencies, which it does not read, are put in here; other scalings of positions are refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whatelse import limits
from whatelse.errors import ArtifactError, MissingExtraError, in_short
from whatelse.models import held
from whatelse.models.causal import Causal
from whatelse.modules.lent import quietly, rest
from whatelse.openers import _language
from whatelse.tasks.task import Task

FORM = "a GGUF file (.gguf)"
OWN = "has a tokenizer of its own"
_SUFFIX, _FACTORS, _CHUNK = ".gguf", "rope_freqs.weight", 2**20
_FLOAT = 4  # bytes of a number as it is computed with


@dataclass(frozen=True)
class _Packed:
    """What a file stores, beside how many of its numbers are not zero.

    Attributes:
        sizes: Bytes of every tensor in the file.
        weights: Numbers that are not zero, of every parameter.
    """

    sizes: tuple[int, ...]
    weights: tuple[int, ...]

    def stored_bytes(self) -> Sequence[int]:
        """Return the bytes of every tensor in the file."""
        return self.sizes

    def stored_weights(self) -> Sequence[int]:
        """Return how many numbers of every parameter are not zero."""
        return self.weights


def takes(text: str) -> bool:
    """Return whether a text names a GGUF file.

    Args:
        text: What a user types.
    """
    return text.lower().endswith(_SUFFIX) and ":" not in text and not os.path.isdir(text)


def open_model(text: str, task: Task, weights: str) -> Causal:
    """Return the language model of a file, frozen and in evaluation mode, in float32.

    Args:
        text: The file.
        task: What it is asked: documents, items with choices, or pairs.
        weights: Refused.

    Raises:
        ArtifactError: It cannot be read, is of an architecture that transformers does not rebuild, or not all of it is.
        MissingExtraError: gguf or transformers is not installed.
        TaskError: The data are nothing that a language model reads.
    """
    _language.check(text, task, weights)
    try:
        with quietly():
            import gguf
            import transformers
    except ImportError as error:
        raise MissingExtraError(f"{text} needs gguf and transformers: pip install 'whatelse[gguf]'") from error
    stored = _stored(text, gguf)
    limits.check(
        _FLOAT * sum(int(one.n_elements) for one in stored.tensors), Path(text).stat().st_size, text, ArtifactError
    )
    model, tokenizer = _loaded(text, transformers)
    rest(model)
    told = _complete(text, model, stored, gguf)
    packed = _Packed(tuple(int(one.n_bytes) for one in stored.tensors), held.of(model).weights)
    kinds = sorted({one.tensor_type.name for one in stored.tensors})
    told = (f"{text} stores {', '.join(kinds)}: dequantized, and computed with in float32", *told)
    return Causal(text, model, tokenizer, stores=packed, key=_hash(text), told=told)


def _stored(text: str, gguf: Any) -> Any:  # noqa: ANN401 - of the library
    try:
        limits.regular(Path(text))
        return gguf.GGUFReader(text)
    except FileNotFoundError as error:
        raise ArtifactError(f"{text}: no such file") from error
    except Exception as error:  # whatever a file of a stranger raises
        raise ArtifactError(f"{text}: it cannot be read as GGUF: {in_short(error, 120)}") from error


def _loaded(text: str, transformers: Any) -> tuple[nn.Module, Any]:  # noqa: ANN401 - of the library
    """Return model and tokenizer as transformers rebuilds them.

    Raises:
        ArtifactError: It does not.
    """
    folder, name = os.path.split(text)
    options = {"gguf_file": name, "local_files_only": True, "trust_remote_code": False}
    place = folder or "."
    try:
        with quietly():
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                place, **options, dtype=torch.float32, output_loading_info=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:  # whatever a file of a stranger raises
        raise ArtifactError(f"{text}: transformers cannot rebuild it: {in_short(error, 120)}") from error
    _language.check_whole(f"{text}: it has", info)
    return model, tokenizer


def _complete(text: str, model: nn.Module, stored: Any, gguf: Any) -> tuple[str, ...]:  # noqa: ANN401 - of the library
    """Put in what transformers does not read, and refuse where something is left; return what was put in, in words.

    Raises:
        ArtifactError: A number of the file is not in the model, or positions are scaled otherwise.
    """
    by_name = {one.name: one for one in stored.tensors}
    factors = by_name.pop(_FACTORS, None)
    mine = sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
    theirs = sum(int(one.n_elements) for one in by_name.values())
    if mine != theirs:
        raise ArtifactError(
            f"{text}: it stores {theirs} numbers, and the model that transformers makes of it has {mine}: not all of "
            "it is read"
        )
    _check_scaling(text, model, stored)
    if factors is None:
        return ()
    found = torch.from_numpy(gguf.dequantize(factors.data, factors.tensor_type).copy()).flatten()
    changed = [_divided(part, found) for part in model.modules() if isinstance(getattr(part, "inv_freq", None), Tensor)]
    if not any(changed):
        raise ArtifactError(f"{text}: it has factors of rotary frequencies, for which its model has no place")
    return (f"{text} has factors of rotary frequencies ({_FACTORS}), which were put in",)


def _divided(part: nn.Module, factors: Tensor) -> bool:
    """Divide the frequencies of a rotary embedding by as many factors; return whether there are as many."""
    for name in ("inv_freq", "original_inv_freq"):
        held = getattr(part, name, None)
        if not isinstance(held, Tensor) or held.shape != factors.shape:
            return False
        setattr(part, name, held / factors.to(held))
    return True


def _check_scaling(text: str, model: nn.Module, stored: Any) -> None:  # noqa: ANN401 - of the library
    """Refuse positions that are scaled in a way that transformers did not read.

    Raises:
        ArtifactError: They are.
    """
    asked = [field.contents() for name, field in stored.fields.items() if name.endswith(".rope.scaling.type")]
    config: Any = model.config
    known = str((getattr(config, "rope_parameters", None) or {}).get("rope_type", "default"))
    if asked and asked[0] not in {"none", known}:
        raise ArtifactError(f"{text}: positions are scaled by {asked[0]!r}, which transformers does not read from GGUF")


def _hash(text: str) -> str:
    digest = hashlib.sha256()
    with open(text, "rb") as file:
        while part := file.read(_CHUNK):
            digest.update(part)
    return f"gguf-{digest.hexdigest()[:16]}"
