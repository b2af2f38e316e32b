"""A classifier in a folder of Hugging Face's, or on its hub, with its own processor or tokenizer; no code of it is run.

Images are handed to the model's own image processor; where it does no more than scale and normalize, in torch, so that
gradients pass. Texts are token ids of the model's own tokenizer, 0 for padding; or, where a task holds what was
written, each is read once and the answers are recorded. So are they of a classifier of words, which reads sentences.
Weights are safetensors, or a ``.bin`` that transformers opens by ``weights_only``; ``trust_remote_code`` is never set.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whatelse import hub, limits
from whatelse.artifacts import folder
from whatelse.errors import ArtifactError, MissingExtraError, TaskError, Told, in_short
from whatelse.models import fit, held, sentences
from whatelse.models.causal import Causal
from whatelse.models.recorded import RecordedScores
from whatelse.modules.lent import alike, quietly
from whatelse.openers import _language, language_model
from whatelse.tasks import language
from whatelse.tasks.task import Task

FORM = "a Hugging Face folder, or hf:owner/name"
OWN = "has a processor or tokenizer of its own"
_HUB = "hf:"
# What an architecture ends in, the class that loads it, and what is asked of it.
_HEADS = {
    "ForImageClassification": ("AutoModelForImageClassification", "images"),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", "tokens"),
    "ForTokenClassification": ("AutoModelForTokenClassification", "words"),
}
# What data must be for it, where it is asked of others.
_DATA = {
    "words": "; rows with a list of words and a list of tags are needed, such as tokens and ner_tags in .jsonl",
    "tokens": "; a column of texts is needed: name it (--text COLUMN)",
}
# Those whose tokenizers take words only so, as examples/pytorch/token-classification of transformers has it.
_SPACED = {"bloom", "gpt2", "roberta", "deberta"}
_BESIDE = {"ImageProcessor": "processor", "Tokenizer": "tokenizer"}  # what is saved with a model, as people call it
_WHOLE = 255  # the brightest pixel, as image processors take it
_EXACT = 1e-6  # of what goes into the model, relative to the largest: other formulas round otherwise
_FEW = 4
_BATCH, _LONG = 32, 1_000_000  # texts that are read at once; tokens of one, where the model names no limit


def takes(text: str) -> bool:
    """Return whether a text names a model of the hub, or a folder with a configuration of transformers.

    Args:
        text: What a user types.
    """
    here = {name for name in ("config.json", folder.ARCHITECTURE) if os.path.isfile(os.path.join(text, name))}
    return text.startswith(_HUB) or (here == {"config.json"} and not language_model.takes(text))


def open_model(text: str, task: Task, weights: str) -> nn.Module | RecordedScores | Causal:
    """Return the classifier, frozen and in evaluation mode, after passing it examples of the task.

    Of data for language models the model of a name on the hub is a causal one, as `language_model` opens it.

    Where the data hold texts, and no ids of the model's own tokenizer, every text is answered once through that
    tokenizer, and the scores are returned: what is asked on changed texts is then not measurable. So it is of words.

    Args:
        text: The folder, or ``hf:owner/name``.
        task: Gives the examples, the number of classes and their names.
        weights: Refused.

    Raises:
        ArtifactError: It is no classifier of images, texts or words, lacks weights or its processor, would run code, or
            cannot be loaded.
        MissingExtraError: transformers is not installed.
        NotMeasurableError: It has tensors without numbers.
        TaskError: The model and the task do not fit each other.
    """
    if weights:
        raise ArtifactError(f"weights {weights}: {text} has its own weights; leave one of them out")
    try:
        with quietly():
            import transformers
    except ImportError as error:
        raise MissingExtraError(f"{text} needs transformers: pip install 'whatelse[transformers]'") from error
    place, local = text.removeprefix(_HUB), not text.startswith(_HUB)
    if not local and task.modality in language.FORMS:
        return language_model.open_model(_fetched(text), task, weights)
    options = {"trust_remote_code": False, "local_files_only": local}
    config = _loaded(text, transformers.AutoConfig, place, options)
    auto, asked = _head(text, config)
    texts = asked == "tokens" and task.test.texts is not None and config.vocab_size != task.vocabulary
    if task.modality != asked and not texts:
        told = f"{text} takes {asked}, the data are {task.modality}{_DATA.get(asked, '')}"
        raise TaskError(f"task {task.name} and model do not fit: {told}")
    _check_size(text, getattr(transformers, auto), config, place)
    model = _whole(text, getattr(transformers, auto), place, options)
    order = _order(text, config.id2label, task)
    if texts or asked == "words":
        spaced = {"add_prefix_space": True} if asked == "words" and config.model_type in _SPACED else {}
        tokenizer = _loaded(text, transformers.AutoTokenizer, place, {**options, **spaced})
        reading = sentences.read if asked == "words" else _read
        said = reading(text, _Texts(model, order).eval().scored, tokenizer, _longest(config, tokenizer), task)
        return replace(said, stores=held.of(model), key="")
    if asked == "tokens":
        _check_vocabulary(text, config, task, lambda: _loaded(text, transformers.AutoTokenizer, place, options))
        return fit.at_rest(_Texts(model, order), task, text)
    processor = _loaded(text, transformers.AutoImageProcessor, place, options)
    made = _Images(model, processor, order, *_pixels(text, config, task))
    _say(text, made, task)
    return fit.at_rest(made, task, text)


def _fetched(text: str) -> str:
    """Return the folder of a language model of the hub.

    Raises:
        ArtifactError: There is none, or no way to it.
    """
    try:
        with quietly():
            return hub.fetched(text.removeprefix(_HUB), language_model.FILES)
    except Exception as error:  # whatever the way to the hub raises
        raise ArtifactError(f"{text}: it cannot be fetched: {in_short(error, 120)}") from error


def _loaded(text: str, kind: Any, place: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 - classes of transformers
    what = kind.__name__.removeprefix("Auto")
    try:
        with quietly(), nullcontext() if options["local_files_only"] else hub.reached():
            found = kind.from_pretrained(place, **options)
            if what == "Tokenizer" and set(found.get_vocab().values()) <= set(found.all_special_ids):
                raise ValueError("it knows no words; a tokenizer without files is made so, and all words are unknown")
            return found
    except Exception as error:  # whatever a file of a stranger, or the way to the hub, raises
        save = "save the one it was trained with beside it"
        mend = f"; {save}: {_BESIDE[what]}.save_pretrained(folder)" if what in _BESIDE else ""
        raise ArtifactError(f"{text}: its {what} cannot be loaded: {in_short(error, 120)}{mend}") from error


def _whole(text: str, kind: Any, place: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 - classes of transformers
    """Return a model all of whose weights are in its file.

    Raises:
        ArtifactError: Some are not.
    """
    model, info = _loaded(text, kind, place, {**options, "output_loading_info": True})
    mend = "; give the folder of the model as it was trained, head included"
    _language.check_whole(f"{text}: its file has", info, mend)
    return model


def _head(text: str, config: Any) -> tuple[str, str]:  # noqa: ANN401 - a configuration of transformers
    """Return the class that loads a model, and what it is asked about.

    Raises:
        ArtifactError: It is none of those that are known.
    """
    named = (config.architectures or ["no architecture"])[0]
    for end, (auto, asked) in _HEADS.items():
        if named.endswith(end):
            return auto, asked
    raise ArtifactError(
        f"{text}: its config.json names {named}; one that ends in {' or '.join(_HEADS)} is needed, with one label "
        "an example, or a word"
    )


def _check_size(text: str, kind: Any, config: Any, place: str) -> None:  # noqa: ANN401 - classes of transformers
    """Refuse what would take more memory than it may; its file may be small.

    Raises:
        ArtifactError: It would, or its configuration makes no model.
    """
    try:
        with quietly(), torch.device("meta"):
            planned = kind.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a configuration of a stranger raises
        raise ArtifactError(f"{text}: its config.json makes no model: {in_short(error)}") from error
    wanted = sum(t.numel() * t.element_size() for t in (*planned.parameters(), *planned.buffers()))
    on_disk = sum(path.stat().st_size for path in Path(place).glob("*")) if os.path.isdir(place) else wanted
    limits.check(wanted, on_disk, text, ArtifactError)


def _order(text: str, labels: dict[int, str], task: Task) -> list[int]:
    """Return which of a model's outputs is which class of the data; nothing where they are in order.

    Raises:
        TaskError: Both have names, and these are not the same.
    """
    theirs = [str(labels[i]) for i in sorted(labels)]
    mine = list(task.class_names)
    if not mine or theirs == [f"LABEL_{i}" for i in range(len(theirs))]:
        return []
    known, wanted = ([name.casefold().strip() for name in names] for names in (theirs, mine))
    if known == wanted:
        return []
    if sorted(known) != sorted(wanted) or len(set(known)) < len(known):
        fewer = len(set(known)) == len(known) and set(wanted) < set(known)
        mend = f"say all of them (--classes {','.join(theirs)})" if fewer else "name them alike"
        raise TaskError(
            f"task {task.name} and model do not fit: the classes of {text} are {', '.join(theirs)}; those of the data "
            f"are {', '.join(mine)}; {mend}"
        )
    warnings.warn(f"{text}: its outputs were put into the order of the data's classes: {', '.join(mine)}", Told, 3)
    return [known.index(name) for name in wanted]


def _pixels(text: str, config: Any, task: Task) -> tuple[float, int]:  # noqa: ANN401 - as above
    """Return the brightest pixel in the data, and how often a gray channel is repeated.

    Raises:
        TaskError: They are no pixels from 0 to 1 or 255, or of another number of channels.
    """
    if task.bounds not in {(0.0, 1.0), (0.0, float(_WHOLE))}:
        raise TaskError(
            f"task {task.name} and model do not fit: {text} has its own image processor, which takes pixels; bounds of "
            f"the data are {task.bounds}, and (0, 1) or (0, 255) are needed: as they were before any normalization"
        )
    wanted, given = getattr(config, "num_channels", task.shape[0]), task.shape[0]
    if given not in {1, wanted}:
        raise TaskError(
            f"task {task.name} and model do not fit: {text} takes {wanted} channels, inputs are {task.shape}, which "
            "must be (channels, height, width)"
        )
    return task.bounds[1], wanted // given


def _check_vocabulary(text: str, config: Any, task: Task, tokenizer: Any) -> None:  # noqa: ANN401 - as above
    """Refuse token ids that are not those of the model's own tokenizer, as far as that can be known.

    Raises:
        TaskError: They are others.
    """
    size, padding = config.vocab_size, config.pad_token_id
    where = f"task {task.name} and model do not fit"
    if size != task.vocabulary:
        raise TaskError(
            f"{where}: {text} knows {size} token ids, the data have {task.vocabulary}; give ids of its own tokenizer"
        )
    if padding != 0:
        raise TaskError(f"{where}: {text} pads with the id {padding}, and data here with 0; no ids can stand for both")
    if not task.words:
        warnings.warn(f"{text}: token ids of the data are taken to be those of its own tokenizer", Told, 3)
        return
    theirs: Sequence[str] = tokenizer().convert_ids_to_tokens(list(range(2, size)))
    apart = [i for i, (a, b) in enumerate(zip(theirs, task.words[2:], strict=True), 2) if a != b]
    if apart:
        one = apart[0]
        raise TaskError(
            f"{where}: {len(apart)} token ids stand for other words, such as {one} for {theirs[one - 2]!r} in {text} "
            f"and for {task.words[one]!r} in the data; give ids of its own tokenizer"
        )


def _read(text: str, scored: sentences.Scored, tokenizer: Any, longest: int, task: Task) -> RecordedScores:  # noqa: ANN401
    """Return what a model answers to the texts of the data, each read by its own tokenizer.

    Raises:
        ArtifactError: It cannot read them.
    """
    answers: dict[str, Tensor] = {}
    cut = 0
    for name, split in task.splits.items():
        found: list[Tensor] = []
        for start in range(0, len(split), _BATCH):
            lines = list((split.texts or ())[start : start + _BATCH])
            try:
                with torch.no_grad(), quietly():
                    read = tokenizer(lines, padding=True, truncation=True, max_length=longest, return_tensors="pt")
                    cut += sum(len(ids) > longest for ids in tokenizer(lines)["input_ids"]) if name == "test" else 0
                    found.append(scored(read))
            except Exception as error:  # a tokenizer without padding, ids that the model has no vector for
                raise ArtifactError(f"{text}: it cannot read the texts of the data: {in_short(error)}") from error
        if found:
            answers[name] = torch.cat(found).float()
    told = f"{text} read the texts of the data once, by its own tokenizer"
    return RecordedScores(answers, (f"{told}; {cut} of test were cut at {longest} tokens" if cut else told,))


def _longest(config: Any, tokenizer: Any) -> int:  # noqa: ANN401 - of transformers
    """Return how many tokens a model takes at most."""
    return int(min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", _LONG)))


def _say(text: str, model: _Images, task: Task) -> None:
    """Find out whether the processor can be followed in torch, and say what is done to images."""
    step = model.brightest / _WHOLE
    few = (task.test.inputs[:_FEW] / step).round() * step  # the pictures of 8 bits that both are defined on
    with quietly():
        model.followed = alike(model.processed(few), model.normalized(few), _EXACT)
    if not model.followed:
        how = "its own image processor, in whole pixels and outside of torch: gradients do not pass it"
        warnings.warn(f"{text}: images go through {how}", Told, 3)
    if model.repeated > 1:
        warnings.warn(f"{text}: the gray channel of the data is repeated {model.repeated} times", Told, 3)


class _Images(nn.Module):
    """A classifier of images with what it does to pixels.

    Attributes:
        model: Of transformers.
        processor: Likewise.
        order: Which of its outputs is which class; empty where they are in order.
        brightest: The largest value that a pixel of the data may have.
        repeated: How often a gray channel is repeated.
        followed: Whether the processor was found to scale and normalize alone, which is done in torch.
    """

    def __init__(self, model: nn.Module, processor: Any, order: list[int], brightest: float, repeated: int) -> None:  # noqa: ANN401 - of transformers
        super().__init__()
        self.model, self.processor, self.order = model, processor, order
        self.brightest, self.repeated, self.followed = brightest, repeated, False
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``.

        Args:
            x: Pixels of the data, ``(N, channels, height, width)``.
        """
        pixels = self.normalized(x) if self.followed else self.processed(x)
        kind = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), x.dtype)
        found: Tensor = self.model(pixel_values=pixels.to(kind)).logits
        return found[:, self.order] if self.order else found

    def extra_repr(self) -> str:
        """Return what decides answers beside the weights: a model of the hub is known by what it holds and prints."""
        return f"processor={self.processor.to_dict()}, order={self.order}, pixels={self.brightest:g}*{self.repeated}"

    def normalized(self, x: Tensor) -> Tensor:
        """Return pixels scaled and normalized as the processor says that it does, ``(N, channels, height, width)``.

        Args:
            x: Pixels of the data, ``(N, channels, height, width)``.
        """
        said = self.processor.to_dict()
        x = x.repeat(1, self.repeated, 1, 1) * (_WHOLE / self.brightest)
        x = x * said["rescale_factor"] if said.get("do_rescale") else x
        if not said.get("do_normalize"):
            return x
        mean, deviation = (x.new_tensor(said[f"image_{name}"])[:, None, None] for name in ("mean", "std"))
        return (x - mean) / deviation

    @torch.no_grad()
    def processed(self, x: Tensor) -> Tensor:
        """Return what the processor makes of pictures of 8 bits, ``(N, channels, height, width)`` of its own size.

        Args:
            x: Pixels of the data, ``(N, channels, height, width)``.
        """
        whole = (x * (_WHOLE / self.brightest)).round().clamp(0, _WHOLE).to(torch.uint8)
        pictures = list(whole.repeat(1, self.repeated, 1, 1).numpy())
        made = self.processor(pictures, return_tensors="pt", input_data_format="channels_first")
        found: Tensor = made["pixel_values"]
        return found.to(x.dtype)


class _Texts(nn.Module):
    """A classifier of texts, or of their words, that are given as ids of its own tokenizer.

    Attributes:
        model: Of transformers.
        order: Which of its outputs is which class; empty where they are in order.
    """

    def __init__(self, model: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.model, self.order = model, order
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``.

        Args:
            x: Token ids as numbers, 0 for padding, ``(N, tokens)``.
        """
        ids = x.long()
        return self.scored({"input_ids": ids, "attention_mask": (ids != 0).long()})

    def extra_repr(self) -> str:
        """Return which output is which class: a model of the hub is known by what it holds and prints."""
        return f"order={self.order}"

    def scored(self, read: Mapping[str, Tensor]) -> Tensor:
        """Return class scores, ``(N, classes)``; of a classifier of words ``(N, tokens, classes)``.

        Args:
            read: What its tokenizer makes of texts.
        """
        found: Tensor = self.model(**read).logits
        return found[..., self.order] if self.order else found
