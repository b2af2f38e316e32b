"""A causal language model in a folder of Hugging Face's, with its own tokenizer; no code of it is run.

Any architecture that transformers loads by ``AutoModelForCausalLM``, quantized ones too where their library runs here.
Weights are safetensors alone, ``trust_remote_code`` is never set, and nothing is fetched.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whatelse import limits
from whatelse.artifacts import folder
from whatelse.errors import ArtifactError, MissingExtraError, Told, in_short
from whatelse.models.causal import Causal
from whatelse.modules import plain
from whatelse.modules.lent import quietly, rest
from whatelse.openers import _language
from whatelse.tasks.task import Task

FORM = "a Hugging Face folder of a causal language model"
OWN = "has a tokenizer of its own"
_CONFIG = "config.json"
# What of a repository is one: its configuration, weights and tokenizer.
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_HEADS = ("ForCausalLM", "LMHeadModel")
_MOST = 2**20  # bytes of a configuration
_PACKED, _META = "compressed-tensors", "__metadata__"
_BESIDE = ("weight_scale", "weight_shape", "weight_zero_point")
_MEND = "save the one it was trained with beside it: tokenizer.save_pretrained(folder)"


def takes(text: str) -> bool:
    """Return whether a text names a folder whose configuration names a causal language model.

    Args:
        text: What a user types.
    """
    if os.path.isfile(os.path.join(text, folder.ARCHITECTURE)):
        return False
    return any(name.endswith(_HEADS) for name in _named(text))


def open_model(text: str, task: Task, weights: str) -> Causal:
    """Return the language model, frozen and in evaluation mode.

    Args:
        text: The folder.
        task: What it is asked: documents, items with choices, or pairs.
        weights: Refused.

    Raises:
        ArtifactError: It lacks weights or its tokenizer, these do not belong together, or it cannot be loaded.
        MissingExtraError: transformers is not installed.
        TaskError: The data are nothing that a language model reads.
    """
    _language.check(text, task, weights)
    try:
        with quietly():
            import transformers
    except ImportError as error:
        raise MissingExtraError(f"{text} needs transformers: pip install 'whatelse[transformers]'") from error
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    config = _loaded(text, transformers.AutoConfig, "configuration", options)
    tokenizer = _tokenizer(text, transformers.AutoTokenizer, options)
    _check_size(text, transformers.AutoModelForCausalLM, config)
    loading = {**options, "use_safetensors": True, "output_loading_info": True}
    model, info = _loaded(text, transformers.AutoModelForCausalLM, "weights", loading)
    _language.check_whole(f"{text}: its file has", info, "; give the folder of the model as it was trained")
    rest(model)
    if unused := sorted(map(str, info["unexpected_keys"])):
        warnings.warn(f"{text}: its file has {len(unused)} tensors that the model does not use: {unused[0]}", Told, 3)
    packed = getattr(config, "quantization_config", None) or {}
    stores = _Packed(text, model) if packed.get("quant_method") == _PACKED else None
    return Causal(text, model, tokenizer, stores=stores)


class _Packed:
    """What a folder of compressed-tensors stores: bytes of its files, as the model that it makes becomes floats.

    Args:
        text: The folder.
        model: Of transformers, which unpacks its weights when it is called first.
    """

    def __init__(self, text: str, model: nn.Module) -> None:
        self._text, self._model = text, model

    def stored_bytes(self) -> Sequence[int]:
        """Return the bytes of every tensor in its files."""
        found = list[int]()
        for path in sorted(Path(self._text).glob("*.safetensors")):
            with path.open("rb") as file:
                head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            found += [one["data_offsets"][1] - one["data_offsets"][0] for name, one in head.items() if name != _META]
        return found

    def stored_weights(self) -> Sequence[int]:
        """Return how many numbers of every parameter are not zero, scales and shapes aside."""
        own = {id(p): p for name, p in self._model.named_parameters() if not name.endswith(_BESIDE)}
        return [plain.nonzero(one) for one in own.values()]


def _named(text: str) -> list[str]:
    """Return the architectures that the configuration of a folder names; none where there is no such folder."""
    path = Path(text, _CONFIG)
    try:
        if not path.is_file() or path.stat().st_size > _MOST:
            return []
        told = json.loads(path.read_text("utf-8"))
        return [str(one) for one in told.get("architectures") or []]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):  # names that no file may have, other JSON
        return []


def _loaded(text: str, kind: Any, what: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 - classes of transformers
    try:
        with quietly():
            return kind.from_pretrained(text, **options)
    except ImportError as error:  # the library of a quantized one
        raise MissingExtraError(
            f"{text}: its {what} need a package that is not installed: {in_short(error)}"
        ) from error
    except Exception as error:  # whatever a file of a stranger raises
        held = "; only safetensors are read" if what == "weights" and not list(Path(text).glob("*.safetensors")) else ""
        raise ArtifactError(f"{text}: its {what} cannot be loaded: {in_short(error, 120)}{held}") from error


def _tokenizer(text: str, kind: Any, options: dict[str, Any]) -> Any:  # noqa: ANN401 - classes of transformers
    """Return the tokenizer of a folder.

    Raises:
        ArtifactError: It has none: transformers would make an empty one of some folders.
    """
    known = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tokenizer_config.json")
    if not any(os.path.isfile(os.path.join(text, name)) for name in known):
        raise ArtifactError(f"{text}: it has no tokenizer ({known[0]}); {_MEND}")
    try:
        with quietly():
            found = kind.from_pretrained(text, **options)
            empty = len(found.get_vocab()) < 2  # noqa: PLR2004 - one token tells nothing
    except Exception as error:  # whatever a file of a stranger raises
        raise ArtifactError(f"{text}: its tokenizer cannot be loaded: {in_short(error, 120)}; {_MEND}") from error
    if empty:
        raise ArtifactError(f"{text}: its tokenizer has no tokens; {_MEND}")
    return found


def _check_size(text: str, kind: Any, config: Any) -> None:  # noqa: ANN401 - classes of transformers
    """Refuse what would take more memory than it may; its file may be small.

    Raises:
        ArtifactError: It would, or its configuration makes no model.
    """
    on_disk = sum(path.stat().st_size for path in Path(text).glob("*") if path.is_file())
    if getattr(config, "quantization_config", None):  # its layers are made by their own library, from what is stored
        limits.check(on_disk, on_disk, text, ArtifactError)
        return
    try:
        with quietly(), torch.device("meta"):
            planned = kind.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a configuration of a stranger raises
        raise ArtifactError(f"{text}: its config.json makes no model: {in_short(error)}") from error
    wanted = sum(t.numel() * t.element_size() for t in (*planned.parameters(), *planned.buffers()))
    limits.check(wanted, on_disk, text, ArtifactError)
