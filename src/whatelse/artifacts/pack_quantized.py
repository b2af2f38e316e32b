"""A language model in few bits as a folder of compressed-tensors, which transformers loads without this toolkit.

The format is ``pack-quantized``: of every linear layer that a method stored in few bits ``weight_packed``, codes of
``bits`` one after the other in integers of 32, ``weight_scale``, ``weight_shape``, and ``weight_zero_point`` where
there is one; everything else as floats. ``w = weight_scale * (code - zero)`` as here, so that what is written is what
was measured; scales are of the type that the model came in. ``quantization_config`` in its ``config.json`` says which
layers are stored how. The proof is a fresh process that knows transformers and compressed-tensors alone.

Source:
    compressed-tensors, of the vLLM project, https://github.com/vllm-project/compressed-tensors, Apache-2.0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from whatelse.artifacts import language
from whatelse.artifacts.folder import MODEL, RECORD, write_json
from whatelse.errors import ArtifactError, MissingExtraError
from whatelse.layers.quantized import Quantized
from whatelse.modules import configured
from whatelse.modules.decoder import Decoder
from whatelse.modules.lent import quietly

NAME = "compressed-tensors"
_FORMAT = "pack-quantized"
# Codes and scales are the same and so are the weights made of them: what may differ are sums in another order.
_ROUNDS = 64  # of the last digit of the largest score


class _Scheme(NamedTuple):
    """How one kind of layers is stored, by the words of compressed-tensors."""

    num_bits: int
    symmetric: bool
    strategy: str
    group_size: int | None


def check(model: nn.Module) -> None:
    """Refuse, before any work, what this format has no place for after it.

    Args:
        model: What is to be compressed.

    Raises:
        ArtifactError: Its linear layers are of another kind in transformers.
        MissingExtraError: compressed-tensors is not installed.
    """
    _library()
    assert isinstance(model, Decoder)
    for name, part in configured.reference(model.lm.config).named_modules():
        if isinstance(part, configured.turned()):
            raise ArtifactError(configured.no_linear(name, part))


def formed(model: Decoder) -> Decoder:
    """Return a copy whose layers of few bits are codes and scales as they will be read, all else floats.

    Args:
        model: What a recipe made.

    Raises:
        ArtifactError: The format has no place for a part, which is named, or nothing is stored in few bits.
    """
    made = model.plain(coded=True)
    parts = _parts(made)
    if not parts:
        raise ArtifactError(f"--format {NAME}: nothing in it is stored in few bits; quantize it, or leave --format out")
    kinds = {_scheme(name, part) for name, part in parts.items()}
    if len(kinds) > 1 and any(map(_zeros, kinds)):
        raise ArtifactError(
            f"--format {NAME}: transformers reads zero points of one grid alone, and it has {len(kinds)}"
        )
    return made


def save(model: nn.Module, folder: str | os.PathLike[str], record: Mapping[str, Any] | None = None) -> None:
    """Write a language model as compressed-tensors has it; one without codes as transformers has it.

    Args:
        model: What `formed` returned.
        folder: Made where it does not exist.
        record: JSON-ready; how the model was made, for a reader.

    Raises:
        ArtifactError: It is no language model, or the format has no place for a part of it.
        MissingExtraError: compressed-tensors is not installed.
    """
    parts = _parts(model)
    if not parts:
        language.save(model, folder, record)
        return
    assert isinstance(model, Decoder)
    lm: Any = model.lm
    place, told = Path(folder), lm.config.to_dict()
    place.mkdir(parents=True, exist_ok=True)
    with quietly():
        written = type(lm.config).from_dict(told)
        written.architectures = [type(lm).__name__]
        written.quantization_config = _config(lm, parts)
        written.save_pretrained(folder)
        lm.generation_config.save_pretrained(folder)
        model.words.tokenizer.save_pretrained(folder)
    # In one piece, as save_file would make a file that only its owner reads.
    (place / MODEL).write_bytes(to_bytes(_state(lm, parts), metadata={"format": "pt"}))
    write_json(place / RECORD, record or {})


def prove(folder: Path, inputs: Tensor, outputs: Tensor) -> str:
    """Load a folder in a fresh process, without this toolkit, and compare what the model says there; return how near.

    Args:
        folder: What `save` wrote.
        inputs: Token ids, ``(N, T)``.
        outputs: What the model in memory returned for them, ``(N, vocabulary, T)``.

    Raises:
        ArtifactError: The process failed, took too long, or its outputs differ by more than rounding.
    """
    return language.prove(folder, inputs, outputs, _ROUNDS * torch.finfo(outputs.dtype).eps)


def _parts(model: nn.Module) -> dict[str, Quantized]:
    lm = model.lm if isinstance(model, Decoder) else nn.Module()
    return {name: part for name, part in lm.named_modules() if isinstance(part, Quantized)}


def _scheme(name: str, part: Quantized) -> _Scheme:
    """Return how a layer is stored.

    Raises:
        ArtifactError: The format has no place for its groups.
    """
    inputs = part.shape[1]
    if part.grid != "group" or part.group > inputs:
        return _Scheme(part.bits, part.symmetric, "tensor" if part.grid == "tensor" else "channel", None)
    if inputs % part.group:
        raise ArtifactError(
            f"--format {NAME}: {name} has {inputs} inputs in groups of {part.group}, and the last one is shorter; give "
            "a group that divides them"
        )
    return _Scheme(part.bits, part.symmetric, "group", part.group)


def _config(lm: nn.Module, parts: Mapping[str, Quantized]) -> dict[str, Any]:
    """Return what ``config.json`` says of them: by the kind of layer where all are alike, else by their names."""
    kinds: dict[_Scheme, list[str]] = {}
    for name, part in parts.items():
        kinds.setdefault(_scheme(name, part), []).append(name)
    targets = [["Linear"]] if len(kinds) == 1 else list(kinds.values())
    groups = {
        f"group_{at}": {"targets": names, "weights": {**scheme._asdict(), "type": "int", "dynamic": False}}
        for at, (scheme, names) in enumerate(zip(kinds, targets, strict=True))
    }
    floats = [name for name, part in lm.named_modules() if isinstance(part, nn.Linear)]
    kind = _library().quantization.QuantizationConfig
    made = kind(config_groups=groups, format=_FORMAT, quantization_status="compressed", ignore=floats)
    told: dict[str, Any] = made.to_dict()
    # compressed-tensors 0.20.1 makes room for zero points as if they were not packed, and transformers 5.24 then
    # refuses the file; where it makes floats while it loads, it needs no such room.
    return {**told, "dequantize": True} if any(map(_zeros, kinds)) else told


def _zeros(kind: _Scheme) -> bool:
    """Return whether zero points of a kind of layers are packed."""
    return not kind.symmetric and kind.strategy != "tensor"


def _state(lm: nn.Module, parts: Mapping[str, Quantized]) -> dict[str, Tensor]:
    """Return all tensors by the names that they have in the file, each once."""
    found: dict[str, Tensor] = {}
    for name, part in parts.items():
        found |= {f"{name}.{own}": tensor for own, tensor in _tensors(part).items()}
    known = set[int]()
    for name, tensor in lm.state_dict().items():
        if not any(name.startswith(f"{part}.") for part in parts) and tensor.data_ptr() not in known:
            known.add(tensor.data_ptr())
            found[name] = tensor.contiguous()
    return found


def _tensors(part: Quantized) -> dict[str, Tensor]:
    pack = _library().compressors.pack_to_int32
    held = part.integers()
    half = 0 if part.symmetric else 2 ** (part.bits - 1)  # codes without a sign begin at nothing
    levels = (held.codes.to(torch.int16) - half).to(torch.int8)
    scale = held.scale.reshape(1) if part.grid == "tensor" else held.scale.reshape(len(levels), -1)
    found = {"weight_packed": pack(levels, part.bits), "weight_scale": scale.contiguous()}
    found["weight_shape"] = torch.tensor(part.shape)
    if held.zero is not None:
        zero = (held.zero.to(torch.int16) - half).to(torch.int8).reshape(scale.shape)
        found["weight_zero_point"] = zero if part.grid == "tensor" else pack(zero, part.bits, packed_dim=0)
    return found if part.bias is None else {**found, "bias": part.bias.contiguous()}


def _library() -> Any:  # noqa: ANN401 - compressed-tensors
    try:
        with quietly():
            import compressed_tensors  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(
            f"--format {NAME} needs compressed-tensors: pip install 'whatelse[compressed-tensors]'"
        ) from error
    return compressed_tensors
