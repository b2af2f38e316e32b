"""A causal language model as the module that methods treat, and as plain data and back.

Token ids come in, ``(N, T)``, and the log-odds of the token that follows each go out, ``(N, vocabulary, T)``: class
scores with places last, as torch's losses have them. Saved are the configuration of transformers, from which the class
builds its layers, the files of the tokenizer, and whatever a method put in the place of a layer.

Parts that the configuration does not know, such as layers stored in few bits, stand beside it in the description. The
head that makes scores of states, and the table that makes states of tokens, are left to themselves by every method that
takes layers: what they share would be untied, and the methods for language models treat the blocks between.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whatelse.errors import ArtifactError, in_short
from whatelse.layers.compressed import CompressedLayer, linear
from whatelse.modules import configured, walk
from whatelse.modules.lent import copied, quietly

KIND = "Decoder"
Spec = dict[str, Any]
_FILES = 64 * 2**20  # bytes of a tokenizer's files


class Words:
    """A tokenizer, which copies of a model share.

    Attributes:
        tokenizer: Of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - of transformers
        self.tokenizer = tokenizer

    def __deepcopy__(self, memo: dict[int, Any]) -> Words:
        """Return itself: a tokenizer has no weights."""
        return self


class Decoder(walk.Guarded):
    """A causal language model.

    Attributes:
        lm: The model of transformers, in float32.
        words: Its tokenizer.
        dtype: In which its weights are stored, where they are stored as floats.
    """

    lm: Any

    def __init__(self, lm: nn.Module, words: Words, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.lm, self.words, self.dtype = lm, words, dtype

    @classmethod
    def of(cls, model: nn.Module, tokenizer: Any) -> Decoder:  # noqa: ANN401 - of transformers
        """Return a model of transformers as methods treat it; it is handed over, and computes in float32 from now on.

        Args:
            model: A causal language model.
            tokenizer: Its own.

        Raises:
            ArtifactError: Its layers are of another library, that stores them in few bits.
        """
        config: Any = model.config
        told = getattr(config, "quantization_config", None)
        if told is not None:
            named = told if isinstance(told, dict) else told.to_dict()
            method = named.get("quant_method", "another library")
            how = str(getattr(method, "value", method))
            raise ArtifactError(f"its weights are stored by {how} already; give the folder of the float model")
        for name, part in list(model.named_modules()):
            if isinstance(part, configured.turned()):
                walk.place(model, name, linear(part.weight.mT.contiguous(), part.bias))
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        config.dtype = torch.float32
        return cls(model.float(), Words(tokenizer), dtype)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the log-odds of the token that follows each, ``(N, vocabulary, T)``.

        Args:
            ids: Token ids, ``(N, T)``.
        """
        scores: Tensor = self.lm(input_ids=ids.long(), use_cache=False)[0]
        return scores.mT

    @property
    def longest(self) -> int:
        """How many tokens it reads at once; 0 where its configuration does not say."""
        told = self.lm.config.get_text_config()
        return int(getattr(told, "max_position_embeddings", 0) or getattr(told, "n_positions", 0) or 0)

    def apart(self) -> list[nn.Module]:
        """Return what makes scores of states."""
        found: nn.Module | None = self.lm.get_output_embeddings()
        return [] if found is None else [found]

    def plain(self, *, coded: bool = False) -> Decoder:
        """Return a copy whose weights are floats in layers of the model's own classes, in the type that it came in.

        What is stored in few bits becomes the numbers that these stand for, a chain of two linear layers their product.

        Args:
            coded: Leave codes with scales in the place of linear layers, their scales in that type too.

        Raises:
            ArtifactError: A part has no such form; it is named.
        """
        made = copied(self)
        assert isinstance(made, Decoder)
        configured.refit(made.lm)
        like = configured.reference(made.lm.config)
        twins, kept = dict(like.named_modules()), set[str]()
        for name in configured.differing(made.lm, like):
            part, twin = made.lm.get_submodule(name), twins.get(name)
            own = configured.coded(name, part, twin) if coded else None
            kept |= {name} if own is not None else set()
            dense = own or configured.dense(part, twin)
            if dense is None:
                raise ArtifactError(configured.no_place(name, part))
            walk.place(made.lm, name, dense)
        left = [name for name in configured.differing(made.lm, like) if name not in kept]
        if left:
            raise ArtifactError(configured.no_place(left[0], made.lm.get_submodule(left[0])))
        if made.dtype != torch.float32:
            _narrow(made.lm, made.dtype)
        return made


def describe(model: Decoder, inner: Callable[[nn.Module], Spec]) -> Spec:
    """Return a language model as JSON-ready data.

    Args:
        model: What is described.
        inner: Describes a part of it.

    Raises:
        ArtifactError: A part cannot be described.
    """
    lm = model.lm
    parts = {name: inner(lm.get_submodule(name)) for name in configured.differing(lm, configured.reference(lm.config))}
    return {
        "kind": KIND,
        "config": json.loads(lm.config.to_json_string(use_diff=False)),
        "generation": json.loads(lm.generation_config.to_json_string(use_diff=False)),
        "tokenizer": _written(model.words.tokenizer),
        "dtype": str(model.dtype).removeprefix("torch."),
        "tensors": {f"lm.{name}": {} for name in _unlisted(lm)},
        "parts": parts,
    }


def build(spec: Spec, parts: Mapping[str, nn.Module]) -> Decoder:
    """Return the language model of a description, its tensors without numbers.

    Args:
        spec: What `describe` returned.
        parts: Those that its configuration does not know, by name.

    Raises:
        ArtifactError: The description makes no model, or no tokenizer.
        MissingExtraError: transformers is not installed.
    """
    transformers = configured.library()
    try:
        config = transformers.AutoConfig.for_model(**spec["config"])
        generation = transformers.GenerationConfig.from_dict(spec["generation"])
        dtype = getattr(torch, str(spec["dtype"]))
    except Exception as error:  # whatever a description of a stranger raises
        raise ArtifactError(f"its description makes no language model: {in_short(error)}") from error
    if not isinstance(dtype, torch.dtype):
        raise ArtifactError(f"its description names no type of numbers: {spec['dtype']!r}")
    lm: Any = configured.reference(config)
    lm.generation_config = generation
    for name, part in parts.items():
        walk.swap(lm, name, part)
    for name in _unlisted(lm):
        place, _, last = name.rpartition(".")
        lm.get_submodule(place)._non_persistent_buffers_set.discard(last)  # noqa: SLF001 - torch has no other way
    return Decoder(lm, Words(_read(spec["tokenizer"])), dtype)


def settle(model: Decoder) -> Decoder:
    """Return a language model that was read, its derived tensors counted as derived again.

    Args:
        model: Changed in place.
    """
    for name in _unlisted(configured.reference(model.lm.config)):
        place, _, last = name.rpartition(".")
        owner = model.lm.get_submodule(place)
        if last in owner._buffers:
            owner._non_persistent_buffers_set.add(last)  # noqa: SLF001 - as above
    return model


def shortened(model: Decoder, names: Sequence[str]) -> Decoder:
    """Return a copy of a language model without some of its blocks, the others numbered anew.

    Args:
        model: Not changed.
        names: Of blocks, as ``lm.model.layers.2``.

    Raises:
        ArtifactError: They are not all members of the one list of blocks that the configuration counts.
    """
    made = copied(model)
    assert isinstance(made, Decoder)
    places = {name.rpartition(".")[0] for name in names}
    config = made.lm.config
    blocks = made.get_submodule(places.pop()) if len(places) == 1 else None
    count = int(config.num_hidden_layers)
    if not isinstance(blocks, nn.ModuleList) or len(blocks) != count:
        raise ArtifactError(f"{', '.join(names)}: not among the {count} blocks that the configuration counts")
    gone = {int(name.rpartition(".")[2]) for name in names}
    kept = [at for at in range(count) if at not in gone]
    config.num_hidden_layers = len(kept)
    for told, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == count:  # one entry a block, such as the kind of its attention
            setattr(config, told, [value[at] for at in kept])
    left = [blocks[at] for at in kept]
    for at, block in enumerate(left):
        for part in block.modules():
            if isinstance(vars(part).get("layer_idx"), int):  # where its keys and values are kept while it writes
                vars(part)["layer_idx"] = at
    walk.place(made, names[0].rpartition(".")[0], nn.ModuleList(left))
    return made


def _narrow(lm: Any, dtype: torch.dtype) -> None:  # noqa: ANN401 - of transformers
    """Turn a model into another type in place, but for what it derives: transformers keeps that in float32."""
    derived = {name: lm.get_buffer(name) for name in _unlisted(lm)}
    lm.to(dtype)
    lm.config.dtype = dtype
    for name, tensor in derived.items():
        place, _, last = name.rpartition(".")
        lm.get_submodule(place)._buffers[last] = tensor  # noqa: SLF001 - torch has no other way
    for part in lm.modules():
        if isinstance(part, CompressedLayer):
            part.unfold()


def _unlisted(lm: nn.Module) -> list[str]:
    """Return the names of tensors that a model derives and does not list in its state, such as rotary frequencies."""
    return [
        f"{name}.{last}".lstrip(".")
        for name, part in lm.named_modules()
        if not isinstance(part, CompressedLayer)
        for last in sorted(part._non_persistent_buffers_set)  # noqa: SLF001 - torch has no other way
        if part._buffers.get(last) is not None
    ]


def _written(tokenizer: Any) -> dict[str, str]:  # noqa: ANN401 - of transformers
    """Return the files of a tokenizer, by name.

    Raises:
        ArtifactError: They are not text, or too large.
    """
    with tempfile.TemporaryDirectory() as folder:
        with quietly():
            tokenizer.save_pretrained(folder)
        paths = sorted(path for path in Path(folder).iterdir() if path.is_file())
        try:
            found = {path.name: path.read_text("utf-8") for path in paths}
        except UnicodeDecodeError as error:
            raise ArtifactError("its tokenizer has files that are no text, which cannot be stored") from error
    if sum(map(len, found.values())) > _FILES:
        raise ArtifactError(f"its tokenizer has more than {_FILES >> 20} MB of files, which cannot be stored")
    return found


def _read(files: Mapping[str, str]) -> Any:  # noqa: ANN401 - of transformers
    """Return the tokenizer of its files.

    Raises:
        ArtifactError: They make none.
    """
    transformers = configured.library()
    try:
        with tempfile.TemporaryDirectory() as folder, quietly():
            for name, text in files.items():
                if Path(name).name != name:
                    raise ArtifactError(f"a saved model names the file {name!r} of a tokenizer; a plain name is needed")
                Path(folder, name).write_text(text, "utf-8")
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ArtifactError:
        raise
    except Exception as error:  # whatever a file of a stranger raises
        raise ArtifactError(f"the tokenizer of a saved model cannot be loaded: {in_short(error)}") from error
